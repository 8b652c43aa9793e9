//! Compression of responses for clients that accept it. It never touches other responses, and never blocks a thread for
//! longer than one slice takes.

use std::{
    convert::Infallible,
    future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::{CompressionBody, CompressionLayer, CompressionLevel, predicate::SizeAbove};

use super::{app::HttpResponse, response_body::ResponseBody};
use crate::memory::Share;

/// The maximum number of bytes compressed at once: about one millisecond of work.
const SLICE_BYTES_MAX: usize = 256 << 10;

/// The time after which the task yields.
const TURN: Duration = Duration::from_micros(500);

/// The approximate size of the compression state in bytes. For a streamed response the state lives as long as the
/// stream.
const STATE_BYTES: usize = 1 << 20;

/// Returns whether the response is large enough, not yet encoded, and of a compressible type.
pub(super) fn is_worth_it(answer: &HttpResponse, bytes_min: u16) -> bool {
    let size = answer.body().size_hint();
    if size.exact().is_some_and(|bytes| bytes < u64::from(bytes_min).max(1)) {
        return false;
    }
    let headers = answer.headers();
    !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && headers.get(header::CONTENT_TYPE).is_some_and(is_compressible)
}

fn is_compressible(content_type: &HeaderValue) -> bool {
    // The fast path for nearly every response.
    if content_type == "application/json" {
        return true;
    }
    let Ok(content_type) = content_type.to_str() else { return false };
    let kind = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let known = [
        "application/json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "application/x-ndjson",
        "application/manifest+json",
        "image/svg+xml",
    ];
    kind.starts_with("text/") && kind != "text/event-stream"
        || known.contains(&kind.as_str())
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

/// Encodes the response with the best encoding in `accepted`. A body in memory is encoded at once, so that only the
/// smaller bytes are kept while the client receives them. Any other body is encoded as a stream. `is_head`: only the
/// headers are needed.
pub(super) async fn compress(
    accepted: &HeaderValue,
    mut answer: HttpResponse,
    is_head: bool,
) -> HttpResponse {
    if !is_head && let Some(whole) = answer.body_mut().take_whole() {
        return compress_whole(accepted, answer, whole).await;
    }
    let encoded = encode(accepted, answer.map(Slices::new)).await;
    let is_encoded = encoded.headers().contains_key(header::CONTENT_ENCODING);
    let mut answer = encoded.map(|body| ResponseBody::axum(axum::body::Body::new(body)));
    if is_encoded && !is_head {
        answer.body_mut().count(Share::forced(STATE_BYTES));
    }
    answer
}

async fn compress_whole(accepted: &HeaderValue, answer: HttpResponse, whole: Bytes) -> HttpResponse {
    let (parts, mut body) = answer.into_parts();
    let encoded = encode(accepted, Response::from_parts(parts, Slices::new(Full::new(whole.clone())))).await;
    let (mut parts, encoded) = encoded.into_parts();
    if !parts.headers.contains_key(header::CONTENT_ENCODING) {
        body.put_whole(whole);
        return Response::from_parts(parts, body);
    }
    let mut small = BytesMut::new();
    let mut encoded = std::pin::pin!(encoded);
    let mut begun = Instant::now();
    while let Some(frame) = encoded.frame().await {
        if begun.elapsed() >= TURN {
            tokio::task::yield_now().await;
            begun = Instant::now();
        }
        let Ok(frame) = frame else {
            // An encoder over bytes in memory does not fail; if it does, the response is sent unencoded.
            parts.headers.remove(header::CONTENT_ENCODING);
            body.put_whole(whole);
            return Response::from_parts(parts, body);
        };
        small.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    let share = Share::forced(small.len());
    body.put_whole(small.freeze());
    body.count(share);
    Response::from_parts(parts, body)
}

async fn encode<B: Body>(accepted: &HeaderValue, answer: Response<B>) -> Response<CompressionBody<B>> {
    let mut request = Request::new(());
    request.headers_mut().insert(header::ACCEPT_ENCODING, accepted.clone());
    let mut answer = Some(answer);
    let inner = service_fn(move |_: Request<()>| {
        future::ready(Ok::<_, Infallible>(answer.take().expect("the layer calls its service once")))
    });
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(0));
    layer.layer(inner).oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// A body in slices. It is pending once after each slice. That makes the encoder emit what it has; otherwise it would
/// take in the whole body at once.
struct Slices<B> {
    inner: B,
    rest: Bytes,
    /// Whether the next slice may follow.
    is_ready: bool,
}

impl<B> Slices<B> {
    fn new(inner: B) -> Slices<B> {
        Slices { inner, rest: Bytes::new(), is_ready: true }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Slices<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if !std::mem::replace(&mut this.is_ready, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(context)).transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        this.is_ready = false;
        let slice = this.rest.split_to(this.rest.len().min(SLICE_BYTES_MAX));
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The size only matters before the first slice.
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_have_their_turn_after_each_slice() {
        const SLICES: usize = 32;
        let body = ResponseBody::whole(Bytes::from(vec![b'x'; SLICES * SLICE_BYTES_MAX]));
        let mut answer = Response::new(body);
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let accepted = HeaderValue::from_static("br");
        let mut compressing = std::pin::pin!(compress(&accepted, answer, false));
        let mut turns = 0;
        let answer = future::poll_fn(|context| {
            turns += 1;
            compressing.as_mut().poll(context)
        })
        .await;
        assert_eq!(answer.headers()[header::CONTENT_ENCODING], "br");
        let held = answer.body().held();
        assert!(held.is_some_and(|bytes| bytes < SLICE_BYTES_MAX), "{held:?}");
        assert!(turns >= SLICES / 8, "{turns}");
    }
}
