//! Ensures that only one process at a time serves a database file, with a lock that a server keeps for its lifetime.
//! There is none on PostgreSQL, where several nodes serve one database.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::Failure;
use crate::config::{Config, DatabaseUrl};

/// The suffix of the lock's name after that of the database file.
const SUFFIX: &str = "-serving";

/// The right to serve a database file, or to prevent others from serving it. It is released on drop, and however the
/// process ends.
#[derive(Debug)]
pub(super) struct Serving {
    _lock: Option<File>,
}

impl Serving {
    /// Acquires the right for the database of this configuration.
    ///
    /// # Errors
    /// If another process has it; `what` names what cannot be done meanwhile.
    pub(super) fn take(config: &Config, what: &str) -> Result<Serving, Failure> {
        let DatabaseUrl::Sqlite(path) = &config.database.url else { return Ok(Serving { _lock: None }) };
        let database = config.path(path);
        if !database.exists() {
            // Opening it later reports what is missing.
            return Ok(Serving { _lock: None });
        }
        let path = lock_path(&database);
        match lock(&path) {
            Ok(Ok(lock)) => Ok(Serving { _lock: Some(lock) }),
            Ok(Err(holder)) => Err(Failure::new(format!(
                "{what}: {} is being served already{holder}; stop that server first",
                database.display()
            ))),
            Err(cause) => Err(Failure::new(format!("{} cannot be locked: {cause}", path.display()))),
        }
    }
}

/// Returns the path next to the file itself, with links resolved.
fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.canonicalize().unwrap_or_else(|_| database.to_owned()).into_os_string();
    name.push(SUFFIX);
    name.into()
}

/// Locks the file and writes the process id into it, or returns who has locked it.
fn lock(path: &Path) -> io::Result<Result<File, String>> {
    let mut file =
        OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())?;
            Ok(Ok(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // It may be empty if the other process has just locked it.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().parse::<u32>();
            Ok(Err(holder.map_or_else(|_| String::new(), |id| format!(" by process {id}"))))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_at_a_time_and_a_link_leads_to_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.db"), folder.path().join("b.db"));
        File::create(&file).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(lock_path(&file), lock_path(&link));
        let first = lock(&lock_path(&file)).unwrap().unwrap();
        let told = lock(&lock_path(&link)).unwrap().unwrap_err();
        assert_eq!(told, format!(" by process {}", std::process::id()));
        drop(first);
        assert!(lock(&lock_path(&link)).unwrap().is_ok());
    }
}
