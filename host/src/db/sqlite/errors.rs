//! Maps rusqlite's errors to `DbError`s. It sets no policy: callers choose what to retry or close.

use std::io;

use rusqlite::{Error, ErrorCode, ffi};

use crate::{db::DbError, metrics::stats::DATABASE};

/// Maps an error of rusqlite. Only the guard knows of deadlines and denials; it maps them.
pub(super) fn map(error: Error) -> DbError {
    match error {
        Error::SqliteFailure(failure, message) => map_failure(failure, message),
        Error::SqlInputError { msg, offset, .. } => {
            of_reading(format!("{msg} (at byte {offset} of the statement)"))
        }
        Error::MultipleStatement => {
            DbError::Sql("a query is one statement; this text holds several".to_owned())
        }
        Error::InvalidParameterCount(given, wanted) => {
            DbError::Sql(format!("the statement has {wanted} parameters, {given} were given"))
        }
        other => DbError::Sql(other.to_string()),
    }
}

fn map_failure(failure: ffi::Error, message: Option<String>) -> DbError {
    let message = message.unwrap_or_else(|| failure.to_string());
    match failure.code {
        ErrorCode::ConstraintViolation => map_constraint(failure.extended_code, message),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            DATABASE.busy.add_one();
            DbError::Busy
        }
        ErrorCode::DiskFull => DbError::DiskFull(message),
        ErrorCode::SystemIoFailure if is_for_want_of_room(&failure) => DbError::DiskFull(message),
        ErrorCode::SystemIoFailure => DbError::Closed(format!("its disk failed: {message}")),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            DbError::Closed(format!("its file is damaged: {message}; restore a backup"))
        }
        _ => of_reading(message),
    }
}

/// Returns the error of a statement that is not valid. SQLite has no code for one that is nested too deeply.
fn of_reading(message: String) -> DbError {
    const TOO_DEEP: [&str; 4] = [
        "Expression tree is too large",
        "parser stack overflow",
        "Recursion limit",
        "too many terms in compound SELECT",
    ];
    if TOO_DEEP.iter().any(|words| message.contains(words)) {
        return DbError::TooDeep(message);
    }
    DbError::Sql(message)
}

/// Whether a failed system call means that there is no space. SQLite only recognizes `ENOSPC` of a write. For the index
/// of the write-ahead log it only reports that it failed to grow. An exceeded quota shows in the system's last error,
/// which nothing has overwritten yet if SQLite stopped there.
fn is_for_want_of_room(failure: &ffi::Error) -> bool {
    failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE || is_full(&io::Error::last_os_error())
}

/// Whether a system error means that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn map_constraint(extended_code: i32, message: String) -> DbError {
    match extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            unique(&message)
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => DbError::ForeignKey,
        _ => DbError::Constraint(message),
    }
}

/// Parses `UNIQUE constraint failed: t.a, t.b`, and for an index on an expression `…: index 'name'`.
fn unique(message: &str) -> DbError {
    let what = message.split_once("failed: ").map_or(message, |(_, what)| what);
    if let Some(index) = what.strip_prefix("index ") {
        return DbError::Unique { table: String::new(), columns: vec![index.trim_matches('\'').to_owned()] };
    }
    let mut table = String::new();
    let mut columns = Vec::new();
    for part in what.split(", ") {
        let (of, column) = part.split_once('.').unwrap_or(("", part));
        of.clone_into(&mut table);
        columns.push(column.to_owned());
    }
    DbError::Unique { table, columns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_message_names_table_and_columns() {
        for (message, table, columns) in [
            ("UNIQUE constraint failed: t.a", "t", vec!["a"]),
            ("UNIQUE constraint failed: t.a, t.b", "t", vec!["a", "b"]),
            ("UNIQUE constraint failed: index 't_lower'", "", vec!["t_lower"]),
        ] {
            let DbError::Unique { table: found, columns: found_columns } = unique(message) else {
                unreachable!()
            };
            assert_eq!(
                (found.as_str(), found_columns),
                (table, columns.iter().map(|c| (*c).to_owned()).collect())
            );
        }
    }
}
