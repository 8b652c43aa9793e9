//! Builds the request to send from that of an extension: checks URL, method and headers against what is allowed. It
//! opens nothing.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use tinybase_abi::codec::http as packed;

use super::failure::Failure;

/// The maximum length of a URL.
const URL_BYTES_MAX: usize = 8 << 10;
/// The maximum number of headers.
const HEADERS_MAX: usize = 100;
/// The maximum size of all headers, names and values together.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// The allowed methods: neither a tunnel (CONNECT) nor an echo of its own headers (TRACE).
const METHODS: &[Method] =
    &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
/// Headers that belong to the connection, which the host sets.
const NOT_ITS_OWN: &[HeaderName] = &[
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const USER_AGENT: &str = concat!("tinybase/", env!("CARGO_PKG_VERSION"));

/// Returns the request to send.
///
/// # Errors
/// `http_url_invalid` and `http_request_invalid`.
pub(super) fn prepare(
    asked: &packed::Request<'_>,
    body_bytes_max: usize,
) -> Result<Request<Full<Bytes>>, Failure> {
    let uri = uri(asked.url)?;
    let known = METHODS.iter().find(|method| method.as_str() == asked.method);
    let method = known.ok_or_else(|| {
        let known = METHODS.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        Failure::RequestInvalid(format!("the method is one of {known}"))
    })?;
    if asked.body.len() > body_bytes_max {
        return Err(Failure::RequestInvalid(format!("its body has more than {body_bytes_max} bytes")));
    }
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(asked.body)));
    *request.method_mut() = method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers(&asked.headers)?;
    Ok(request)
}

fn uri(url: &str) -> Result<Uri, Failure> {
    let invalid = |problem: &str| Failure::UrlInvalid(problem.to_owned());
    if url.len() > URL_BYTES_MAX {
        return Err(invalid("it is longer than 8 KiB"));
    }
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(invalid("it must begin with http:// or https://"));
    }
    let authority = uri.authority().ok_or_else(|| invalid("it names no server"))?;
    if authority.as_str().contains('@') {
        return Err(invalid("a user and a password belong into a header"));
    }
    if authority.host().is_empty() || authority.port_u16() == Some(0) {
        return Err(invalid("it names no server"));
    }
    Ok(uri)
}

fn headers(asked: &[(&str, &[u8])]) -> Result<HeaderMap, Failure> {
    let invalid = |problem: String| Failure::RequestInvalid(problem);
    let bytes: usize = asked.iter().map(|(name, value)| name.len() + value.len()).sum();
    if asked.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(invalid(format!(
            "it has more than {HEADERS_MAX} headers, or more than {HEADER_BYTES_MAX} bytes of them"
        )));
    }
    let mut headers = HeaderMap::with_capacity(asked.len() + 1);
    for (name, value) in asked {
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let parsed = parsed.map_err(|_| invalid(format!("{name:?} is no header's name")))?;
        if NOT_ITS_OWN.contains(&parsed) {
            return Err(invalid(format!("the header {parsed} is set by the server itself")));
        }
        let value = HeaderValue::from_bytes(value);
        let value =
            value.map_err(|_| invalid(format!("the value of {parsed} has a byte that none may have")))?;
        headers.append(parsed, value);
    }
    headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
    Ok(headers)
}

/// Returns host name and port of the server that a request goes to.
pub(super) fn server_of(uri: &Uri) -> String {
    uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(method: &'a str, url: &'a str, headers: &[(&'a str, &'a [u8])]) -> packed::Request<'a> {
        packed::Request {
            method,
            url,
            headers: headers.to_vec(),
            body: b"12345",
            timeout_ms: 0,
            response_bytes_max: 0,
        }
    }

    fn code(asked: &packed::Request<'_>) -> &'static str {
        prepare(asked, 5).map_or_else(|failure| failure.code(), |_| "")
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        let long = format!("http://a/{}", "x".repeat(URL_BYTES_MAX));
        for (url, expected) in [
            ("http://example.org", ""),
            ("https://example.org:8443/a?b=c", ""),
            ("http://[::1]:80/", ""),
            ("", "http_url_invalid"),
            ("/path", "http_url_invalid"),
            ("example.org", "http_url_invalid"),
            ("ftp://example.org/", "http_url_invalid"),
            ("file:///etc/passwd", "http_url_invalid"),
            ("http://", "http_url_invalid"),
            ("http://a b/", "http_url_invalid"),
            ("http://me:secret@example.org/", "http_url_invalid"),
            ("http://example.org:0/", "http_url_invalid"),
            (&long, "http_url_invalid"),
        ] {
            assert_eq!(code(&asked("POST", url, &[])), expected, "{url}");
        }
    }

    #[test]
    fn methods_and_headers_that_are_the_hosts_are_refused() {
        let url = "http://example.org";
        for (method, headers, expected) in [
            ("GET", [("x-a", &b"1"[..])], ""),
            ("CONNECT", [("x-a", b"1")], "http_request_invalid"),
            ("get", [("x-a", b"1")], "http_request_invalid"),
            ("GET", [("Host", b"other")], "http_request_invalid"),
            ("GET", [("content-length", b"1")], "http_request_invalid"),
            ("GET", [("x a", b"1")], "http_request_invalid"),
            ("GET", [("x-a", b"1\r\nx-b: 2")], "http_request_invalid"),
        ] {
            assert_eq!(code(&asked(method, url, &headers)), expected, "{method} {headers:?}");
        }
        let many = vec![("x-a", &b"1"[..]); HEADERS_MAX + 1];
        assert_eq!(code(&asked("GET", url, &many)), "http_request_invalid");
        let mut large = asked("GET", url, &[]);
        large.body = b"123456";
        assert_eq!(code(&large), "http_request_invalid");
        let sent = prepare(&asked("GET", url, &[]), 5).unwrap();
        assert_eq!(sent.headers()[header::USER_AGENT], USER_AGENT);
    }
}
