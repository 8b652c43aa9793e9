//! The known scopes: those that the current routes require of application tokens. An unknown scope may belong to an
//! extension that is installed later, so it is reported but not refused.

use std::{collections::BTreeSet, sync::Arc};

use crate::{http::HostRoutes, plugins::Plugins};

/// The scopes of every route.
pub(super) struct KnownScopes {
    own: BTreeSet<String>,
    plugins: Arc<Plugins>,
}

impl KnownScopes {
    /// Collects the scopes of the host's routes in `own`, and the additional ones in `beside`. Those of the plugins'
    /// routes are read at each query.
    pub(super) fn new(own: &HostRoutes, beside: &[&str], plugins: Arc<Plugins>) -> KnownScopes {
        let scopes = own.iter().map(|route| &*route.access.scope).chain(beside.iter().copied());
        KnownScopes { own: scopes.filter(|scope| !scope.is_empty()).map(str::to_owned).collect(), plugins }
    }

    /// Returns a warning for each scope that no route requires.
    pub(super) fn warnings(&self, asked: &[String]) -> Vec<String> {
        if asked.is_empty() {
            return Vec::new();
        }
        let of_plugins = self.plugins.route_scopes();
        let unknown = asked
            .iter()
            .filter(|scope| !self.own.iter().chain(&of_plugins).any(|pattern| serves(scope, pattern)));
        unknown
            .map(|scope| format!("no route asks for the scope {scope} now: check how it is spelt"))
            .collect()
    }
}

/// Returns whether a token with the scope `scope` may use a route that requires `pattern`, for some value of its
/// parameters.
fn serves(scope: &str, pattern: &str) -> bool {
    let mut wanted = pattern.split(':');
    scope.split(':').all(|word| match wanted.next() {
        Some(wanted) => word == "*" || wanted.starts_with('{') || word == wanted,
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_serves_a_route_that_it_may_reach() {
        let cases = [
            ("*", "collections:read:{name}", true),
            ("collections", "collections:read:{name}", true),
            ("collections:*", "collections:read:{name}", true),
            ("collections:read", "collections:read:{name}", true),
            ("collections:read:posts", "collections:read:{name}", true),
            ("collections:read:posts:x", "collections:read:{name}", false),
            ("collection:read", "collections:read:{name}", false),
            ("admin:*", "admin:users:read", true),
            ("admin:users", "admin:users:read", true),
            ("account:read:*", "account:read", false),
        ];
        for (scope, pattern, expected) in cases {
            assert_eq!(serves(scope, pattern), expected, "{scope} for {pattern}");
        }
    }
}
