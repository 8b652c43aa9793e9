//! The seam between the HTTP server and the routes of plugins: what is looked up, what a call is handed, what it
//! answers. It never knows how a plugin is loaded or called.

use std::{any::Any, net::IpAddr, ops::Range, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use serde_json::Value;
use smallvec::SmallVec;

use super::{Access, Caller, RequestId, app::request_timeout, openapi::DescribedRoute};
use crate::{error::ApiError, metrics::stats::RouteMetrics};

/// An error that ends a stream of body bytes.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is pulled piece by piece.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Finds the plugin's route for a request. The owner of the generations implements it; `find` is called once a
/// request, so it takes the current generation, looks the path up in that generation's
/// [`RouteTable`](super::RouteTable) and hands out a hold on it.
pub trait PluginDispatch: Send + Sync + 'static {
    /// Looks up `path`, as it was sent (still percent-encoded, without the query).
    fn find(&self, method: &Method, path: &str) -> Found;

    /// Every route of the current generation, for the OpenAPI document.
    fn described(&self) -> Vec<DescribedRoute>;

    /// The number of the current generation: what was derived from it holds as long as this stays.
    fn generation(&self) -> u64;

    /// Asks every extension that listens to `topic`, each with the same `payload`, and answers what each made of it under its
    /// name. One that fails or takes long has no part in it.
    fn collect<'a>(&'a self, topic: &'a str, payload: Value) -> BoxFuture<'a, Vec<(String, Value)>>;
}

/// What a lookup comes to.
pub enum Found {
    /// A route takes the request.
    Route(RouteMatch),
    /// The path is known, but not with this method; `allow` is the `Allow` header's value.
    WrongMethod {
        /// The methods that the path takes, `GET, HEAD, POST`.
        allow: HeaderValue,
    },
    /// A parameter of the path does not decode to clean UTF-8: 400.
    BadPath,
    /// No plugin serves this path.
    Missing,
}

/// A found route with the values of its path's parameters.
pub struct RouteMatch {
    /// What to call.
    pub route: Arc<dyn PluginRoute>,
    /// The values of the path's parameters, in the pattern's order.
    pub params: PathParams,
    /// What is counted of the route.
    pub metrics: &'static RouteMetrics,
    /// Whatever must live until the request is answered: the generation.
    pub hold: Option<Arc<dyn Any + Send + Sync>>,
}

/// One route of a plugin.
pub trait PluginRoute: Send + Sync + 'static {
    /// What the server must know before it calls.
    fn spec(&self) -> &RouteSpec;

    /// Serves one request, in a task of its own. Authentication, the body limit and the body itself are done by then. A
    /// panic while this is polled is answered with a 500; a call that outlasts its timeout, or the server's, is
    /// left behind, dropped as soon as it gives its thread back, and answered with a 504.
    fn call(&self, request: PluginRequest) -> BoxFuture<'static, Result<PluginResponse, ApiError>>;

    /// The answer of a call that outlasted the route's own timeout.
    fn timed_out(&self, _timeout: Duration) -> ApiError {
        request_timeout()
    }
}

/// How a route wants the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyMode {
    /// Read whole before the call.
    #[default]
    Collected,
    /// Pulled by the call, under the same limit and deadline.
    Streamed,
}

/// What the server must know of a route before it calls it.
#[derive(Debug, Clone, Default)]
pub struct RouteSpec {
    /// Who may call it, and the scope that an application token needs.
    pub access: Access,
    /// How the body is handed over.
    pub body: BodyMode,
    /// The largest body in bytes; `None`: the server's default.
    pub body_bytes_max: Option<usize>,
    /// The longest that a call may take; `None`: the server's default.
    pub timeout: Option<Duration>,
    /// The names of the pattern's parameters, in its order. [`RouteTable`](super::RouteTable) checks that they fit.
    pub param_names: Vec<String>,
    /// The path prefixes on which its cookies may be valid, its own first.
    pub cookie_paths: Vec<String>,
    /// The OpenAPI operation object, for `/openapi.json`.
    pub document: Option<Value>,
}

/// One request on its way into a plugin.
pub struct PluginRequest {
    /// Method, URI, version, headers and extensions as they came.
    pub parts: Parts,
    /// The values of the path's parameters; read them with [`PluginRequest::param`].
    pub params: PathParams,
    /// The verified caller, if a token was sent.
    pub caller: Option<Arc<Caller>>,
    /// The id that the answer carries as `x-request-id`.
    pub request_id: RequestId,
    /// The client's address: the socket's, or the one that trusted proxies name.
    pub client: IpAddr,
    /// The body.
    pub body: RequestBody,
}

impl RouteSpec {
    /// The value of the path's parameter `name`.
    pub fn param<'p>(&self, name: &str, params: &'p PathParams, path: &'p str) -> Option<&'p str> {
        let index = self.param_names.iter().position(|known| known == name)?;
        params.get(path, index)
    }
}

impl PluginRequest {
    /// The value of the path's parameter number `index` (from 0, in the pattern's order), percent-decoded.
    pub fn param(&self, index: usize) -> Option<&str> {
        self.params.get(self.parts.uri.path(), index)
    }

    /// The query as it was sent, without the `?`; empty if there is none.
    pub fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or("")
    }
}

/// A request's body.
pub enum RequestBody {
    /// Whole; empty if none was sent.
    Bytes(Bytes),
    /// Yet to be pulled. It ends in an error when the limit or the deadline is passed.
    Stream(ByteStream),
}

/// A plugin's answer.
pub struct PluginResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers. Connection-level ones (`connection`, `transfer-encoding`, `content-length` …) are dropped.
    pub headers: HeaderMap,
    /// The body.
    pub body: PluginBody,
}

/// An answer's body.
pub enum PluginBody {
    /// None.
    Empty,
    /// Whole.
    Bytes(Bytes),
    /// Pulled by the server as the client takes it; dropped when the client goes away.
    Stream(ByteStream),
}

impl PluginResponse {
    /// An answer with a JSON body that is already written.
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> PluginResponse {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        PluginResponse { status, headers, body: PluginBody::Bytes(body.into()) }
    }
}

/// The values of a path's parameters. Values without percent-encoding are ranges of the path, so that the common case
/// copies nothing.
#[derive(Debug, Clone, Default)]
pub struct PathParams {
    values: SmallVec<[ParamValue; 3]>,
}

#[derive(Debug, Clone)]
enum ParamValue {
    InPath(Range<u32>),
    Decoded(String),
}

impl PathParams {
    /// The value number `index`; `path` is the path in which the parameters were found.
    pub fn get<'p>(&'p self, path: &'p str, index: usize) -> Option<&'p str> {
        match self.values.get(index)? {
            ParamValue::InPath(range) => path.get(range.start as usize..range.end as usize),
            ParamValue::Decoded(value) => Some(value),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds `value`, a slice of the path that begins at byte `start`, decoded if need be. `None` if it decodes to
    /// invalid UTF-8 or holds a NUL.
    pub(super) fn push(&mut self, start: usize, value: &str) -> Option<()> {
        if !value.bytes().any(|byte| byte == b'%' || byte == 0) {
            let start = u32::try_from(start).ok()?;
            let end = start.checked_add(u32::try_from(value.len()).ok()?)?;
            self.values.push(ParamValue::InPath(start..end));
            return Some(());
        }
        let decoded = super::decode_path_part(value)?;
        self.values.push(ParamValue::Decoded(decoded));
        Some(())
    }
}
