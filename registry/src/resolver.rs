//! Resolves which versions of which extensions to install, so that all requested and installed extensions are
//! compatible. It knows registries by their listings, and never fetches.
//!
//! It uses its own search instead of a solver: there are only tens of extensions, and a clear error message is worth
//! more than speed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use semver::{Version, VersionReq};
use serde::Serialize;

use crate::{
    client::Registry,
    entry::{Entry, Publisher, Revocation},
};

mod conflict;
mod search;

pub use conflict::{Conflict, ConflictKind};

/// A request to the resolver.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The requested extensions.
    pub wanted: Vec<Wanted>,
    /// Extensions whose publisher is allowed to change.
    pub accepted_publishers: BTreeSet<String>,
}

/// A requested extension.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The extension's name.
    pub name: String,
    /// The acceptable versions.
    pub requirement: VersionReq,
    /// Whether to choose a newer version even if an acceptable one is installed.
    pub upgrade: bool,
    /// The package, if it is given instead of searched for.
    pub local: Option<Local>,
}

/// A local package.
#[derive(Debug, Clone)]
pub struct Local {
    /// The package's version.
    pub version: Version,
    /// The package's dependencies.
    pub dependencies: BTreeMap<String, VersionReq>,
    /// The ABI major it was built for.
    pub abi: u16,
    /// The versions of the host it is compatible with.
    pub host: VersionReq,
    /// The target it was built for; not checked if unknown.
    pub target: Option<String>,
}

/// The state that the resolver works with.
#[derive(Debug, Clone)]
pub struct ResolverInput<'a> {
    /// The installed extensions.
    pub installed: Vec<Installed>,
    /// The versions pinned by the lock file.
    pub locked: Vec<Locked>,
    /// The registries. A name found in one is not searched for in later ones.
    pub registries: Vec<Catalogue<'a>>,
    /// The host's version.
    pub host: Version,
    /// The ABI majors that the host loads.
    pub abi_majors: Vec<u16>,
    /// The host's target.
    pub target: String,
}

/// An installed extension.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The extension's name.
    pub name: String,
    /// The extension's version.
    pub version: Version,
    /// The extension's dependencies.
    pub dependencies: BTreeMap<String, VersionReq>,
    /// SHA-256 of the archive it was installed from, in hex, if there was one.
    pub archive_sha256: Option<String>,
}

/// An entry of the lock file.
#[derive(Debug, Clone)]
pub struct Locked {
    /// The extension's name.
    pub name: String,
    /// The pinned version, which may be chosen even if it was yanked.
    pub version: Version,
    /// The publisher, if it came from a registry.
    pub publisher: Option<Publisher>,
}

/// A registry's listing.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue<'a> {
    /// The registry's configured name.
    pub name: &'a str,
    /// The registry's packages.
    pub entries: &'a [Entry],
    /// The registry's revocations.
    pub revocations: &'a [Revocation],
}

impl<'a> From<&'a Registry> for Catalogue<'a> {
    fn from(registry: &'a Registry) -> Catalogue<'a> {
        Catalogue { name: registry.name(), entries: registry.entries(), revocations: registry.revocations() }
    }
}

/// The steps to take, in order: dependencies come before the extensions that need them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The changes. Unchanged extensions are not included.
    pub steps: Vec<Step>,
}

/// A change of one extension.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The extension.
    pub name: String,
    /// The new version.
    pub version: Version,
    /// The installed version, if there is one.
    pub from: Option<Version>,
    /// The source of the package.
    pub origin: Origin,
    /// The extensions that need it, such as `webhooks 2.0.0`; empty if only the user requested it.
    pub needed_by: Vec<String>,
}

/// The source of a package.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A local package.
    Local,
    /// A registry.
    Registry(Box<Entry>),
}

/// Shows the change of one extension.
impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some(from) => write!(out, "{} {from} → {}", self.name, self.version),
            None => write!(out, "{} {}", self.name, self.version),
        }
    }
}

/// Finds the newest versions that are compatible with each other.
///
/// # Errors
/// The reason why there are none, in one sentence; see [`ConflictKind`].
pub fn resolve(request: &Request, input: &ResolverInput<'_>) -> Result<Plan, Conflict> {
    search::Search::new(request, input).run()
}

#[cfg(test)]
mod tests;
