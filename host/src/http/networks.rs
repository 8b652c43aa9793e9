//! Lists of networks in the configuration. They never define what clients in them may do.

use std::net::IpAddr;

use ipnet::IpNet;

/// A list of networks.
#[derive(Debug, Clone, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Creates it from a list that passed [`is_list_of_networks`].
    pub fn new(list: &[String]) -> Networks {
        Networks(list.iter().filter_map(|text| network(text)).collect())
    }

    /// Returns whether this address belongs to one of them. IPv4 addresses match in either notation.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Returns whether each entry is an address or a network such as `10.0.0.0/8`.
pub(crate) fn is_list_of_networks(list: &[String]) -> bool {
    list.iter().all(|text| network(text).is_some())
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_its_network_alone() {
        let networks = Networks::new(&["10.1.0.0/16".into(), "192.0.2.7".into(), "2001:db8::/32".into()]);
        let cases = [
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("::ffff:10.1.2.3", true),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ];
        for (address, expected) in cases {
            assert_eq!(networks.contain(address.parse().unwrap()), expected, "{address}");
        }
        assert!(!Networks::default().contain("127.0.0.1".parse().unwrap()));
    }
}
