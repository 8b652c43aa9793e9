//! The span of a request: whether there is one, whose trace it continues, and its attributes. It never contains a
//! query, a header or a body.

use std::net::IpAddr;

use http::{HeaderMap, Method, Request, StatusCode};
use opentelemetry::{Context, propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Level, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::{REQUEST, TARGET};
use crate::http::RequestId;

/// The header with a caller's trace to continue.
const TRACEPARENT: &str = "traceparent";

/// Samples requests to trace.
#[derive(Debug, Clone, Copy)]
pub struct Requests {
    sample_ratio: f64,
}

/// The span of a traced request. It ends when this is dropped.
#[derive(Debug)]
pub struct RequestSpan {
    span: Span,
    method: Method,
}

impl Requests {
    /// Samples this fraction of the requests that continue no trace: 0 none, 1 all.
    pub fn new(sample_ratio: f64) -> Requests {
        Requests { sample_ratio }
    }

    /// Starts the span of a request if it is sampled: as decided in the caller's trace, or else at random.
    pub fn begin<B>(&self, request: &Request<B>, id: &RequestId, client: IpAddr) -> Option<RequestSpan> {
        let caller = continued(request.headers());
        let is_chosen = match &caller {
            Some(caller) => caller.span().span_context().is_sampled(),
            None => rand::random::<f64>() < self.sample_ratio,
        };
        if !is_chosen {
            return None;
        }
        let span = tracing::span!(
            target: TARGET,
            parent: None,
            Level::TRACE,
            REQUEST,
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = request.method().as_str(),
            http.route = Empty,
            http.response.status_code = Empty,
            url.path = request.uri().path(),
            client.address = %client,
            tinybase.request_id = id.as_str(),
        );
        if let Some(caller) = caller
            && let Err(error) = span.set_parent(caller)
        {
            tracing::debug!(%error, "a caller's trace is not continued");
        }
        Some(RequestSpan { span, method: request.method().clone() })
    }
}

/// Returns the caller's trace, if the request has one.
fn continued(headers: &HeaderMap) -> Option<Context> {
    headers.get(TRACEPARENT)?;
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    context.has_active_span().then_some(context)
}

impl RequestSpan {
    /// Returns the span itself, in which the request must be served.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Ends the span with the route that served the request and the status of its response.
    pub fn end(self, route: Option<&str>, status: StatusCode) {
        let RequestSpan { span, method } = self;
        let method = if is_known(&method) { method.as_str() } else { "HTTP" };
        // A path is not used as a name: there are too many different ones.
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        span.context().span().update_name(name);
        if let Some(route) = route {
            span.record("http.route", route);
        }
        span.record("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
}

fn is_known(method: &Method) -> bool {
    use http::Method as M;
    [M::GET, M::HEAD, M::POST, M::PUT, M::PATCH, M::DELETE, M::OPTIONS].contains(method)
}
