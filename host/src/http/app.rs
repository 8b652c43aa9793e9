//! The life of one request, from its head to its response: id, routing, and the headers of every response. It never
//! serves a route itself.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tower::ServiceExt;
use tower_http::cors::CorsLayer;
use tracing::{Instrument, Span};

use super::{
    Authenticate, Found, HostRoutes, Limits, PluginDispatch, RequestId,
    body::{BodyBudget, LimitedBody},
    client_address::{Origin, TrustedProxies},
    compress,
    connection::ConnectionState,
    cors,
    deadline::within,
    docs,
    files::FromFile,
    host_header,
    host_route::Matched,
    openapi, plugin_call,
    rate_limit::{RateLimits, Sweeping},
    request_id::REQUEST_ID,
    request_trace::RequestTrace,
    response_body::ResponseBody,
    security_headers::{self, SecurityHeaders},
    system,
    unread::{self, KeptBody},
};
use crate::{
    config::Config,
    db::turns::CallerKey,
    error::{ApiError, Unavailable},
    logging,
    memory::{self, ToHold},
    nodes::NodeCount,
    request_log::Recorder,
    sql::HostSql,
    telemetry,
};

/// A response on its way to the client.
pub(super) type HttpResponse = Response<ResponseBody>;

/// One year, for this host name only: the server cannot know whether subdomains are served over TLS.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Serves requests: the host's own routes and, through their dispatch interface, the plugins'.
pub struct App {
    pub(super) plugins: Arc<dyn PluginDispatch>,
    pub(super) authenticator: Arc<dyn Authenticate>,
    pub(super) limits: Limits,
    pub(super) budget: Arc<BodyBudget>,
    host: axum::Router,
    cors: Option<CorsLayer>,
    security: SecurityHeaders,
    pub(super) rate_limits: Option<Arc<RateLimits>>,
    proxies: TrustedProxies,
    recorder: Option<Recorder>,
    traces: Option<telemetry::Requests>,
}

/// Information about a request, in addition to its head. The host's routes find it among the request's extensions.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// The id in the response header `x-request-id`.
    pub id: RequestId,
    /// The client's address: the socket's, or the one reported by trusted proxies.
    pub client: IpAddr,
    /// The peer address of the socket. An IPv4 address is in IPv4 notation even if it came over IPv6.
    pub peer: IpAddr,
    /// Whether a trusted proxy reports that the client connected to it over TLS.
    pub is_https: bool,
}

impl App {
    /// Creates an app. `own` contains the host's routes, except those of the system (`/`, `/health`, `/healthz`).
    pub fn new(
        config: &Config,
        plugins: Arc<dyn PluginDispatch>,
        authenticator: Arc<dyn Authenticate>,
        mut own: HostRoutes,
    ) -> App {
        let limits = Limits::from_config(config);
        memory::limit(limits.memory());
        let static_dir = config.public.static_dir.as_deref();
        system::routes(&mut own, static_dir);
        docs::routes(&mut own);
        openapi::routes(&mut own, &plugins, config.openapi.described_max);
        let rate_limits = RateLimits::from_config(config);
        let host = own.into_limited_router(&authenticator, rate_limits.as_ref());
        let host = system::with_fallbacks(host, static_dir);
        App {
            plugins,
            authenticator,
            budget: BodyBudget::new(limits.bodies_bytes_max),
            limits,
            host,
            cors: cors::layer(&config.cors.allow_origins),
            security: SecurityHeaders::new(&config.server.content_security_policy),
            rate_limits,
            proxies: TrustedProxies::new(&config.server.trusted_proxies),
            recorder: None,
            traces: None,
        }
    }

    /// Replaces the limits that came from the configuration.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> App {
        self.budget = BodyBudget::new(limits.bodies_bytes_max);
        memory::limit(limits.memory());
        self.limits = limits;
        self
    }

    /// Sets the recorder of the request log.
    #[must_use]
    pub fn with_request_log(self, recorder: Option<Recorder>) -> App {
        App { recorder, ..self }
    }

    /// Sets the tracing of requests.
    #[must_use]
    pub fn with_traces(self, traces: Option<telemetry::Requests>) -> App {
        App { traces, ..self }
    }

    /// Shares rate limits between nodes, if several may use the database of `sql`. Dropping the result stops the job
    /// that this needs. Call this once, within the runtime.
    pub fn share_rate_limits(&self, config: &Config, sql: HostSql, nodes: NodeCount) -> Option<Sweeping> {
        self.rate_limits.as_ref()?.share(sql, nodes, config.rate_limit.buckets_max)
    }

    /// Serves one request. It always returns a response: a panic becomes a 500.
    pub(super) async fn serve(
        self: Arc<App>,
        request: Request<Incoming>,
        peer: SocketAddr,
        watch: Arc<ConnectionState>,
    ) -> HttpResponse {
        let is_h2 = request.version() == Version::HTTP_2;
        let guard = watch.begin(is_h2);
        let (request, rest) = unread::keep(request);
        let id = RequestId::from_headers(request.headers());
        let peer = peer.ip().to_canonical();
        let origin = self.proxies.origin(peer, request.headers());
        let request_trace = RequestTrace::begin(&request, origin.address);
        let response_context = ResponseContext::of(&request, &origin);
        let span = logging::request_span(id.as_str());
        let traced = self.traces.as_ref().and_then(|traces| traces.begin(&request, &id, origin.address));
        let traced_span = traced.as_ref().map_or_else(Span::none, |traced| traced.span().clone());
        let info = RequestInfo { id: id.clone(), client: origin.address, peer, is_https: origin.is_https };
        let answering = async {
            let mut answer = self.route(request, info, &request_trace, &response_context).await;
            self.finish(&mut answer, &response_context, &id);
            if let Some(rest) = rest
                && !rest.is_gone().await
            {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                watch.leave_unread();
            }
            if let Some(quota) = request_trace.quota() {
                quota.tell(answer.headers_mut());
            }
            let row = request_trace.end(&answer, &id, self.recorder.as_ref());
            (answer, row)
        };
        let logged = if traced.is_some() { span.clone() } else { Span::none() };
        let answering = logging::logged_in(logged, answering.instrument(traced_span));
        let (mut answer, row) = answering.instrument(span).await;
        if let Some(traced) = traced {
            traced.end(request_trace.route(), answer.status());
        }
        let body = answer.body_mut();
        body.watch_pace(is_h2, self.limits.responses_bytes_max);
        body.guard_request(guard);
        body.log(row);
        answer
    }

    async fn route(
        &self,
        request: Request<KeptBody>,
        info: RequestInfo,
        request_trace: &RequestTrace,
        response_context: &ResponseContext,
    ) -> HttpResponse {
        match &self.cors {
            Some(cors) if request.headers().contains_key(header::ORIGIN) => {
                let serve = |request| self.answer(request, info, request_trace, response_context);
                Box::pin(cors::serve(cors, request, serve)).await
            }
            _ => self.answer(request, info, request_trace, response_context).await,
        }
    }

    /// Produces the response and counts the memory it occupies until the client has received it.
    async fn answer(
        &self,
        request: Request<KeptBody>,
        info: RequestInfo,
        request_trace: &RequestTrace,
        response_context: &ResponseContext,
    ) -> HttpResponse {
        let client = info.client;
        let dispatched = AssertUnwindSafe(self.dispatch(request, info, request_trace)).catch_unwind().await;
        let mut answer = dispatched.unwrap_or_else(|panic| answer_panic(&*panic));
        let shrinks = compress::is_worth_it(&answer, self.limits.compression_bytes_min);
        if !response_context.is_head
            && let Some(bytes) = answer.body().held().filter(|bytes| *bytes > 0)
        {
            let kept = answer.body_mut().take_kept();
            let caller = CallerKey::of(None, client);
            let answer_to_hold = ToHold { bytes, caller, is_change: response_context.is_change };
            match memory::admit(answer_to_hold, kept, self.limits.memory()).await {
                Some(share) => answer.body_mut().count(share),
                None => return error_response(no_room()),
            }
        }
        match &response_context.accept_encoding {
            Some(accepted) if shrinks => {
                Box::pin(compress::compress(accepted, answer, response_context.is_head)).await
            }
            None if shrinks => {
                answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
                answer
            }
            _ => answer,
        }
    }

    async fn dispatch(
        &self,
        request: Request<KeptBody>,
        info: RequestInfo,
        request_trace: &RequestTrace,
    ) -> HttpResponse {
        if let Err(refused) = host_header::check(&request) {
            return error_response(refused);
        }
        let path = request.uri().path();
        if path.len() > self.limits.path_bytes_max {
            let detail = format!("the path is longer than {} bytes", self.limits.path_bytes_max);
            return error_response(ApiError::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail));
        }
        let answered = match self.plugins.find(request.method(), path) {
            Found::Route(matched) => plugin_call::call(self, matched, request, info, request_trace).await,
            Found::Missing => Ok(Box::pin(self.call_host(request, info, request_trace)).await),
            Found::WrongMethod { allow } if request.method() == Method::OPTIONS => Ok(answer_options(allow)),
            Found::WrongMethod { allow } => Err(ApiError::method_not_allowed(allow)),
            Found::BadPath => Err(bad_path()),
        };
        answered.unwrap_or_else(error_response)
    }

    async fn call_host(
        &self,
        request: Request<KeptBody>,
        info: RequestInfo,
        request_trace: &RequestTrace,
    ) -> HttpResponse {
        let is_options = request.method() == Method::OPTIONS;
        let (mut parts, body) = request.into_parts();
        let key = CallerKey::of(None, info.client);
        parts.extensions.insert(info);
        let body = LimitedBody::new(body, self.limits.body_bytes_max, &self.limits).counted(&self.budget);
        let request = Request::from_parts(parts, axum::body::Body::new(body));
        let served = key.scope(self.host.clone().oneshot(request));
        let Some(response) = within(self.limits.request_timeout, served).await else {
            return error_response(request_timeout());
        };
        let mut response = response.unwrap_or_else(|never| match never {});
        if let Some(Matched { metrics, caller, quota }) = response.extensions_mut().remove() {
            request_trace.found(metrics);
            request_trace.called_by(caller.as_ref());
            request_trace.counted(quota);
        }
        match response.headers().get(header::ALLOW) {
            Some(allow) if is_options && response.status() == StatusCode::METHOD_NOT_ALLOWED => {
                answer_options(allow.clone())
            }
            _ => in_memory(response).await,
        }
    }

    /// Adds the headers of every response, and removes the body for `HEAD`.
    fn finish(&self, answer: &mut HttpResponse, response_context: &ResponseContext, id: &RequestId) {
        let headers = answer.headers_mut();
        headers.insert(REQUEST_ID, id.header_value());
        self.security.protect(headers, response_context.is_private);
        if self.cors.is_some() {
            cors::vary(headers);
        }
        if response_context.is_https {
            headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
        }
        if response_context.is_head {
            drop_body(answer);
        }
    }
}

/// Converts a response of the host: bytes in memory are taken as they are, any other body is streamed.
async fn in_memory(response: Response<axum::body::Body>) -> HttpResponse {
    let is_held =
        response.body().size_hint().exact().is_some() && response.extensions().get::<FromFile>().is_none();
    if !is_held {
        return response.map(ResponseBody::axum);
    }
    let (parts, body) = response.into_parts();
    // The body is a single chunk in memory: nothing is copied, and nothing fails.
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Response::from_parts(parts, ResponseBody::whole(bytes))
}

fn no_room() -> ApiError {
    let detail = "the server holds too many answers that their clients have not taken yet; try again shortly";
    ApiError::unavailable("overloaded", detail)
}

/// What is remembered of a request while it is served.
struct ResponseContext {
    is_head: bool,
    is_change: bool,
    is_https: bool,
    is_private: bool,
    accept_encoding: Option<HeaderValue>,
}

impl ResponseContext {
    fn of<B>(request: &Request<B>, origin: &Origin) -> ResponseContext {
        ResponseContext {
            is_https: origin.is_https,
            is_private: security_headers::is_private(request.uri().path()),
            is_head: request.method() == Method::HEAD,
            is_change: !request.method().is_safe(),
            accept_encoding: request.headers().get(header::ACCEPT_ENCODING).cloned(),
        }
    }
}

/// Turns it into the response to `HEAD`: the `content-length` of the body, but no body.
fn drop_body(answer: &mut HttpResponse) {
    if let Some(length) = answer.body().size_hint().exact() {
        answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    *answer.body_mut() = ResponseBody::empty();
}

pub(super) fn error_response(error: ApiError) -> HttpResponse {
    let mut answer = Response::new(ResponseBody::whole(error.to_json().into()));
    *answer.status_mut() = error.status;
    if error.status == StatusCode::SERVICE_UNAVAILABLE {
        answer.extensions_mut().insert(Unavailable(error.code));
    }
    *answer.headers_mut() = error.headers.map(|headers| *headers).unwrap_or_default();
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn answer_options(allow: HeaderValue) -> HttpResponse {
    let mut answer = Response::new(ResponseBody::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(header::ALLOW, allow);
    answer
}

fn answer_panic(panic: &(dyn std::any::Any + Send)) -> HttpResponse {
    let told =
        panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    error_response(ApiError::internal_logged(
        "a request's handler panicked",
        &told.unwrap_or("without a message"),
    ))
}

pub(super) fn bad_path() -> ApiError {
    ApiError::bad_request(
        "bad_path",
        "a part of the path does not decode to text: send UTF-8, percent-encoded, without NUL",
    )
}

pub(super) fn request_timeout() -> ApiError {
    ApiError::timeout(
        "request_timeout",
        "the request took longer than the server allows; ask for less at once",
    )
}

/// Returns whether a header belongs to a connection and not to a response.
pub(super) fn is_connection_header(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::PROXY_AUTHENTICATE,
    ]
    .contains(name)
        || name == "keep-alive"
        || name == "proxy-connection"
}
