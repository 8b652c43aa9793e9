//! The changes that an operator and a publisher make to a registry, one function each. None of them signs by itself: a
//! change is committed as a whole.

use std::{
    collections::HashMap,
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tinybase_package::{
    archive,
    unpacked::{Package, hex},
};
use tough::{
    TargetName,
    schema::{
        DelegatedRole, Delegations, Hashes, PathPattern, PathSet, RoleKeys, RoleType, Root, Signed, Target,
        Targets, key::Key,
    },
};

use super::{
    Lifetimes, Subject,
    edit::{Edit, Placed},
    keys::{KeyFile, Keyring},
    metadata,
    proposal::{Proposer, take},
    targets_folder,
};
use crate::{
    client::{is_name, names_of},
    entry::{CUSTOM_KEY, Listing, REVOKED_NAME, Revocation, RevocationList},
    error::{Code, RegistryError},
};

/// The owner of the keys to replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// One of the four roles in the root.
    Role(RoleType),
    /// A publisher.
    Publisher(String),
}

/// Creates a new registry in a folder. `threshold` of the root's keys must sign each change of the root.
///
/// # Errors
/// Fails if there is already a registry, and on I/O errors.
pub async fn init(
    folder: &Path,
    roles: &[(RoleType, Vec<KeyFile>)],
    threshold: NonZeroU64,
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<(), RegistryError> {
    check_vacant(folder)?;
    let mut root = Root {
        spec_version: metadata::SPEC_VERSION.to_owned(),
        consistent_snapshot: true,
        version: NonZeroU64::MIN,
        expires: metadata::expires(lifetimes.root)?,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    for (role, keys) in roles {
        let threshold = if *role == RoleType::Root { threshold } else { NonZeroU64::MIN };
        set_keys(&mut root, *role, keys, threshold)?;
    }
    Edit::create(folder, root)?.commit(keys, lifetimes).await
}

/// Checks that a registry can be created in a folder.
///
/// # Errors
/// Fails if there is already one.
pub fn check_vacant(folder: &Path) -> Result<(), RegistryError> {
    if folder.join("root.json").exists() || super::metadata_folder(folder).exists() {
        let words = format!("{}: there is a registry already", folder.display());
        return Err(RegistryError::new(Code::NotPublishable, words));
    }
    Ok(())
}

/// Sets the keys of a role, replacing all others.
fn set_keys(
    root: &mut Root,
    role: RoleType,
    keys: &[KeyFile],
    threshold: NonZeroU64,
) -> Result<(), RegistryError> {
    check_threshold(keys.len(), threshold)?;
    root.keys.extend(keys.iter().map(|key| (key.key_id(), key.tuf_key())));
    let keyids = keys.iter().map(KeyFile::key_id).collect();
    root.roles.insert(role, RoleKeys { keyids, threshold, _extra: HashMap::new() });
    let used: Vec<_> = root.roles.values().flat_map(|role| role.keyids.clone()).collect();
    root.keys.retain(|id, _| used.contains(id));
    Ok(())
}

fn check_threshold(keys: usize, threshold: NonZeroU64) -> Result<(), RegistryError> {
    if keys as u64 >= threshold.get() {
        return Ok(());
    }
    let words = format!("{threshold} signatures cannot be asked of {keys} keys");
    Err(RegistryError::new(Code::ThresholdNotMet, words))
}

/// Names of extensions, and their publisher.
#[derive(Debug, Clone, Copy)]
pub struct Delegation<'a> {
    /// The names.
    pub names: &'a [String],
    /// The publisher.
    pub publisher: &'a str,
    /// A new publisher's keys.
    pub keys: &'a [KeyFile],
    /// The number of a new publisher's keys that must sign.
    pub threshold: NonZeroU64,
    /// The folder of a new publisher's first proposal, if only the publisher has its keys.
    pub proposal: Option<&'a Path>,
}

impl Delegation<'_> {
    fn tuf_keys(&self) -> Result<Vec<Key>, RegistryError> {
        match self.proposal {
            Some(proposal) => Proposer::read(proposal)?.tuf_keys(),
            None => Ok(self.keys.iter().map(KeyFile::tuf_key).collect()),
        }
    }
}

/// Makes a publisher responsible for names of extensions. A new publisher is added with its keys.
///
/// # Errors
/// Fails if a name belongs to another publisher, if a new publisher has no keys, or if keys are given for a known
/// one.
pub async fn delegate(
    folder: &Path,
    delegation: &Delegation<'_>,
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<(), RegistryError> {
    let mut edit = Edit::open(folder)?;
    let publisher = delegation.publisher;
    check_names(delegation)?;
    let delegations = edit.targets.delegations.get_or_insert_with(Delegations::new);
    for role in delegations.roles.iter().filter(|role| role.name != publisher) {
        if let Some(name) = names_of(role)?.iter().find(|taken| delegation.names.contains(taken)) {
            return Err(RegistryError::new(Code::NotPublishable, format!("{name} belongs to {}", role.name)));
        }
    }
    let is_new = !delegations.roles.iter().any(|role| role.name == publisher);
    let publisher_keys = delegation.tuf_keys()?;
    if is_new == publisher_keys.is_empty() {
        let words = "a new publisher needs keys; those of a known one are replaced by `rotate`";
        return Err(RegistryError::new(Code::Key, words));
    }
    if is_new {
        check_threshold(publisher_keys.len(), delegation.threshold)?;
        let key_id = |key: &Key| key.key_id().expect("a key has a canonical form");
        delegations.keys.extend(publisher_keys.iter().map(|key| (key_id(key), key.clone())));
        delegations.roles.push(DelegatedRole {
            name: publisher.to_owned(),
            keyids: publisher_keys.iter().map(key_id).collect(),
            threshold: delegation.threshold,
            paths: PathSet::Paths(Vec::new()),
            terminating: true,
            targets: None,
        });
    }
    let role = delegations.roles.iter_mut().find(|role| role.name == publisher);
    add_names(role.expect("it is there or was just made"), delegation.names)?;
    edit.change_targets();
    if let Some(proposal) = delegation.proposal {
        take(&mut edit, publisher, proposal)?;
    } else if is_new {
        let role = Targets::new(metadata::SPEC_VERSION.to_owned(), NonZeroU64::MIN, Timestamp::now());
        edit.roles.insert(publisher.to_owned(), role);
        edit.change_role(publisher);
    }
    edit.commit(keys, lifetimes).await
}

fn check_names(delegation: &Delegation<'_>) -> Result<(), RegistryError> {
    let refuse = |words: String| Err(RegistryError::new(Code::NotPublishable, words));
    if let Some(name) = delegation.names.iter().find(|name| !is_name(name)) {
        return refuse(format!("{name:?} is no name of an extension"));
    }
    if let Some(name) = delegation.names.iter().find(|name| tinybase_package::manifest::is_reserved(name)) {
        return refuse(format!("{name:?} is reserved for the host: no extension may be called so"));
    }
    let publisher = delegation.publisher;
    let is_reserved = ["root", "targets", "snapshot", "timestamp"].contains(&publisher);
    if is_reserved || !is_name(&publisher.replace('-', "_")) {
        return refuse(format!(
            "{publisher:?} is no name of a publisher: [a-z][a-z0-9_-]*, and none of TUF's roles"
        ));
    }
    Ok(())
}

fn add_names(role: &mut DelegatedRole, names: &[String]) -> Result<(), RegistryError> {
    let PathSet::Paths(patterns) = &mut role.paths else {
        return Err(RegistryError::new(Code::MetadataInvalid, "the role is not given names of extensions"));
    };
    for name in names {
        // No name contains a hyphen, so the pattern is exact.
        let pattern = PathPattern::new(format!("{name}-*"));
        let pattern =
            pattern.map_err(|error| RegistryError::new(Code::MetadataInvalid, error.to_string()))?;
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    Ok(())
}

/// Publishes archives, each signed by the publisher of its name. Returns the names of the new files.
///
/// # Errors
/// Fails if an archive is rejected, if its name belongs to no publisher, or if its version was published with other
/// content.
pub async fn publish(
    folder: &Path,
    archives: &[PathBuf],
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<Vec<String>, RegistryError> {
    let mut edit = Edit::open(folder)?;
    let mut new = Vec::new();
    for path in archives {
        let (listing, target) = read_archive(path)?;
        let file = listing.file_name();
        let publisher = owner(&edit, &listing.name)?;
        let name = target_name(&listing)?;
        let role = edit.roles.get_mut(&publisher).expect("each delegation has its role");
        if let Some(there) = role.targets.get(&name) {
            if there.hashes == target.hashes {
                continue;
            }
            let words = format!("{file} was published with other content; a version never changes: raise it");
            return Err(RegistryError::new(Code::NotPublishable, words));
        }
        let stored = format!("{}.{file}", hex(&target.hashes.sha256));
        role.targets.insert(name, target);
        edit.change_role(&publisher);
        edit.place(stored, Placed::Copy(path.clone()));
        new.push(file);
    }
    if !new.is_empty() {
        edit.commit(keys, lifetimes).await?;
    }
    Ok(new)
}

/// Unpacks an archive to check that a host could, and returns the data to sign.
pub(super) fn read_archive(path: &Path) -> Result<(Listing, Target), RegistryError> {
    let scratch = tempfile::tempdir().map_err(RegistryError::io(path))?;
    let unpacked = archive::unpack(path, &scratch.path().join("unpacked"), &archive::Limits::default())
        .map_err(|error| RegistryError::new(Code::NotPublishable, format!("{} ({})", error, error.code())))?;
    check_library(&scratch.path().join("unpacked"))?;
    let length = std::fs::metadata(path).map_err(RegistryError::io(path))?.len();
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("this second is a time");
    let listing = Listing::of(&unpacked, now.to_string());
    let sha256 = decode_hex(&unpacked.archive_sha256);
    Ok((listing.clone(), target(length, sha256, Some(&listing))))
}

/// Rejects a library that was built with another manifest, for any target: no host would load it. It is read and never
/// loaded, since the signer must not run code from others.
fn check_library(unpacked: &Path) -> Result<(), RegistryError> {
    let checked =
        Package::read(unpacked).and_then(|package| tinybase_package::library::check_library(&package));
    checked.map_err(|error| RegistryError::new(Code::NotPublishable, error.to_string()))
}

/// Decodes bytes from hex; other characters are skipped.
pub(super) fn decode_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits are a byte"))
        .collect()
}

/// Returns the name of a package's file in metadata.
pub(super) fn target_name(listing: &Listing) -> Result<TargetName, RegistryError> {
    TargetName::new(listing.file_name())
        .map_err(|error| RegistryError::new(Code::NotPublishable, error.to_string()))
}

fn target(length: u64, sha256: Vec<u8>, listing: Option<&Listing>) -> Target {
    let custom = listing.map(|listing| {
        let value = serde_json::to_value(listing).expect("a listing is JSON");
        (CUSTOM_KEY.to_owned(), value)
    });
    Target {
        length,
        hashes: Hashes { sha256: sha256.into(), _extra: HashMap::new() },
        custom: custom.into_iter().collect(),
        _extra: HashMap::new(),
    }
}

/// Returns the publisher that a name belongs to.
fn owner(edit: &Edit, name: &str) -> Result<String, RegistryError> {
    for role in edit.targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
        if names_of(role)?.contains(&name.to_owned()) {
            return Ok(role.name.clone());
        }
    }
    let words =
        format!("{name} belongs to no publisher yet: tinybase-registry delegate … {name} --publisher …");
    Err(RegistryError::new(Code::NotPublishable, words))
}

/// Yanks a version, or undoes that if there is no reason. A yanked version is not selected any more, but stays where it
/// is in use.
///
/// # Errors
/// Fails if it was never published.
pub async fn yank(
    folder: &Path,
    subject: &Subject,
    reason: Option<&str>,
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<(), RegistryError> {
    let mut edit = Edit::open(folder)?;
    let publisher = owner(&edit, &subject.name)?;
    let role = edit.roles.get_mut(&publisher).expect("each delegation has its role");
    let mut is_found = false;
    for target in role.targets.values_mut() {
        let Some(value) = target.custom.get_mut(CUSTOM_KEY) else { continue };
        let Ok(mut listing) = serde_json::from_value::<Listing>(value.clone()) else { continue };
        if listing.name == subject.name && listing.version == subject.version {
            listing.yanked = reason.map(str::to_owned);
            *value = serde_json::to_value(&listing).expect("a listing is JSON");
            is_found = true;
        }
    }
    if !is_found {
        let words = format!("{} {} was never published", subject.name, subject.version);
        return Err(RegistryError::new(Code::UnknownExtension, words));
    }
    edit.change_role(&publisher);
    edit.commit(keys, lifetimes).await
}

/// Revokes a version: it is rejected, and disabled where it is in use. The registry's operator does this, for any
/// publisher.
///
/// # Errors
/// Fails if the existing list cannot be read.
pub async fn revoke(
    folder: &Path,
    revocation: Revocation,
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<(), RegistryError> {
    let mut edit = Edit::open(folder)?;
    let name = TargetName::new(REVOKED_NAME).expect("the name of a file is one of a target");
    let mut list = match edit.targets.targets.get(&name) {
        Some(there) => {
            let stored = format!("{}.{REVOKED_NAME}", hex(&there.hashes.sha256));
            let path = targets_folder(edit.folder()).join(stored);
            let json = std::fs::read(&path).map_err(RegistryError::io(&path))?;
            serde_json::from_slice(&json).map_err(|error| {
                RegistryError::new(Code::MetadataInvalid, format!("{}: {error}", path.display()))
            })?
        }
        None => RevocationList::default(),
    };
    list.revoked.retain(|there| {
        (&there.name, &there.version, &there.sha256)
            != (&revocation.name, &revocation.version, &revocation.sha256)
    });
    list.revoked.push(revocation);
    let json = metadata::to_bytes(&list);
    let sha256 = Sha256::digest(&json).to_vec();
    edit.place(format!("{}.{REVOKED_NAME}", hex(&sha256)), Placed::Bytes(json.clone()));
    edit.targets.targets.insert(name, target(json.len() as u64, sha256, None));
    edit.change_targets();
    edit.commit(keys, lifetimes).await
}

/// Replaces the keys of a role or of a publisher.
///
/// # Errors
/// Fails if the keys that currently sign for it are not available.
pub async fn rotate(
    folder: &Path,
    holder: &Holder,
    new_keys: &[KeyFile],
    threshold: NonZeroU64,
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<(), RegistryError> {
    let mut edit = Edit::open(folder)?;
    match holder {
        Holder::Role(role) => {
            set_keys(&mut edit.root, *role, new_keys, threshold)?;
            edit.change_root();
            if *role == RoleType::Targets {
                edit.change_targets();
            }
        }
        Holder::Publisher(publisher) => {
            edit.delegation(publisher)?;
            check_threshold(new_keys.len(), threshold)?;
            let delegations = edit.targets.delegations.as_mut().expect("it was just found there");
            delegations.keys.extend(new_keys.iter().map(|key| (key.key_id(), key.tuf_key())));
            for role in delegations.roles.iter_mut().filter(|role| role.name == *publisher) {
                role.keyids = new_keys.iter().map(KeyFile::key_id).collect();
                role.threshold = threshold;
            }
            let used: Vec<_> = delegations.roles.iter().flat_map(|role| role.keyids.clone()).collect();
            delegations.keys.retain(|id, _| used.contains(id));
            edit.change_targets();
            edit.change_role(publisher);
        }
    }
    edit.commit(keys, lifetimes).await
}

/// Signs a new snapshot and timestamp, and with `all` everything below the root for which keys are available.
///
/// # Errors
/// Fails if a key is missing.
pub async fn refresh(
    folder: &Path,
    all: bool,
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<(), RegistryError> {
    let mut edit = Edit::open(folder)?;
    if all {
        edit.change_targets();
        let has = |id| keys.keys().iter().any(|key| key.key_id() == id);
        for name in edit.roles.keys().cloned().collect::<Vec<_>>() {
            let role = edit.delegation(&name)?;
            let count = role.keyids.iter().filter(|id| has((*id).clone())).count() as u64;
            if count >= role.threshold.get() {
                edit.change_role(&name);
            }
        }
    }
    edit.commit(keys, lifetimes).await
}

/// The current keys of a role or publisher.
#[derive(Debug, Clone, Copy)]
pub struct Holders {
    /// The number of keys.
    pub keys: usize,
    /// The number of keys that must sign.
    pub threshold: NonZeroU64,
}

/// Returns the current keys of a role or a publisher.
///
/// # Errors
/// Fails if there is no such publisher.
pub fn holders(folder: &Path, holder: &Holder) -> Result<Holders, RegistryError> {
    match holder {
        Holder::Role(role) => {
            let root: Signed<Root> = metadata::read(&folder.join("root.json"))?;
            let keys = root.signed.roles.get(role).expect("a root names all four roles");
            Ok(Holders { keys: keys.keyids.len(), threshold: keys.threshold })
        }
        Holder::Publisher(name) => {
            let edit = Edit::open(folder)?;
            let role = edit.delegation(name)?;
            Ok(Holders { keys: role.keyids.len(), threshold: role.threshold })
        }
    }
}
