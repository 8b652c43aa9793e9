//! Publishing in two steps: a publisher signs a proposal with their own keys, and the registry's operator accepts it
//! with the registry's keys. Neither can do the other's step.

use std::{
    fs,
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tinybase_package::unpacked::hex;
use tough::{
    TargetName,
    schema::{
        Signed, Target, Targets,
        key::{Ed25519Key, Ed25519Scheme, Key},
    },
};

use super::{
    Lifetimes,
    changes::{decode_hex, read_archive, target_name},
    edit::{Edit, Placed},
    keys::{KeyFile, Keyring},
    metadata,
};
use crate::error::{Code, RegistryError};

/// The file with the publisher's signed role.
const ROLE_NAME: &str = "role.json";
/// The file with the proposer.
const PROPOSER_NAME: &str = "proposal.json";

/// The publisher that proposes, and its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposer {
    /// The publisher.
    pub publisher: String,
    /// The public keys that it signs with, in hex.
    pub keys: Vec<String>,
}

impl Proposer {
    /// Reads the proposer of a proposal. It is unverified: before the operator accepts a new publisher, they must
    /// confirm the keys with its owner.
    ///
    /// # Errors
    /// Fails if there is no proposal.
    pub fn read(folder: &Path) -> Result<Proposer, RegistryError> {
        let path = folder.join(PROPOSER_NAME);
        let json = fs::read(&path).map_err(RegistryError::io(&path))?;
        serde_json::from_slice(&json)
            .map_err(|error| RegistryError::not_publishable(format!("{}: {error}", path.display())))
    }

    /// Returns the ids of the keys, as shown to their owner when they were created.
    ///
    /// # Errors
    /// Fails if one is not a valid key.
    pub fn key_ids(&self) -> Result<Vec<String>, RegistryError> {
        let id = |key: &Key| hex(&key.key_id().expect("a key has a canonical form"));
        Ok(self.tuf_keys()?.iter().map(id).collect())
    }

    pub(super) fn tuf_keys(&self) -> Result<Vec<Key>, RegistryError> {
        let key = |public: &String| {
            let bytes = decode_hex(public);
            if bytes.len() != 32 || hex(&bytes) != *public {
                let words = format!("{public:?} is no public key of Ed25519 in hex");
                return Err(RegistryError::new(Code::Key, words));
            }
            Ok(Key::Ed25519 {
                keyval: Ed25519Key { public: bytes.into(), _extra: Default::default() },
                scheme: Ed25519Scheme::Ed25519,
                _extra: Default::default(),
            })
        };
        self.keys.iter().map(key).collect()
    }
}

/// Does the publisher's step: adds packages to the publisher's role in a copy of the registry, or starts a new role
/// without a copy, and signs it. Creates the folder `out`, which is all that the operator needs.
///
/// # Errors
/// Fails if a package is rejected or its version was published with other content.
pub fn propose(
    out: &Path,
    publisher: &str,
    copy: Option<&Path>,
    archives: &[PathBuf],
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<(), RegistryError> {
    let mut role = match copy {
        Some(copy) => {
            let edit = Edit::open(copy)?;
            edit.delegation(publisher)?;
            let mut role = edit.roles.get(publisher).expect("each delegation has its role").clone();
            role.version = metadata::next(role.version);
            role
        }
        None => Targets::new(metadata::SPEC_VERSION.to_owned(), NonZeroU64::MIN, Timestamp::now()),
    };
    fs::create_dir(out).map_err(RegistryError::io(out))?;
    for path in archives {
        let (listing, target) = read_archive(path)?;
        let (file, to) = (target_name(&listing)?, out.join(listing.file_name()));
        if role.targets.get(&file).is_some_and(|there| there.hashes != target.hashes) {
            return Err(changed(&file));
        }
        role.targets.insert(file, target);
        fs::copy(path, &to).map_err(RegistryError::io(&to))?;
    }
    role.expires = metadata::expires(lifetimes.publisher)?;
    let ids: Vec<_> = keys.keys().iter().map(KeyFile::key_id).collect();
    let signed = keys.sign(role, "a proposal", &ids, 1)?;
    let public = keys.keys().iter().map(|key| key.public.clone()).collect();
    let proposer = Proposer { publisher: publisher.to_owned(), keys: public };
    metadata::write(&out.join(PROPOSER_NAME), &metadata::to_bytes(&proposer))?;
    metadata::write(&out.join(ROLE_NAME), &metadata::to_bytes(&signed))
}

/// Adds the signatures of more keys of a publisher, which other people may hold.
///
/// # Errors
/// Fails if there is no proposal.
pub fn cosign(out: &Path, keys: &Keyring) -> Result<(), RegistryError> {
    let (mut proposer, path) = (Proposer::read(out)?, out.join(ROLE_NAME));
    let mut signed: Signed<Targets> = metadata::read(&path)?;
    let ids: Vec<_> = keys.keys().iter().map(KeyFile::key_id).collect();
    keys.sign_more(&mut signed, &ids)?;
    let further = keys.keys().iter().map(|key| key.public.clone());
    proposer.keys.extend(further.filter(|key| !proposer.keys.contains(key)).collect::<Vec<_>>());
    metadata::write(&out.join(PROPOSER_NAME), &metadata::to_bytes(&proposer))?;
    metadata::write(&path, &metadata::to_bytes(&signed))
}

/// Does the operator's step: accepts what a publisher signed. Returns the names of the new files.
///
/// # Errors
/// Fails if too few of the publisher's keys signed the proposal, if it is based on an older state, or if a package
/// differs from what was signed.
pub async fn accept(
    folder: &Path,
    proposal: &Path,
    keys: &Keyring,
    lifetimes: &Lifetimes,
) -> Result<Vec<String>, RegistryError> {
    let mut edit = Edit::open(folder)?;
    let publisher = Proposer::read(proposal)?.publisher;
    edit.delegation(&publisher)?;
    let new = take(&mut edit, &publisher, proposal)?;
    edit.commit(keys, lifetimes).await?;
    Ok(new)
}

/// Adds a proposal to a change, exactly as its publisher signed it.
pub(super) fn take(edit: &mut Edit, publisher: &str, proposal: &Path) -> Result<Vec<String>, RegistryError> {
    let signed: Signed<Targets> = metadata::read(&proposal.join(ROLE_NAME))?;
    let delegations = edit.targets.delegations.as_ref().expect("a publisher is delegated to");
    delegations.verify_role(&signed, publisher).map_err(|error| {
        let words = format!("the proposal is not signed by enough keys of {publisher}: {error}");
        RegistryError::new(Code::SignatureInvalid, words)
    })?;
    let next = edit.next_version(&format!("{publisher}.json"));
    if signed.signed.version != next {
        let words = format!(
            "the proposal is version {} of what {publisher} publishes, and {next} is next: make it of a copy of today",
            signed.signed.version
        );
        return Err(RegistryError::not_publishable(words));
    }
    let known = edit.roles.get(publisher).map(|role| role.targets.clone()).unwrap_or_default();
    for (name, target) in &known {
        if signed.signed.targets.get(name).is_none_or(|there| there.hashes != target.hashes) {
            return Err(changed(name));
        }
    }
    let mut new = Vec::new();
    for (name, target) in signed.signed.targets.iter().filter(|(name, _)| !known.contains_key(name)) {
        let path = proposal.join(name.raw());
        check_archive(&path, name, target)?;
        edit.place(format!("{}.{}", hex(&target.hashes.sha256), name.raw()), Placed::Copy(path));
        new.push(name.raw().to_owned());
    }
    new.sort();
    edit.give_role(publisher, signed);
    Ok(new)
}

/// Checks that a package is what its publisher signed in the proposal.
fn check_archive(path: &Path, name: &TargetName, target: &Target) -> Result<(), RegistryError> {
    let (listing, found) = read_archive(path)?;
    let mut custom = found.custom.clone();
    if let (Some(signed), Some(found)) =
        (target.custom.get(crate::entry::CUSTOM_KEY), custom.get_mut(crate::entry::CUSTOM_KEY))
    {
        found["published_at"] = signed["published_at"].clone();
    }
    let is_same = target_name(&listing)? == *name
        && (found.length, &found.hashes, &custom) == (target.length, &target.hashes, &target.custom);
    if is_same {
        return Ok(());
    }
    let words = format!("{}: it is not what its publisher signed of it", name.raw());
    Err(RegistryError::new(Code::EntryDiffers, words))
}

fn changed(name: &TargetName) -> RegistryError {
    let words = format!("{} was published with other content; a version never changes: raise it", name.raw());
    RegistryError::not_publishable(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_hex_of_32_bytes_is_refused() {
        let proposal = |key: String| Proposer { publisher: "ada".to_owned(), keys: vec![key] };
        assert!(proposal("ab".repeat(32)).key_ids().is_ok());
        for bad in ["ab".repeat(31), "a".repeat(63), "a".repeat(65), "zz".repeat(32), String::new()] {
            assert!(proposal(bad.clone()).key_ids().is_err(), "{bad:?}");
        }
    }
}
