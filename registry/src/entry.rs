//! What a registry says of an archive, and what of revocations: the forms of both. It never looks at an archive.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use tinybase_package::{
    archive::{self, Unpacked},
    manifest::{Manifest, ServiceName},
};

use crate::error::{Code, RegistryError};

/// The key of a target's custom metadata below which the listing is.
pub(crate) const CUSTOM_KEY: &str = "tinybase";
/// The target with all revocations, which the registry's operator signs.
pub(crate) const REVOKED_NAME: &str = "revoked.json";

/// What a publisher signs of an archive beside its hash and length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// The extension's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The target that its library was built for.
    pub target: String,
    /// The ABI major that it was built for.
    pub abi: u16,
    /// The versions of the host that it works with.
    pub host: VersionReq,
    /// Extensions that must be enabled beside it.
    #[serde(default)]
    pub dependencies: BTreeMap<String, VersionReq>,
    /// The host's interfaces that it uses.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Services that it offers.
    #[serde(default)]
    pub offers: Vec<ServiceName>,
    /// Services of others that it calls.
    #[serde(default)]
    pub uses: Vec<ServiceName>,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// Who made it.
    #[serde(default)]
    pub author: String,
    /// Its licence.
    #[serde(default)]
    pub license: String,
    /// Where its source is.
    #[serde(default)]
    pub repo_url: String,
    /// The hash of the unpacked package.
    pub hash: String,
    /// When it was published, RFC 3339 in UTC.
    pub published_at: String,
    /// Why it must not be chosen again, where its publisher took it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<String>,
}

impl Listing {
    /// What is signed of a package that was unpacked.
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

    /// The name of its archive.
    pub fn file_name(&self) -> String {
        archive::file_name(&self.name, &self.version, &self.target)
    }
}

/// Who publishes an extension: a role, and the keys that sign for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    /// The role.
    pub name: String,
    /// The ids of its keys, in order.
    pub keys: Vec<String>,
    /// How many of them must sign.
    pub threshold: u64,
}

/// A file of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Its length, in bytes.
    pub bytes: u64,
    /// SHA-256 of it, in hex.
    pub sha256: String,
}

/// One package in a registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The registry, as it is called here.
    pub registry: String,
    /// What its publisher says of it.
    #[serde(flatten)]
    pub listing: Listing,
    /// Who that is.
    pub publisher: Publisher,
    /// Its archive.
    pub archive: Archive,
    /// Why it must not run, where the registry's operator revoked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

impl Entry {
    /// Whether an unpacked archive is what the registry says.
    ///
    /// # Errors
    /// [`Code::EntryDiffers`] with what differs.
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

/// A package that must not run any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The extension's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the one archive that is meant, in hex; every archive of the version where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Why.
    pub reason: String,
}

impl Revocation {
    /// Whether it is about this archive. Where the archive's hash is not known, name and version decide.
    pub fn is_about(&self, name: &str, version: &Version, archive_sha256: Option<&str>) -> bool {
        let same_archive = match (&self.sha256, archive_sha256) {
            (Some(revoked), Some(known)) => revoked == known,
            _ => true,
        };
        self.name == name && self.version == *version && same_archive
    }
}

/// The form of `revoked.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationList {
    /// All revocations.
    pub revoked: Vec<Revocation>,
}
