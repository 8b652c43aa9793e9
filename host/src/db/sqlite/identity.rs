//! Identifies the database files: checks whether their names still lead to the files that were opened. It opens and
//! changes nothing.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::connection::wal_path;
use crate::db::DbError;

/// The database file and its write-ahead log, as they were opened.
#[derive(Debug)]
pub(super) struct Identity {
    files: Vec<(PathBuf, FileId)>,
}

type FileId = (u64, u64);

impl Identity {
    /// Identifies the files of the database at `path`, both of which must exist.
    pub(super) fn of(path: &Path) -> io::Result<Identity> {
        let files = [path.to_owned(), wal_path(path)].into_iter().map(|path| {
            let id = id_of(&path)?;
            Ok((path, id))
        });
        Ok(Identity { files: files.collect::<io::Result<_>>()? })
    }

    /// An identity without files.
    #[cfg(test)]
    pub(super) fn none() -> Identity {
        Identity { files: Vec::new() }
    }

    /// Checks that the names still lead to the opened files. It succeeds again once the files are back.
    ///
    /// # Errors
    /// [`DbError::FileReplaced`] if a name leads nowhere, or to another file.
    pub(super) fn check(&self) -> Result<(), DbError> {
        match self.files.iter().find(|(path, id)| id_of(path).ok().as_ref() != Some(id)) {
            None => Ok(()),
            Some((path, _)) => Err(DbError::FileReplaced(format!(
                "{} was removed or replaced while it was open: what is written now would be lost; put the file back, or \
                 restart on what is there",
                path.display()
            ))),
        }
    }
}

fn id_of(path: &Path) -> io::Result<FileId> {
    path.metadata().map(|file| (file.dev(), file.ino()))
}
