//! The `Database` trait: what the host and, through the host's services, every plugin reads and writes by.
//! Engines live in folders of their own; nothing outside of them names an engine's crate.

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

/// Which engine holds the data: SQL that differs between them is chosen by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The embedded SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// What keeps an extension's statements to its own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionRights {
    /// SQLite's authorizer, which is asked about whatever a statement touches.
    Authorizer,
    /// A database role of the extension's own, and the text of its statements.
    Roles,
    /// The text of its statements alone.
    Text,
}

impl ExtensionRights {
    /// The word by which the administration shows it.
    pub fn name(self) -> &'static str {
        match self {
            ExtensionRights::Authorizer => "authorizer",
            ExtensionRights::Roles => "roles",
            ExtensionRights::Text => "text",
        }
    }
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once it is on disk: it survives a power cut.
    #[default]
    Full,
    /// Once the operating system has it: it survives a crash of the process, a power cut may take the last moments.
    Normal,
}

/// In whose name a statement runs. A plugin's statements may write only tables that begin with its prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlOwner {
    /// The host itself: every table.
    Host,
    /// An extension: its name, which with `_` behind it is the prefix of its tables.
    Extension(Arc<str>),
}

impl SqlOwner {
    /// The extension's name, `None` for the host.
    pub fn extension(&self) -> Option<&str> {
        match self {
            SqlOwner::Host => None,
            SqlOwner::Extension(name) => Some(name),
        }
    }
}

/// What a read may cost, as far as the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadHint {
    /// One row at most, by a key, with a plain `SELECT` that depends on nothing but its parameters: answered as
    /// [`ReadHint::Indexed`], and on PostgreSQL together with others that run the same statement meanwhile.
    PointLookup,
    /// A few rows by key or index: answered on the calling thread.
    Indexed,
    /// Anything else: answered by a reader thread, so that a scan never stalls others.
    #[default]
    Scan,
}

/// A read of one statement.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// In whose name it runs.
    pub scope: &'a SqlOwner,
    /// One statement that changes nothing.
    pub sql: &'a str,
    /// Its parameters, packed by [`tinybase_abi::codec::pack_values`].
    pub params: &'a [u8],
    /// What it may cost.
    pub hint: ReadHint,
    /// How long it may take; `None` is the engine's configured default.
    pub deadline: Option<Duration>,
}

/// Why the database did not do what it was asked. `code` is stable; plugins and the HTTP API see it.
#[derive(Debug, Clone, Error)]
pub enum DbError {
    /// A unique constraint refused a value.
    #[error("a value for {} is already taken", .columns.join(", "))]
    Unique {
        /// The table.
        table: String,
        /// The columns of the constraint.
        columns: Vec<String>,
    },
    /// A foreign key refused a change.
    #[error("a reference does not hold")]
    ForeignKey,
    /// A `NOT NULL` or `CHECK` constraint refused a value.
    #[error("a constraint does not hold: {0}")]
    Constraint(String),
    /// A statement of a batch did not affect as many rows as it must; nothing of the batch was applied.
    #[error("statement {statement} affected {affected} rows")]
    Condition {
        /// The statement's position, from 0.
        statement: usize,
        /// How many rows it affected.
        affected: u64,
    },
    /// The statement took longer than its deadline.
    #[error("the statement took longer than its deadline of {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The engine is overloaded, or another process holds it; the same call may go through later.
    #[error("the database is busy")]
    Busy,
    /// What is held for all requests leaves no room for the result; the same call may go through later.
    #[error("the server holds too much for other requests at once; try again shortly")]
    NoRoom,
    /// The result is larger than a result may be.
    #[error("the result is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The statement touches a table that its scope may not.
    #[error("{scope} may not use the table {table}")]
    Denied {
        /// Who asked.
        scope: String,
        /// The table.
        table: String,
    },
    /// The statement nests so deep that the engine does not read it.
    #[error("{0}")]
    TooDeep(String),
    /// The statement is not valid, or fails at run time.
    #[error("{0}")]
    Sql(String),
    /// The engine cannot hold a value, such as a text with the character NUL in PostgreSQL.
    #[error("{0}")]
    InvalidValue(String),
    /// A table or column is not there, or not as it was: another node has just changed the schema. Whoever keeps a
    /// schema in memory reads it again and tries once more.
    #[error("the schema was changed meanwhile: {0}")]
    SchemaChanged(String),
    /// The server does not answer, or is about to stop or to start; the same call may go through later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// There is no room left where the data is kept. Nothing of the change was applied; once there is room the same goes
    /// through.
    #[error("the disk of the database is full ({0}); free some space and try again")]
    DiskFull(String),
    /// The database file was removed, or another was put in its place, while it was open: what is written reaches nobody.
    #[error("{0}")]
    FileReplaced(String),
    /// A packed buffer was malformed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The database is shut down, its disk failed, or what says where it is will not do.
    #[error("the database cannot be used: {0}")]
    Closed(String),
}

impl DbError {
    /// The stable code of this error.
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

/// An answer that may be there at once. A short read is; to poll it costs no allocation.
pub enum DbFuture<T> {
    /// The answer.
    Ready(Option<Result<T, DbError>>),
    /// The answer is on its way.
    Later(BoxFuture<'static, Result<T, DbError>>),
}

impl<T> DbFuture<T> {
    /// An answer that is there.
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

/// A transaction across calls. Dropped before [`Transaction::commit`], it is rolled back; past its deadline it is
/// rolled back too, and every later call answers [`DbError::Timeout`].
pub trait Transaction: Send {
    /// Reads within the transaction; answers packed rows.
    fn query(&mut self, sql: String, params: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>>;
    /// Applies a packed batch within the transaction; answers a packed result.
    fn apply(&mut self, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>>;
    /// Applies a packed batch within the transaction in the name of `scope`, not of the one it was begun in: so a
    /// plugin's migration commits together with the host's record of it.
    fn apply_as(&mut self, scope: &SqlOwner, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>>;
    /// Makes everything durable as the configuration says.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>>;
    /// Undoes everything.
    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>>;
}

/// A packed batch that is applied with another one, in a scope of its own.
pub type ScopedBatch = (SqlOwner, Vec<u8>);

/// What an engine offers.
pub trait Database: Send + Sync + 'static {
    /// Which engine it is.
    fn engine(&self) -> Engine;
    /// Reads; answers packed rows ([`tinybase_abi::codec::RowsWriter`]).
    fn query(&self, query: Query<'_>) -> DbFuture<Vec<u8>>;
    /// Applies a packed batch ([`tinybase_abi::codec::BatchWriter`]) together or not at all; answers a packed result
    /// ([`tinybase_abi::codec::BatchResultWriter`]) once it is as durable as the configuration says.
    /// A statement without parameters may be a script of several, each ended by `;`.
    fn apply(&self, scope: &SqlOwner, batch: Vec<u8>) -> DbFuture<Vec<u8>> {
        self.apply_attached(scope, batch, Vec::new())
    }
    /// Applies a packed batch and, behind it, others in scopes of their own: all of it together or not at all. So the
    /// statements that a hook adds commit with the change of another plugin. Answers the first batch's result.
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
    /// The time that `ValueRef::Now` stands for: on PostgreSQL the server's as this process knows it, the same for all nodes
    /// whatever their own clocks show.
    fn now(&self) -> Timestamp;
    /// A number that changes whenever another process has changed what nodes keep in memory: on SQLite any data, on
    /// PostgreSQL what a trigger of `tb_note_change` watches. Where that cannot be known, it is another at each call.
    fn external_change_count(&self) -> u64;
    /// Writes something that is never read, as durably as every write: whether the disk takes it.
    fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>>;
    /// What keeps extensions' statements to their own tables.
    fn extension_rights(&self) -> ExtensionRights;
    /// Forgets an extension whose tables were dropped: what the engine itself keeps for it is taken away.
    fn forget_extension(&self, name: &str) -> BoxFuture<'static, Result<(), DbError>>;
    /// Copies the whole database, as it is at one moment, into a file that is not there yet. Answers false where the engine
    /// has no file to copy.
    fn snapshot(&self, into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>>;
    /// Writes out what is pending and closes; every later call answers [`DbError::Closed`].
    fn shut_down(&self) -> BoxFuture<'static, ()>;
}
