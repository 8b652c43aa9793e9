//! Cross-origin requests: which origins a browser may call from. It never answers one that the operator did not name.

use std::{convert::Infallible, time::Duration};

use http::{HeaderName, HeaderValue, Method, Request, header};
use hyper::body::Incoming;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::{app::Answer, request_id::REQUEST_ID};

/// How long a browser may remember the answer to a preflight request.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The layer for these origins; `None` if there is none, and then no request is looked at.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let exposed: [HeaderName; 5] =
        [REQUEST_ID, header::ETAG, header::RETRY_AFTER, header::LOCATION, header::LINK];
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(MAX_AGE);
    if origins.iter().any(|origin| origin == "*") {
        return Some(layer.allow_origin(Any));
    }
    let values: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    Some(layer.allow_origin(values))
}

/// Serves a request that names its origin: a preflight is answered here, the rest by `serve`.
pub(super) async fn serve<F: Future<Output = Answer>>(
    layer: &CorsLayer,
    request: Request<Incoming>,
    serve: impl FnOnce(Request<Incoming>) -> F,
) -> Answer {
    let mut serve = Some(serve);
    let inner = service_fn(move |request| {
        let serving = serve.take().expect("the layer calls its service once")(request);
        async { Ok::<_, Infallible>(serving.await) }
    });
    layer.layer(inner).oneshot(request).await.unwrap_or_else(|never| match never {})
}
