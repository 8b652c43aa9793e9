//! What PostgreSQL's errors mean: which `DbError` they are, and whether to try once more. It retries nothing itself.

use sqlx::{Row, postgres::PgDatabaseError};

use super::{pool::Link, tls};
use crate::db::DbError;

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// As the caller is to be told.
    Told(DbError),
    /// A unique constraint refused a value: its columns are to be looked up by its name.
    Unique { table: String, constraint: String },
    /// Other transactions got in the way: the same may go through.
    Contended,
    /// The statement was prepared under another schema.
    Stale(String),
    /// A value does not fit the type that its parameter had when the statement was prepared.
    Misfit(DbError),
    /// The connection is lost.
    Lost(String),
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Fault {
        Fault::Told(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Fault {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast::<PgDatabaseError>() {
                Ok(error) => of_server(&error),
                Err(error) => Fault::Told(DbError::Sql(error.to_string())),
            },
            sqlx::Error::Io(error) => Fault::Lost(error.to_string()),
            sqlx::Error::Tls(error) => Fault::Lost(error.to_string()),
            sqlx::Error::Protocol(error) => Fault::Lost(error),
            sqlx::Error::WorkerCrashed => Fault::Lost("its connection ended".to_owned()),
            other => Fault::Told(DbError::Sql(other.to_string())),
        }
    }
}

fn of_server(error: &PgDatabaseError) -> Fault {
    let message = || error.message().to_owned();
    match error.code() {
        // Two that make the same table at once meet in the catalog's own indexes.
        "23505" if error.constraint().is_some_and(|name| name.starts_with("pg_")) => Fault::Contended,
        "23505" => Fault::Unique {
            table: error.table().unwrap_or_default().to_owned(),
            constraint: error.constraint().unwrap_or_default().to_owned(),
        },
        "23503" => Fault::Told(DbError::ForeignKey),
        "23502" | "23514" | "23P01" | "P0001" => Fault::Told(DbError::Constraint(message())),
        "22021" | "22P05" => {
            Fault::Told(DbError::InvalidValue(format!("PostgreSQL cannot store it: {}", message())))
        }
        // A deadlock, a serialization failure, or a lock that was not to be waited for.
        "40001" | "40P01" | "55P03" => Fault::Contended,
        // The last of them, types that do not fit, where the statement was read before: see `of_reading`.
        "42P01" | "42703" | "42883" | "42804" => Fault::Stale(message()),
        // By where it comes from, since the server may speak any language.
        "0A000" if error.routine() == Some("RevalidateCachedQuery") => Fault::Stale(message()),
        "57014" => Fault::Told(DbError::Timeout(std::time::Duration::ZERO)),
        "53300" => Fault::Told(DbError::Busy),
        "53100" => Fault::Told(DbError::Sql(format!(
            "the disk of the database is full ({}); free some space and try again",
            message()
        ))),
        code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("58") => {
            Fault::Lost(message())
        }
        _ => Fault::Told(DbError::Sql(describe(error))),
    }
}

/// What a statement fails by while the server reads it, under the schema as it is: types that do not fit are the
/// statement's own fault then, and no later try will do. What is not there is told as ever, since whoever wrote the
/// statement may go by a schema from before.
pub(super) fn of_reading(error: sqlx::Error) -> Fault {
    let server = match &error {
        sqlx::Error::Database(error) => error.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    };
    match server {
        Some(server) if server.code() == "42804" => Fault::Told(DbError::Sql(describe(server))),
        _ => error.into(),
    }
}

fn describe(error: &PgDatabaseError) -> String {
    let mut text = format!("{} ({})", error.message(), error.code());
    for more in [error.detail(), error.hint()].into_iter().flatten() {
        text.push_str("; ");
        text.push_str(more);
    }
    text
}

/// Why no connection could be made.
pub(super) fn of_connecting(error: &sqlx::Error) -> DbError {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("53300") => DbError::Busy,
            // The server's own words say whether the connection was encrypted.
            Some("28000") if error.message().contains("pg_hba.conf") => DbError::Unavailable(format!(
                "{}; where the server takes connections with TLS alone, sslmode=verify-full in database.url asks for it",
                error.message()
            )),
            _ => DbError::Unavailable(error.message().to_owned()),
        },
        sqlx::Error::PoolTimedOut => DbError::Unavailable("no connection could be made in time".to_owned()),
        other => DbError::Unavailable(tls::problem(other).unwrap_or_else(|| other.to_string())),
    }
}

/// The columns of a unique constraint or index, by the catalog; its own name where it stands on an expression.
pub(super) async fn unique(link: &mut Link, table: String, constraint: String) -> DbError {
    const COLUMNS: &str = "SELECT a.attname::text FROM pg_class c \
        JOIN pg_index i ON i.indexrelid = c.oid \
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
        WHERE c.relname = $1 AND pg_table_is_visible(i.indrelid) ORDER BY k.place";
    link.is_busy = true;
    let rows = sqlx::query(COLUMNS).bind(&constraint).fetch_all(&mut link.connection).await;
    let mut columns: Vec<String> = Vec::new();
    match rows {
        Ok(rows) => {
            link.is_busy = false;
            columns.extend(rows.iter().filter_map(|row| row.try_get::<String, _>(0).ok()));
        }
        Err(error) => link.settle(&error),
    }
    if columns.is_empty() {
        columns.push(constraint);
    }
    DbError::Unique { table, columns }
}
