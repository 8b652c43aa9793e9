//! The `Database` trait, through which the host reads and writes, and every plugin through the host's services. Each
//! engine has its own folder; nothing outside of that folder names an engine's crate.

mod migration_record;
pub mod migrations;
pub mod postgres;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod testing;
pub mod turns;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use thiserror::Error;
use tinybase_abi::codec::CodecError;

/// The engine that stores the data. Callers use it to choose SQL that differs between engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The embedded SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// The mechanism that restricts an extension's statements to its own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionRights {
    /// SQLite's authorizer, which checks everything that a statement touches.
    Authorizer,
    /// A database role per extension, and checks of the statement text.
    Roles,
    /// Checks of the statement text alone.
    Text,
}

impl ExtensionRights {
    /// Returns the name that the administration shows.
    pub fn name(self) -> &'static str {
        match self {
            ExtensionRights::Authorizer => "authorizer",
            ExtensionRights::Roles => "roles",
            ExtensionRights::Text => "text",
        }
    }
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once it is on disk: it survives a power cut.
    #[default]
    Full,
    /// Once the operating system has it: it survives a crash of the process, but a power cut may lose the latest
    /// writes.
    Normal,
}

/// The owner in whose name a statement runs. A plugin's statements may write only to tables that begin with its prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlOwner {
    /// The host itself, which may use every table.
    Host,
    /// An extension, by name. The name followed by `_` is the prefix of its tables.
    Extension(Arc<str>),
}

impl SqlOwner {
    /// Returns the extension's name, or `None` for the host.
    pub fn extension(&self) -> Option<&str> {
        match self {
            SqlOwner::Host => None,
            SqlOwner::Extension(name) => Some(name),
        }
    }
}

/// The cost of a read, as far as the caller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadHint {
    /// At most one row, by a key, with a plain `SELECT` that depends only on its parameters. Runs like
    /// [`ReadHint::Indexed`]; PostgreSQL batches it with concurrent runs of the same statement.
    PointLookup,
    /// A few rows by key or index. Runs on the calling thread.
    Indexed,
    /// Anything else. Runs on a reader thread, so that a scan never blocks other reads.
    #[default]
    Scan,
}

/// A read of one statement.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The owner in whose name it runs.
    pub scope: &'a SqlOwner,
    /// One statement that changes nothing.
    pub sql: &'a str,
    /// Its parameters, packed by [`tinybase_abi::codec::pack_values`].
    pub params: &'a [u8],
    /// Its expected cost.
    pub hint: ReadHint,
    /// The maximum time it may take; `None` is the engine's configured default.
    pub deadline: Option<Duration>,
}

/// Why a database call failed. [`DbError::code`] is stable; plugins and the HTTP API see it.
#[derive(Debug, Clone, Error)]
pub enum DbError {
    /// A unique constraint was violated.
    #[error("a value for {} is already taken", .columns.join(", "))]
    Unique {
        /// The table.
        table: String,
        /// The columns of the constraint.
        columns: Vec<String>,
    },
    /// A foreign key constraint was violated.
    #[error("a reference does not hold")]
    ForeignKey,
    /// A `NOT NULL` or `CHECK` constraint was violated.
    #[error("a constraint does not hold: {0}")]
    Constraint(String),
    /// A statement of a batch did not affect the expected number of rows; nothing of the batch was applied.
    #[error("statement {statement} affected {affected} rows")]
    Condition {
        /// The index of the statement, from 0.
        statement: usize,
        /// The number of rows it affected.
        affected: u64,
    },
    /// The statement took longer than its deadline.
    #[error("the statement took longer than its deadline of {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The engine is overloaded, or another process has it locked. A retry may succeed.
    #[error("the database is busy")]
    Busy,
    /// Concurrent requests use too much memory, so there is no room for the result. A retry may succeed.
    #[error("the server holds too much for other requests at once; try again shortly")]
    NoRoom,
    /// The result is larger than the limit.
    #[error("the result is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The statement touches a table that its scope may not use.
    #[error("{scope} may not use the table {table}")]
    Denied {
        /// The owner of the statement.
        scope: String,
        /// The table.
        table: String,
    },
    /// The statement is nested too deeply for the engine to parse.
    #[error("{0}")]
    TooDeep(String),
    /// The statement is not valid, or failed at run time.
    #[error("{0}")]
    Sql(String),
    /// The engine cannot store a value, such as a text with the character NUL in PostgreSQL.
    #[error("{0}")]
    InvalidValue(String),
    /// A table or column is missing or has changed, because another node has just changed the schema. Callers that
    /// cache the schema reload it and retry once.
    #[error("the schema was changed meanwhile: {0}")]
    SchemaChanged(String),
    /// The server does not respond, or is stopping or starting. A retry may succeed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The disk of the database is full. Nothing of the change was applied; a retry succeeds once there is space.
    #[error("the disk of the database is full ({0}); free some space and try again")]
    DiskFull(String),
    /// The open database file was removed or replaced, so nobody can read what is written to it.
    #[error("{0}")]
    FileReplaced(String),
    /// A packed buffer was malformed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The database is shut down, its disk failed, or its configured location is not usable.
    #[error("the database cannot be used: {0}")]
    Closed(String),
}

impl DbError {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            DbError::Unique { .. } => "db_unique",
            DbError::ForeignKey => "db_foreign_key",
            DbError::Constraint(_) => "db_constraint",
            DbError::Condition { .. } => "db_condition",
            DbError::Timeout(_) => "db_timeout",
            DbError::Busy => "db_busy",
            DbError::NoRoom => "overloaded",
            DbError::TooLarge { .. } => "db_result_too_large",
            DbError::Denied { .. } => "db_denied",
            DbError::TooDeep(_) => "db_statement_too_deep",
            DbError::Sql(_) => "db_sql",
            DbError::InvalidValue(_) => "db_invalid_value",
            DbError::SchemaChanged(_) => "db_schema_changed",
            DbError::Unavailable(_) => "db_unavailable",
            DbError::DiskFull(_) => "disk_full",
            DbError::FileReplaced(_) => "database_file_replaced",
            DbError::Codec(_) => "db_codec",
            DbError::Closed(_) => "db_closed",
        }
    }
}

/// A result that may be available immediately, as that of a short read is. Polling it then allocates nothing.
pub enum DbFuture<T> {
    /// The result is available.
    Ready(Option<Result<T, DbError>>),
    /// The result is pending.
    Later(BoxFuture<'static, Result<T, DbError>>),
}

impl<T> DbFuture<T> {
    /// Returns a future whose result is available.
    pub fn ready(result: Result<T, DbError>) -> DbFuture<T> {
        DbFuture::Ready(Some(result))
    }
}

impl<T: Unpin> Future for DbFuture<T> {
    type Output = Result<T, DbError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            DbFuture::Ready(result) => {
                Poll::Ready(result.take().expect("an answer is polled to its end once"))
            }
            DbFuture::Later(future) => future.as_mut().poll(context),
        }
    }
}

/// A transaction across calls. It is rolled back if dropped before [`Transaction::commit`], and once its deadline has
/// passed; every later call then returns [`DbError::Timeout`].
pub trait Transaction: Send {
    /// Reads within the transaction; returns packed rows.
    fn query(&mut self, sql: String, params: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>>;
    /// Applies a packed batch within the transaction; returns a packed result.
    fn apply(&mut self, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>>;
    /// Applies a packed batch within the transaction in the name of `scope` instead of the owner that began it. A
    /// plugin's migration is thereby committed together with the host's record of it.
    fn apply_as(&mut self, scope: &SqlOwner, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>>;
    /// Commits. The changes are then as durable as configured.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>>;
    /// Rolls back.
    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>>;
}

/// A packed batch that is applied together with another one, in its own scope.
pub type ScopedBatch = (SqlOwner, Vec<u8>);

/// A database engine.
pub trait Database: Send + Sync + 'static {
    /// Returns the kind of engine.
    fn engine(&self) -> Engine;
    /// Reads; returns packed rows ([`tinybase_abi::codec::RowsWriter`]).
    fn query(&self, query: Query<'_>) -> DbFuture<Vec<u8>>;
    /// Applies a packed batch ([`tinybase_abi::codec::BatchWriter`]) atomically. Returns a packed result
    /// ([`tinybase_abi::codec::BatchResultWriter`]) once the changes are as durable as configured.
    /// A statement without parameters may be a script of several statements, each ended by `;`.
    fn apply(&self, scope: &SqlOwner, batch: Vec<u8>) -> DbFuture<Vec<u8>> {
        self.apply_attached(scope, batch, Vec::new())
    }
    /// Applies a packed batch, and then others in their own scopes, atomically. Statements that a hook adds are thereby
    /// committed together with the change of another plugin. Returns the first batch's result.
    fn apply_attached(
        &self,
        scope: &SqlOwner,
        batch: Vec<u8>,
        attached: Vec<ScopedBatch>,
    ) -> DbFuture<Vec<u8>>;
    /// Begins a transaction that may span calls until `deadline` has passed. Other writers wait meanwhile.
    fn begin(
        &self,
        scope: &SqlOwner,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Box<dyn Transaction>, DbError>>;
    /// Returns the time that `ValueRef::Now` stands for. On PostgreSQL it is the server's time as this process knows
    /// it: the same for all nodes, whatever their own clocks show.
    fn now(&self) -> Timestamp;
    /// Returns a number that changes whenever another process has changed data that nodes may cache: on SQLite any
    /// data, on PostgreSQL what a trigger of `tb_note_change` watches. If that is unknown, every call returns a
    /// different number.
    fn external_change_count(&self) -> u64;
    /// Makes a write that is never read, as durable as every write, to check that the disk accepts writes.
    fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>>;
    /// Returns the mechanism that restricts extensions' statements to their own tables.
    fn extension_rights(&self) -> ExtensionRights;
    /// Removes what the engine itself keeps for an extension whose tables were dropped.
    fn forget_extension(&self, name: &str) -> BoxFuture<'static, Result<(), DbError>>;
    /// Copies the whole database, as of one moment, into a new file. Returns false if the engine has no file to copy.
    fn snapshot(&self, into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>>;
    /// Writes out pending changes and closes the database; every later call returns [`DbError::Closed`].
    fn shut_down(&self) -> BoxFuture<'static, ()>;
}
