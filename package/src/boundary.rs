//! The names reserved for the host and for each extension: prefixes of tables and paths of the HTTP server. It contains
//! only comparisons, and knows neither a database nor a route table.

/// The maximum length of an extension's name, which is the prefix of its tables.
pub const NAME_CHARS_MAX: usize = 40;

/// Prefixes of tables that belong to the host and to the database engines, without the trailing `_`.
const HOST_PREFIXES: &[&str] = &["tb", "sqlite", "pg", "information_schema"];

/// Paths that belong to the host, each including everything below it.
pub const HOST_TREES: &[&str] = &[
    "/.well-known",
    "/admin",
    "/api/admin/application-tokens",
    "/api/admin/audit-log",
    "/api/admin/extensions",
    "/api/admin/metrics",
    "/api/admin/nodes",
    "/api/admin/registries",
    "/api/admin/requests",
    "/api/admin/settings",
    "/api/admin/users",
    "/api/auth",
    "/auth",
    "/docs",
    "/health",
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/ready",
];

/// Returns whether a text has the form of an extension's name.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_CHARS_MAX
        && bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Returns the prefix of the host or an engine with which an extension of this name would share tables.
pub fn host_prefix(name: &str) -> Option<&'static str> {
    HOST_PREFIXES.iter().copied().find(|prefix| shares_tables(name, prefix))
}

/// Returns whether two names could share tables: their prefixes, each with a trailing `_`, are equal or one begins
/// with the other, like that of `a_b` with that of `a`. Databases compare names case-insensitively.
pub fn shares_tables(one: &str, other: &str) -> bool {
    let (one, other) = (format!("{one}_"), format!("{other}_"));
    let least = one.len().min(other.len());
    one.as_bytes()[..least].eq_ignore_ascii_case(&other.as_bytes()[..least])
}

/// Returns the host's path tree that contains a path, or that is below it.
pub fn host_tree(path: &str) -> Option<&'static str> {
    HOST_TREES.iter().copied().find(|tree| overlaps(path, tree))
}

/// Returns whether two paths are equal, or one is below the other. It ignores case, since proxies and clients may do
/// so.
pub fn overlaps(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let (short, long) = (short.as_bytes(), long.as_bytes());
    long[..short.len()].eq_ignore_ascii_case(short) && matches!(long.get(short.len()), None | Some(b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_share_tables_are_found() {
        let cases = [
            ("a", "a_b", true),
            ("a_b", "a", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a_b", "a_c", false),
            ("A", "a_b", true),
            ("a", "a_", true),
        ];
        for (one, other, shares) in cases {
            assert_eq!(shares_tables(one, other), shares, "{one} and {other}");
        }
        for name in ["tb", "tb_application", "sqlite", "sqlite_stat", "pg", "pg_x", "information", "TB_x"] {
            assert!(host_prefix(name).is_some(), "{name}");
        }
        for name in ["tba", "pgx", "notes", "info", "sqlitex"] {
            assert_eq!(host_prefix(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_plain() {
        for name in ["a", "a1_b", "z_"] {
            assert!(is_name(name), "{name}");
        }
        let long = "a".repeat(NAME_CHARS_MAX + 1);
        for name in ["", "A", "_a", "1a", "a-b", "a b", "ä", "\u{ff41}", "a\u{301}", "\u{430}", long.as_str()]
        {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn paths_of_the_host_are_found() {
        for path in
            ["/api", "/api/admin", "/api/auth/x", "/DOCS", "/docs/app.js", "/api/admin/Users/1", "/metrics"]
        {
            assert!(host_tree(path).is_some(), "{path}");
        }
        for path in ["/api/notes", "/api/admin/notes", "/doc", "/docsx", "/authors", "/api/authors"] {
            assert_eq!(host_tree(path), None, "{path}");
        }
    }
}
