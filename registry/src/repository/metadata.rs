//! Metadata files: reading, hashing, and writing with sorted keys, so that changes are easy to review. It signs
//! nothing.

use std::{collections::HashMap, fs, io::Write, num::NonZeroU64, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tough::schema::{Hashes, Metafile, Signed};

use crate::error::{Code, RegistryError};

/// The version of the TUF specification named in metadata.
pub(super) const SPEC_VERSION: &str = "1.0.0";

/// Reads a metadata file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Signed<T>, RegistryError> {
    let json = fs::read(path).map_err(RegistryError::io(path))?;
    serde_json::from_slice(&json)
        .map_err(|error| RegistryError::new(Code::MetadataInvalid, format!("{}: {error}", path.display())))
}

/// Serializes metadata to the bytes of its file.
pub(super) fn to_bytes(metadata: &impl Serialize) -> Vec<u8> {
    let mut value = serde_json::to_value(metadata).expect("metadata is JSON");
    value.sort_all_objects();
    let mut bytes = serde_json::to_vec_pretty(&value).expect("JSON can be written");
    bytes.push(b'\n');
    bytes
}

/// Returns the description of a metadata file for other metadata.
pub(super) fn metafile(bytes: &[u8], version: NonZeroU64) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(Hashes { sha256: Sha256::digest(bytes).to_vec().into(), _extra: HashMap::new() }),
        version,
        _extra: HashMap::new(),
    }
}

/// Returns when metadata that is signed now expires, in whole seconds as in metadata.
pub(super) fn expires(lifetime: SignedDuration) -> Result<Timestamp, RegistryError> {
    let now = Timestamp::from_second(Timestamp::now().as_second()).expect("this second is a time");
    now.checked_add(lifetime).map_err(|error| {
        RegistryError::new(Code::MetadataInvalid, format!("the lifetime is too long: {error}"))
    })
}

/// Returns the version after this one.
pub(super) fn next(version: NonZeroU64) -> NonZeroU64 {
    version.checked_add(1).expect("nobody signs 2^64 versions")
}

/// Writes a file atomically: a reader sees either the old or the new one.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RegistryError> {
    let folder = path.parent().expect("a file is in a folder");
    let fault = || RegistryError::io(path);
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder).map_err(fault())?;
    file.write_all(bytes).map_err(fault())?;
    // Files of a registry are public: the web server may run as another user.
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(rights).and_then(|()| file.as_file().sync_all()).map_err(fault())?;
    file.persist(path).map_err(|error| fault()(error.error))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault())
}
