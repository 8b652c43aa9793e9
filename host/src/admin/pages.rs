//! `/admin/extensions/{name}/{hash}/…`: the files of extensions' admin pages. They are as public as the admin UI's own
//! files and contain no data; they request their data from the API. The hash in the path lets browsers cache them
//! forever.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    response::Response,
};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::Value as Json;

use crate::{
    error::ApiError,
    http::{
        Access, Files, HostRoutes,
        operation::{operation, schema},
    },
    plugins::Plugins,
};

/// The number of characters of the package's hash in the path; the name of its folder has as many.
const HASH_CHARS: usize = 16;

/// A path identifies the bytes of one package and never others.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A page of tier 2 runs without an identity: its scripts can access neither the admin's session nor the admin UI's
/// document.
const SANDBOX: HeaderValue = HeaderValue::from_static(
    "sandbox allow-scripts allow-forms; default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
);

/// Returns the URL of a file below `pages/`.
pub(super) fn url(name: &str, hash: &str, file: &str) -> String {
    format!("/admin/extensions/{name}/{}/{file}", hash.get(..HASH_CHARS).unwrap_or(hash))
}

/// Adds the route.
pub(super) fn routes(own: &mut HostRoutes, plugins: Arc<Plugins>) {
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
    // The package's own list of exact names: no path leads anywhere else, and each name has only one spelling.
    let wanted = format!("pages/{file}");
    if !files.iter().any(|known| known.to_str() == Some(&wanted)) {
        return Err(missing());
    }
    let mut asked = Request::new(Body::empty());
    *asked.uri_mut() = address(&wanted).ok_or_else(missing)?;
    *asked.method_mut() = request.method().clone();
    *asked.headers_mut() = request.headers().clone();
    let mut response = Files::new(&folder).serve(asked).await;
    if response.status() == StatusCode::NOT_FOUND || response.status().is_redirection() && is_moved(&response)
    {
        return Err(missing());
    }
    let kind = Kind::of(&file);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    if headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind.content_type));
    }
    if kind.is_sandboxed {
        headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
    Ok(response)
}

fn is_moved(response: &Response) -> bool {
    response.headers().contains_key(header::LOCATION)
}

/// Returns the path below a package's folder as a URI.
fn address(path: &str) -> Option<Uri> {
    let parts = path.split('/').map(|part| percent_encode(part.as_bytes(), NON_ALPHANUMERIC).to_string());
    format!("/{}", parts.collect::<Vec<_>>().join("/")).parse().ok()
}

/// The kind of a file, by its name; it decides the content type and the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    content_type: &'static str,
    /// Whether a browser might show it as a document, in which scripts run.
    is_sandboxed: bool,
}

/// The file extensions of scripts, styles, fonts and raster images, which cannot be documents of their own.
const PLAIN: &[(&[&str], &str)] = &[
    (&["js", "mjs"], "text/javascript; charset=utf-8"),
    (&["css"], "text/css; charset=utf-8"),
    (&["woff2"], "font/woff2"),
    (&["woff"], "font/woff"),
    (&["ttf"], "font/ttf"),
    (&["otf"], "font/otf"),
    (&["png"], "image/png"),
    (&["jpg", "jpeg"], "image/jpeg"),
    (&["gif"], "image/gif"),
    (&["webp"], "image/webp"),
    (&["avif"], "image/avif"),
    (&["ico"], "image/x-icon"),
];

/// All other file extensions with a known type.
const OTHER: &[(&[&str], &str)] = &[
    (&["html", "htm"], "text/html; charset=utf-8"),
    (&["svg"], "image/svg+xml"),
    (&["json", "map"], "application/json"),
    (&["txt", "md"], "text/plain; charset=utf-8"),
    (&["wasm"], "application/wasm"),
];

impl Kind {
    fn of(file: &str) -> Kind {
        let ending = std::path::Path::new(file).extension().and_then(|ending| ending.to_str());
        let ending = ending.unwrap_or_default().to_ascii_lowercase();
        let find = |table: &[(&[&str], &'static str)]| {
            table.iter().find(|(endings, _)| endings.contains(&ending.as_str())).map(|(_, kind)| *kind)
        };
        if let Some(content_type) = find(PLAIN) {
            return Kind { content_type, is_sandboxed: false };
        }
        Kind { content_type: find(OTHER).unwrap_or("application/octet-stream"), is_sandboxed: true }
    }
}

fn document() -> Json {
    operation("getExtensionPage", "extensions", "A file of an extension's admin pages")
        .answers_as(200, "It.", "application/octet-stream", schema::text())
        .refuses(404, "The extension does not serve, is of another version, or has no such file.")
        .into()
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn whatever_may_be_a_document_is_sandboxed() {
        let plain = ["a.js", "a.MJS", "a/b.css", "a.woff2", "a.PNG", "a.jpeg"];
        for file in plain {
            assert!(!Kind::of(file).is_sandboxed, "{file}");
        }
        let documents = [
            "p.html",
            "p.htm",
            "p.HTML",
            "p.xhtml",
            "p.svg",
            "p.xml",
            "p.xht",
            "p.shtml",
            "p.mht",
            "p.pdf",
            "p.json",
            "p.txt",
            "p",
            "p.js.html",
            "p.html.",
            "png",
            "p.rdf",
            "p.wasm",
            "p.html~",
        ];
        for file in documents {
            assert!(Kind::of(file).is_sandboxed, "{file}");
        }
        assert_eq!(Kind::of("p.HTM").content_type, "text/html; charset=utf-8");
        assert_eq!(Kind::of("p.xhtml").content_type, "application/octet-stream");
        assert_eq!(Kind::of("p.js").content_type, "text/javascript; charset=utf-8");
    }
}
