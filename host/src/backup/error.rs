//! Why there is no backup, or why one was not put in place.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::db::DbError;

/// Why a backup was not made, read or restored. Nothing that was there before is changed then.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The system refused.
    #[error("{} cannot be {did}: {cause}{}", .path.display(), hint(.cause))]
    Io {
        /// What was tried.
        did: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// The archive is not what was written.
    #[error("{} is no whole backup: {problem}; take another one", .path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The database refused.
    #[error("the database cannot be copied: {0}")]
    Database(#[from] DbError),
    /// Extensions change while they are copied.
    #[error("extensions are being installed or removed at this moment; try again once that is done")]
    Changing,
    /// Another process does the same.
    #[error("another {what} is under way in {}; wait until it has ended", .path.display())]
    Busy {
        /// What it does.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// A program of PostgreSQL's is missing or failed.
    #[error("{program} {problem}")]
    Tool {
        /// The program.
        program: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The backup does not fit where it is to be restored.
    #[error("{0}")]
    Unfit(String),
}

/// What to do about an answer of the system's that has one remedy.
fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and run it again, nothing was changed"
        }
        _ => "",
    }
}

/// The error of a call that failed on `path`.
pub(super) fn io_error(did: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |cause| BackupError::Io { did, path, cause }
}
