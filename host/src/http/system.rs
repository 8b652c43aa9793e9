//! The server's own routes (`/`, `/health`, `/healthz`) and the fallbacks for unknown paths. It never queries the
//! database: these routes respond as long as the process lives.

use std::path::Path;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, header};

use super::{
    Access, HostRoutes, docs,
    operation::{Operation, operation, schema},
    static_files::StaticFiles,
};
use crate::error::ApiError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Adds the system's own routes.
pub(super) fn routes(own: &mut HostRoutes, static_dir: Option<&Path>) {
    let front = static_dir.map(StaticFiles::new);
    own.with(())
        .route(Method::GET, "/", Access::OPEN, move |request| root(front, request), about_root().into())
        .route(
            Method::GET,
            "/health",
            Access::OPEN,
            async || json(r#"{"status":"healthy"}"#),
            about_life("getHealth", "healthy").into(),
        )
        .route(
            Method::GET,
            "/healthz",
            Access::OPEN,
            async || json(r#"{"status":"ok"}"#),
            about_life("getHealthz", "ok").into(),
        );
}

fn about_root() -> Operation {
    let path = || schema::nullable(schema::text());
    let known = [
        ("name", schema::text()),
        ("version", schema::text()),
        ("docs", path()),
        ("openapi", path()),
        ("admin", path()),
        ("auth", path()),
    ];
    operation("getServer", "system", "What this server is")
        .describe("Where an application's own pages are served, those who accept HTML get their first page.")
        .answers(
            200,
            "Its name, its version, and the paths of what it serves beside the API.",
            schema::object(&known),
        )
}

fn about_life(id: &str, word: &str) -> Operation {
    let answer = schema::object(&[("status", schema::one_of(&[word]))]);
    operation(id, "system", "Whether the process lives").answers(200, "It lives.", answer)
}

/// Adds the fallbacks for unknown paths: the files of `static_dir`, and errors.
pub(super) fn with_fallbacks(routes: Router, static_dir: Option<&Path>) -> Router {
    let files = static_dir.map(StaticFiles::new);
    routes.fallback(move |request| fallback(files, request)).method_not_allowed_fallback(wrong_method)
}

/// Returns information about the server. If the folder of pages contains an `index.html`, browsers get that instead.
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
        "docs": docs::PATH,
        "openapi": "/openapi.json",
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

/// The router adds the `Allow` header to this response.
async fn wrong_method() -> ApiError {
    let mut refused = ApiError::method_not_allowed(HeaderValue::from_static(""));
    refused.headers = None;
    refused
}

fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body.into()).into_response()
}
