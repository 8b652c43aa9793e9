//! The parts of an instance: the files and folders of a backup, and their places according to a configuration. It opens
//! none of them.

use std::path::{Path, PathBuf};

use crate::{
    config::{Config, DatabaseUrl, FILE_NAME},
    plugins::lock_file::FILE_NAME as LOCK_FILE_NAME,
};

/// A part of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// `tinybase.toml`.
    Config,
    /// `tinybase.lock`.
    LockFile,
    /// Keys, extensions and their files.
    State,
    /// Extensions, if they are kept elsewhere.
    Extensions,
    /// Root metadata of registries.
    Registries,
    /// Functions.
    Functions,
    /// The database as a SQLite file.
    Sqlite,
    /// The database as a `pg_dump` archive.
    PostgresDump,
}

/// Names in the state folder that belong to a running process, or are copies themselves.
const NOT_OF_STATE: [&str; 3] = ["snapshots", "changes.lock", "serve.lock"];

impl Part {
    pub(super) const ALL: [Part; 8] = [
        Part::Config,
        Part::LockFile,
        Part::State,
        Part::Extensions,
        Part::Registries,
        Part::Functions,
        Part::Sqlite,
        Part::PostgresDump,
    ];

    /// Returns its name in the archive: of a file, or of a folder.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Config => FILE_NAME,
            Part::LockFile => LOCK_FILE_NAME,
            Part::State => "state",
            Part::Extensions => "extensions",
            Part::Registries => "registries",
            Part::Functions => "functions",
            Part::Sqlite => "database.sqlite",
            Part::PostgresDump => "database.dump",
        }
    }

    /// Whether it is a single file.
    pub(super) fn is_file(self) -> bool {
        matches!(self, Part::Config | Part::LockFile | Part::Sqlite | Part::PostgresDump)
    }

    /// Returns the part that an entry of an archive belongs to.
    pub(super) fn of_entry(name: &str) -> Option<Part> {
        let (top, is_below) = name.split_once('/').map_or((name, false), |(top, _)| (top, true));
        Part::ALL.into_iter().find(|part| part.name() == top && part.is_file() != is_below)
    }

    /// Returns its place according to this configuration; `None` if it has no place of its own there.
    pub(super) fn place(self, config: &Config) -> Option<PathBuf> {
        let state = config.state_dir();
        let folder = |path: &Path| {
            let path = config.path(path);
            // A folder that contains the instance itself is not a part of it.
            (!path.starts_with(&state) && !config.dir.starts_with(&path)).then_some(path)
        };
        match self {
            Part::Config => Some(config.dir.join(FILE_NAME)),
            Part::LockFile => Some(config.dir.join(LOCK_FILE_NAME)),
            Part::State => Some(state),
            Part::Extensions => folder(&config.extensions.dir),
            Part::Registries => folder(&config.extensions.roots_dir),
            Part::Functions => folder(&config.functions.dir),
            Part::Sqlite => match &config.database.url {
                DatabaseUrl::Sqlite(path) => Some(config.path(path)),
                DatabaseUrl::Postgres(_) => None,
            },
            Part::PostgresDump => None,
        }
    }

    /// Whether a backup omits the file or folder `name` at the top of this part.
    pub(super) fn leaves_out(self, name: &str) -> bool {
        self == Part::State && NOT_OF_STATE.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_belongs_to_the_part_that_its_name_begins_with() {
        for (name, expected) in [
            ("tinybase.toml", Some(Part::Config)),
            ("state/keys/secret.key", Some(Part::State)),
            ("state", None),
            ("tinybase.toml/x", None),
            ("database.sqlite", Some(Part::Sqlite)),
            ("elsewhere/x", None),
            ("", None),
        ] {
            assert_eq!(Part::of_entry(name), expected, "{name}");
        }
    }

    #[test]
    fn a_folder_that_holds_the_instance_is_no_part_of_it() {
        let mut config = Config { dir: "/srv/app".into(), ..Config::default() };
        assert_eq!(Part::Functions.place(&config), Some("/srv/app/functions".into()));
        assert_eq!(Part::Extensions.place(&config), None, "they are in the state folder");
        config.functions.dir = "/srv".into();
        config.extensions.dir = "/opt/extensions".into();
        assert_eq!(Part::Functions.place(&config), None);
        assert_eq!(Part::Extensions.place(&config), Some("/opt/extensions".into()));
    }
}
