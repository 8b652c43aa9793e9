//! Unpacks an archive into a new folder, as a stream. A rejected archive leaves nothing behind, and every path, kind,
//! length and hash is checked.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use sha2::{Digest, Sha256};

use super::{ArchiveError, Fault, INDEX_NAME, Index, Limits, Listed, Unpacked, header, header::BLOCK_BYTES};
use crate::unpacked::{Package, hex};

/// The magic number of a zstd frame. Older zstd formats have others and are rejected.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The maximum window that a decoder keeps in memory: 2^23 bytes.
const WINDOW_LOG_MAX: u32 = 23;
const CHUNK_BYTES: usize = 64 << 10;

/// Unpacks an archive into `folder`, which must not exist yet.
///
/// # Errors
/// [`Fault`] lists the reasons for which an archive is rejected. The folder is deleted then.
pub fn unpack(archive: &Path, folder: &Path, limits: &Limits) -> Result<Unpacked, ArchiveError> {
    let file = File::open(archive).map_err(ArchiveError::io(archive))?;
    let archive_bytes = file.metadata().map_err(ArchiveError::io(archive))?.len();
    let mut source = Source::open(archive, file)?;
    let staged = Staged::make(folder)?;
    let index = source.read_index(archive_bytes, limits)?;
    for (position, listed) in index.files.iter().enumerate() {
        source.unpack_file(&index, position, listed, folder)?;
    }
    source.finish(&index)?;
    let package = check_package(&index, folder)?;
    sync_folders(&index, folder)?;
    let archive_sha256 = source.sha256();
    staged.keep();
    Ok(Unpacked {
        manifest: package.manifest,
        target: index.target.clone(),
        hash: package.hash,
        archive_sha256,
        bytes: index.bytes(),
    })
}

/// A folder that is deleted unless it is kept.
struct Staged<'a>(Option<&'a Path>);

impl<'a> Staged<'a> {
    fn make(folder: &'a Path) -> Result<Staged<'a>, ArchiveError> {
        match fs::create_dir(folder) {
            Ok(()) => Ok(Staged(Some(folder))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let words = format!(
                    "{}: it is there already; a package is unpacked into a new folder",
                    folder.display()
                );
                Err(ArchiveError::new(Fault::FolderExists, words))
            }
            Err(error) => Err(ArchiveError::io(folder)(error)),
        }
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(folder) = self.0 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A file whose bytes are hashed while they are read.
struct Hashed {
    file: File,
    hash: Rc<RefCell<Sha256>>,
}

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.hash.borrow_mut().update(&into[..count]);
        Ok(count)
    }
}

/// An archive that is read from start to end.
struct Source {
    path: PathBuf,
    decoder: zstd::Decoder<'static, BufReader<Hashed>>,
    hash: Rc<RefCell<Sha256>>,
    chunk: Vec<u8>,
}

impl Source {
    fn open(path: &Path, file: File) -> Result<Source, ArchiveError> {
        let hash = Rc::new(RefCell::new(Sha256::new()));
        let mut reader = BufReader::with_capacity(CHUNK_BYTES, Hashed { file, hash: hash.clone() });
        let start = io::BufRead::fill_buf(&mut reader).map_err(ArchiveError::io(path))?;
        if !start.starts_with(&MAGIC) {
            let words =
                format!("{}: it is no package: it does not begin as a zstd file does", path.display());
            return Err(ArchiveError::new(Fault::NotZstd, words));
        }
        let build = || {
            let mut decoder = zstd::Decoder::with_buffer(reader)?.single_frame();
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Ok(decoder)
        };
        let decoder = build().map_err(ArchiveError::io(path))?;
        Ok(Source { path: path.to_owned(), decoder, hash, chunk: vec![0; CHUNK_BYTES] })
    }

    /// Fills `into` with decompressed bytes.
    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), ArchiveError> {
        let result = self.decoder.read_exact(into);
        result.map_err(|error| self.fault(error))
    }

    fn fault(&self, error: io::Error) -> ArchiveError {
        let path = self.path.display();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let words = format!("{path}: the package ends too early; fetch it again");
            return ArchiveError::new(Fault::Truncated, words);
        }
        if error.raw_os_error().is_some() {
            return ArchiveError::io(&self.path)(error);
        }
        ArchiveError::new(Fault::Damaged, format!("{path}: the package is damaged: {error}; fetch it again"))
    }

    /// Reads the next header: path and length; `None` at the end of the tar.
    fn header(&mut self) -> Result<Option<(String, u64)>, ArchiveError> {
        let mut block = [0; BLOCK_BYTES];
        self.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        header::read(&block).map(Some)
    }

    fn padding(&mut self, path: &str, bytes: u64) -> Result<(), ArchiveError> {
        let mut padding = vec![0; header::padding(bytes)];
        self.read_exact(&mut padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            let words = format!("{path}: there are bytes behind it that belong to no file");
            return Err(ArchiveError::new(Fault::HeaderOdd, words));
        }
        Ok(())
    }

    fn read_index(&mut self, archive_bytes: u64, limits: &Limits) -> Result<Index, ArchiveError> {
        let bytes = match self.header()? {
            Some((path, bytes)) if path == INDEX_NAME => bytes,
            _ => {
                let words = format!("the package does not begin with {INDEX_NAME}, the list of its files");
                return Err(ArchiveError::new(Fault::IndexMissing, words));
            }
        };
        if bytes > limits.index_bytes_max {
            let words =
                format!("{INDEX_NAME}: it is of {bytes} bytes; {} are allowed", limits.index_bytes_max);
            return Err(ArchiveError::new(Fault::FileTooLarge, words));
        }
        let mut json = vec![0; usize::try_from(bytes).expect("the limit of the list fits into memory")];
        self.read_exact(&mut json)?;
        self.padding(INDEX_NAME, bytes)?;
        Index::read(&json, archive_bytes, limits)
    }

    /// Unpacks the file at `position` in the list.
    fn unpack_file(
        &mut self,
        index: &Index,
        position: usize,
        listed: &Listed,
        folder: &Path,
    ) -> Result<(), ArchiveError> {
        let found = self.header()?;
        check_next(index, position, found.as_ref())?;
        let to = folder.join(&listed.path);
        let parent = to.parent().expect("a file is in a folder");
        fs::create_dir_all(parent).map_err(ArchiveError::io(parent))?;
        let mut file = File::create_new(&to).map_err(ArchiveError::io(&to))?;
        let (mut hash, mut rest) = (Sha256::new(), listed.bytes);
        while rest > 0 {
            let count = self.chunk.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let result = self.decoder.read_exact(&mut self.chunk[..count]);
            result.map_err(|error| self.fault(error))?;
            hash.update(&self.chunk[..count]);
            file.write_all(&self.chunk[..count]).map_err(ArchiveError::io(&to))?;
            rest -= count as u64;
        }
        if hex(&hash.finalize()) != listed.sha256 {
            let words = format!("{}: its content is not what the package's list says", listed.path);
            return Err(ArchiveError::new(Fault::Hash, words));
        }
        file.sync_all().map_err(ArchiveError::io(&to))?;
        self.padding(&listed.path, listed.bytes)
    }

    /// Reads to the end of the archive, and rejects anything after it.
    fn finish(&mut self, index: &Index) -> Result<(), ArchiveError> {
        if let Some(found) = self.header()? {
            check_next(index, index.files.len(), Some(&found))?;
        }
        let mut block = [0; BLOCK_BYTES];
        self.read_exact(&mut block)?;
        let trailing = || {
            let words = format!("{}: there are bytes behind the end of the package", self.path.display());
            ArchiveError::new(Fault::TrailingBytes, words)
        };
        if block.iter().any(|byte| *byte != 0) {
            return Err(trailing());
        }
        // Reading one more byte makes the decoder read the end of the frame, with its checksum.
        let more = self.decoder.read(&mut block[..1]).map_err(|error| self.fault(error))?;
        let behind = io::BufRead::fill_buf(self.decoder.get_mut()).map_err(ArchiveError::io(&self.path))?;
        if more > 0 || !behind.is_empty() {
            return Err(trailing());
        }
        Ok(())
    }

    /// Returns the hash of the bytes read so far, which is all of them after [`Source::finish`].
    fn sha256(&self) -> String {
        hex(&self.hash.borrow().clone().finalize())
    }
}

/// Checks that an entry is the one at `position` in the list.
fn check_next(index: &Index, position: usize, found: Option<&(String, u64)>) -> Result<(), ArchiveError> {
    let expected = index.files.get(position);
    let Some((path, bytes)) = found else {
        return match expected {
            Some(file) => Err(missing(file)),
            None => Ok(()),
        };
    };
    if path == INDEX_NAME || index.files[..position].iter().any(|file| file.path == *path) {
        let words = format!("{path}: it is in the package twice");
        return Err(ArchiveError::new(Fault::Duplicate, words));
    }
    match expected {
        Some(file) if file.path == *path && file.bytes == *bytes => Ok(()),
        Some(file) if file.path == *path => {
            let words = format!("{path}: it is of {bytes} bytes; the package's list says {}", file.bytes);
            Err(ArchiveError::new(Fault::Length, words))
        }
        Some(file) if index.lists(path) => Err(missing(file)),
        _ => {
            let words = format!("{path}: it is not in the package's list of files");
            Err(ArchiveError::new(Fault::Unlisted, words))
        }
    }
}

fn missing(file: &Listed) -> ArchiveError {
    let words = format!("{}: the package's list has it, and it is missing at its place", file.path);
    ArchiveError::new(Fault::Missing, words)
}

/// Checks that the unpacked files are the extension in the list, without any other files.
fn check_package(index: &Index, folder: &Path) -> Result<Package, ArchiveError> {
    let invalid = |error: crate::unpacked::PackageError| ArchiveError::new(Fault::Package, error.to_string());
    let manifest = crate::manifest::Manifest::read(folder)
        .map_err(|error| ArchiveError::new(Fault::Package, error.to_string()))?;
    if (&manifest.name, &manifest.version) != (&index.name, &index.version) {
        let words = format!(
            "the package says that it is {} {}, and its manifest {} {}",
            index.name, index.version, manifest.name, manifest.version
        );
        return Err(ArchiveError::new(Fault::Manifest, words));
    }
    let library = manifest.library_file();
    if !index.lists(&library) {
        return Err(ArchiveError::new(Fault::Missing, format!("{library}: the package has no library")));
    }
    let package = Package::read(folder).map_err(invalid)?;
    let files = package.files().map_err(invalid)?;
    if let Some(file) = index.files.iter().find(|file| !files.contains(&PathBuf::from(&file.path))) {
        let words = format!("{}: it is no file that an extension has; nothing would ever read it", file.path);
        return Err(ArchiveError::new(Fault::Foreign, words));
    }
    if !files.iter().map(PathBuf::as_path).eq(index.files.iter().map(|file| Path::new(&file.path))) {
        let words = format!("{INDEX_NAME}: the files are not in the order that a packer writes");
        return Err(ArchiveError::new(Fault::IndexInvalid, words));
    }
    Ok(package)
}

/// Syncs every folder that contains a file, so that the names are on disk as well.
fn sync_folders(index: &Index, folder: &Path) -> Result<(), ArchiveError> {
    let mut folders = std::collections::BTreeSet::from([PathBuf::new()]);
    for file in &index.files {
        folders.extend(Path::new(&file.path).ancestors().skip(1).map(Path::to_owned));
    }
    for name in folders {
        let path = folder.join(name);
        File::open(&path).and_then(|open| open.sync_all()).map_err(ArchiveError::io(&path))?;
    }
    Ok(())
}
