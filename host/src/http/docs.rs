//! `GET /docs`: the page that shows the OpenAPI document. It is served from the binary, so that it works offline. It
//! never renders anything itself: its script reads `/openapi.json` like any client.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, header};
use serde_json::Value as Json;

use super::{
    Access, HostRoutes,
    operation::{operation, schema},
};

/// The path of the page.
pub(super) const PATH: &str = "/docs";

const PAGE: File = File {
    content_type: "text/html; charset=utf-8",
    content: include_str!("../../../static/docs/index.html"),
};
const SCRIPT: File = File {
    content_type: "text/javascript; charset=utf-8",
    content: include_str!("../../../static/docs/app.js"),
};
const STYLE: File =
    File { content_type: "text/css; charset=utf-8", content: include_str!("../../../static/docs/app.css") };

/// Allows only the page's own files, and requests to this server. A `data:` icon saves a request for one.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// The files change only with the program, which a browser cannot know.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

#[derive(Clone, Copy)]
struct File {
    content_type: &'static str,
    content: &'static str,
}

impl IntoResponse for File {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, REVALIDATE),
        ];
        (headers, self.content).into_response()
    }
}

/// Adds the routes of the page and its files.
pub(super) fn routes(own: &mut HostRoutes) {
    let about = |id: &str, what: &str, content_type: &str| -> Json {
        operation(id, "system", what).answers_as(200, "It.", content_type, schema::text()).into()
    };
    own.with(())
        .route(
            Method::GET,
            PATH,
            Access::OPEN,
            async || PAGE,
            about("getDocs", "This API as a page to browse", "text/html"),
        )
        .route(
            Method::GET,
            "/docs/app.js",
            Access::OPEN,
            async || SCRIPT,
            about("getDocsScript", "The script of the page", "text/javascript"),
        )
        .route(
            Method::GET,
            "/docs/app.css",
            Access::OPEN,
            async || STYLE,
            about("getDocsStyle", "The style of the page", "text/css"),
        );
}

#[cfg(test)]
mod tests {
    use super::{PAGE, SCRIPT};

    #[test]
    fn the_page_asks_for_nothing_that_its_policy_refuses() {
        assert!(!PAGE.content.contains("<style") && !PAGE.content.contains(" style="));
        assert!(!PAGE.content.contains("//"), "an address of another server");
        for script in PAGE.content.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"docs/"), "an inline script: {script:.40}");
        }
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.content.contains(word), "{word} reads markup or code from data");
        }
    }
}
