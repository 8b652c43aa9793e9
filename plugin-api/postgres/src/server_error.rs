//! What the server's errors mean to whoever sent the statement. It retries nothing, and decides on no status.

use sqlx::postgres::PgDatabaseError;

/// The columns of a unique constraint or index, in order, by its name as the one parameter.
pub const UNIQUE_COLUMNS: &str = "SELECT a.attname::text FROM pg_class c \
    JOIN pg_index i ON i.indexrelid = c.oid \
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
    WHERE c.relname = $1 AND pg_table_is_visible(i.indrelid) ORDER BY k.place";

/// What went wrong, as far as a caller can do something about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerError {
    /// A unique constraint or index refused a value; [`UNIQUE_COLUMNS`] tells of what.
    Unique {
        /// The table.
        table: String,
        /// The constraint or index.
        constraint: String,
    },
    /// A foreign key refused a change.
    ForeignKey,
    /// Another constraint, or a trigger, refused a change.
    Constraint(String),
    /// The server cannot hold a value.
    InvalidValue(String),
    /// Other transactions got in the way: the same may go through.
    Contended,
    /// A table, column or type is not as it was when the statement was prepared, or written.
    Stale(String),
    /// The statement was given up, as after its time.
    Cancelled,
    /// The server takes no more connections.
    Busy,
    /// The server's disk is full.
    DiskFull(String),
    /// The connection is lost, or about to be.
    Lost(String),
    /// The statement nests too deep for the server's stack.
    TooDeep(String),
    /// The statement is not valid, or fails at run time.
    Sql(String),
}

impl ServerError {
    /// What an error of the server's means.
    pub fn of(error: &PgDatabaseError) -> ServerError {
        let message = || error.message().to_owned();
        match error.code() {
            // Two that make the same table at once meet in the catalog's own indexes.
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
            // A deadlock, a serialization failure, or a lock that was not to be waited for.
            "40001" | "40P01" | "55P03" => ServerError::Contended,
            // The last of them, types that do not fit, where the statement was read before: see `of_reading`.
            "42P01" | "42703" | "42883" | "42804" => ServerError::Stale(message()),
            // By where it comes from, since the server may speak any language.
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

    /// What an error means that a statement fails by while the server reads it, under the schema as it is: types that do not
    /// fit are the statement's own fault then, and no later try will do. What is not there is told as ever, since whoever
    /// wrote the statement may go by a schema from before.
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
