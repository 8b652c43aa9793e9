//! The configured registries, each with its root of trust, and how they are opened. A registry that cannot be
//! opened is never skipped when a package is chosen: what an earlier registry has must not be taken from a
//! later one.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use tinybase_registry::{Limits, Location, Registry, Source};

use super::InstallError;
use crate::config::{BUNDLED_REGISTRY, Config};

/// The folder of the bundled registry, next to the program.
const BUNDLED_FOLDER: &str = "registry";
/// The bundled registry's root of trust, in its folder. Both are as trusted as the program.
const BUNDLED_ROOT: &str = "root.json";
/// The folder in the host's data that records what was seen of each registry.
const DATASTORE_FOLDER: &str = "registries";

/// The registries that could be opened, and the failures.
#[derive(Debug)]
pub struct RegistrySet {
    /// The opened registries, in order.
    pub registries: Vec<Registry>,
    /// The registries that failed to open, with the reason.
    pub failures: Vec<RegistryFailure>,
}

/// A registry that could not be opened.
#[derive(Debug)]
pub struct RegistryFailure {
    /// Its name in the configuration.
    pub registry: String,
    /// The reason. The message names the registry.
    pub error: InstallError,
}

impl fmt::Display for RegistryFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(out)
    }
}

impl RegistrySet {
    /// Returns all registries.
    ///
    /// # Errors
    /// The first failure, if any.
    pub fn whole(self) -> Result<Vec<Registry>, InstallError> {
        match self.failures.into_iter().next() {
            Some(failure) => Err(failure.error),
            None => Ok(self.registries),
        }
    }
}

/// Opens every configured registry. A registry without a root of trust counts as a failure.
pub async fn open(config: &Config) -> RegistrySet {
    let mut registry_set = RegistrySet { registries: Vec::new(), failures: Vec::new() };
    for (name, source) in configured(config) {
        match open_one(config, source).await {
            Ok(registry) => registry_set.registries.push(registry),
            Err(error) => registry_set.failures.push(RegistryFailure { registry: name, error }),
        }
    }
    registry_set
}

async fn open_one(config: &Config, source: Result<Source, InstallError>) -> Result<Registry, InstallError> {
    let source = source?;
    let datastore = config.state_dir().join(DATASTORE_FOLDER).join(&source.name);
    Ok(Registry::open(&source, &datastore, &limits(config)).await?)
}

fn limits(config: &Config) -> Limits {
    let extensions = &config.extensions;
    Limits {
        metadata_timeout_ms: extensions.metadata_timeout_ms,
        archive_timeout_ms: extensions.fetch_timeout_ms,
        archive_bytes_max: extensions.archive_bytes_max,
        ..Limits::default()
    }
}

/// Returns the configured sources in order, with their names. If there are none, returns the bundled registry
/// if the program has one.
fn configured(config: &Config) -> Vec<(String, Result<Source, InstallError>)> {
    let listed = &config.extensions.registries;
    if listed.is_empty() {
        let there = bundled_folder().filter(|folder| folder.exists());
        return there.map(|folder| (BUNDLED_REGISTRY.to_owned(), bundled(folder))).into_iter().collect();
    }
    let source = |entry: &String| match entry.split_once('=') {
        Some((name, place)) => (name.to_owned(), named(config, name, place)),
        None => (BUNDLED_REGISTRY.to_owned(), bundled(bundled_folder().unwrap_or_default())),
    };
    listed.iter().map(source).collect()
}

fn bundled_folder() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.join(BUNDLED_FOLDER))
}

fn bundled(folder: PathBuf) -> Result<Source, InstallError> {
    let root = read_root(BUNDLED_REGISTRY, &folder.join(BUNDLED_ROOT))?;
    Ok(Source {
        name: BUNDLED_REGISTRY.to_owned(),
        location: Location::Path(folder),
        root,
        // It is as old as the program that it is bundled with. There is no newer one that could be withheld.
        allow_expired: true,
    })
}

fn named(config: &Config, name: &str, place: &str) -> Result<Source, InstallError> {
    let root = read_root(name, &config.extensions.roots_dir.join(format!("{name}.json")))?;
    let location = match Location::parse(place)? {
        Location::Path(path) => Location::Path(config.path(path)),
        url => url,
    };
    Ok(Source { name: name.to_owned(), location, root, allow_expired: false })
}

fn read_root(name: &str, path: &Path) -> Result<Vec<u8>, InstallError> {
    fs::read(path).map_err(|error| {
        let shown = path.display();
        InstallError::new(
            "registry_root_missing",
            format!("the registry {name:?} has no root of trust: {shown}: {error}; put its root.json there"),
        )
    })
}
