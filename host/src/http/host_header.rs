//! Checks the host of a request. A request with no host, two hosts or an invalid host is refused: proxies and caches
//! disagree about those, and a response could reach another client. It never checks which host it is.

use http::{HeaderValue, Request, Version, header, uri::Authority};

use crate::error::ApiError;

/// Checks that the request names exactly one valid host.
///
/// # Errors
/// 400 `host_invalid`.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let authority = request.uri().authority();
    let is_named = match request.version() {
        Version::HTTP_09 | Version::HTTP_10 => true,
        Version::HTTP_11 => host.is_some(),
        _ => host.is_some() || authority.is_some(),
    };
    let fits = |host: &HeaderValue| {
        is_host(host.as_bytes()) && (request.version() < Version::HTTP_2 || agrees(host, authority))
    };
    if is_named && second.is_none() && host.is_none_or(fits) && authority.is_none_or(is_plain) {
        return Ok(());
    }
    let detail = "a request names the server that it is for, once: Host: example.org";
    Err(ApiError::bad_request("host_invalid", detail))
}

fn agrees(host: &HeaderValue, authority: Option<&Authority>) -> bool {
    authority.is_none_or(|authority| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
}

/// Returns whether the authority has no user name or password.
fn is_plain(authority: &Authority) -> bool {
    is_host(authority.as_str().as_bytes())
}

/// Returns whether the text is a host such as `example.org`, `192.0.2.1:80` or `[2001:db8::1]:80`.
fn is_host(text: &[u8]) -> bool {
    let (name, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let is_address =
                str::from_utf8(&rest[..end]).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
            if !is_address {
                return false;
            }
            (&rest[..end], &rest[end + 1..])
        }
        None => {
            let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            let is_name = text[..end]
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte));
            if !is_name {
                return false;
            }
            text.split_at(end)
        }
    };
    let is_port = |digits: &[u8]| digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit);
    !name.is_empty() && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in
            ["a", "example.org", "example.org:8000", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443", "a_b:", "x"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let others = [
            "", ":80", "a b", "a/b", "a?b", "a#b", "a@b", "u:p@b", "a:b", "a:123456", "a,b:x", "[::1",
            "[x]:1", "[]", "[::1]80", "::1", "a\\b", "a\"b", "<a>", "a%00",
        ];
        for host in others {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_request_names_one_server() {
        let cases: [(Version, &str, &[&str], bool); 13] = [
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_10, "/", &["a", "a"], false),
            (Version::HTTP_11, "/", &[], false),
            (Version::HTTP_11, "/", &["a"], true),
            (Version::HTTP_11, "/", &["a", "a"], false),
            (Version::HTTP_11, "/", &["a, b c"], false),
            (Version::HTTP_11, "http://a/", &["a"], true),
            (Version::HTTP_11, "http://a/", &[], false),
            (Version::HTTP_2, "http://a/", &[], true),
            (Version::HTTP_2, "http://a:1/", &["A:1"], true),
            (Version::HTTP_2, "http://a/", &["b"], false),
            (Version::HTTP_2, "/", &[], false),
            (Version::HTTP_2, "http://u@a/", &[], false),
        ];
        for (version, uri, hosts, expected) in cases {
            let mut request = Request::builder().version(version).uri(uri);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let outcome = check(&request.body(()).unwrap());
            assert_eq!(outcome.is_ok(), expected, "{version:?} {uri} {hosts:?}");
        }
    }
}
