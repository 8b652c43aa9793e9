//! The forms of `database.url`. It never opens the database.

use std::path::{Path, PathBuf};

use super::values::{Given, Kind};

/// The location of the data.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file; a relative path is relative to the folder of `tinybase.toml`.
    Sqlite(PathBuf),
    /// A PostgreSQL server, with its whole URL.
    Postgres(String),
}

impl Default for DatabaseUrl {
    fn default() -> DatabaseUrl {
        DatabaseUrl::Sqlite("./tinybase.db".into())
    }
}

impl DatabaseUrl {
    /// Parses `sqlite://./x.db` and `sqlite:///./x.db` (relative), `sqlite:///var/x.db` and `sqlite:////var/x.db`
    /// (absolute) and `postgres://…`. Returns `None` for anything else, including an in-memory database, because it
    /// does not persist.
    pub fn parse(text: &str) -> Option<DatabaseUrl> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Some(DatabaseUrl::Postgres(text.to_owned()));
        }
        let rest = text.strip_prefix("sqlite://")?;
        let path = match rest.strip_prefix('/') {
            Some(inner) if inner.starts_with("./") || inner.starts_with("../") || inner.starts_with('/') => {
                inner
            }
            _ => rest,
        };
        let names_file = Path::new(path).file_name().is_some() && !path.ends_with('/');
        let plain = !path.contains([':', '?', '#', '\0']);
        (names_file && plain).then(|| DatabaseUrl::Sqlite(path.into()))
    }
}

impl Kind for DatabaseUrl {
    // The URL of a server contains a password.
    const IS_SECRET: bool = true;
    fn read(given: Given<'_>) -> Option<DatabaseUrl> {
        DatabaseUrl::parse(given.text()?)
    }

    fn show(&self) -> String {
        match self {
            DatabaseUrl::Sqlite(path) => format!("sqlite://{}", path.display()),
            DatabaseUrl::Postgres(_) => "postgres://…".to_owned(),
        }
    }
}

/// Hides everything after the scheme of a server's URL, which contains a password.
impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.show())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_file_or_a_server() {
        let cases = [
            ("sqlite://./x.db", Some("sqlite://./x.db")),
            ("sqlite:///./x.db", Some("sqlite://./x.db")),
            ("sqlite:///../x.db", Some("sqlite://../x.db")),
            ("sqlite://x.db", Some("sqlite://x.db")),
            ("sqlite:///var/lib/x.db", Some("sqlite:///var/lib/x.db")),
            ("sqlite:////var/lib/x.db", Some("sqlite:///var/lib/x.db")),
            ("postgres://user:secret@host/db", Some("postgres://…")),
            ("postgresql://host/db", Some("postgres://…")),
            ("sqlite://", None),
            ("sqlite://./data/", None),
            ("sqlite://..", None),
            ("sqlite://:memory:", None),
            ("sqlite://./x.db?mode=ro", None),
            ("sqlite:x.db", None),
            ("mysql://host/db", None),
            ("./x.db", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let read = DatabaseUrl::parse(text).map(|url| format!("{url:?}"));
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
