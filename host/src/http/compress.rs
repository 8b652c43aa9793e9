//! Compression of answers for clients who ask for it. It never touches an answer of a client who does not.

use std::{convert::Infallible, future::ready};

use http::{HeaderValue, Request, header};
use http_body::Body;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::compression::{CompressionLayer, CompressionLevel, predicate::SizeAbove};

use super::{app::Answer, body::AnswerBody};

/// Whether the answer is large enough, not yet encoded, and of a kind that shrinks.
pub(super) fn is_worth_it(answer: &Answer, bytes_min: u16) -> bool {
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

/// Encodes the answer in the best way that `accepted` names.
pub(super) async fn compress(accepted: HeaderValue, answer: Answer) -> Answer {
    let mut request = Request::new(());
    request.headers_mut().insert(header::ACCEPT_ENCODING, accepted);
    let mut answer = Some(answer);
    let inner = service_fn(move |_: Request<()>| {
        ready(Ok::<_, Infallible>(answer.take().expect("the layer calls its service once")))
    });
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(0));
    let encoded = layer.layer(inner).oneshot(request).await.unwrap_or_else(|never| match never {});
    encoded.map(|body| AnswerBody::axum(axum::body::Body::new(body)))
}
