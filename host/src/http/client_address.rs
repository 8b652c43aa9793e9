//! The address and TLS state of clients behind proxies. It trusts headers only as far as they were written by proxies
//! that the operator named.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use super::Networks;
use http::{HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The maximum number of proxies followed: a client can make the header arbitrarily long.
const HOPS_MAX: usize = 32;

/// The client of a request, beyond all trusted proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// The client's address.
    pub(super) address: IpAddr,
    /// Whether a trusted proxy reports that the client connected to it over TLS.
    pub(super) is_https: bool,
}

/// The trusted proxies, from `server.trusted_proxies`.
#[derive(Debug, Default)]
pub(super) struct TrustedProxies {
    networks: Networks,
    has_warned: AtomicBool,
}

impl TrustedProxies {
    /// Creates them from a list that was validated with the configuration.
    pub(super) fn new(list: &[String]) -> TrustedProxies {
        TrustedProxies { networks: Networks::new(list), has_warned: AtomicBool::new(false) }
    }

    /// Returns the client. Follows addresses from the nearest to the farthest, each reported by the one before it,
    /// while they are trusted. The first address that is untrusted or invalid ends the walk.
    pub(super) fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        let peer = peer.to_canonical();
        if !self.networks.contain(peer) {
            if headers.contains_key(FORWARDED_FOR) {
                self.warn_of(peer);
            }
            return Origin { address: peer, is_https: false };
        }
        let mut address = peer;
        for hop in hops(headers).take(HOPS_MAX) {
            let Some(named) = hop.and_then(host_address) else { break };
            address = named;
            if !self.networks.contain(address) {
                break;
            }
        }
        Origin { address, is_https: is_https(headers) }
    }

    fn warn_of(&self, peer: IpAddr) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "X-Forwarded-For is not believed: if a proxy of yours is at this address, name it in \
                 server.trusted_proxies; else everyone behind it counts as one client"
            );
        }
    }
}

/// Returns the entries of the header lines, nearest first. An unreadable line yields an entry that is no address.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<&str>> {
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',').map(|hop| Some(hop.trim())))
}

/// Parses the address of `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1` or `[2001:db8::1]:80`.
fn host_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().map(|socket: std::net::SocketAddr| socket.ip());
    bare.parse().or_else(|_| with_port()).ok().map(|address: IpAddr| address.to_canonical())
}

fn is_https(headers: &HeaderMap) -> bool {
    let nearest = headers.get_all(FORWARDED_PROTO).into_iter().next_back();
    nearest
        .and_then(|line| line.to_str().ok())
        .and_then(|line| line.rsplit(',').next())
        .is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{super::is_list_of_networks, *};

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn address(trusted: &[&str], peer: &str, lines: &[&str]) -> String {
        let list: Vec<String> = trusted.iter().map(|text| (*text).to_owned()).collect();
        assert!(is_list_of_networks(&list));
        TrustedProxies::new(&list).origin(peer.parse().unwrap(), &headers(lines)).address.to_string()
    }

    #[test]
    fn an_address_is_believed_as_far_as_trusted_proxies_wrote_it() {
        const LAN: &[&str] = &["10.0.0.0/8", "::1", "2001:db8:aa::/48"];
        let cases: &[(&[&str], &str, &[&str], &str)] = &[
            // Nobody is trusted, or not this peer: the header is ignored.
            (&[], "10.0.0.1", &["203.0.113.9"], "10.0.0.1"),
            (LAN, "192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
            // A trusted peer reports the client; entries written by the client are ignored.
            (LAN, "10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            (LAN, "10.0.0.1", &["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            (LAN, "10.0.0.1", &["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
            (LAN, "10.0.0.1", &["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
            // A chain of proxies, on one line or several.
            (LAN, "10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            (LAN, "10.0.0.1", &["203.0.113.9", "10.0.0.3,10.0.0.2"], "203.0.113.9"),
            // All are trusted: a client within the network.
            (LAN, "10.0.0.1", &["10.0.0.7, 10.0.0.2"], "10.0.0.7"),
            // An invalid address ends the walk at the last valid one.
            (LAN, "10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            (LAN, "10.0.0.1", &["203.0.113.9, , 10.0.0.2"], "10.0.0.2"),
            (LAN, "10.0.0.1", &[""], "10.0.0.1"),
            (LAN, "10.0.0.1", &["203.0.113.9;10.0.0.2"], "10.0.0.1"),
            // Ports, brackets, IPv6, and IPv4 in IPv6.
            (LAN, "10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            (LAN, "::1", &["2001:db8::7"], "2001:db8::7"),
            (LAN, "::1", &["[2001:db8::7]:443"], "2001:db8::7"),
            (LAN, "::1", &["[2001:db8::7]"], "2001:db8::7"),
            (LAN, "::1", &["2001:db8:bb::1, 2001:db8:aa::1"], "2001:db8:bb::1"),
            (LAN, "::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            (&["192.0.2.1"], "192.0.2.1", &["203.0.113.9"], "203.0.113.9"),
        ];
        for (trusted, peer, lines, expected) in cases {
            assert_eq!(address(trusted, peer, lines), *expected, "{trusted:?} {peer} {lines:?}");
        }
    }

    #[test]
    fn a_long_header_is_walked_for_a_bounded_number_of_hops() {
        let long = format!("203.0.113.9{}", ", 10.0.0.2".repeat(HOPS_MAX + 1));
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &[&long]), "10.0.0.2");
        let last = format!("203.0.113.9{}", ", 10.0.0.2".repeat(HOPS_MAX - 1));
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &[&last]), "203.0.113.9");
    }

    #[test]
    fn only_a_trusted_proxy_tells_of_tls() {
        let proxies = TrustedProxies::new(&["10.0.0.1".to_owned()]);
        for (peer, scheme, expected) in [
            ("10.0.0.1", "https", true),
            ("10.0.0.1", "HTTPS", true),
            ("10.0.0.1", "http", false),
            ("10.0.0.1", "https, http", false),
            ("10.0.0.2", "https", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
            assert_eq!(proxies.origin(peer.parse().unwrap(), &headers).is_https, expected, "{peer} {scheme}");
        }
        assert!(!proxies.origin("10.0.0.1".parse().unwrap(), &HeaderMap::new()).is_https);
    }

    #[test]
    fn a_list_holds_addresses_and_networks_alone() {
        for (text, expected) in
            [("10.0.0.0/8", true), ("::1", true), ("localhost", false), ("10.0.0.0/33", false)]
        {
            assert_eq!(is_list_of_networks(&[text.to_owned()]), expected, "{text}");
        }
    }
}
