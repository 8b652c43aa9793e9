//! `/admin/extensions/{name}/{hash}/…`: the files of extensions' admin pages. They are as public as the admin UI's own and hold
//! no data; what they show they ask the API for. The hash in the path lets browsers keep them for ever.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value as Json;
use tower::ServiceExt;
use tower_http::services::ServeFile;

use crate::{
    error::ApiError,
    http::{
        Access, OwnRoutes,
        operation::{operation, schema},
    },
    plugins::Plugins,
};

/// How much of a package's hash the path has, in characters: as much as the name of its folder.
const HASH_CHARS: usize = 16;

/// A path names one package's bytes and never others.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A page of tier 2 runs as nobody: its scripts reach neither the admin's session nor the admin UI's document.
const SANDBOX: HeaderValue = HeaderValue::from_static(
    "sandbox allow-scripts allow-forms; default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
);

/// Where a file below `pages/` is served.
pub(super) fn url(name: &str, hash: &str, file: &str) -> String {
    format!("/admin/extensions/{name}/{}/{file}", hash.get(..HASH_CHARS).unwrap_or(hash))
}

/// Adds the route.
pub(super) fn routes(own: &mut OwnRoutes, plugins: Arc<Plugins>) {
    own.with(plugins).route(
        Method::GET,
        "/admin/extensions/{name}/{hash}/{*file}",
        Access::OPEN,
        serve,
        document(),
    );
}

async fn serve(
    State(plugins): State<Arc<Plugins>>,
    Path((name, hash, file)): Path<(String, String, String)>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "page_not_found", "there is no such page");
    let (folder, files) = plugins.page_files(&name, &hash).ok_or_else(missing)?;
    // The package's own list, so that no path leads anywhere else.
    let wanted = std::path::Path::new("pages").join(&file);
    let path =
        files.iter().find(|known| **known == wanted).map(|known| folder.join(known)).ok_or_else(missing)?;
    let mut asked = Request::new(Body::empty());
    *asked.headers_mut() = request.headers().clone();
    let served = ServeFile::new(path).oneshot(asked).await;
    let mut response = served.unwrap_or_else(|never| match never {}).map(Body::new).into_response();
    if response.status() == StatusCode::NOT_FOUND {
        return Err(missing());
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    if file.ends_with(".html") {
        headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
    Ok(response)
}

fn document() -> Json {
    operation("getExtensionPage", "extensions", "A file of an extension's admin pages")
        .answers_as(200, "It.", "application/octet-stream", schema::text())
        .refuses(404, "The extension does not serve, is of another version, or has no such file.")
        .into()
}
