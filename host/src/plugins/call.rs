//! Calls a plugin's route for the HTTP server: lends it the request and checks its response. A plugin's
//! response is never trusted: what HTTP does not allow becomes a 502.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value as Json;
use tinybase_abi::{
    bytes::Bytes as AbiBytes,
    codec::Reader,
    error::RawError,
    future::{RawFuture, guard},
    request::{BoxedRequest, CallerRef, HostRequest},
    response::RawResponse,
};
use tokio::sync::Mutex;
use tracing::Instrument;

use super::{
    plugin_instance::{PluginInstance, is_own_fault},
    refusal, registration,
    services::Limits,
    streamed::streamed,
};
use crate::{
    accounts::{Caller, Scopes},
    error::ApiError,
    http::{
        Access, BodyError, BodyMode, ByteStream, PathParams, PluginBody, PluginRequest, PluginResponse,
        PluginRoute, RequestBody, RequestId, RouteAuth, RouteSpec,
    },
    isolation::{Work, threads},
    memory::MAPPED_BYTES_MIN,
    telemetry,
};

/// The maximum number of headers in a plugin's response.
const HEADERS_MAX: usize = 100;

/// One route of a plugin.
pub struct PluginCall {
    plugin: Arc<PluginInstance>,
    position: u32,
    spec: RouteSpec,
    limits: Limits,
}

impl PluginCall {
    /// Creates the route at this position of the plugin's registration.
    pub fn new(
        plugin: Arc<PluginInstance>,
        position: u32,
        route: &registration::Route,
        limits: Limits,
    ) -> PluginCall {
        let spec = RouteSpec {
            access: access(route, plugin.name()),
            body: if route.stream_body { BodyMode::Streamed } else { BodyMode::Collected },
            body_bytes_max: route.body_bytes_max.map(|max| usize::try_from(max).unwrap_or(usize::MAX)),
            timeout: Some(limits.call_timeout),
            param_names: param_names(&route.path),
            cookie_paths: plugin.manifest().route_prefixes(&route.path),
            document: document(route),
        };
        PluginCall { plugin, position, spec, limits }
    }
}

pub(super) fn access(route: &registration::Route, extension: &str) -> Access {
    let auth = match route.auth {
        registration::Auth::Anyone => RouteAuth::Anyone,
        registration::Auth::User => RouteAuth::User,
        registration::Auth::Viewer => RouteAuth::Viewer,
        registration::Auth::Editor => RouteAuth::Editor,
        registration::Auth::Admin => RouteAuth::Admin,
    };
    match &route.scope {
        Some(scope) => Access { auth, scope: scope.clone().into() },
        None => {
            let method = Method::from_bytes(route.method.as_bytes()).unwrap_or_default();
            Access::of_extension(auth, extension, &method)
        }
    }
}

pub(super) fn param_names(pattern: &str) -> Vec<String> {
    let parts = pattern.split('{').skip(1).filter_map(|part| part.split_once('}'));
    parts.map(|(name, _)| name.trim_start_matches('*').to_owned()).collect()
}

fn document(route: &registration::Route) -> Option<Json> {
    let mut document = route.operation.clone().unwrap_or_else(|| Json::Object(Default::default()));
    if !route.summary.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        document.entry("summary").or_insert_with(|| route.summary.clone().into());
    }
    Some(document)
}

impl PluginRoute for PluginCall {
    fn spec(&self) -> &RouteSpec {
        &self.spec
    }

    fn call(&self, request: PluginRequest) -> BoxFuture<'static, Result<PluginResponse, ApiError>> {
        let (position, limits, begun) = (self.position, self.limits, Instant::now());
        // Boxed first, since it is moved from task to task until the call starts.
        let request = BoxedRequest::new(FfiRequest::new(request));
        let make = move |plugin: &Arc<PluginInstance>| plugin.instance().handle(position, request);
        let mut call = self.plugin.guarded(Work::Request, make);
        async move {
            let answer = (&mut call).await;
            let plugin = call.hold();
            let answer = plugin.told(answer);
            let failed = answer.as_ref().err().is_some_and(is_own_fault);
            plugin.metrics().requests.note(begun.elapsed(), failed);
            match answer {
                Ok(response) => accept(plugin, response, limits),
                Err(error) => Err(refuse(plugin, &error)),
            }
        }
        .instrument(tracing::trace_span!(
            target: telemetry::TARGET,
            "plugin",
            otel.name = self.plugin.name(),
            tinybase.extension = self.plugin.name(),
        ))
        .boxed()
    }

    fn timed_out(&self, timeout: Duration) -> ApiError {
        self.plugin.metrics().requests.note(timeout, true);
        let words = self.plugin.timed_out(timeout).words();
        ApiError::timeout(words.code, words.message)
    }
}

/// Converts a plugin's error into an API error.
fn refuse(plugin: &PluginInstance, error: &RawError) -> ApiError {
    match refusal::refused(plugin.name(), error) {
        Some(refused) => refused,
        None => broken(plugin, "an error without an error's status"),
    }
}

fn broken(plugin: &PluginInstance, what: &str) -> ApiError {
    tracing::error!(plugin = plugin.name(), "the plugin answered {what}");
    let detail = format!("the extension {} gave an answer that cannot be passed on", plugin.name());
    ApiError::new(StatusCode::BAD_GATEWAY, "plugin_answer_invalid", detail)
}

/// Converts a plugin's response into one that HTTP allows, or returns what is wrong with it.
fn accept(
    plugin: &Arc<PluginInstance>,
    raw: RawResponse,
    limits: Limits,
) -> Result<PluginResponse, ApiError> {
    let bytes_max = limits.response_bytes_max;
    let status = StatusCode::from_u16(raw.status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let Some(status) = status else { return Err(broken(plugin, "a status that HTTP does not have")) };
    let Ok(mut headers) = read_headers(&raw.headers) else {
        return Err(broken(plugin, "headers that HTTP does not allow"));
    };
    if raw.body.len() > bytes_max {
        tracing::error!(plugin = plugin.name(), bytes = raw.body.len(), "the plugin's answer is too large");
        let detail = format!("the extension's answer is larger than {bytes_max} bytes");
        return Err(ApiError::new(StatusCode::BAD_GATEWAY, "plugin_answer_too_large", detail));
    }
    if raw.is_json == 1 {
        headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }
    let body = if raw.stream.is_present() {
        PluginBody::Stream(streamed(plugin, raw.body, raw.stream, limits.call_timeout))
    } else if raw.body.is_empty() {
        PluginBody::Empty
    } else if raw.body.len() >= MAPPED_BYTES_MIN {
        // The extension's allocator keeps memory that another thread frees. This thread allocated it, so it
        // is freed here.
        PluginBody::Bytes(Bytes::from(raw.body.to_vec()))
    } else {
        PluginBody::Bytes(Bytes::from_owner(raw.body))
    };
    Ok(PluginResponse { status, headers, body })
}

struct BadHeader;

fn read_headers(packed: &[u8]) -> Result<HeaderMap, BadHeader> {
    let mut headers = HeaderMap::with_capacity(4);
    let mut reader = Reader::new(packed);
    while reader.offset() < packed.len() {
        let name = HeaderName::from_bytes(reader.bytes().map_err(|_| BadHeader)?).map_err(|_| BadHeader)?;
        let value = HeaderValue::from_bytes(reader.bytes().map_err(|_| BadHeader)?).map_err(|_| BadHeader)?;
        if headers.len() >= HEADERS_MAX {
            return Err(BadHeader);
        }
        headers.append(name, value);
    }
    Ok(headers)
}

/// The HTTP server's request, lent to a plugin.
struct FfiRequest {
    method: Method,
    uri: http::Uri,
    headers: HeaderMap,
    params: PathParams,
    caller: Option<Arc<Caller>>,
    request_id: RequestId,
    client: IpAddr,
    client_text: std::sync::OnceLock<String>,
    body: Option<Bytes>,
    stream: Option<Arc<Mutex<ByteStream>>>,
}

impl FfiRequest {
    fn new(request: PluginRequest) -> FfiRequest {
        let PluginRequest { parts, params, caller, request_id, client, body } = request;
        let (body, stream) = match body {
            RequestBody::Bytes(body) => (Some(body), None),
            RequestBody::Stream(stream) => (None, Some(Arc::new(Mutex::new(stream)))),
        };
        FfiRequest {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            params,
            caller,
            request_id,
            client,
            client_text: std::sync::OnceLock::new(),
            body,
            stream,
        }
    }
}

impl HostRequest for FfiRequest {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    fn caller(&self) -> Option<CallerRef<'_>> {
        self.caller.as_deref().map(|caller| CallerRef {
            user_id: &caller.user_id,
            email: &caller.email,
            is_admin: caller.role.is_admin(),
            role: caller.role.name(),
            scopes: caller.scopes.as_ref().map(Scopes::as_str),
            token_id: caller.token_id.as_deref(),
        })
    }

    fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    fn param(&self, index: usize) -> Option<&str> {
        self.params.get(self.uri.path(), index)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    fn client_address(&self) -> &str {
        self.client_text.get_or_init(|| self.client.to_string())
    }

    fn next_chunk(&self) -> RawFuture<AbiBytes> {
        let stream = self.stream.clone();
        guard(async move {
            let Some(stream) = stream else { return Ok(AbiBytes::empty()) };
            // An empty chunk would mean the end. Taking a chunk wakes the connection, which must not wait for
            // this plugin's thread.
            while let Some(part) = threads::displacing(async { stream.lock().await.next().await }).await {
                let part = part.map_err(|error| body_error(&*error))?;
                if !part.is_empty() {
                    return Ok(AbiBytes::from(part.to_vec()));
                }
            }
            Ok(AbiBytes::empty())
        })
    }
}

fn body_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> RawError {
    let Some(error) = BodyError::find(error) else {
        return RawError::new(400, "body_broken", "the request's body broke off");
    };
    let answer = ApiError::from(error.clone());
    let words = serde_json::to_value(&answer.detail).unwrap_or_default();
    RawError::new(answer.status.as_u16(), &answer.code, words.as_str().unwrap_or_default())
}
