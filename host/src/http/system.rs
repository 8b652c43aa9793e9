//! The server's own routes (`/`, `/health`, `/healthz`) and what answers where no route is. It never asks the
//! database: these answer as long as the process lives.

use std::path::Path;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, Method, header};

use super::static_files::StaticFiles;
use crate::error::ApiError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// All routes of the host: `host`, the system's own, and behind them `static_dir`.
pub(super) fn router(host: Router, static_dir: Option<&Path>) -> Router {
    let files = static_dir.map(StaticFiles::new);
    let front = files.clone();
    Router::new()
        .route("/", get(move |request| root(front, request)))
        .route("/health", get(async || json(r#"{"status":"healthy"}"#)))
        .route("/healthz", get(async || json(r#"{"status":"ok"}"#)))
        .merge(host)
        .fallback(move |request| fallback(files, request))
        .method_not_allowed_fallback(wrong_method)
}

/// What the server is. With a folder of pages that holds an `index.html`, browsers get that instead.
async fn root(files: Option<StaticFiles>, request: Request) -> Response {
    let accepted = request.headers().get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    if let Some(files) = files
        && accepted.is_some_and(|accepted| accepted.contains("text/html"))
        && let Some(page) = files.serve(request).await
    {
        return page;
    }
    let version = env!("CARGO_PKG_VERSION");
    let known = serde_json::json!({
        "name": "TinyBase",
        "version": version,
        "docs": null,
        "openapi": null,
        "admin": null,
        "auth": null,
    });
    json(known.to_string())
}

async fn fallback(files: Option<StaticFiles>, request: Request) -> Response {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if let Some(files) = files.filter(|_| reads)
        && let Some(file) = files.serve(request).await
    {
        return file;
    }
    ApiError::not_found("not_found", "there is nothing at this path").into_response()
}

/// The router adds the `Allow` header to this answer.
async fn wrong_method() -> ApiError {
    let mut refused = ApiError::method_not_allowed(HeaderValue::from_static(""));
    refused.headers = None;
    refused
}

fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body.into()).into_response()
}
