//! Changes of a registry's folder by its operator and its publishers: `metadata/`, `targets/`, and the newest root as
//! `root.json`. Every change is signed, checked as a client checks it, and only then made visible by replacing
//! `timestamp.json`.

mod changes;
mod edit;
pub mod keys;
mod metadata;
mod mirror;
mod proposal;

use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use semver::Version;

use crate::error::RegistryError;

pub use changes::{
    Delegation, Holder, Holders, check_vacant, delegate, holders, init, publish, refresh, revoke, rotate,
    yank,
};
pub use mirror::{Checked, list, mirror, verify};
pub use proposal::{Proposer, accept, cosign, propose};
pub use tough::schema::RoleType;

/// How long each role's metadata is valid after it was signed.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// The root.
    pub root: SignedDuration,
    /// The registry's own role, which delegates and revokes.
    pub targets: SignedDuration,
    /// A publisher's role.
    pub publisher: SignedDuration,
    /// The list of all metadata at one point in time.
    pub snapshot: SignedDuration,
    /// The pointer to the newest list.
    pub timestamp: SignedDuration,
}

impl Default for Lifetimes {
    fn default() -> Lifetimes {
        let days = |days: i64| SignedDuration::from_hours(days * 24);
        Lifetimes {
            root: days(730),
            targets: days(365),
            publisher: days(365),
            snapshot: days(30),
            timestamp: days(14),
        }
    }
}

/// The packages that a command applies to.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The extension's name.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// Returns the folder of metadata.
pub(crate) fn metadata_folder(folder: &Path) -> PathBuf {
    folder.join("metadata")
}

/// Returns the folder of archives.
pub(crate) fn targets_folder(folder: &Path) -> PathBuf {
    folder.join("targets")
}

/// Reads a root of trust.
///
/// # Errors
/// Fails if there is none.
pub fn read_root(path: &Path) -> Result<Vec<u8>, RegistryError> {
    std::fs::read(path).map_err(RegistryError::io(path))
}
