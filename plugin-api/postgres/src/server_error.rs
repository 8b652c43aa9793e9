//! Maps the server's errors to their meaning for the sender of a statement. It never retries and decides on no
//! status.

use sqlx::postgres::PgDatabaseError;

/// Selects the columns of a unique constraint or index, in order; the parameter is its name.
pub const UNIQUE_COLUMNS: &str = "SELECT a.attname::text FROM pg_class c \
    JOIN pg_index i ON i.indexrelid = c.oid \
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
    WHERE c.relname = $1 AND pg_table_is_visible(i.indrelid) ORDER BY k.place";

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerError {
    /// A unique constraint or index rejected a value; [`UNIQUE_COLUMNS`] returns its columns.
    Unique {
        /// The table.
        table: String,
        /// The constraint or index.
        constraint: String,
    },
    /// A foreign key rejected a change.
    ForeignKey,
    /// Another constraint, or a trigger, rejected a change.
    Constraint(String),
    /// The server cannot store a value.
    InvalidValue(String),
    /// Other transactions interfered: the same statement may succeed later.
    Contended,
    /// A table, column or type differs from when the statement was prepared or written.
    Stale(String),
    /// The statement was cancelled, for example by its timeout.
    Cancelled,
    /// The server accepts no more connections.
    Busy,
    /// The server's disk is full.
    DiskFull(String),
    /// The connection is lost, or about to be.
    Lost(String),
    /// The statement is nested too deeply for the server's stack.
    TooDeep(String),
    /// The statement is not valid, or fails at run time.
    Sql(String),
}

impl ServerError {
    /// Returns the meaning of a server error.
    pub fn of(error: &PgDatabaseError) -> ServerError {
        let message = || error.message().to_owned();
        match error.code() {
            // Two sessions that create the same table at once collide in the catalog's own indexes.
            "23505" if error.constraint().is_some_and(|name| name.starts_with("pg_")) => {
                ServerError::Contended
            }
            "23505" => ServerError::Unique {
                table: error.table().unwrap_or_default().to_owned(),
                constraint: error.constraint().unwrap_or_default().to_owned(),
            },
            "23503" => ServerError::ForeignKey,
            "23502" | "23514" | "23P01" | "P0001" => ServerError::Constraint(message()),
            "22021" | "22P05" => {
                ServerError::InvalidValue(format!("PostgreSQL cannot store it: {}", message()))
            }
            // A deadlock, a serialization failure, or a lock that was not available without waiting.
            "40001" | "40P01" | "55P03" => ServerError::Contended,
            // The last one, mismatched types, only for a statement that was parsed before: see `of_reading`.
            "42P01" | "42703" | "42883" | "42804" => ServerError::Stale(message()),
            // Matched by the source routine, since the server's messages may be in any language.
            "0A000" if error.routine() == Some("RevalidateCachedQuery") => ServerError::Stale(message()),
            "54001" => ServerError::TooDeep(message()),
            "57014" => ServerError::Cancelled,
            "53300" => ServerError::Busy,
            "53100" => ServerError::DiskFull(message()),
            code if code.starts_with("08") || code.starts_with("57P") || code.starts_with("58") => {
                ServerError::Lost(message())
            }
            _ => ServerError::Sql(describe(error)),
        }
    }

    /// Returns the meaning of an error while the server parses a statement under the current schema. Mismatched types
    /// are the statement's own fault then, and a retry does not help. Missing objects are reported as usual, since the
    /// statement may be written for an earlier schema.
    pub fn of_reading(error: &PgDatabaseError) -> ServerError {
        match error.code() {
            "42804" => ServerError::Sql(describe(error)),
            _ => ServerError::of(error),
        }
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
