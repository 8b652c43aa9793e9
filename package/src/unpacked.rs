//! An unpacked extension: a folder with a manifest, a library and migrations. Its hash covers all of them. The
//! library is read but never loaded.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::manifest::{FILE_NAME, Manifest, ManifestError};

/// The folders of migrations, one per engine.
pub const ENGINES: [&str; 2] = ["sqlite", "postgres"];
/// The folders next to the library whose files are included unchanged.
pub const ASSETS: [&str; 2] = ["pages", "templates"];
/// The maximum depth of folders inside those.
const ASSETS_DEPTH_MAX: usize = 8;

/// The contents of an unpacked extension's folder.
#[derive(Debug, Clone)]
pub struct Package {
    /// The extension's folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// SHA-256 of every file's path and content, in hex.
    pub hash: String,
    /// SHA-256 of the manifest's bytes. The library's descriptor must contain the same.
    pub manifest_sha256: [u8; 32],
}

/// A migration of an extension, read from its two files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrationFiles {
    /// The migration's number.
    pub version: u32,
    /// The migration's title.
    pub title: String,
    /// The script that applies it.
    pub up: String,
    /// The script that reverts it; empty if it cannot be reverted.
    pub down: String,
}

/// The reason why a folder is not a valid extension.
#[derive(Debug, Error)]
pub enum PackageError {
    /// The manifest was rejected.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// The pages or templates contain something other than files and folders, or folders nested too deeply.
    #[error(
        "{path}: pages and templates are files, in folders that are nested {ASSETS_DEPTH_MAX} deep at most"
    )]
    Asset {
        /// The path.
        path: String,
    },
    /// The library was built with another manifest.
    #[error(
        "{library} was not built with the extension.toml beside it: build it again with `cargo build --release`, and pack \
         that"
    )]
    LibraryDiffers {
        /// The library's file.
        library: String,
    },
    /// A migration's file is invalid.
    #[error("{path}: {problem}")]
    Migration {
        /// The file.
        path: String,
        /// The problem.
        problem: &'static str,
    },
}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> PackageError {
    let path = path.display().to_string();
    move |error| PackageError::File { path, error }
}

impl Package {
    /// Reads the extension in `folder`.
    pub fn read(folder: &Path) -> Result<Package, PackageError> {
        let manifest = Manifest::read(folder)?;
        let path = folder.join(FILE_NAME);
        let bytes = fs::read(&path).map_err(file_error(&path))?;
        let mut package = Package {
            folder: folder.to_owned(),
            manifest,
            hash: String::new(),
            manifest_sha256: Sha256::digest(&bytes).into(),
        };
        package.hash = package.hash_files()?;
        Ok(package)
    }

    /// Returns the library's path.
    pub fn library(&self) -> PathBuf {
        self.folder.join(self.manifest.library_file())
    }

    /// Returns the files that belong to the extension, relative to its folder, in order.
    pub fn files(&self) -> Result<Vec<PathBuf>, PackageError> {
        let mut files = vec![PathBuf::from(FILE_NAME), PathBuf::from(self.manifest.library_file())];
        for engine in ENGINES {
            let folder = Path::new("migrations").join(engine);
            files.extend(names(&self.folder.join(&folder))?.into_iter().map(|name| folder.join(name)));
        }
        for assets in ASSETS {
            self.walk(Path::new(assets), 0, &mut files)?;
        }
        files.sort();
        Ok(files)
    }

    fn walk(&self, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), PackageError> {
        for name in names(&self.folder.join(folder))? {
            let (file, path) = (folder.join(&name), self.folder.join(folder).join(&name));
            let kind = fs::symlink_metadata(&path).map_err(file_error(&path))?.file_type();
            if kind.is_dir() && depth < ASSETS_DEPTH_MAX {
                self.walk(&file, depth + 1, files)?;
            } else if kind.is_file() {
                files.push(file);
            } else {
                return Err(PackageError::Asset { path: path.display().to_string() });
            }
        }
        Ok(())
    }

    fn hash_files(&self) -> Result<String, PackageError> {
        let mut hash = Sha256::new();
        for file in self.files()? {
            let path = self.folder.join(&file);
            let content = fs::read(&path).map_err(file_error(&path))?;
            let name = file.to_string_lossy();
            // The lengths come first, so that different sets of files never have the same input.
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(&content);
        }
        Ok(hex(&hash.finalize()))
    }

    /// Returns the extension's migrations for an engine (`sqlite` or `postgres`), in order.
    pub fn migrations(&self, engine: &str) -> Result<Vec<MigrationFiles>, PackageError> {
        let folder = self.folder.join("migrations").join(engine);
        let mut found: BTreeMap<u32, MigrationFiles> = BTreeMap::new();
        for name in names(&folder)? {
            let path = folder.join(&name);
            let bad = |problem| PackageError::Migration { path: path.display().to_string(), problem };
            let Some((version, title, is_up)) = migration_name(&name) else {
                return Err(bad("a migration is named 0001_title.up.sql or 0001_title.down.sql"));
            };
            let sql = fs::read_to_string(&path).map_err(file_error(&path))?;
            let fresh = || MigrationFiles { version, title: title.to_owned(), ..MigrationFiles::default() };
            let entry = found.entry(version).or_insert_with(fresh);
            if entry.title != title {
                return Err(bad("another migration has this number under another title"));
            }
            *(if is_up { &mut entry.up } else { &mut entry.down }) = sql;
        }
        Ok(found.into_values().collect())
    }
}

/// Returns the names of the files in a folder, in order; none if the folder does not exist.
fn names(folder: &Path) -> Result<Vec<String>, PackageError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(file_error(folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn migration_name(name: &str) -> Option<(u32, &str, bool)> {
    let (stem, is_up) = match name.strip_suffix(".up.sql") {
        Some(stem) => (stem, true),
        None => (name.strip_suffix(".down.sql")?, false),
    };
    let (number, title) = stem.split_once('_')?;
    Some((number.parse().ok().filter(|number| *number > 0)?, title, is_up))
}

/// Returns bytes in hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), "name = \"notes\"\nversion = \"0.1.0\"\nabi = 1\n").unwrap();
        fs::write(folder.path().join("libtinybase_notes.so"), "bytes").unwrap();
        fs::create_dir_all(folder.path().join("migrations/sqlite")).unwrap();
        folder
    }

    #[test]
    fn the_hash_covers_every_file() {
        let folder = folder();
        let first = Package::read(folder.path()).unwrap().hash;
        assert_eq!(Package::read(folder.path()).unwrap().hash, first);
        fs::write(folder.path().join("migrations/sqlite/0001_start.up.sql"), "SELECT 1;").unwrap();
        let second = Package::read(folder.path()).unwrap().hash;
        assert_ne!(second, first);
        fs::write(folder.path().join("libtinybase_notes.so"), "bytez").unwrap();
        let third = Package::read(folder.path()).unwrap().hash;
        assert_ne!(third, second);
        fs::create_dir_all(folder.path().join("pages/parts")).unwrap();
        fs::write(folder.path().join("pages/parts/table.js"), "export {}").unwrap();
        assert_ne!(Package::read(folder.path()).unwrap().hash, third);
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("pages/link")).unwrap();
        assert!(matches!(Package::read(folder.path()), Err(PackageError::Asset { .. })));
    }

    #[test]
    fn migrations_are_paired_and_ordered() {
        let folder = folder();
        let migrations = folder.path().join("migrations/sqlite");
        for name in ["0002_more.up.sql", "0001_start.down.sql", "0001_start.up.sql", "0002_more.down.sql"] {
            fs::write(migrations.join(name), name).unwrap();
        }
        let found = Package::read(folder.path()).unwrap().migrations("sqlite").unwrap();
        let found: Vec<_> =
            found.iter().map(|m| (m.version, m.title.as_str(), m.up.as_str(), m.down.as_str())).collect();
        assert_eq!(
            found,
            [
                (1, "start", "0001_start.up.sql", "0001_start.down.sql"),
                (2, "more", "0002_more.up.sql", "0002_more.down.sql"),
            ]
        );
        fs::write(migrations.join("first.sql"), "").unwrap();
        let error = Package::read(folder.path()).unwrap().migrations("sqlite").unwrap_err();
        assert!(error.to_string().contains("0001_title.up.sql"), "{error}");
    }
}
