//! A file with one key that only its owner may read: created once, atomically. It does not interpret the key.

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
    /// A system call failed.
    #[error("the {what} {} cannot be {did}: {cause}", .path.display())]
    Io {
        /// The description of the key.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The attempted operation.
        did: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// Others may read the file.
    #[error("the {what} {} can be read by others (mode {mode:o}); run: chmod 600 {0}", .path.display())]
    Exposed {
        /// The description of the key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Returns the text in `folder/name`, which contains the key that `what` describes. If there is no such file, writes
/// what `make` returns.
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

/// Writes a new key to a temporary file and links it into place, so that nobody ever reads half of it, and the first of
/// two processes wins.
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
