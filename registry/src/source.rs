//! Where a registry is, what it is trusted by, and what may be asked of it at most. It never fetches.

use std::path::PathBuf;

use url::Url;

use crate::error::{Code, RegistryError};

/// Where a registry's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Behind a web server, `http` or `https`.
    Url(Url),
    /// In a folder.
    Path(PathBuf),
}

impl Location {
    /// A URL where the text begins as one, else a folder.
    ///
    /// # Errors
    /// Where it begins as a URL and is none.
    pub fn parse(text: &str) -> Result<Location, RegistryError> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(Location::Path(PathBuf::from(text)));
        }
        Url::parse(text)
            .map(Location::Url)
            .map_err(|error| RegistryError::new(Code::Unreachable, format!("{text:?} is no URL: {error}")))
    }

    /// The URL of one of the registry's two folders, `metadata` or `targets`, with a slash at its end.
    pub(crate) fn folder(&self, name: &str) -> Result<Url, RegistryError> {
        match self {
            Location::Url(url) => {
                let mut url = url.clone();
                url.set_query(None);
                url.set_fragment(None);
                let base = url.path().trim_end_matches('/').to_owned();
                url.set_path(&format!("{base}/{name}/"));
                Ok(url)
            }
            Location::Path(path) => {
                let absolute = std::path::absolute(path).map_err(RegistryError::io(path))?;
                Url::from_directory_path(absolute.join(name)).map_err(|()| {
                    RegistryError::new(
                        Code::Unreachable,
                        format!("{}: it is no path of a folder", path.display()),
                    )
                })
            }
        }
    }
}

/// A registry as it is configured.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it is called here.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// Its root of trust: the bytes of a `root.json` that came by a trusted way.
    pub root: Vec<u8>,
    /// Whether metadata that has expired is taken. Whoever does so can be held at an old state for ever.
    pub allow_expired: bool,
}

/// What may be asked of a registry at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection is there, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Between two pieces of an answer, in milliseconds.
    pub read_timeout_ms: u64,
    /// For all metadata together, in milliseconds.
    pub metadata_timeout_ms: u64,
    /// For one archive, in milliseconds.
    pub archive_timeout_ms: u64,
    /// The largest file of metadata, in bytes.
    pub metadata_bytes_max: u64,
    /// The largest archive, in bytes.
    pub archive_bytes_max: u64,
    /// How many new roots are followed at once.
    pub root_updates_max: u64,
    /// How often the registry may redirect within its own origin.
    pub redirects_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect_timeout_ms: 10_000,
            read_timeout_ms: 15_000,
            metadata_timeout_ms: 60_000,
            archive_timeout_ms: 600_000,
            metadata_bytes_max: 16 << 20,
            archive_bytes_max: 512 << 20,
            root_updates_max: 256,
            redirects_max: 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_folders_are_below_the_location() {
        let folder = |text: &str| Location::parse(text).unwrap().folder("metadata").unwrap().to_string();
        assert_eq!(folder("https://a.example/x"), "https://a.example/x/metadata/");
        assert_eq!(folder("https://a.example/x/?y=1#z"), "https://a.example/x/metadata/");
        assert_eq!(folder("http://a.example"), "http://a.example/metadata/");
        assert_eq!(folder("/srv/a b"), "file:///srv/a%20b/metadata/");
        assert!(Location::parse("https://").is_err());
    }
}
