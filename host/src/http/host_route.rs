//! The table of the host's own routes: method, path, access, OpenAPI operation and handler. Access is checked here
//! before the handler runs, so that no handler can forget it. Query parameter names and the body's type are checked
//! here too. It never serves a route of a plugin.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{FromRequestParts, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    handler::Handler,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use http::{Method, header, request::Parts};
use http_body::Body as _;
use serde_json::Value as Json;

use super::{
    Access, Authenticate, Caller, Networks, RequestInfo,
    app::bad_path,
    extract::is_json,
    query::Query,
    rate_limit::{Quota, RateLimits, Rule},
};
use crate::{
    error::ApiError,
    metrics::stats::{self, RouteMetrics},
};

/// A route of the host.
pub struct HostRoute {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for parameters.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Its OpenAPI operation.
    pub operation: Json,
    /// The networks from which anyone may call it without a token.
    open_to: Networks,
    handler: MethodRouter,
}

/// All routes of the host.
#[derive(Default)]
pub struct HostRoutes {
    routes: Vec<HostRoute>,
}

/// Adds routes that share a state, one per line.
pub struct RoutesOf<'r, S> {
    routes: &'r mut Vec<HostRoute>,
    state: S,
}

impl HostRoutes {
    /// Adds routes whose handlers share `state`.
    pub fn with<S: Clone + Send + Sync + 'static>(&mut self, state: S) -> RoutesOf<'_, S> {
        RoutesOf { routes: &mut self.routes, state }
    }

    /// Returns every route, for the OpenAPI document and for tests of access.
    pub fn iter(&self) -> impl Iterator<Item = &HostRoute> {
        self.routes.iter()
    }

    /// Returns the router that serves the routes; `authenticator` verifies tokens.
    pub fn into_router(self, authenticator: &Arc<dyn Authenticate>) -> Router {
        self.into_limited_router(authenticator, None)
    }

    /// Returns the router with rate limits.
    pub(super) fn into_limited_router(
        self,
        authenticator: &Arc<dyn Authenticate>,
        limits: Option<&Arc<RateLimits>>,
    ) -> Router {
        let routes = self.routes.into_iter();
        routes.fold(Router::new(), |router, route| {
            let guard = Guard {
                parameters: query_names(&route).map(Arc::from),
                access: Arc::new(route.access),
                open_to: route.open_to,
                metrics: stats::route(route.method.as_str(), route.path),
                authenticator: Arc::clone(authenticator),
                limit: limits.and_then(|limits| {
                    limits.rule_of_own(&route.method, route.path).map(|rule| (Arc::clone(limits), rule))
                }),
            };
            router.route(route.path, route.handler.layer(from_fn_with_state(guard, check)))
        })
    }
}

impl<S: Clone + Send + Sync + 'static> RoutesOf<'_, S> {
    /// Adds a route. `operation` is its OpenAPI operation object.
    ///
    /// # Panics
    /// If the method is one that no route of the host has.
    pub fn route<H, T>(
        &mut self,
        method: Method,
        path: &'static str,
        access: Access,
        handler: H,
        operation: Json,
    ) -> &mut Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("the host's routes have methods of HTTP");
        let handler = on(filter, handler).with_state(self.state.clone());
        self.routes.push(HostRoute {
            method,
            path,
            access,
            operation,
            open_to: Networks::default(),
            handler,
        });
        self
    }

    /// Allows callers from these networks to call the last route without a token.
    pub fn open_to(&mut self, networks: Networks) -> &mut Self {
        let route = self.routes.last_mut().expect("a route is added before its networks");
        route.open_to = networks;
        self
    }
}

#[derive(Clone)]
struct Guard {
    access: Arc<Access>,
    open_to: Networks,
    metrics: &'static RouteMetrics,
    authenticator: Arc<dyn Authenticate>,
    /// The names of the query parameters; `None` if any are allowed.
    parameters: Option<Arc<[String]>>,
    limit: Option<(Arc<RateLimits>, Rule)>,
}

impl Guard {
    /// Refuses a body that is not JSON, and unknown query parameters.
    ///
    /// # Errors
    /// 415 `unsupported_media_type`; 422 `validation_error`.
    fn check_form(&self, request: &Request) -> Result<(), ApiError> {
        let has_body = !request.body().is_end_stream();
        let content_type = request.headers().get(header::CONTENT_TYPE);
        if has_body && !request.method().is_safe() && !content_type.is_some_and(is_json) {
            return Err(ApiError::unsupported_media_type());
        }
        let (Some(parameters), Some(query)) = (&self.parameters, request.uri().query()) else {
            return Ok(());
        };
        let names = parameters.iter().map(String::as_str).collect::<Vec<_>>();
        Query::parse(Some(query), &names).finish()
    }
}

/// Returns the names of the query parameters in the route's operation. Pages accept any parameters, because others add
/// their own to links, such as where the visitor came from.
fn query_names(route: &HostRoute) -> Option<Vec<String>> {
    if !route.path.starts_with("/api/") {
        return None;
    }
    let listed = route.operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let in_query = listed.iter().filter(|parameter| parameter["in"] == "query");
    Some(in_query.filter_map(|parameter| parameter["name"].as_str()).map(str::to_owned).collect())
}

async fn check(
    State(guard): State<Guard>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let params = match params {
        Ok(params) if params.iter().all(|(_, value)| !value.contains('\0')) => params,
        _ => return bad_path().into_response(),
    };
    let param = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let is_within = |info: &RequestInfo| [info.peer, info.client].iter().all(|at| guard.open_to.contain(*at));
    let authenticated = if request.extensions().get::<RequestInfo>().is_some_and(is_within) {
        Ok(None)
    } else {
        guard.access.authenticate(&*guard.authenticator, request.headers()).await
    };
    // Refused callers are recorded as well: operators look for those most of all.
    let known = authenticated.as_ref().ok().cloned().flatten();
    let (admitted, quota) = match (&guard.limit, request.extensions().get::<RequestInfo>()) {
        (Some((limits, rule)), Some(info)) => {
            limits.admit(*rule, authenticated, info.client, Instant::now()).await
        }
        _ => (authenticated, None),
    };
    let matched = Matched { metrics: guard.metrics, caller: known, quota };
    let allowed = admitted.and_then(|caller| {
        caller.as_ref().map_or(Ok(()), |caller| guard.access.check(caller, param))?;
        guard.check_form(&request)?;
        Ok(caller)
    });
    let mut answer = match allowed {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    };
    answer.extensions_mut().insert(matched);
    answer
}

/// The matched route of the host and its caller, as an extension of the response.
#[derive(Clone)]
pub(super) struct Matched {
    pub(super) metrics: &'static RouteMetrics,
    pub(super) caller: Option<Arc<Caller>>,
    pub(super) quota: Option<Quota>,
}

/// The caller of a host route that requires one.
pub struct SignedIn(pub Arc<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<SignedIn, ApiError> {
        let caller = parts.extensions.get::<Arc<Caller>>();
        caller.cloned().map(SignedIn).ok_or_else(super::auth::token_missing)
    }
}

/// The caller of a host route, if a token was sent.
pub struct MaybeSignedIn(pub Option<Arc<Caller>>);

impl<S: Send + Sync> FromRequestParts<S> for MaybeSignedIn {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<MaybeSignedIn, Infallible> {
        Ok(MaybeSignedIn(parts.extensions.get::<Arc<Caller>>().cloned()))
    }
}
