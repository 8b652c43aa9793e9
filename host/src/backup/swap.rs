//! Replaces an instance by another one, with renames that are recorded in a journal before the first of them. The next
//! command finishes them if they are interrupted. Before the journal is written the folder has the old instance, and
//! afterwards the new one.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    error::{BackupError, io_error},
    folder::{make_private, sync_folder},
};

/// The working folder of a restore, within the folder of the instance.
const FOLDER: &str = ".tinybase-restore";
const LOCK: &str = "lock";
const JOURNAL: &str = "journal.json";
const STAGED: &str = "new";

/// The renames that put the new instance in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    /// In the order of execution.
    pub(super) moves: Vec<Move>,
}

/// The replacement of one file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    /// The new file or folder; nothing if `None`.
    pub(super) from: Option<PathBuf>,
    /// Its place.
    pub(super) to: PathBuf,
    /// Where the old one is moved to.
    pub(super) kept: PathBuf,
}

/// The exclusive right to restore in a folder.
#[derive(Debug)]
pub(super) struct Site {
    folder: PathBuf,
    _lock: File,
}

impl Site {
    /// Acquires the right, removes what an abandoned restore left, and finishes an interrupted one.
    pub(super) fn open(dir: &Path) -> Result<Site, BackupError> {
        fs::create_dir_all(dir).map_err(io_error("created", dir))?;
        let folder = dir.join(FOLDER);
        make_private(&folder)?;
        let lock = lock(dir, &folder)?;
        let site = Site { folder, _lock: lock };
        site.finish()?;
        let staged = site.staged();
        if staged.exists() {
            fs::remove_dir_all(&staged).map_err(io_error("removed", &staged))?;
        }
        make_private(&staged)?;
        Ok(site)
    }

    /// Returns the staging folder of the new instance.
    pub(super) fn staged(&self) -> PathBuf {
        self.folder.join(STAGED)
    }

    /// Writes the journal, from which moment on the new instance is valid, and executes it.
    pub(super) fn commit(&self, journal: &Journal) -> Result<(), BackupError> {
        let (draft, path) = (self.folder.join("journal.draft"), self.folder.join(JOURNAL));
        let json =
            serde_json::to_vec_pretty(journal).map_err(|error| BackupError::Unfit(error.to_string()))?;
        let written = (|| {
            let mut file = File::create(&draft)?;
            file.write_all(&json)?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        })();
        written.map_err(io_error("written", &path))?;
        sync_folder(&self.folder)?;
        self.finish().map(drop)
    }

    /// Executes the rest of a journal, if there is one. Returns whether there was one.
    fn finish(&self) -> Result<bool, BackupError> {
        let path = self.folder.join(JOURNAL);
        let json = match fs::read(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(io_error("read", &path))?,
        };
        let journal: Journal = serde_json::from_slice(&json)
            .map_err(|error| BackupError::Damaged { path: path.clone(), problem: error.to_string() })?;
        for step in &journal.moves {
            step.make()?;
        }
        fs::remove_file(&path).map_err(io_error("removed", &path))?;
        sync_folder(&self.folder)?;
        Ok(true)
    }

    /// Removes the folder.
    pub(super) fn close(self) {
        // Deletion failures are ignored; the next restore removes it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Move {
    /// Executes the rest of the move; whether the new file is still in the staging folder shows what is left.
    fn make(&self) -> Result<(), BackupError> {
        let is_new_there = self.from.as_ref().is_some_and(|from| !exists(from));
        if !is_new_there && exists(&self.to) && !exists(&self.kept) {
            rename(&self.to, &self.kept)?;
        }
        match &self.from {
            Some(from) if exists(from) => rename(from, &self.to),
            _ => Ok(()),
        }
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), BackupError> {
    let parent = to.parent().unwrap_or(to);
    make_private(parent)?;
    fs::rename(from, to).map_err(io_error("put in place", to))?;
    sync_folder(parent)
}

/// Whether the path exists, including a dangling link.
pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn lock(dir: &Path, folder: &Path) -> Result<File, BackupError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).append(true).open(&path).map_err(io_error("opened", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BackupError::Busy { what: "restore", path: dir.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(io_error("locked", &path)(cause)),
    }
}

/// Finishes an interrupted restore in this folder, and removes an abandoned one. Returns whether one was finished.
/// Every command calls this before it reads anything.
///
/// # Errors
/// [`BackupError::Busy`] while a restore is running there.
pub fn finish_interrupted(dir: &Path) -> Result<bool, BackupError> {
    let folder = dir.join(FOLDER);
    if !folder.exists() {
        return Ok(false);
    }
    let site = Site { _lock: lock(dir, &folder)?, folder };
    let finished = site.finish()?;
    site.close();
    Ok(finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Creates a folder with an old instance, a staged new one, and the journal of their exchange.
    fn folder() -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let (root, staged) = (dir.path(), dir.path().join(FOLDER).join(STAGED));
        for name in ["a", "b/x", "wal"] {
            put(&root.join(name), "old");
        }
        for name in ["a", "b/x", "c"] {
            put(&staged.join(name), "new");
        }
        let step = |name: &str, is_new: bool| Move {
            from: is_new.then(|| staged.join(name)),
            to: root.join(name),
            kept: root.join("before").join(name),
        };
        let moves = vec![step("wal", false), step("a", true), step("b", true), step("c", true)];
        (dir, Journal { moves })
    }

    /// Returns the one or two renames of a move.
    fn halves(step: &Move) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
        std::iter::once((&step.to, &step.kept)).chain(step.from.iter().map(|from| (from, &step.to)))
    }

    fn assert_new(dir: &Path) {
        for name in ["a", "b/x", "c"] {
            assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), "new", "{name}");
        }
        assert!(!dir.join("wal").exists() && !dir.join(FOLDER).exists());
        for name in ["a", "b/x", "wal"] {
            assert_eq!(fs::read_to_string(dir.join("before").join(name)).unwrap(), "old", "{name}");
        }
    }

    #[test]
    fn whatever_was_done_before_it_was_killed_the_next_one_finishes_it() {
        // The number of completed renames: each move has up to two.
        for done in 0..=6 {
            let (dir, journal) = folder();
            let mut left = done;
            for (from, to) in journal.moves.iter().flat_map(halves) {
                if exists(from) && left > 0 {
                    rename(from, to).unwrap();
                    left -= 1;
                }
            }
            put(&dir.path().join(FOLDER).join(JOURNAL), &serde_json::to_string(&journal).unwrap());
            assert!(finish_interrupted(dir.path()).unwrap(), "after {done} renames");
            assert_new(dir.path());
            assert!(!finish_interrupted(dir.path()).unwrap());
        }
    }

    #[test]
    fn one_that_was_killed_before_it_counted_changes_nothing() {
        let (dir, _) = folder();
        assert!(!finish_interrupted(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "old");
        assert!(!dir.path().join(FOLDER).exists() && !dir.path().join("before").exists());
    }

    #[test]
    fn one_restores_at_a_time_and_commands_wait() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::open(dir.path()).unwrap();
        assert!(matches!(Site::open(dir.path()), Err(BackupError::Busy { .. })));
        assert!(matches!(finish_interrupted(dir.path()), Err(BackupError::Busy { .. })));
        site.close();
        assert!(!finish_interrupted(dir.path()).unwrap());
    }
}
