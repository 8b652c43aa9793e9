//! Cross-origin requests: the origins that browsers may call from. It never allows an origin that the operator did not
//! name.

use std::{convert::Infallible, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::{app::HttpResponse, rate_limit, request_id::REQUEST_ID, unread::KeptBody};

/// How long a browser may cache a preflight response.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The response headers that scripts may read, in addition to the few that are always readable.
const EXPOSED: [HeaderName; 14] = [
    REQUEST_ID,
    rate_limit::LIMIT,
    rate_limit::REMAINING,
    rate_limit::RESET,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    header::ETAG,
    header::LOCATION,
    header::LINK,
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::CONTENT_RANGE,
    header::ACCEPT_RANGES,
    header::DATE,
];

const ORIGIN: HeaderValue = HeaderValue::from_static("origin");

/// Adds `Vary: Origin`, because responses differ by origin and caches must know it.
pub(super) fn vary(headers: &mut HeaderMap) {
    let names = |value: &HeaderValue| {
        value.to_str().is_ok_and(|names| {
            names
                .split(',')
                .any(|name| matches!(name.trim(), "*") || name.trim().eq_ignore_ascii_case("origin"))
        })
    };
    if !headers.get_all(header::VARY).iter().any(names) {
        headers.append(header::VARY, ORIGIN);
    }
}

/// Returns the layer for these origins; `None` if there are none, and requests then skip CORS.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE);
    if origins.iter().any(|origin| origin == "*") {
        return Some(layer.allow_origin(Any));
    }
    let values: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    Some(layer.allow_origin(values))
}

/// Serves a request with an `Origin` header: a preflight gets its response here, all others go to `serve`.
pub(super) async fn serve<F: Future<Output = HttpResponse>>(
    layer: &CorsLayer,
    request: Request<KeptBody>,
    serve: impl FnOnce(Request<KeptBody>) -> F,
) -> HttpResponse {
    let mut serve = Some(serve);
    let inner = service_fn(move |request| {
        let serving = serve.take().expect("the layer calls its service once")(request);
        async { Ok::<_, Infallible>(serving.await) }
    });
    layer.layer(inner).oneshot(request).await.unwrap_or_else(|never| match never {})
}
