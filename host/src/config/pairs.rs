//! Checks for keys that contradict each other although each value is allowed: what cannot work is refused, and what has
//! no effect is reported. It never changes a value.

use super::{Config, DatabaseUrl};

/// The minimum ratio of the node timeout to the heartbeat interval: a single late heartbeat must not make a node look
/// stopped.
const HEARTBEATS_IN_TIMEOUT_MIN: u64 = 3;

/// A value that contradicts that of another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The key to change.
    pub(super) key: &'static str,
    /// Its value.
    pub(super) value: String,
    /// The allowed values.
    pub(super) allowed: String,
}

/// Returns the first pair that cannot work.
pub(super) fn contradiction(config: &Config) -> Option<Contradiction> {
    let node = &config.node;
    let least = node.heartbeat_ms.saturating_mul(HEARTBEATS_IN_TIMEOUT_MIN);
    (node.timeout_ms < least).then(|| Contradiction {
        key: "node.timeout_ms",
        value: node.timeout_ms.to_string(),
        allowed: format!(
            "{least} or more, since it is at least {HEARTBEATS_IN_TIMEOUT_MIN} times node.heartbeat_ms, which is {}",
            node.heartbeat_ms
        ),
    })
}

/// Describes the values that have no effect because of another key.
pub(super) fn never_reached(config: &Config) -> Vec<String> {
    let (extensions, server) = (&config.extensions, &config.server);
    let on_server = matches!(config.database.url, DatabaseUrl::Postgres(_));
    let pairs = [
        (
            ("plugins.call_timeout_ms", config.plugins.call_timeout_ms),
            ("server.request_timeout_ms", server.request_timeout_ms),
            true,
        ),
        (
            ("database.acquire_timeout_ms", config.database.acquire_timeout_ms),
            ("server.request_timeout_ms", server.request_timeout_ms),
            on_server,
        ),
        (
            ("extensions.nodes_timeout_ms", extensions.nodes_timeout_ms),
            ("extensions.change_timeout_ms", extensions.change_timeout_ms),
            on_server,
        ),
        (
            ("extensions.archive_bytes_max", extensions.archive_bytes_max),
            ("extensions.unpacked_bytes_max", extensions.unpacked_bytes_max),
            true,
        ),
    ];
    let is_above =
        |((_, larger), (_, limit), matters): &((_, u64), (_, u64), bool)| *matters && larger > limit;
    let words = |((key, value), (other, limit), _)| {
        format!("{key} = {value} is never reached, since {other} = {limit} comes before it")
    };
    pairs.into_iter().filter(is_above).map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the defaults, and the expected finding.
    type Case = (fn(&mut Config), &'static str);

    #[test]
    fn the_defaults_go_together_and_each_pair_is_held() {
        let found = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            let refused = contradiction(&config).map(|found| format!("{} {}", found.value, found.allowed));
            refused.into_iter().chain(never_reached(&config)).collect::<Vec<_>>().join("; ")
        };
        let heartbeat = "6000 15000 or more, since it is at least 3 times node.heartbeat_ms, which is 5000";
        let cases: &[Case] = &[
            (|_| {}, ""),
            (|config| (config.node.heartbeat_ms, config.node.timeout_ms) = (5000, 6000), heartbeat),
            (|config| (config.node.heartbeat_ms, config.node.timeout_ms) = (2000, 6000), ""),
            (
                |config| config.server.request_timeout_ms = 5000,
                "plugins.call_timeout_ms = 30000 is never reached, since server.request_timeout_ms = 5000 comes before it",
            ),
            (
                |config| config.extensions.archive_bytes_max = u64::MAX,
                "extensions.archive_bytes_max = 18446744073709551615 is never reached, since \
                 extensions.unpacked_bytes_max = 1073741824 comes before it",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(found(*change), *expected);
        }
    }
}
