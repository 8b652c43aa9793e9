//! Checks what is installed against the current state of the registries: revoked, yanked, outdated, from
//! another publisher, or of unknown origin.

use serde::Serialize;
use tinybase_registry::Registry;

use super::{RegistrySet, newer};
use crate::plugins::store::Installed;

/// A finding about an installed extension that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The extension's name.
    pub name: String,
    /// The installed version.
    pub version: String,
    /// `revoked`, `yanked`, `publisher_changed`, `outdated` or `unknown_origin`.
    pub kind: &'static str,
    /// What the finding means for this installation.
    pub message: String,
}

impl Finding {
    /// Returns whether the extension must not keep running.
    pub fn is_grave(&self) -> bool {
        matches!(self.kind, "revoked" | "publisher_changed")
    }
}

/// Returns all findings, in order of installation.
pub fn audit(registry_set: &RegistrySet, installed: &[Installed]) -> Vec<Finding> {
    installed.iter().flat_map(|one| of_one(registry_set, one)).collect()
}

fn of_one(registry_set: &RegistrySet, installed: &Installed) -> Vec<Finding> {
    let finding = |kind, message: String| Finding {
        name: installed.name.clone(),
        version: installed.version.clone(),
        kind,
        message,
    };
    let mut findings = Vec::new();
    if let Some(reason) = revoked(registry_set, installed) {
        findings.push(finding("revoked", format!("it must not run: {reason}; uninstall it or update it")));
    }
    let entries = registry_set.registries.iter().flat_map(Registry::entries);
    let mut same = entries.filter(|entry| {
        entry.listing.name == installed.name && Some(&entry.registry) == installed.origin.registry.as_ref()
    });
    let listed: Vec<_> = same.by_ref().collect();
    let of_version = listed.iter().find(|entry| entry.listing.version.to_string() == installed.version);
    if let Some(reason) = of_version.and_then(|entry| entry.listing.yanked.as_ref()) {
        findings.push(finding("yanked", format!("its publisher took it back: {reason}")));
    }
    if let Some(entry) = listed.first().filter(|entry| {
        installed.origin.publisher.as_ref().is_some_and(|publisher| *publisher != entry.publisher.name)
    }) {
        let words =
            format!("it is published by {} now; an update asks you to accept that", entry.publisher.name);
        findings.push(finding("publisher_changed", words));
    }
    if let Some(version) = newer(registry_set, installed) {
        findings.push(finding("outdated", format!("{} is there", version.version)));
    }
    if installed.origin.registry.is_none() && !installed.is_builtin {
        findings
            .push(finding("unknown_origin", "it came from a file: no registry vouches for it".to_owned()));
    }
    findings
}

/// Returns why a registry revoked an installed version, if any did.
pub(crate) fn revoked<'m>(registry_set: &'m RegistrySet, installed: &Installed) -> Option<&'m str> {
    let version = installed.version.parse().ok()?;
    let mut all = registry_set.registries.iter().flat_map(Registry::revocations);
    let sha256 = installed.origin.archive_sha256.as_deref();
    all.find(|revoked| revoked.is_about(&installed.name, &version, sha256))
        .map(|revoked| revoked.reason.as_str())
}
