//! The file format of a backup: a zstd-compressed tar that begins with a description and ends with the hashes of all
//! files. A truncated or changed archive is detected. Links, devices and paths that leave their folder are refused.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::{
    error::{BackupError, io_error},
    parts::Part,
};

/// The archive format that this program writes and reads.
pub const FORMAT: u32 = 1;

const ABOUT: &str = "about.json";
const MANIFEST: &str = "manifest.json";

/// The zstd compression level.
const ZSTD_LEVEL: i32 = 3;

/// The size of the copy buffer in bytes.
const COPY_BYTES: usize = 64 << 10;

/// The largest `about.json` and `manifest.json` in bytes.
const JSON_BYTES_MAX: u64 = 256 << 20;

/// Describes a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The archive format.
    pub format: u32,
    /// The version of the program that made it.
    pub version: String,
    /// When it was made, RFC 3339 UTC.
    pub created_at: String,
    /// `sqlite` or `postgres`.
    pub engine: String,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The name in the archive.
    pub name: String,
    /// The length in bytes.
    pub bytes: u64,
    /// The SHA-256 in hex.
    pub sha256: String,
}

/// All files of a backup, in the order of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The files.
    pub files: Vec<Stored>,
}

/// Writes an archive.
pub(super) struct Writer<'a> {
    path: &'a Path,
    tar: Builder<zstd::Encoder<'static, BufWriter<File>>>,
    manifest: Manifest,
}

impl<'a> Writer<'a> {
    /// Starts the archive at `path`, which must not exist; only its owner may read it.
    pub(super) fn create(path: &'a Path, about: &About) -> Result<Writer<'a>, BackupError> {
        let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = created.map_err(io_error("created", path))?;
        let encoder =
            zstd::Encoder::new(BufWriter::new(file), ZSTD_LEVEL).map_err(io_error("written", path))?;
        let manifest = Manifest { files: Vec::new() };
        let mut writer = Writer { path, tar: Builder::new(encoder), manifest };
        writer.add_json(ABOUT, about)?;
        Ok(writer)
    }

    /// Adds one file under `name`. Returns false if it no longer exists.
    pub(super) fn add(&mut self, name: &str, source: &Path) -> Result<bool, BackupError> {
        let file = match File::open(source) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(io_error("read", source)(cause)),
        };
        let metadata = file.metadata().map_err(io_error("read", source))?;
        let bytes = metadata.len();
        let mut header = header(bytes, metadata.permissions().mode() & 0o777);
        let mut hashing = Hashing::new(BufReader::new(file).take(bytes));
        let added = self.tar.append_data(&mut header, name, &mut hashing);
        added.map_err(io_error("written", self.path))?;
        let (read, sha256) = hashing.finish();
        if read != bytes {
            let cause = io::Error::other("it became shorter meanwhile; try again");
            return Err(io_error("copied", source)(cause));
        }
        self.manifest.files.push(Stored { name: name.to_owned(), bytes, sha256 });
        Ok(true)
    }

    fn add_json(&mut self, name: &str, value: &impl Serialize) -> Result<(), BackupError> {
        let json = serde_json::to_vec_pretty(value).expect("what a backup tells of itself has text keys");
        let mut header = header(json.len() as u64, 0o600);
        self.tar.append_data(&mut header, name, &json[..]).map_err(io_error("written", self.path))
    }

    /// Completes the archive and syncs it to disk.
    pub(super) fn finish(mut self) -> Result<Manifest, BackupError> {
        let manifest = self.manifest.clone();
        self.add_json(MANIFEST, &manifest)?;
        let path = self.path;
        let written = (|| {
            let mut file = self.tar.into_inner()?.finish()?;
            file.flush()?;
            file.get_ref().sync_all()
        })();
        written.map_err(io_error("written", path))?;
        Ok(manifest)
    }
}

fn header(bytes: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

/// Reads the description from the archive at `path`.
pub fn about_of(path: &Path) -> Result<About, BackupError> {
    let mut archive = open(path)?;
    let mut entries = archive.entries().map_err(damaged(path))?;
    let mut first = entries.next().ok_or_else(|| not_whole(path, "it is empty"))?.map_err(damaged(path))?;
    if name_of(&first).as_deref() != Some(ABOUT) {
        return Err(not_whole(path, "it does not begin as a backup does"));
    }
    let about: About = json_of(path, &mut first)?;
    if about.format != FORMAT {
        let problem = format!("its form is {}, and this program reads {FORMAT}", about.format);
        return Err(not_whole(path, &problem));
    }
    Ok(about)
}

/// Passes each file of the archive to `take`, with its name and mode, and verifies all of them against the hashes at
/// the end.
pub(super) fn read(
    path: &Path,
    mut take: impl FnMut(&str, u32, &mut dyn Read) -> Result<(), BackupError>,
) -> Result<Manifest, BackupError> {
    let mut archive = open(path)?;
    let (mut seen, mut manifest) = (Vec::new(), None);
    for (place, entry) in archive.entries().map_err(damaged(path))?.enumerate() {
        let mut entry = entry.map_err(damaged(path))?;
        let name = name_of(&entry).ok_or_else(|| not_whole(path, "it holds what no backup holds"))?;
        match name.as_str() {
            _ if manifest.is_some() => return Err(not_whole(path, "something comes behind its end")),
            ABOUT if place == 0 => {}
            MANIFEST => manifest = Some(json_of::<Manifest>(path, &mut entry)?),
            _ if Part::of_entry(&name).is_none() => {
                return Err(not_whole(path, &format!("it holds {name}, which no backup holds")));
            }
            _ => {
                let mode = entry.header().mode().map_err(damaged(path))? & 0o777;
                let mut hashing = Hashing::new(entry);
                take(&name, mode, &mut hashing)?;
                io::copy(&mut hashing, &mut io::sink()).map_err(damaged(path))?;
                let (bytes, sha256) = hashing.finish();
                seen.push(Stored { name, bytes, sha256 });
            }
        }
    }
    let manifest = manifest.ok_or_else(|| not_whole(path, "it is cut off"))?;
    if manifest.files != seen {
        let differs = manifest.files.iter().zip(&seen).find(|(told, found)| told != found);
        let name = differs.map_or("a file", |(told, _)| told.name.as_str());
        return Err(not_whole(path, &format!("{name} is not what was stored")));
    }
    Ok(manifest)
}

type Reading = Archive<zstd::Decoder<'static, BufReader<File>>>;

fn open(path: &Path) -> Result<Reading, BackupError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let decoder = zstd::Decoder::new(file).map_err(damaged(path))?;
    Ok(Archive::new(decoder))
}

/// Returns the name of a plain file that stays within its folder.
fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> Option<String> {
    if entry.header().entry_type() != EntryType::Regular {
        return None;
    }
    let name = String::from_utf8(entry.path_bytes().into_owned()).ok()?;
    let is_plain = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && !name.is_empty() && !name.ends_with('/') && !name.contains("//")).then_some(name)
}

fn json_of<T: for<'de> Deserialize<'de>>(path: &Path, entry: &mut impl Read) -> Result<T, BackupError> {
    let mut json = Vec::new();
    entry.take(JSON_BYTES_MAX).read_to_end(&mut json).map_err(damaged(path))?;
    serde_json::from_slice(&json).map_err(|error| not_whole(path, &error.to_string()))
}

fn not_whole(path: &Path, problem: &str) -> BackupError {
    BackupError::Damaged { path: path.to_owned(), problem: problem.to_owned() }
}

/// Copies `content` from the archive at `path` into `file` at `target`. An error names the file that failed.
pub(super) fn copy_out(
    path: &Path,
    content: &mut dyn Read,
    file: &mut File,
    target: &Path,
) -> Result<(), BackupError> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = content.read(&mut buffer).map_err(damaged(path))?;
        if read == 0 {
            return file.sync_all().map_err(io_error("written", target));
        }
        file.write_all(&buffer[..read]).map_err(io_error("written", target))?;
    }
}

fn damaged(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |cause| not_whole(path, &cause.to_string())
}

/// A reader that counts and hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hasher: Sha256::new(), bytes: 0 }
    }

    fn finish(self) -> (u64, String) {
        (self.bytes, tinybase_package::unpacked::hex(&self.hasher.finalize()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About { format: FORMAT, version: "0".into(), created_at: "now".into(), engine: "sqlite".into() }
    }

    fn archive(folder: &Path) -> std::path::PathBuf {
        let (path, source) = (folder.join("a.tar.zst"), folder.join("source"));
        fs::write(&source, "secret").unwrap();
        let mut writer = Writer::create(&path, &about()).unwrap();
        assert!(writer.add("tinybase.toml", &source).unwrap());
        assert!(writer.add("state/keys/secret.key", &source).unwrap());
        assert!(!writer.add("state/gone", &folder.join("gone")).unwrap());
        writer.finish().unwrap();
        path
    }

    fn outcome(path: &Path) -> Result<usize, String> {
        read(path, |_, _, _| Ok(())).map(|manifest| manifest.files.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_stored_is_read_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut found = Vec::new();
        read(&path, |name, _, content| {
            let mut text = String::new();
            content.read_to_string(&mut text).unwrap();
            found.push(format!("{name} {text}"));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, ["tinybase.toml secret", "state/keys/secret.key secret"]);
        assert_eq!(about_of(&path).unwrap(), about());
    }

    #[test]
    fn every_byte_that_is_cut_off_or_changed_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path());
        let whole = fs::read(&path).unwrap();
        assert_eq!(outcome(&path), Ok(2));
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(outcome(&path).is_err(), "{length} of {} bytes are taken", whole.len());
        }
        let tar = zstd::decode_all(&whole[..]).unwrap();
        let place = tar.windows(6).position(|part| part == b"secret").unwrap();
        let mut changed = tar;
        changed[place] = b'S';
        fs::write(&path, zstd::encode_all(&changed[..], 1).unwrap()).unwrap();
        assert!(outcome(&path).unwrap_err().contains("tinybase.toml is not what was stored"));
    }

    #[test]
    fn a_link_and_a_path_that_leaves_its_folder_have_no_way_in() {
        let folder = tempfile::tempdir().unwrap();
        for (name, kind) in [
            ("state/../../etc/passwd", EntryType::Regular),
            ("/etc/passwd", EntryType::Regular),
            ("elsewhere", EntryType::Regular),
            ("state/link", EntryType::Symlink),
            ("state/link", EntryType::Link),
            ("state/folder", EntryType::Directory),
        ] {
            let mut header = Header::new_gnu();
            header.set_size(0);
            header.set_entry_type(kind);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            let mut builder = Builder::new(Vec::new());
            builder.append(&header, io::empty()).unwrap();
            let path = folder.path().join("a.tar.zst");
            fs::write(&path, zstd::encode_all(&builder.into_inner().unwrap()[..], 1).unwrap()).unwrap();
            assert!(outcome(&path).is_err(), "{name} {kind:?}");
        }
    }
}
