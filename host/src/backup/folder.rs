//! The folder of backups: their names, their list, the lock of the process that works in it, and how many are kept.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    About, about_of,
    error::{BackupError, io_error},
};

/// The prefix and suffix of a backup's name; the time is between them.
const NAME_PREFIX: &str = "tinybase-";
const NAME_SUFFIX: &str = ".tar.zst";

/// The name prefix of unfinished work.
const PART_PREFIX: &str = ".part-";

const LOCK_NAME: &str = ".lock";

/// A backup in a folder.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The archive.
    pub path: PathBuf,
    /// The length in bytes.
    pub bytes: u64,
    /// The description; `None` if it cannot be read.
    pub about: Option<About>,
    /// Why it cannot be read.
    pub problem: Option<String>,
}

/// Returns the backups in `folder`, newest first; none if there is no such folder.
///
/// # Errors
/// If the folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Listed>, BackupError> {
    let mut listed = Vec::new();
    for path in archives(folder)? {
        let bytes = fs::metadata(&path).map_err(io_error("read", &path))?.len();
        let (about, problem) = match about_of(&path) {
            Ok(about) => (Some(about), None),
            Err(error) => (None, Some(error.to_string())),
        };
        listed.push(Listed { path, bytes, about, problem });
    }
    Ok(listed)
}

/// Returns all files with the name of a backup, newest first: the names sort in the order of their times.
fn archives(folder: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("read", folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("read", folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(NAME_PREFIX) && name.ends_with(NAME_SUFFIX) && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

/// A folder in which only this process makes a backup.
#[derive(Debug)]
pub(super) struct Workshop {
    folder: PathBuf,
    /// The unfinished work.
    pub(super) part: PathBuf,
    /// Locked for the lifetime of this value.
    _lock: File,
}

impl Workshop {
    /// Opens the folder, creates it for its owner alone if there is none, and removes what a killed process left.
    pub(super) fn open(folder: &Path) -> Result<Workshop, BackupError> {
        make_private(folder)?;
        let lock_path = folder.join(LOCK_NAME);
        let opened = File::options().create(true).append(true).open(&lock_path);
        let lock = opened.map_err(io_error("opened", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BackupError::Busy { what: "backup", path: folder.to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(io_error("locked", &lock_path)(cause)),
        }
        for entry in fs::read_dir(folder).map_err(io_error("read", folder))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PART_PREFIX) {
                fs::remove_dir_all(entry.path()).map_err(io_error("removed", &entry.path()))?;
            }
        }
        let part = folder.join(format!("{PART_PREFIX}{}", uuid::Uuid::now_v7()));
        make_private(&part)?;
        Ok(Workshop { folder: folder.to_owned(), part, _lock: lock })
    }

    /// Moves the finished `archive` to its final name.
    pub(super) fn publish(&self, archive: &Path, now: Timestamp) -> Result<PathBuf, BackupError> {
        let time = now.strftime("%Y-%m-%dT%H-%M-%S%.3fZ");
        let path = self.folder.join(format!("{NAME_PREFIX}{time}{NAME_SUFFIX}"));
        fs::rename(archive, &path).map_err(io_error("put in place", &path))?;
        sync_folder(&self.folder)?;
        Ok(path)
    }

    /// Removes the oldest backups, so that `keep` remain: `made`, whatever its time, and the newest others. Returns the
    /// removed ones.
    pub(super) fn retain(&self, keep: usize, made: &Path) -> Result<Vec<PathBuf>, BackupError> {
        let others = archives(&self.folder)?.into_iter().filter(|path| path != made);
        let old = others.skip(keep.saturating_sub(1)).collect::<Vec<_>>();
        for path in &old {
            fs::remove_file(path).map_err(io_error("removed", path))?;
        }
        Ok(old)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Deletion failures are ignored; the next backup removes it.
        let _ = fs::remove_dir_all(&self.part);
    }
}

/// Creates a folder for its owner alone, if there is none.
pub(super) fn make_private(folder: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io_error("created", folder))
}

/// Syncs a folder, so that renames in it are on disk.
pub(super) fn sync_folder(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("synced", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_what_was_left_half_is_cleared_away() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("backups");
        let workshop = Workshop::open(&folder).unwrap();
        assert!(matches!(Workshop::open(&folder), Err(BackupError::Busy { .. })));
        for name in [
            "tinybase-2026-01-01.tar.zst",
            "tinybase-2026-01-02.tar.zst",
            "tinybase-2026-01-03.tar.zst",
            "mine.tar.zst",
        ] {
            fs::write(folder.join(name), "").unwrap();
        }
        let names = |paths: Vec<PathBuf>| {
            paths
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(workshop.retain(2, &folder.join("tinybase-2026-01-01.tar.zst")).unwrap()),
            ["tinybase-2026-01-02.tar.zst"]
        );
        let left = names(archives(&folder).unwrap());
        assert_eq!(
            left,
            ["tinybase-2026-01-03.tar.zst", "tinybase-2026-01-01.tar.zst"],
            "the one just made went"
        );
        assert!(folder.join("mine.tar.zst").exists());
        drop(workshop);
        fs::create_dir(folder.join(".part-killed")).unwrap();
        let workshop = Workshop::open(&folder).unwrap();
        assert!(!folder.join(".part-killed").exists() && workshop.part.exists());
        assert!(list(&folder).unwrap().iter().all(|listed| listed.problem.is_some()));
    }
}
