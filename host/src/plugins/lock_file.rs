//! `tinybase.lock`, next to `tinybase.toml`: what is installed, with exact hashes, as in the database rows.
//! It is rewritten after each change, and read to reproduce an installation. It never determines what is
//! loaded.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::store::Installed;

/// The file's name.
pub const FILE_NAME: &str = "tinybase.lock";

const HEAD: &str = "# What is installed, to the byte. Written by tinybase; keep it with tinybase.toml.\n\n";

/// The contents of the lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// The locked extensions by name.
    #[serde(default)]
    pub extensions: BTreeMap<String, Locked>,
}

/// One locked extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked {
    /// Its version.
    pub version: String,
    /// The hash of its unpacked package, in hex.
    pub hash: String,
    /// SHA-256 of the packed file, in hex, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_sha256: Option<String>,
    /// The registry that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The publisher in that registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// The ids of the keys that it was signed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publisher_keys: Vec<String>,
}

/// Why the file cannot be read or written.
#[derive(Debug, Error)]
pub enum LockFileError {
    /// Reading or writing the file failed.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// The I/O error.
        error: io::Error,
    },
    /// The file is malformed.
    #[error("{path} is malformed: {problem}; remove it, and it is written again with the next change")]
    Form {
        /// The file.
        path: String,
        /// The problem.
        problem: String,
    },
}

impl LockFile {
    /// Creates the lock file contents for these rows.
    pub fn of(installed: &[Installed]) -> LockFile {
        let locked = |one: &Installed| Locked {
            version: one.version.clone(),
            hash: one.hash.clone(),
            archive_sha256: one.origin.archive_sha256.clone(),
            registry: one.origin.registry.clone(),
            publisher: one.origin.publisher.clone(),
            publisher_keys: one.origin.publisher_keys.clone(),
        };
        LockFile { extensions: installed.iter().map(|one| (one.name.clone(), locked(one))).collect() }
    }

    fn path(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// Reads the file in the folder of `tinybase.toml`. Returns empty contents if there is no file.
    ///
    /// # Errors
    /// See [`LockFileError`].
    pub fn read(dir: &Path) -> Result<LockFile, LockFileError> {
        let path = LockFile::path(dir);
        let told = path.display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| LockFileError::Form { path: told, problem: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LockFile::default()),
            Err(error) => Err(LockFileError::File { path: told, error }),
        }
    }

    /// Writes the file atomically. Does nothing if its contents are already the same.
    ///
    /// # Errors
    /// See [`LockFileError`].
    pub fn write(&self, dir: &Path) -> Result<(), LockFileError> {
        if LockFile::read(dir).is_ok_and(|there| there == *self) && LockFile::path(dir).exists() {
            return Ok(());
        }
        let path = LockFile::path(dir);
        let fault = |error| LockFileError::File { path: path.display().to_string(), error };
        let text = toml::to_string(self).expect("what is locked is plain data");
        let new = dir.join(format!(".{FILE_NAME}-{}", std::process::id()));
        let mut file = fs::File::create(&new).map_err(fault)?;
        file.write_all(format!("{HEAD}{text}").as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
        fs::rename(&new, &path).and_then(|()| fs::File::open(dir)?.sync_all()).map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::lifecycle::Origin;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LockFile::read(dir.path()).unwrap(), LockFile::default());
        let origin = Origin {
            registry: Some("https://example.org".into()),
            publisher: Some("someone".into()),
            publisher_keys: vec!["a".into(), "b".into()],
            archive_sha256: Some("00".into()),
        };
        let plain = Installed::named("plain", "0.1.0", json!({}));
        let locked =
            LockFile::of(&[Installed { origin, ..Installed::named("far", "1.2.3", json!({})) }, plain]);
        locked.write(dir.path()).unwrap();
        locked.write(dir.path()).unwrap();
        assert_eq!(LockFile::read(dir.path()).unwrap(), locked);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        fs::write(dir.path().join(FILE_NAME), "extensions = 3").unwrap();
        assert!(LockFile::read(dir.path()).unwrap_err().to_string().contains("malformed"));
    }
}
