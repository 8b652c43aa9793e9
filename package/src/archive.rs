//! The archive of an extension, `NAME-VERSION-TARGET.tbx`: a zstd-compressed tar that begins with a list of its files
//! and their hashes. Each package has exactly one valid archive: packing writes it byte for byte, and unpacking accepts
//! nothing else.

use std::{fmt, io, path::Path};

use semver::Version;
use serde::{Deserialize, Serialize};

mod fault;
mod header;
mod index;
mod pack;
mod unpack;

pub use fault::Fault;
pub use pack::pack;
pub use unpack::unpack;

use crate::manifest::Manifest;

/// The extension of an archive's file name, with the dot.
pub const EXTENSION: &str = ".tbx";
/// The target that this program was built for. It accepts only packages for this target.
pub const HOST_TARGET: &str = env!("TINYBASE_TARGET");
/// The first entry of an archive.
const INDEX_NAME: &str = "package.json";
/// The version of the archive format that this code writes and reads.
const FORMAT: u32 = 1;
/// The longest path in an archive, limited by the ustar header.
const PATH_BYTES_MAX: usize = 255;

/// The limits of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The maximum size of the list of files, in bytes.
    pub index_bytes_max: u64,
    /// The maximum size of all files together, in bytes.
    pub unpacked_bytes_max: u64,
    /// The maximum size of a file, in bytes.
    pub file_bytes_max: u64,
    /// The maximum number of files.
    pub files_max: usize,
    /// The maximum ratio of the size of all files to the size of the archive.
    pub ratio_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            index_bytes_max: 1 << 20,
            unpacked_bytes_max: 1 << 30,
            file_bytes_max: 512 << 20,
            files_max: 4096,
            ratio_max: 200,
        }
    }
}

/// An unpacked archive.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The extension's manifest.
    pub manifest: Manifest,
    /// The target that its library was built for.
    pub target: String,
    /// The hash of the unpacked package, as computed by [`crate::unpacked::Package`].
    pub hash: String,
    /// SHA-256 of the archive, in hex.
    pub archive_sha256: String,
    /// The size of all files together, in bytes.
    pub bytes: u64,
}

/// The reason why an archive was rejected or could not be written.
#[derive(Debug)]
pub struct ArchiveError {
    /// The kind of error.
    pub fault: Fault,
    /// What happened, where, and what to do about it.
    pub words: String,
    /// The I/O error, if it was caused by the disk.
    pub source: Option<io::Error>,
}

impl ArchiveError {
    fn new(fault: Fault, words: impl Into<String>) -> ArchiveError {
        ArchiveError { fault, words: words.into(), source: None }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
        let path = path.display().to_string();
        move |error| ArchiveError { fault: Fault::Io, words: format!("{path}: {error}"), source: Some(error) }
    }

    /// Returns the stable code of the error.
    pub fn code(&self) -> &'static str {
        self.fault.code()
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words)
    }
}

impl std::error::Error for ArchiveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

/// Returns the file name of a package's archive.
pub fn file_name(name: &str, version: &Version, target: &str) -> String {
    format!("{name}-{version}-{target}{EXTENSION}")
}

/// Checks that this host can load a library built for `target`.
///
/// # Errors
/// [`Fault::Target`] with both targets.
pub fn check_target(target: &str) -> Result<(), ArchiveError> {
    if target == HOST_TARGET {
        return Ok(());
    }
    let words =
        format!("the package is for {target}, and this host is {HOST_TARGET}: get the one for {HOST_TARGET}");
    Err(ArchiveError::new(Fault::Target, words))
}

/// Returns whether a text has the form of a target: `x86_64-unknown-linux-gnu`.
pub fn is_target(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    };
    text.len() <= 64 && text.contains('-') && text.split('-').all(is_part)
}

/// The list of an archive's files, stored as its first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    name: String,
    version: Version,
    target: String,
    files: Vec<Listed>,
}

/// A file in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    path: String,
    bytes: u64,
    sha256: String,
}

#[cfg(test)]
mod tests;
