//! A registry's location, root of trust and request limits. It never fetches.

use std::path::PathBuf;

use url::Url;

use crate::error::{Code, RegistryError};

/// The location of a registry's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// On a web server, `http` or `https`.
    Url(Url),
    /// In a folder.
    Path(PathBuf),
}

impl Location {
    /// Parses a URL if the text begins like one, otherwise a folder.
    ///
    /// # Errors
    /// Fails if it begins like a URL and is not a valid one.
    pub fn parse(text: &str) -> Result<Location, RegistryError> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(Location::Path(PathBuf::from(text)));
        }
        Url::parse(text)
            .map(Location::Url)
            .map_err(|error| RegistryError::new(Code::Unreachable, format!("{text:?} is no URL: {error}")))
    }

    /// Returns the URL of one of the registry's two folders, `metadata` or `targets`, with a trailing slash.
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

/// A configured registry.
#[derive(Debug, Clone)]
pub struct Source {
    /// The registry's configured name.
    pub name: String,
    /// The registry's location.
    pub location: Location,
    /// The root of trust: the bytes of a `root.json` from a trusted source.
    pub root: Vec<u8>,
    /// Whether expired metadata is accepted. If so, an attacker can keep the client at an old state forever.
    pub allow_expired: bool,
}

/// The limits of requests to a registry.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The timeout of a connection attempt, in milliseconds.
    pub connect_timeout_ms: u64,
    /// The timeout between two chunks of a response, in milliseconds.
    pub read_timeout_ms: u64,
    /// The timeout of all metadata together, in milliseconds.
    pub metadata_timeout_ms: u64,
    /// The timeout of one archive, in milliseconds.
    pub archive_timeout_ms: u64,
    /// The maximum size of a metadata file, in bytes.
    pub metadata_bytes_max: u64,
    /// The maximum size of an archive, in bytes.
    pub archive_bytes_max: u64,
    /// The maximum number of new roots that are followed at once.
    pub root_updates_max: u64,
    /// The maximum number of redirects within the registry's own origin.
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
