//! Which versions of which extensions to install, so that everything that is asked for and everything that is installed fits together.
//! It knows registries by what they list, and never fetches.
//!
//! A search of its own and no solver: there are tens of extensions, and the reason why it cannot be is worth more than speed.

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

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The extensions.
    pub wanted: Vec<Wanted>,
    /// Extensions whose publisher may have changed.
    pub accepted_publishers: BTreeSet<String>,
}

/// One extension that is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The versions that will do.
    pub requirement: VersionReq,
    /// Whether a newer version is taken where one that will do is installed.
    pub upgrade: bool,
    /// The package, where it is given and not looked for.
    pub local: Option<Local>,
}

/// A package that is given.
#[derive(Debug, Clone)]
pub struct Local {
    /// Its version.
    pub version: Version,
    /// What it needs.
    pub dependencies: BTreeMap<String, VersionReq>,
    /// The ABI major that it was built for.
    pub abi: u16,
    /// The versions of the host that it works with.
    pub host: VersionReq,
    /// The target that it was built for; not checked where it is not known.
    pub target: Option<String>,
}

/// What there is.
#[derive(Debug, Clone)]
pub struct ResolverInput<'a> {
    /// What is installed.
    pub installed: Vec<Installed>,
    /// What the lock file pins.
    pub locked: Vec<Locked>,
    /// The registries. A name that an earlier one has is not looked for in later ones.
    pub registries: Vec<Catalogue<'a>>,
    /// The host's version.
    pub host: Version,
    /// The ABI majors that it loads.
    pub abi_majors: Vec<u16>,
    /// Its target.
    pub target: String,
}

/// One extension that is installed.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// What it needs.
    pub dependencies: BTreeMap<String, VersionReq>,
    /// SHA-256 of the archive that it came in, in hex, where it came in one.
    pub archive_sha256: Option<String>,
}

/// One line of the lock file.
#[derive(Debug, Clone)]
pub struct Locked {
    /// The extension's name.
    pub name: String,
    /// Its version, which may be chosen though it was yanked.
    pub version: Version,
    /// Who published it, where it came from a registry.
    pub publisher: Option<Publisher>,
}

/// What a registry lists.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue<'a> {
    /// What it is called here.
    pub name: &'a str,
    /// Its packages.
    pub entries: &'a [Entry],
    /// What it revoked.
    pub revocations: &'a [Revocation],
}

impl<'a> From<&'a Registry> for Catalogue<'a> {
    fn from(registry: &'a Registry) -> Catalogue<'a> {
        Catalogue { name: registry.name(), entries: registry.entries(), revocations: registry.revocations() }
    }
}

/// What to do, in this order: what is needed comes before what needs it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The changes; what stays as it is is not among them.
    pub steps: Vec<Step>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// The extension.
    pub name: String,
    /// The version that it will have.
    pub version: Version,
    /// The version that it has.
    pub from: Option<Version>,
    /// Where the package comes from.
    pub origin: Origin,
    /// Who needs it, as `webhooks 2.0.0`; empty where it was asked for alone.
    pub needed_by: Vec<String>,
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It was given.
    Local,
    /// A registry.
    Registry(Box<Entry>),
}

/// Shows what is to be done with one extension.
impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some(from) => write!(out, "{} {from} → {}", self.name, self.version),
            None => write!(out, "{} {}", self.name, self.version),
        }
    }
}

/// Finds the newest versions that fit together.
///
/// # Errors
/// Why there are none, in a sentence; see [`ConflictKind`].
pub fn resolve(request: &Request, input: &ResolverInput<'_>) -> Result<Plan, Conflict> {
    search::Search::new(request, input).run()
}

#[cfg(test)]
mod tests;
