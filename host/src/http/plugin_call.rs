//! Calls a plugin's route: authentication, body, deadline, response. It never decides which route.

use std::{panic::resume_unwind, sync::Arc};

use futures_util::TryStreamExt;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;

use super::{
    App, BodyMode, BoxError, PluginBody, PluginRequest, PluginResponse, PluginRoute, RequestBody, RouteMatch,
    app::{HttpResponse, RequestInfo, is_connection_header, request_timeout},
    body::{BudgetShare, LimitedBody},
    cookies,
    deadline::within,
    request_trace::RequestTrace,
    response_body::ResponseBody,
    unread::KeptBody,
};
use crate::{
    db::turns::CallerKey,
    error::ApiError,
    isolation::OwnTask,
    logging,
    memory::{self, Share},
};

/// Calls the matched route once all of its conditions are met.
pub(super) async fn call(
    app: &App,
    matched: RouteMatch,
    request: Request<KeptBody>,
    info: RequestInfo,
    request_trace: &RequestTrace,
) -> Result<HttpResponse, ApiError> {
    let RouteMatch { route, params, metrics, hold } = matched;
    request_trace.found(metrics);
    let spec = route.spec();
    let path = request.uri().path();
    let param = |name: &str| spec.param(name, &params, path);
    let mut caller = spec.access.authenticate(&*app.authenticator, request.headers()).await;
    request_trace.called_by(caller.as_ref().ok().and_then(Option::as_ref));
    if let Some(limits) = &app.rate_limits {
        let (admitted, quota) =
            limits.admit(limits.rule_of_plugin(path), caller, info.client, request_trace.started()).await;
        request_trace.counted(quota);
        caller = admitted;
    }
    let caller = caller?;
    if let Some(caller) = &caller {
        spec.access.check(caller, param)?;
    }
    let (parts, body) = request.into_parts();
    let body = LimitedBody::new(body, spec.body_bytes_max.unwrap_or(app.limits.body_bytes_max), &app.limits);
    let mut share = BudgetShare::new(&app.budget);
    let body = match spec.body {
        BodyMode::Collected => RequestBody::Bytes(body.collect(&mut share).await?),
        BodyMode::Streamed => RequestBody::Stream(Box::pin(
            body.into_data_stream().map_err(|error| Box::new(error) as BoxError),
        )),
    };
    let request = PluginRequest { parts, params, caller, request_id: info.id, client: info.client, body };
    let (mut answer, reserved) = within_limits(app, &*route, request).await?;
    cookies::enforce_attributes(&mut answer.headers, &spec.cookie_paths, info.is_https)
        .map_err(|bad| bad_cookie(metrics.pattern, bad))?;
    let mut answer = into_answer(answer, hold)?;
    answer.body_mut().keep(reserved);
    Ok(answer)
}

/// Calls the route in a separate task, so that a handler that blocks its thread blocks nothing else. Also returns the
/// memory reserved for the response.
async fn within_limits(
    app: &App,
    route: &dyn PluginRoute,
    request: PluginRequest,
) -> Result<(PluginResponse, Share), ApiError> {
    let key = CallerKey::of(request.caller.as_deref(), request.client);
    let task = OwnTask::spawn(logging::carried(key.scope(memory::of_call(route.call(request)))));
    let overall = app.limits.request_timeout;
    let own = route.spec().timeout.filter(|own| *own <= overall);
    match within(own.unwrap_or(overall), task).await {
        Some(Ok((answer, reserved))) => answer.map(|answer| (answer, reserved)),
        Some(Err(error)) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(ApiError::unavailable("shutting_down", "the server stops")),
        },
        None => Err(own.map_or_else(request_timeout, |own| route.timed_out(own))),
    }
}

fn into_answer(
    answer: PluginResponse,
    hold: Option<Arc<dyn std::any::Any + Send + Sync>>,
) -> Result<HttpResponse, ApiError> {
    let PluginResponse { status, mut headers, body } = answer;
    if status.is_informational() {
        return Err(ApiError::internal_logged(
            "a plugin answered with a status that ends no request",
            &status,
        ));
    }
    drop_connection_headers(&mut headers);
    let mut body = match body {
        PluginBody::Empty => ResponseBody::empty(),
        PluginBody::Bytes(bytes) => ResponseBody::whole(bytes),
        PluginBody::Stream(stream) => ResponseBody::stream(stream),
    };
    body.guard_hold(hold);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

fn bad_cookie(route: &str, bad: cookies::BadCookie) -> ApiError {
    tracing::error!(route, "an extension's answer sets {bad}");
    let detail = "the extension gave an answer that cannot be passed on";
    ApiError::new(StatusCode::BAD_GATEWAY, "plugin_answer_invalid", detail)
}

fn drop_connection_headers(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_connection_header(name)).cloned() {
        headers.remove(name);
    }
}
