//! A file that holds one key for its owner alone: made once, whole or not at all. It never looks at what the key is for.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refused.
    #[error("the {what} {} cannot be {did}: {cause}", .path.display())]
    Io {
        /// Which key it is.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        did: &'static str,
        /// The system's answer.
        cause: io::Error,
    },
    /// Others may read the file.
    #[error("the {what} {} can be read by others (mode {mode:o}); run: chmod 600 {0}", .path.display())]
    Exposed {
        /// Which key it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// The text in `folder/name`, which holds the key `what` in words; where there is none, `make` says what to write.
///
/// # Errors
/// [`KeyFileError`].
pub fn read_or_create(
    folder: &Path,
    name: &str,
    what: &'static str,
    make: impl FnOnce() -> String,
) -> Result<String, KeyFileError> {
    let path = folder.join(name);
    let io = |did| {
        let path = path.clone();
        move |cause| KeyFileError::Io { what, path, did, cause }
    };
    match fs::metadata(&path) {
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            create(folder, name, &make()).map_err(io("written"))?;
        }
        Err(cause) => return Err(io("read")(cause)),
    }
    let mode = fs::metadata(&path).map_err(io("read"))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { what, path, mode });
    }
    fs::read_to_string(&path).map_err(io("read"))
}

/// Writes a new key beside its place and links it there, so that no one ever reads half of it and the first of two wins.
fn create(folder: &Path, name: &str, content: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(FOLDER_MODE))?;
    let draft = folder.join(format!("{name}.{}", uuid::Uuid::now_v7()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&draft, folder.join(name)) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
            _ => fs::File::open(folder)?.sync_all(),
        }
    })();
    let removed = fs::remove_file(&draft);
    written.and(removed)
}
