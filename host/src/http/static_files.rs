//! An application's own pages, served from a folder at `/`. It never serves a hidden file or one outside the folder.

use std::path::Path;

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderValue, StatusCode, header};
use tower::ServiceExt;
use tower_http::services::ServeDir;

use super::decode_path_part;

/// Pages may change at any time: a browser asks each time, and is answered with 304 while nothing did.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// A folder of pages.
#[derive(Debug, Clone)]
pub(super) struct StaticFiles {
    dir: ServeDir,
}

impl StaticFiles {
    pub(super) fn new(dir: &Path) -> StaticFiles {
        StaticFiles { dir: ServeDir::new(dir) }
    }

    /// The file at the request's path; `None` if there is none that may be served.
    pub(super) async fn serve(&self, request: Request) -> Option<Response> {
        if !is_servable(request.uri().path()) {
            return None;
        }
        let served = self.dir.clone().oneshot(request.map(|_| Body::empty())).await;
        let mut response = served.unwrap_or_else(|never| match never {}).map(Body::new);
        let refused = response.status().is_client_error()
            && ![StatusCode::PRECONDITION_FAILED, StatusCode::RANGE_NOT_SATISFIABLE]
                .contains(&response.status());
        if refused {
            return None;
        }
        response.headers_mut().insert(header::CACHE_CONTROL, REVALIDATE);
        Some(response)
    }
}

/// No part of the path may be hidden, climb, or hold a separator or a NUL once it is decoded.
fn is_servable(path: &str) -> bool {
    path.split('/').all(|part| {
        decode_path_part(part).is_some_and(|part| !part.starts_with('.') && !part.contains(['/', '\\']))
    })
}

#[cfg(test)]
mod tests {
    use super::is_servable;

    #[test]
    fn hidden_and_climbing_paths_are_refused() {
        for path in ["/", "/index.html", "/a/b.css", "/a%20b", "/a..b"] {
            assert!(is_servable(path), "{path}");
        }
        let refused = [
            "/.env",
            "/a/.git/config",
            "/../x",
            "/%2e%2e/x",
            "/..%2fx",
            "/a/%2E%2E/x",
            "/a%5c..",
            "/%00",
            "/%ff",
            "/%2eenv",
            "/a%2f.env",
        ];
        for path in refused {
            assert!(!is_servable(path), "{path}");
        }
    }
}
