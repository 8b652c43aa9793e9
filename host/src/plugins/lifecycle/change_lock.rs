//! The right to carry out changes. With SQLite, a process has it while it locks a file in the state folder,
//! which a server does for as long as it serves. With PostgreSQL, every node has it. Never carries out a
//! change.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::db::Engine;

/// The file in the state folder.
const FILE_NAME: &str = "changes.lock";

/// The state of a state folder's server lock.
#[derive(Debug)]
pub enum ServerLock {
    /// This process has acquired it, until the file is closed.
    Taken(File),
    /// Another process has it: a server, or a command that changes extensions.
    Held,
    /// No server has ever served there.
    NeverMade,
}

/// Acquires the lock that a server keeps while it serves, if it is free.
///
/// # Errors
/// I/O errors.
pub fn server_lock(state_dir: &Path) -> io::Result<ServerLock> {
    let file = match File::options().append(true).open(state_dir.join(FILE_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ServerLock::NeverMade),
        other => other?,
    };
    match file.try_lock() {
        Ok(()) => Ok(ServerLock::Taken(file)),
        Err(TryLockError::WouldBlock) => Ok(ServerLock::Held),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// This process's right to carry out changes. Clones share their state.
#[derive(Debug, Clone)]
pub(in crate::plugins) struct ChangeLock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Whether every node has the right, so that there is no lock.
    is_shared: bool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    file: Option<File>,
    /// Whether this process has requested it.
    is_wanted: bool,
}

impl ChangeLock {
    /// Creates the lock for this state folder and database engine.
    pub(in crate::plugins) fn new(state_dir: &Path, engine: Engine) -> ChangeLock {
        let is_shared = engine == Engine::Postgres;
        ChangeLock(Arc::new(Inner { path: state_dir.join(FILE_NAME), is_shared, held: Mutex::default() }))
    }

    /// Acquires the right unless another process has it. Returns whether this process has it now.
    pub(in crate::plugins) fn take(&self) -> io::Result<bool> {
        let mut held = self.0.held.lock();
        held.is_wanted = true;
        if self.0.is_shared || held.file.is_some() {
            return Ok(true);
        }
        if let Some(folder) = self.0.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).append(true).open(&self.0.path)?;
        match file.try_lock() {
            Ok(()) => held.file = Some(file),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(true)
    }

    /// Releases the right.
    pub(in crate::plugins) fn release(&self) {
        *self.0.held.lock() = Held::default();
    }

    /// Returns whether this process has the right.
    pub(in crate::plugins) fn is_held(&self) -> bool {
        let held = self.0.held.lock();
        held.is_wanted && (self.0.is_shared || held.file.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let change_lock = || ChangeLock::new(&folder.path().join("state"), Engine::Sqlite);
        let (first, second) = (change_lock(), change_lock());
        assert!(!first.is_held());
        assert!(first.take().unwrap() && first.take().unwrap() && first.is_held());
        assert!(!second.take().unwrap() && !second.is_held());
        first.release();
        assert!(!first.is_held() && second.take().unwrap());
    }
}
