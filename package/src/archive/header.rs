//! The header of an entry: writes the canonical header, and checks that a header is the canonical one. It
//! interprets other headers only as far as needed for an error message.

use tar::{EntryType, Header};

use super::{ArchiveError, Fault, PATH_BYTES_MAX};

/// The size of a tar's blocks, in bytes.
pub(super) const BLOCK_BYTES: usize = 512;
/// The permissions of every entry.
const MODE: u32 = 0o644;

/// Returns the only valid header of a file with this path and length.
pub(super) fn canonical(path: &str, bytes: u64) -> Result<Header, ArchiveError> {
    let mut header = Header::new_ustar();
    let fits = path.len() <= PATH_BYTES_MAX && header.set_path(path).is_ok();
    if !fits {
        let words =
            format!("{path}: the path is too long for an archive; {PATH_BYTES_MAX} bytes are possible");
        return Err(ArchiveError::new(Fault::PathOdd, words));
    }
    header.set_entry_type(EntryType::Regular);
    header.set_mode(MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(bytes);
    header.set_cksum();
    Ok(header)
}

/// Returns the number of padding bytes after content of this size.
pub(super) fn padding(bytes: u64) -> usize {
    let block = BLOCK_BYTES as u64;
    usize::try_from((block - bytes % block) % block).expect("padding is shorter than a block")
}

/// Returns the path and the length of the file that a header describes.
pub(super) fn read(block: &[u8; BLOCK_BYTES]) -> Result<(String, u64), ArchiveError> {
    let header = Header::from_byte_slice(block);
    if header.as_ustar().is_none() && header.as_gnu().is_none() {
        return Err(ArchiveError::new(Fault::NotTar, "what the archive holds is no tar"));
    }
    let path = String::from_utf8(header.path_bytes().into_owned());
    let path = path.map_err(|error| {
        let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
        ArchiveError::new(Fault::PathOdd, format!("{shown:?}: a path in the archive is not UTF-8"))
    })?;
    check_kind(header.entry_type(), &path)?;
    check_path(&path)?;
    let odd =
        || ArchiveError::new(Fault::HeaderOdd, format!("{path}: its header is not as a package has it"));
    let bytes = header.entry_size().map_err(|_| odd())?;
    if canonical(&path, bytes)?.as_bytes() != block {
        return Err(odd());
    }
    Ok((path, bytes))
}

fn check_kind(kind: EntryType, path: &str) -> Result<(), ArchiveError> {
    let (fault, what) = match kind {
        EntryType::Regular => return Ok(()),
        EntryType::Link | EntryType::Symlink => (Fault::Link, "a link"),
        EntryType::Char | EntryType::Block => (Fault::Device, "a device"),
        EntryType::Fifo => (Fault::Fifo, "a pipe"),
        EntryType::Directory => (Fault::Folder, "a folder"),
        _ => (Fault::Kind, "no plain file"),
    };
    Err(ArchiveError::new(fault, format!("{path}: it is {what}; a package holds plain files alone")))
}

/// Checks that a path is relative, stays inside its folder, and is written in its only valid form.
pub(super) fn check_path(path: &str) -> Result<(), ArchiveError> {
    let refuse = |fault, what: &str| Err(ArchiveError::new(fault, format!("{path:?}: {what}")));
    if path.starts_with('/') {
        return refuse(Fault::PathAbsolute, "a path in a package is relative");
    }
    if path.split('/').any(|part| part == "..") {
        return refuse(Fault::PathTraversal, "a path in a package does not lead out of it");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return refuse(Fault::PathOdd, "a path in a package has no empty part and no \".\"");
    }
    if path.chars().any(|character| character == '\\' || character.is_control()) {
        return refuse(Fault::PathOdd, "a path in a package has no backslash and no control character");
    }
    Ok(())
}
