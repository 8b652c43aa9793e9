//! Maps PostgreSQL's errors to `DbError`s, and decides which are worth a retry. It retries nothing itself.

use sqlx::{Row, postgres::PgDatabaseError};
use tinybase_postgres::{
    StatementError,
    server_error::{ServerError, UNIQUE_COLUMNS},
};

use super::{pool::Link, tls};
use crate::db::DbError;

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The error for the caller.
    ServerMessage(DbError),
    /// A unique constraint was violated; its columns are then looked up by its name.
    Unique { table: String, constraint: String },
    /// Conflicts with concurrent transactions; a retry may succeed.
    Contended,
    /// The statement was prepared with another schema.
    Stale(String),
    /// A value does not fit the type that its parameter had when the statement was prepared.
    Misfit(DbError),
    /// The connection was lost.
    Lost(String),
}

impl From<DbError> for Fault {
    fn from(error: DbError) -> Fault {
        Fault::ServerMessage(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Fault {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast::<PgDatabaseError>() {
                Ok(error) => of_server(&error),
                Err(error) => Fault::ServerMessage(DbError::Sql(error.to_string())),
            },
            sqlx::Error::Io(error) => Fault::Lost(error.to_string()),
            sqlx::Error::Tls(error) => Fault::Lost(error.to_string()),
            sqlx::Error::Protocol(error) => Fault::Lost(error),
            sqlx::Error::WorkerCrashed => Fault::Lost("its connection ended".to_owned()),
            other => Fault::ServerMessage(DbError::Sql(other.to_string())),
        }
    }
}

fn of_server(error: &PgDatabaseError) -> Fault {
    ServerError::of(error).into()
}

/// Maps an error that the server reports while it parses a statement: see [`ServerError::of_reading`].
pub(super) fn of_reading(error: sqlx::Error) -> Fault {
    let server = match &error {
        sqlx::Error::Database(error) => error.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    };
    match server {
        Some(server) => ServerError::of_reading(server).into(),
        None => error.into(),
    }
}

impl From<ServerError> for Fault {
    fn from(error: ServerError) -> Fault {
        match error {
            ServerError::Unique { table, constraint } => Fault::Unique { table, constraint },
            ServerError::ForeignKey => Fault::ServerMessage(DbError::ForeignKey),
            ServerError::Constraint(problem) => Fault::ServerMessage(DbError::Constraint(problem)),
            ServerError::InvalidValue(problem) => Fault::ServerMessage(DbError::InvalidValue(problem)),
            ServerError::Contended => Fault::Contended,
            ServerError::Stale(problem) => Fault::Stale(problem),
            ServerError::Cancelled => Fault::ServerMessage(DbError::Timeout(std::time::Duration::ZERO)),
            ServerError::Busy => Fault::ServerMessage(DbError::Busy),
            ServerError::DiskFull(problem) => Fault::ServerMessage(DbError::DiskFull(problem)),
            ServerError::Lost(problem) => Fault::Lost(problem),
            ServerError::TooDeep(problem) => Fault::ServerMessage(DbError::TooDeep(problem)),
            ServerError::Sql(problem) => Fault::ServerMessage(DbError::Sql(problem)),
        }
    }
}

impl From<StatementError> for DbError {
    fn from(error: StatementError) -> DbError {
        match error {
            StatementError::Denied { extension, table } => DbError::Denied { scope: extension, table },
            StatementError::TooDeep { .. } => DbError::TooDeep(error.to_string()),
            StatementError::Sql(problem) => DbError::Sql(problem),
            StatementError::InvalidValue(problem) => DbError::InvalidValue(problem),
            StatementError::Codec(error) => DbError::Codec(error),
        }
    }
}

impl From<StatementError> for Fault {
    fn from(error: StatementError) -> Fault {
        Fault::ServerMessage(error.into())
    }
}

/// Returns why no connection could be made.
pub(super) fn of_connecting(error: &sqlx::Error) -> DbError {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some("53300") => DbError::Busy,
            // The server's message says whether the connection was encrypted.
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

/// Looks up the columns of a unique constraint or index in the catalog; uses its name if it is on an expression.
pub(super) async fn unique(link: &mut Link, table: String, constraint: String) -> DbError {
    link.is_busy = true;
    let rows = sqlx::query(UNIQUE_COLUMNS).bind(&constraint).fetch_all(&mut link.connection).await;
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
