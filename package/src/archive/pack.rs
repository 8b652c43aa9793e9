//! Packs a folder into its archive. The same files always give the same bytes: no time, owner, permissions or directory
//! order are written.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{ArchiveError, FORMAT, Fault, INDEX_NAME, Index, Listed, file_name, header, is_target};
use crate::unpacked::{Package, hex};

/// Part of the format: another level produces other bytes.
const ZSTD_LEVEL: i32 = 9;
/// The two empty blocks at the end of a tar.
pub(super) const END_BYTES: usize = 2 * header::BLOCK_BYTES;
const CHUNK_BYTES: usize = 64 << 10;

/// Packs the extension in `folder`, whose library was built for `target`, into a file in `out_dir`. Returns that file.
///
/// # Errors
/// Fails if the folder is not an extension or contains files that are not regular, and on I/O errors.
pub fn pack(folder: &Path, target: &str, out_dir: &Path) -> Result<PathBuf, ArchiveError> {
    let package =
        Package::read(folder).map_err(|error| ArchiveError::new(Fault::Package, error.to_string()))?;
    if !is_target(target) {
        let words = format!("{target:?} is no target such as x86_64-unknown-linux-gnu");
        return Err(ArchiveError::new(Fault::Target, words));
    }
    let index = list(&package, target)?;
    let name = file_name(&index.name, &index.version, target);
    let (path, partial) = (out_dir.join(&name), out_dir.join(format!(".{name}.{}", std::process::id())));
    let written = write(&package.folder, &index, &partial)
        .and_then(|()| fs::rename(&partial, &path).map_err(ArchiveError::io(&path)));
    match written {
        Ok(()) => Ok(path),
        Err(error) => {
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

fn list(package: &Package, target: &str) -> Result<Index, ArchiveError> {
    let mut files = Vec::new();
    let found = package.files().map_err(|error| ArchiveError::new(Fault::Package, error.to_string()))?;
    for file in found {
        let path = package.folder.join(&file);
        let metadata = fs::symlink_metadata(&path).map_err(ArchiveError::io(&path))?;
        if !metadata.is_file() {
            let words = format!("{}: it is no plain file; a package holds plain files alone", path.display());
            return Err(ArchiveError::new(Fault::Kind, words));
        }
        let name = file.to_str().expect("a package's files are named in UTF-8").to_owned();
        header::check_path(&name)?;
        let (bytes, sha256) = copy(&path, &mut io::sink())?;
        files.push(Listed { path: name, bytes, sha256 });
    }
    let manifest = &package.manifest;
    Ok(Index {
        format: FORMAT,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        target: target.to_owned(),
        files,
    })
}

fn write(folder: &Path, index: &Index, path: &Path) -> Result<(), ArchiveError> {
    let fault = || ArchiveError::io(path);
    let json = index.to_json();
    let padded = |bytes: u64| header::BLOCK_BYTES as u64 + bytes + header::padding(bytes) as u64;
    let entries = index.files.iter().map(|file| padded(file.bytes)).sum::<u64>();
    let mut out = encoder(path, padded(json.len() as u64) + entries + END_BYTES as u64)?;
    let head = header::canonical(INDEX_NAME, json.len() as u64)?;
    out.write_all(head.as_bytes()).and_then(|()| out.write_all(&json)).map_err(fault())?;
    pad(&mut out, json.len() as u64).map_err(fault())?;
    for file in &index.files {
        let head = header::canonical(&file.path, file.bytes)?;
        out.write_all(head.as_bytes()).map_err(fault())?;
        let (bytes, sha256) = copy(&folder.join(&file.path), &mut out)?;
        if (bytes, &sha256) != (file.bytes, &file.sha256) {
            let words = format!("{}: it changed while it was packed; pack it again", file.path);
            return Err(ArchiveError::new(Fault::Hash, words));
        }
        pad(&mut out, bytes).map_err(fault())?;
    }
    out.write_all(&[0; END_BYTES]).map_err(fault())?;
    let file = out.finish().map_err(fault())?;
    file.sync_all().map_err(fault())
}

fn encoder(path: &Path, bytes: u64) -> Result<zstd::Encoder<'static, File>, ArchiveError> {
    let file = File::create(path).map_err(ArchiveError::io(path))?;
    let build = || {
        let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(bytes))?;
        Ok(encoder)
    };
    build().map_err(ArchiveError::io(path))
}

fn pad(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    out.write_all(&[0; header::BLOCK_BYTES][..header::padding(bytes)])
}

/// Copies a file. Returns its length and its SHA-256 in hex.
fn copy(path: &Path, out: &mut impl Write) -> Result<(u64, String), ArchiveError> {
    let mut file = File::open(path).map_err(ArchiveError::io(path))?;
    let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK_BYTES]);
    loop {
        let count = file.read(&mut chunk).map_err(ArchiveError::io(path))?;
        if count == 0 {
            return Ok((bytes, hex(&hash.finalize())));
        }
        hash.update(&chunk[..count]);
        out.write_all(&chunk[..count]).map_err(ArchiveError::io(path))?;
        bytes += count as u64;
    }
}
