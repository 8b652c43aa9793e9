//! The errors of making, reading and restoring a backup.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::db::DbError;

/// Why a backup was not made, read or restored. Existing files are unchanged then.
#[derive(Debug, Error)]
pub enum BackupError {
    /// A system call failed.
    #[error("{} cannot be {did}: {cause}{}", .path.display(), hint(.cause))]
    Io {
        /// The attempted operation.
        did: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The archive is damaged.
    #[error("{} is no whole backup: {problem}; take another one", .path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The database returned an error.
    #[error("the database cannot be copied: {0}")]
    Database(#[from] DbError),
    /// Extensions are changing while they are copied.
    #[error("extensions are being installed or removed at this moment; try again once that is done")]
    Changing,
    /// Another process is doing the same.
    #[error("another {what} is under way in {}; wait until it has ended", .path.display())]
    Busy {
        /// The operation of the other process.
        what: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// A PostgreSQL program is missing or failed.
    #[error("{program} {problem}")]
    Tool {
        /// The program.
        program: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The backup cannot be restored here.
    #[error("{0}")]
    Unfit(String),
}

/// Returns a hint for a system error that has one remedy.
fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and run it again, nothing was changed"
        }
        _ => "",
    }
}

/// Returns the error of a call that failed on `path`.
pub(super) fn io_error(did: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |cause| BackupError::Io { did, path, cause }
}
