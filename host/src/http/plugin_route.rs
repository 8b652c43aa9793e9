//! The interface between the HTTP server and the routes of plugins: the lookup, the request of a call, and its
//! response. It never knows how a plugin is loaded or called.

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

/// A body that is read in chunks.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Finds the plugin route for a request. Implemented by the owner of the generations. `find` is called once per
/// request. It takes the current generation, looks up the path in that generation's [`RouteTable`](super::RouteTable),
/// and returns a handle that keeps the generation alive.
pub trait PluginDispatch: Send + Sync + 'static {
    /// Looks up `path`, as it was sent (still percent-encoded, without the query).
    fn find(&self, method: &Method, path: &str) -> Found;

    /// Returns every route of the current generation, for the OpenAPI document.
    fn described(&self) -> Vec<DescribedRoute>;

    /// Returns the number of the current generation. Data derived from a generation are valid while it stays the same.
    fn generation(&self) -> u64;

    /// Sends the same `payload` to every extension that subscribes to `topic`, and returns their results with their
    /// names. Extensions that fail or take too long are left out.
    fn collect<'a>(&'a self, topic: &'a str, payload: Value) -> BoxFuture<'a, Vec<(String, Value)>>;
}

/// The result of a lookup.
pub enum Found {
    /// A route matches the request.
    Route(RouteMatch),
    /// The path exists, but not with this method.
    WrongMethod {
        /// The value of the `Allow` header, such as `GET, HEAD, POST`.
        allow: HeaderValue,
    },
    /// A path parameter does not decode to valid UTF-8: 400.
    BadPath,
    /// No plugin serves this path.
    Missing,
}

/// A matched route with its path parameters.
pub struct RouteMatch {
    /// The route to call.
    pub route: Arc<dyn PluginRoute>,
    /// The values of the path parameters, in the pattern's order.
    pub params: PathParams,
    /// The metrics of the route.
    pub metrics: &'static RouteMetrics,
    /// Keeps alive what the request needs until its response: the generation.
    pub hold: Option<Arc<dyn Any + Send + Sync>>,
}

/// One route of a plugin.
pub trait PluginRoute: Send + Sync + 'static {
    /// Returns what the server must know before the call.
    fn spec(&self) -> &RouteSpec;

    /// Serves one request, in a separate task. Authentication, the body limit and reading the body are done before. A
    /// panic during polling becomes a 500. A call that exceeds its timeout, or the server's, is abandoned: the client
    /// gets a 504, and the call is dropped as soon as it yields its thread.
    fn call(&self, request: PluginRequest) -> BoxFuture<'static, Result<PluginResponse, ApiError>>;

    /// Returns the error for a call that exceeded the route's own timeout.
    fn timed_out(&self, _timeout: Duration) -> ApiError {
        request_timeout()
    }
}

/// How a route receives the request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyMode {
    /// Read completely before the call.
    #[default]
    Collected,
    /// Read by the call, under the same limit and deadline.
    Streamed,
}

/// What the server must know about a route before the call.
#[derive(Debug, Clone, Default)]
pub struct RouteSpec {
    /// Who may call it, and the scope that an application token needs.
    pub access: Access,
    /// How the body is passed.
    pub body: BodyMode,
    /// The largest body in bytes; `None` means the server's default.
    pub body_bytes_max: Option<usize>,
    /// The maximum time for a call; `None` means the server's default.
    pub timeout: Option<Duration>,
    /// The names of the pattern's parameters, in order. [`RouteTable`](super::RouteTable) checks that they match.
    pub param_names: Vec<String>,
    /// The path prefixes on which its cookies may be valid; its own is first.
    pub cookie_paths: Vec<String>,
    /// The OpenAPI operation object, for `/openapi.json`.
    pub document: Option<Value>,
}

/// A request to a plugin.
pub struct PluginRequest {
    /// Method, URI, version, headers and extensions, unchanged.
    pub parts: Parts,
    /// The values of the path parameters; read them with [`PluginRequest::param`].
    pub params: PathParams,
    /// The verified caller, if a token was sent.
    pub caller: Option<Arc<Caller>>,
    /// The id in the response header `x-request-id`.
    pub request_id: RequestId,
    /// The client's address: the socket's, or the one reported by trusted proxies.
    pub client: IpAddr,
    /// The body.
    pub body: RequestBody,
}

impl RouteSpec {
    /// Returns the value of the path parameter `name`.
    pub fn param<'p>(&self, name: &str, params: &'p PathParams, path: &'p str) -> Option<&'p str> {
        let index = self.param_names.iter().position(|known| known == name)?;
        params.get(path, index)
    }
}

impl PluginRequest {
    /// Returns the value of path parameter number `index` (from 0, in the pattern's order), percent-decoded.
    pub fn param(&self, index: usize) -> Option<&str> {
        self.params.get(self.parts.uri.path(), index)
    }

    /// Returns the query as it was sent, without the `?`; empty if there is none.
    pub fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or("")
    }
}

/// A request's body.
pub enum RequestBody {
    /// The complete body; empty if none was sent.
    Bytes(Bytes),
    /// A body that is read in chunks. It ends with an error if it exceeds the limit or the deadline.
    Stream(ByteStream),
}

/// A plugin's response.
pub struct PluginResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers. Connection-level ones (`connection`, `transfer-encoding`, `content-length` …) are dropped.
    pub headers: HeaderMap,
    /// The body.
    pub body: PluginBody,
}

/// A response's body.
pub enum PluginBody {
    /// No body.
    Empty,
    /// The complete body.
    Bytes(Bytes),
    /// Read by the server as the client receives it; dropped when the client disconnects.
    Stream(ByteStream),
}

impl PluginResponse {
    /// Returns a response with a serialized JSON body.
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> PluginResponse {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        PluginResponse { status, headers, body: PluginBody::Bytes(body.into()) }
    }
}

/// The values of path parameters. Values without percent-encoding are ranges of the path, so that the common case
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
    /// Returns value number `index`; `path` is the path in which the parameters were found.
    pub fn get<'p>(&'p self, path: &'p str, index: usize) -> Option<&'p str> {
        match self.values.get(index)? {
            ParamValue::InPath(range) => path.get(range.start as usize..range.end as usize),
            ParamValue::Decoded(value) => Some(value),
        }
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Adds `value`, a slice of the path that begins at byte `start`, decoded if necessary. Returns `None` if it
    /// decodes to invalid UTF-8 or contains a NUL.
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
