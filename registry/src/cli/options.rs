//! Options shared by several commands: the location of the keys, and the lifetimes of signatures.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use tinybase_registry::{
    RegistryError,
    repository::{Lifetimes, keys::Keyring},
};

/// Where the keys are that a command signs with.
#[derive(Debug, Args)]
pub(super) struct KeyOptions {
    /// The folder of keys; every .pem below it is used [default: DIR-keys, beside the registry]
    #[arg(long, value_name = "DIR")]
    pub(super) keys: Option<PathBuf>,
    /// A key outside of that folder
    #[arg(long = "key", value_name = "FILE")]
    pub(super) more: Vec<PathBuf>,
}

impl KeyOptions {
    /// Returns a registry's folder of keys.
    pub(super) fn folder(&self, registry: &Path) -> PathBuf {
        self.keys.clone().unwrap_or_else(|| beside(registry))
    }

    /// Reads all keys, and those in further files.
    pub(super) fn keyring(&self, registry: &Path, further: &[PathBuf]) -> Result<Keyring, RegistryError> {
        let mut keyring = Keyring::in_folder(&self.folder(registry))?;
        for path in self.more.iter().chain(further) {
            keyring.add(path)?;
        }
        Ok(keyring)
    }
}

/// Returns `packages-keys` for `packages`, which is never inside the served folder.
fn beside(registry: &Path) -> PathBuf {
    let absolute = std::path::absolute(registry).unwrap_or_else(|_| registry.to_owned());
    let mut name = absolute.file_name().map(OsString::from).unwrap_or_default();
    name.push("-keys");
    absolute.with_file_name(name)
}

/// How long what is signed now is good for, such as `14d` or `12h`.
#[derive(Debug, Args)]
#[command(next_help_heading = "How long signatures are good for")]
pub(super) struct LifetimeOptions {
    #[arg(long, value_name = "TIME", default_value = "730d", value_parser = lifetime)]
    root_expires: SignedDuration,
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = lifetime)]
    targets_expires: SignedDuration,
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = lifetime)]
    publisher_expires: SignedDuration,
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = lifetime)]
    snapshot_expires: SignedDuration,
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = lifetime)]
    timestamp_expires: SignedDuration,
}

impl LifetimeOptions {
    /// Returns the lifetimes.
    pub(super) fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            root: self.root_expires,
            targets: self.targets_expires,
            publisher: self.publisher_expires,
            snapshot: self.snapshot_expires,
            timestamp: self.timestamp_expires,
        }
    }
}

fn lifetime(text: &str) -> Result<SignedDuration, String> {
    let span = Span::from_str(text).map_err(|error| error.to_string())?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())
}
