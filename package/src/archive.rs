//! The archive of an extension, `NAME-VERSION-TARGET.tbx`: a tar in zstd that begins with a list of its files and their hashes.
//! There is one archive of a package and no other: what packs writes it byte for byte, what unpacks takes nothing else.

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

/// How an archive's file name ends, with the dot.
pub const EXTENSION: &str = ".tbx";
/// The target that this program was built for, and whose packages it takes.
pub const HOST_TARGET: &str = env!("TINYBASE_TARGET");
/// The first entry of an archive.
const INDEX_NAME: &str = "package.json";
/// The form of the archives that are written and read here.
const FORMAT: u32 = 1;
/// The longest path in an archive: what a header of the format ustar holds.
const PATH_BYTES_MAX: usize = 255;

/// What an archive may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest list of files, in bytes.
    pub index_bytes_max: u64,
    /// All files together, in bytes.
    pub unpacked_bytes_max: u64,
    /// The largest file, in bytes.
    pub file_bytes_max: u64,
    /// How many files.
    pub files_max: usize,
    /// How many times larger than the archive its files may be.
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

/// An archive that was unpacked.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// The extension's manifest.
    pub manifest: Manifest,
    /// The target that its library was built for.
    pub target: String,
    /// The hash of the unpacked package, as [`crate::unpacked::Package`] says it.
    pub hash: String,
    /// SHA-256 of the archive, in hex.
    pub archive_sha256: String,
    /// The length of all files together, in bytes.
    pub bytes: u64,
}

/// Why an archive is refused, or cannot be written.
#[derive(Debug)]
pub struct ArchiveError {
    /// What kind of fault it is.
    pub fault: Fault,
    /// What happened, where, and what to do about it.
    pub words: String,
    /// What the disk said, where the fault is the disk's.
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

    /// A stable code.
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

/// The file name of a package's archive.
pub fn file_name(name: &str, version: &Version, target: &str) -> String {
    format!("{name}-{version}-{target}{EXTENSION}")
}

/// Whether this host can load a library that was built for `target`.
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

/// Whether this is written like a target: `x86_64-unknown-linux-gnu`.
pub fn is_target(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
    };
    text.len() <= 64 && text.contains('-') && text.split('-').all(is_part)
}

/// The list of an archive's files, its first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    name: String,
    version: Version,
    target: String,
    files: Vec<Listed>,
}

/// One file in that list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    path: String,
    bytes: u64,
    sha256: String,
}

#[cfg(test)]
mod tests;
