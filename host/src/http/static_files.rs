//! Serves an application's own pages from a folder at `/`. It never serves a hidden file or one outside the folder.

use std::path::Path;

use axum::{extract::Request, response::Response};
use http::{HeaderValue, StatusCode, header};

use super::{decode_path_part, files::Files};

/// Pages may change at any time: browsers revalidate each time, and get a 304 if nothing has changed.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// A folder of pages.
#[derive(Debug, Clone)]
pub(super) struct StaticFiles {
    files: Files,
}

impl StaticFiles {
    pub(super) fn new(dir: &Path) -> StaticFiles {
        StaticFiles { files: Files::new(dir) }
    }

    /// Returns the file at the request's path; `None` if there is none that may be served.
    pub(super) async fn serve(&self, request: Request) -> Option<Response> {
        if !is_servable(request.uri().path()) {
            return None;
        }
        let mut response = self.files.serve(request).await;
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

/// Returns whether the path may be served. After decoding, no part may be hidden, `..`, or contain a separator or a
/// NUL. Only the last part may be empty, because a browser treats `//name/` as the address of another server.
fn is_servable(path: &str) -> bool {
    let parts = path.strip_prefix('/').unwrap_or(path);
    let is_shown = |part: &str| {
        decode_path_part(part).is_some_and(|part| !part.starts_with('.') && !part.contains(['/', '\\']))
    };
    !parts.starts_with('/') && !parts.contains("//") && parts.split('/').all(is_shown)
}

#[cfg(test)]
mod tests {
    use super::is_servable;

    #[test]
    fn hidden_and_climbing_paths_are_refused() {
        for path in ["/", "/index.html", "/a/b.css", "/a%20b", "/a..b", "/a/"] {
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
            "//a",
            "/a//b",
            "/a//",
        ];
        for path in refused {
            assert!(!is_servable(path), "{path}");
        }
    }
}
