//! Reads entries from verified metadata. Each publisher's role is limited to its delegated names: other entries are
//! rejected.

use std::collections::BTreeMap;

use tinybase_package::unpacked::hex;
use tough::schema::{DelegatedRole, PathSet, Target, Targets};

use crate::{
    entry::{Archive, CUSTOM_KEY, Entry, Listing, Publisher, REVOKED_NAME},
    error::{Code, RegistryError},
};

/// The parsed listing.
pub(super) struct Listed {
    pub(super) entries: Vec<Entry>,
    pub(super) unreadable: Vec<String>,
}

/// Reads the entries of every publisher.
pub(super) fn read(registry: &str, targets: &Targets) -> Result<Listed, RegistryError> {
    let mut listed = Listed { entries: Vec::new(), unreadable: Vec::new() };
    if let Some(name) = targets.targets.keys().find(|name| name.raw() != REVOKED_NAME) {
        return Err(wrong_role(name.raw(), "the registry's own role"));
    }
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for role in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
        let names = names_of(role)?;
        for name in &names {
            if let Some(other) = owners.insert(name.clone(), &role.name) {
                return Err(malformed(format!("{name} belongs to {other} and to {}", role.name)));
            }
        }
        read_role(registry, role, &names, &mut listed)?;
    }
    listed.entries.sort_by(|one, two| {
        let key = |entry: &Entry| (entry.listing.name.clone(), entry.listing.target.clone());
        let newest = two.listing.version.cmp(&one.listing.version);
        one.listing.name.cmp(&two.listing.name).then(newest).then(key(one).cmp(&key(two)))
    });
    listed.unreadable.sort();
    Ok(listed)
}

/// Returns the extension names that a role is responsible for.
pub(crate) fn names_of(role: &DelegatedRole) -> Result<Vec<String>, RegistryError> {
    let PathSet::Paths(patterns) = &role.paths else {
        return Err(malformed(format!("the role {} is not given names of extensions", role.name)));
    };
    let name = |pattern: &str| pattern.strip_suffix("-*").filter(|name| is_name(name)).map(str::to_owned);
    let given = patterns.iter().map(|pattern| {
        name(pattern.value())
            .ok_or_else(|| malformed(format!("the role {} is given {:?}", role.name, pattern.value())))
    });
    given.collect()
}

/// Returns whether a text has the form of an extension's name.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn read_role(
    registry: &str,
    role: &DelegatedRole,
    names: &[String],
    listed: &mut Listed,
) -> Result<(), RegistryError> {
    let Some(targets) = &role.targets else {
        return Err(malformed(format!("the metadata of {} is not part of the snapshot", role.name)));
    };
    let nested = targets.signed.delegations.as_ref().is_some_and(|delegations| !delegations.roles.is_empty());
    if nested {
        return Err(malformed(format!("the role {} delegates further, which no publisher may", role.name)));
    }
    let mut keys: Vec<String> = role.keyids.iter().map(|id| hex(id)).collect();
    keys.sort();
    let publisher = Publisher { name: role.name.clone(), keys, threshold: role.threshold.get() };
    for (name, target) in &targets.signed.targets {
        let file = name.raw();
        if !file.split_once('-').is_some_and(|(name, _)| names.iter().any(|given| given == name)) {
            return Err(wrong_role(file, &role.name));
        }
        match listing(target).filter(|listing| listing.file_name() == file) {
            Some(listing) => listed.entries.push(Entry {
                registry: registry.to_owned(),
                listing,
                publisher: publisher.clone(),
                archive: Archive { bytes: target.length, sha256: hex(&target.hashes.sha256) },
                revoked: None,
            }),
            None => listed.unreadable.push(file.to_owned()),
        }
    }
    Ok(())
}

fn listing(target: &Target) -> Option<Listing> {
    serde_json::from_value(target.custom.get(CUSTOM_KEY)?.clone()).ok()
}

fn wrong_role(file: &str, role: &str) -> RegistryError {
    let words = format!("{file}: it is listed by {role}, which is not responsible for it");
    RegistryError::new(Code::WrongRole, words)
}

fn malformed(words: String) -> RegistryError {
    RegistryError::new(Code::MetadataInvalid, format!("its metadata is malformed: {words}"))
}
