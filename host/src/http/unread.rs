//! What is left of a request's body once its answer is there. On HTTP/1 the next request of a connection follows the body, so
//! a short rest is read and thrown away; for a longer one the answer says that the connection ends. It never keeps a byte.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::deadline::within;

/// Up to how many bytes are thrown away so that a connection can go on.
const REST_BYTES_MAX: u64 = 64 << 10;

/// How long they may take to arrive: about the way from one packet of a request to its next.
const REST_TIMEOUT: Duration = Duration::from_millis(100);

/// A request's body that is given back to its [`Rest`] when whoever was to read it drops it.
pub(super) struct KeptBody {
    /// `None` only while it is dropped.
    inner: Option<Incoming>,
    rest: Option<Arc<Rest>>,
    /// The client sends none of it before it is asked to, and to read it would ask.
    is_held_back: bool,
}

/// What is left of a request's body.
pub(super) struct Rest(Mutex<State>);

enum State {
    /// Somebody may still be reading it.
    Held,
    Ended,
    Left(Incoming),
}

/// Takes a request over. `None` where nothing can be left that matters: there is no body, or other streams of the
/// connection go on without it.
pub(super) fn keep(request: Request<Incoming>) -> (Request<KeptBody>, Option<Arc<Rest>>) {
    let matters = request.version() != Version::HTTP_2 && !request.body().is_end_stream();
    let rest = matters.then(|| Arc::new(Rest(Mutex::new(State::Held))));
    let is_held_back = request.headers().contains_key(header::EXPECT);
    let kept = request.map(|body| KeptBody { inner: Some(body), rest: rest.clone(), is_held_back });
    (kept, rest)
}

impl Rest {
    /// Whether the connection can go on: the body was read, or what was left of it was short and is thrown away now.
    pub(super) async fn is_gone(&self) -> bool {
        let state = std::mem::replace(&mut *self.0.lock(), State::Held);
        match state {
            State::Held => false,
            State::Ended => true,
            State::Left(body) => within(REST_TIMEOUT, throw_away(body)).await.unwrap_or(false),
        }
    }
}

/// Whether it ended before it was too long.
async fn throw_away(mut body: Incoming) -> bool {
    if body.size_hint().lower() > REST_BYTES_MAX {
        return false;
    }
    let mut bytes = 0;
    while bytes <= REST_BYTES_MAX {
        match body.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
        }
    }
    false
}

impl Body for KeptBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = Pin::new(inner).poll_frame(cx);
        if frame.is_ready() {
            self.is_held_back = false;
            if matches!(frame, Poll::Ready(None)) || self.is_end_stream() {
                self.end();
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl KeptBody {
    fn end(&mut self) {
        if let Some(rest) = self.rest.take() {
            *rest.0.lock() = State::Ended;
        }
    }
}

impl Drop for KeptBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.end();
        }
        if self.is_held_back {
            return;
        }
        if let (Some(rest), Some(body)) = (self.rest.take(), self.inner.take()) {
            *rest.0.lock() = State::Left(body);
        }
    }
}
