//! Detects requests made on the machine that serves them, by a client that meant this server. It looks at the socket
//! and the request's head, and ignores every header that a proxy or a page of another site could influence.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

/// The headers that proxies add to forwarded requests.
const FORWARDING_HEADERS: [HeaderName; 7] = [
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];

/// Returns whether the peer is this machine, the request's host is this machine, no proxy forwarded it, and no page of
/// another host sent it. A name that an attacker resolves to 127.0.0.1 is another host.
pub(crate) fn is_made_here(peer: IpAddr, uri: &Uri, headers: &HeaderMap) -> bool {
    peer.to_canonical().is_loopback()
        && names_loopback(uri, headers)
        && FORWARDING_HEADERS.iter().all(|name| !headers.contains_key(name))
        && headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_loopback_origin))
}

/// Returns whether the request has a host, and only hosts that are this machine.
fn names_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let in_head = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let mut named =
        uri.authority().map(|authority| Some(authority.as_str())).into_iter().chain(in_head).peekable();
    named.peek().is_some() && named.all(|host| host.is_some_and(is_loopback_authority))
}

fn is_loopback_origin(origin: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(is_loopback_authority)
}

/// Returns whether the text is `localhost`, an address of 127.0.0.0/8 or `[::1]`, with any port or none.
fn is_loopback_authority(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host();
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// The peer, the target, the header lines, and whether the request was made here.
    type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], bool);

    #[test]
    fn only_a_request_of_this_machine_to_this_machine_was_made_here() {
        let cases: &[Case] = &[
            ("127.0.0.1", "/", &[("host", "localhost:8000")], true),
            ("127.0.0.1", "/", &[("host", "LOCALHOST")], true),
            ("127.0.0.9", "/", &[("host", "127.1.2.3:80")], true),
            ("::1", "/", &[("host", "[::1]:8000")], true),
            ("::ffff:127.0.0.1", "/", &[("host", "127.0.0.1")], true),
            ("127.0.0.1", "http://localhost:8000/", &[], true),
            ("127.0.0.1", "/", &[("host", "localhost"), ("origin", "http://127.0.0.1:3000")], true),
            ("127.0.0.1", "/", &[("host", "localhost"), ("origin", "https://[::1]")], true),
            // From elsewhere, whatever its headers.
            ("192.0.2.1", "/", &[("host", "localhost")], false),
            ("192.0.2.1", "/", &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")], false),
            ("2001:db8::1", "/", &[("host", "[::1]")], false),
            // With another name: a reverse proxy that keeps it, or DNS rebinding.
            ("127.0.0.1", "/", &[("host", "api.example.org")], false),
            ("127.0.0.1", "/", &[("host", "localhost.evil.example")], false),
            ("127.0.0.1", "/", &[("host", "127.0.0.1.evil.example")], false),
            ("127.0.0.1", "/", &[("host", "127.0.0.1@evil.example")], false),
            ("127.0.0.1", "/", &[("host", "2130706433")], false),
            ("127.0.0.1", "/", &[("host", "0.0.0.0")], false),
            ("127.0.0.1", "/", &[("host", "[::ffff:127.0.0.1]")], false),
            ("127.0.0.1", "/", &[("host", "")], false),
            ("127.0.0.1", "/", &[], false),
            ("127.0.0.1", "/", &[("host", "localhost"), ("host", "evil.example")], false),
            ("127.0.0.1", "http://evil.example/", &[("host", "localhost")], false),
            ("127.0.0.1", "http://localhost/", &[("host", "evil.example")], false),
            // Through a proxy that rewrites the host.
            ("127.0.0.1", "/", &[("host", "127.0.0.1:8000"), ("x-forwarded-for", "203.0.113.9")], false),
            ("127.0.0.1", "/", &[("host", "127.0.0.1:8000"), ("x-real-ip", "203.0.113.9")], false),
            ("127.0.0.1", "/", &[("host", "127.0.0.1:8000"), ("via", "1.1 proxy")], false),
            ("127.0.0.1", "/", &[("host", "127.0.0.1:8000"), ("forwarded", "for=203.0.113.9")], false),
            // From a page of another site.
            ("127.0.0.1", "/", &[("host", "localhost"), ("origin", "https://evil.example")], false),
            ("127.0.0.1", "/", &[("host", "localhost"), ("origin", "null")], false),
            ("127.0.0.1", "/", &[("host", "localhost"), ("origin", "http://localhost.evil.example")], false),
        ];
        for (peer, target, lines, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in *lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let made_here = is_made_here(peer.parse().unwrap(), &target.parse().unwrap(), &headers);
            assert_eq!(made_here, *expected, "{peer} {target} {lines:?}");
        }
    }
}
