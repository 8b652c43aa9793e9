//! Copies the whole database as of one moment, while it is in use. It never writes to the database itself.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::errors;
use crate::db::DbError;

/// How long it waits if the file is locked.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Copies the database at `path` into `into`, which is on disk when this returns; only its owner may read it. Blocks.
pub(super) fn take(path: &Path, into: &Path) -> Result<(), DbError> {
    let told = |error: &dyn std::fmt::Display| DbError::Sql(format!("{}: {error}", into.display()));
    // SQLite copies into an existing empty file.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(into).map_err(|error| told(&error))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copied = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_WAIT_MAX)?;
        connection.execute("VACUUM INTO ?1", [into.to_string_lossy()])
    });
    let synced = copied
        .map_err(errors::map)
        .and_then(|_| File::open(into).and_then(|file| file.sync_all()).map_err(|error| told(&error)));
    if synced.is_err() {
        // A partial copy is useless. Deletion failures are ignored; leftovers are harmless.
        let _ = std::fs::remove_file(into);
    }
    synced
}
