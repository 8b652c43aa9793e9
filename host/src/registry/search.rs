//! What the registries offer: searches for extensions and for newer versions.

use semver::Version;
use serde::Serialize;
use tinybase_package::archive::HOST_TARGET;
use tinybase_registry::{Entry, Registry};

use super::{RegistrySet, resolver_input::host_version};
use crate::plugins::store::Installed;

/// The newest version of an extension that this host can load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AvailableVersion {
    /// The extension's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The extension's description.
    pub description: String,
    /// The author.
    pub author: String,
    /// The registry that has it.
    pub registry: String,
    /// The publisher in that registry.
    pub publisher: String,
    /// The host capabilities that it uses.
    pub capabilities: Vec<String>,
    /// When it was published (RFC 3339).
    pub published_at: String,
    /// The installed version.
    pub installed: Option<String>,
}

/// Returns the extensions whose name, description or author contains `text`, sorted by name.
pub fn search(registry_set: &RegistrySet, installed: &[Installed], text: &str) -> Vec<AvailableVersion> {
    let text = text.to_lowercase();
    let mut found: Vec<AvailableVersion> = Vec::new();
    for entry in registry_set.registries.iter().flat_map(Registry::entries) {
        let listing = &entry.listing;
        let is_meant = [&listing.name, &listing.description, &listing.author]
            .iter()
            .any(|field| field.to_lowercase().contains(&text));
        // A name is installed from the first registry that has it, and that registry lists the newest version
        // first.
        if is_meant && can_be_chosen(entry) && !found.iter().any(|version| version.name == listing.name) {
            found.push(available_version(entry, installed));
        }
    }
    found.sort_by(|one, two| one.name.cmp(&two.name));
    found
}

/// Returns the newest version of an installed extension, if it is newer than the installed one.
pub fn newer(registry_set: &RegistrySet, installed: &Installed) -> Option<AvailableVersion> {
    let version: Version = installed.version.parse().ok()?;
    let has =
        |registry: &&Registry| registry.entries().iter().any(|entry| entry.listing.name == installed.name);
    let mut entries = registry_set.registries.iter().find(has)?.entries().iter();
    let newest = entries.find(|entry| entry.listing.name == installed.name && can_be_chosen(entry))?;
    (newest.listing.version > version).then(|| available_version(newest, std::slice::from_ref(installed)))
}

fn can_be_chosen(entry: &Entry) -> bool {
    let listing = &entry.listing;
    listing.target == HOST_TARGET
        && listing.yanked.is_none()
        && entry.revoked.is_none()
        && listing.host.matches(&host_version())
        && (tinybase_abi::ABI_MAJOR_OLDEST..=tinybase_abi::ABI_MAJOR).contains(&listing.abi)
}

fn available_version(entry: &Entry, installed: &[Installed]) -> AvailableVersion {
    let listing = &entry.listing;
    AvailableVersion {
        name: listing.name.clone(),
        version: listing.version.to_string(),
        description: listing.description.clone(),
        author: listing.author.clone(),
        registry: entry.registry.clone(),
        publisher: entry.publisher.name.clone(),
        capabilities: listing.capabilities.clone(),
        published_at: listing.published_at.clone(),
        installed: installed.iter().find(|one| one.name == listing.name).map(|one| one.version.clone()),
    }
}
