//! Scopes: what an application token may be used for, and whether one scope covers another. It knows no individual
//! scopes.

/// Returns whether a token with the scopes `granted`, separated by spaces, may be used for `wanted`.
///
/// A scope is a list of words separated by `:`. It covers itself and everything below it: `collections:read` covers
/// `collections:read:posts`. `*` as the last word covers everything in its place: `admin:*`, or `*` alone.
pub fn covers(granted: &str, wanted: &str) -> bool {
    granted.split_ascii_whitespace().any(|scope| covers_one(scope, wanted))
}

fn covers_one(scope: &str, wanted: &str) -> bool {
    match scope.strip_suffix('*') {
        Some("") => true,
        Some(above) => above.ends_with(':') && wanted.len() > above.len() && wanted.starts_with(above),
        None => wanted.strip_prefix(scope).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_itself_and_what_is_below() {
        let cases = [
            ("collections:read", "collections:read", true),
            ("collections:read", "collections:read:posts", true),
            ("collections:read:posts", "collections:read", false),
            ("collections:read:posts", "collections:read:posts_old", false),
            ("collections:read", "collections:write", false),
            ("collections", "collections:write:posts", true),
            ("col", "collections:read", false),
            ("admin:*", "admin:users:read", true),
            ("admin:*", "admin", false),
            ("admin:*", "administration:read", false),
            ("admin*", "admin:users:read", false),
            ("*", "anything:at:all", true),
            ("a:read b:write", "b:write:x", true),
            ("", "a", false),
        ];
        for (granted, wanted, expected) in cases {
            assert_eq!(covers(granted, wanted), expected, "{granted:?} for {wanted:?}");
        }
    }
}
