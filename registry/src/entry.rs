//! The formats of a registry's listings and revocations. It never reads an archive.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use tinybase_package::{
    archive::{self, Unpacked},
    manifest::{Manifest, ServiceName},
};

use crate::error::{Code, RegistryError};

/// The key of the listing in a target's custom metadata.
pub(crate) const CUSTOM_KEY: &str = "tinybase";
/// The name of the target with all revocations, signed by the registry's operator.
pub(crate) const REVOKED_NAME: &str = "revoked.json";

/// The data that a publisher signs for an archive, together with its hash and length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The extension's name.
    pub name: String,
    /// The extension's version.
    pub version: Version,
    /// The target its library was built for.
    pub target: String,
    /// The ABI major it was built for.
    pub abi: u16,
    /// The versions of the host it is compatible with.
    pub host: VersionReq,
    /// Extensions that must be enabled as well.
    #[serde(default)]
    pub dependencies: BTreeMap<String, VersionReq>,
    /// The host's interfaces that it uses.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Services that it offers.
    #[serde(default)]
    pub offers: Vec<ServiceName>,
    /// Services of other extensions that it calls.
    #[serde(default)]
    pub uses: Vec<ServiceName>,
    /// A short description.
    #[serde(default)]
    pub description: String,
    /// The author.
    #[serde(default)]
    pub author: String,
    /// The licence.
    #[serde(default)]
    pub license: String,
    /// The URL of the source code.
    #[serde(default)]
    pub repo_url: String,
    /// The hash of the unpacked package.
    pub hash: String,
    /// When it was published, RFC 3339 in UTC.
    pub published_at: String,
    /// The reason why it must not be selected any more, if its publisher yanked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<String>,
}

impl Listing {
    /// Creates the listing of an unpacked package.
    pub(crate) fn of(unpacked: &Unpacked, published_at: String) -> Listing {
        let Manifest {
            name,
            version,
            description,
            author,
            license,
            repo_url,
            abi,
            host,
            capabilities,
            offers,
            uses,
            dependencies,
            ..
        } = unpacked.manifest.clone();
        Listing {
            name,
            version,
            target: unpacked.target.clone(),
            abi,
            host,
            dependencies,
            capabilities,
            offers,
            uses,
            description,
            author,
            license,
            repo_url,
            hash: unpacked.hash.clone(),
            published_at,
            yanked: None,
        }
    }

    /// Returns the name of its archive.
    pub fn file_name(&self) -> String {
        archive::file_name(&self.name, &self.version, &self.target)
    }
}

/// The publisher of an extension: a role, and the keys that sign for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// The role's name.
    pub name: String,
    /// The ids of its keys, in order.
    pub keys: Vec<String>,
    /// The number of keys that must sign.
    pub threshold: u64,
}

/// An archive file of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The length, in bytes.
    pub bytes: u64,
    /// The SHA-256, in hex.
    pub sha256: String,
}

/// A package in a registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The registry's name in the host's configuration.
    pub registry: String,
    /// The listing signed by its publisher.
    #[serde(flatten)]
    pub listing: Listing,
    /// The publisher.
    pub publisher: Publisher,
    /// The archive.
    pub archive: Archive,
    /// The reason why it must not run, if the registry's operator revoked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

impl Entry {
    /// Checks that an unpacked archive matches the entry.
    ///
    /// # Errors
    /// [`Code::EntryDiffers`] with the differences.
    pub fn check(&self, unpacked: &Unpacked) -> Result<(), RegistryError> {
        let listing = Listing::of(unpacked, self.listing.published_at.clone());
        let signed = Listing { yanked: None, ..self.listing.clone() };
        if listing == signed && unpacked.archive_sha256 == self.archive.sha256 {
            return Ok(());
        }
        let words = format!(
            "{} {}: the package is not what the registry {:?} says of it; its publisher must publish it again",
            self.listing.name, self.listing.version, self.registry
        );
        Err(RegistryError::new(Code::EntryDiffers, words))
    }
}

/// A package that must no longer run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The extension's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the only affected archive, in hex; every archive of the version if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The reason.
    pub reason: String,
}

impl Revocation {
    /// Returns whether the revocation applies to this archive. If the archive's hash is not known, only name and
    /// version are compared.
    pub fn is_about(&self, name: &str, version: &Version, archive_sha256: Option<&str>) -> bool {
        let same_archive = match (&self.sha256, archive_sha256) {
            (Some(revoked), Some(known)) => revoked == known,
            _ => true,
        };
        self.name == name && self.version == *version && same_archive
    }
}

/// The format of `revoked.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationList {
    /// All revocations.
    pub revoked: Vec<Revocation>,
}
