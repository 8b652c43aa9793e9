//! Security headers for browsers and caches. Except for `nosniff` and the `no-store` of private paths, it never
//! replaces a header that the response set itself.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// JSON is no page: opened in a browser, it loads nothing, runs nothing and cannot be framed.
const DATA_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// The headers of a page, in addition to `nosniff` and its content security policy.
const PAGE: [(HeaderName, HeaderValue); 5] = [
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
    (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (
        PERMISSIONS_POLICY,
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// The configurable header of pages: the policy of `server.content_security_policy`.
#[derive(Debug, Clone)]
pub(super) struct SecurityHeaders {
    page_policy: Option<HeaderValue>,
}

impl SecurityHeaders {
    /// Creates them with a policy that passed [`is_content_security_policy`]; an empty one is not sent.
    pub(super) fn new(page_policy: &str) -> SecurityHeaders {
        let page_policy = HeaderValue::from_str(page_policy).ok().filter(|policy| !policy.is_empty());
        SecurityHeaders { page_policy }
    }

    /// Adds the missing headers. `is_private` is [`is_private`] of the request's path.
    pub(super) fn protect(&self, headers: &mut HeaderMap, is_private: bool) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        if is_private {
            headers.insert(header::CACHE_CONTROL, NO_STORE);
        }
        match kind(headers) {
            Kind::Data => {
                headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(DATA_POLICY);
            }
            Kind::Page => {
                if let Some(policy) = &self.page_policy {
                    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert_with(|| policy.clone());
                }
                for (name, value) in PAGE {
                    headers.entry(name).or_insert(value);
                }
            }
            Kind::Other => {}
        }
    }
}

/// Returns whether the text can be sent as a policy.
pub(crate) fn is_content_security_policy(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok()
}

/// Returns whether responses under `path` may contain credentials or restricted data, so that no cache may store them.
pub(super) fn is_private(path: &str) -> bool {
    ["/api/auth", "/api/admin"]
        .iter()
        .any(|prefix| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// How a browser treats a response.
enum Kind {
    /// A document in which scripts may run.
    Page,
    Data,
    /// Content that runs nothing by itself, or no content.
    Other,
}

fn kind(headers: &HeaderMap) -> Kind {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return Kind::Other };
    let content_type = content_type.as_bytes();
    // The fast path for nearly every response.
    if content_type == b"application/json" {
        return Kind::Data;
    }
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let ends_in = |suffix: &[u8]| {
        let start = essence.len().checked_sub(suffix.len());
        start.is_some_and(|start| essence[start..].eq_ignore_ascii_case(suffix))
    };
    let is = |one: &[u8]| essence.eq_ignore_ascii_case(one);
    if is(b"text/html") || is(b"text/xml") || is(b"application/xml") || ends_in(b"+xml") {
        Kind::Page
    } else if is(b"application/json") || ends_in(b"+json") {
        Kind::Data
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::{SecurityHeaders, is_content_security_policy, is_private};

    fn protected(content_type: &'static str, is_private: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        SecurityHeaders::new("default-src 'self'").protect(&mut headers, is_private);
        headers
    }

    #[test]
    fn pages_carry_a_policy_and_data_carries_little() {
        for page in ["text/html", "Text/HTML; charset=utf-8", "application/xhtml+xml", "image/svg+xml"] {
            let headers = protected(page, false);
            assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY", "{page}");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], "default-src 'self'", "{page}");
            assert!(headers.contains_key(header::REFERRER_POLICY), "{page}");
            assert!(!headers.contains_key(header::CACHE_CONTROL), "{page}");
        }
        for data in ["application/json", "application/problem+json; charset=utf-8"] {
            let headers = protected(data, false);
            let policy = &headers[header::CONTENT_SECURITY_POLICY];
            assert_eq!(policy, "default-src 'none'; frame-ancestors 'none'", "{data}");
            assert_eq!(headers.len(), 3, "{data}");
        }
        for other in ["text/css", "image/png", "json", "xml"] {
            assert_eq!(protected(other, false).len(), 2, "{other}");
        }
    }

    #[test]
    fn an_empty_policy_is_not_sent() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        SecurityHeaders::new("").protect(&mut headers, false);
        assert!(!headers.contains_key(header::CONTENT_SECURITY_POLICY));
        assert!(
            is_content_security_policy("")
                && is_content_security_policy("default-src 'none'")
                && !is_content_security_policy("default-src\n'none'")
        );
    }

    #[test]
    fn what_is_private_is_not_stored() {
        for path in ["/api/auth", "/api/auth/login", "/api/admin/users"] {
            assert!(is_private(path), "{path}");
        }
        for path in ["/", "/api/authors", "/api/notes", "/health"] {
            assert!(!is_private(path), "{path}");
        }
        assert_eq!(protected("application/json", true)[header::CACHE_CONTROL], "no-store");
    }
}
