//! The errors of a copy: what happened, where, and what to do next.

use thiserror::Error;
use tinybase_abi::codec::CodecError;

use crate::{
    db::{DbError, migrations::MigrateError},
    nodes::KeyFault,
    plugins::{LoadError, package::PackageError},
};

/// Why a copy did not finish. It can be resumed, unless the message says otherwise.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The source is not an instance.
    #[error("the source is no instance of TinyBase: it has no tb_migrations")]
    NoInstance,
    /// The source lacks migrations of this program.
    #[error("the source lacks {missing} migration(s) of {owner}; run with it first: tinybase db upgrade")]
    SourceBehind {
        /// The owner of the migrations.
        owner: String,
        /// The number of missing migrations.
        missing: usize,
    },
    /// The migrations of an extension differ between the engines.
    #[error(
        "the extension {name} has {source_count} migration(s) for the source's engine and {target_count} for the target's: it \
         cannot be copied; install a version that knows both engines"
    )]
    OneEngine {
        /// The extension.
        name: String,
        /// The number of migrations for the source's engine.
        source_count: usize,
        /// The number of migrations for the target's engine.
        target_count: usize,
    },
    /// A server is running on one of the databases.
    #[error(
        "the node {node} at {address} serves the {side}, or did until it broke off; stop it, or go on all the same with --force"
    )]
    Served {
        /// `source` or `target`.
        side: &'static str,
        /// The name of the node.
        node: String,
        /// The address it listens on.
        address: String,
    },
    /// The target is not empty.
    #[error(
        "the target is not empty: it has the table {0}; give an empty database, or one that a copy was begun to"
    )]
    NotEmpty(String),
    /// The target contains an unfinished copy of another source.
    #[error(
        "the target holds an unfinished copy of another source, or of this one before its tables were changed; \
         begin again with an empty target"
    )]
    OtherSource,
    /// Another process writes to the target's copy state.
    #[error("another copy writes to the same target, at the table {0}; let it come to its end")]
    TwoCopies(String),
    /// A table cannot be copied row by row, and no extension declares how to create it.
    #[error("the table {table} cannot be copied: {problem}")]
    Table {
        /// The table.
        table: String,
        /// The reason.
        problem: String,
    },
    /// The target rejects a row.
    #[error("the target does not take the row {key} of {table}: {problem}")]
    Row {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
        /// The database's error.
        problem: DbError,
    },
    /// An extension's tables could not be created.
    #[error("the extension {name} does not say how its tables are made: {problem}")]
    Extension {
        /// The name of the extension.
        name: String,
        /// The reason.
        problem: String,
    },
    /// Source and target differ.
    #[error(
        "source and target differ in {}; was the source written to meanwhile? Begin again with an empty target",
        .0.join(", ")
    )]
    Differs(Vec<String>),
    /// The database is the target of an unfinished copy.
    #[error(
        "the database is the target of a copy that is not finished; go on with the same: tinybase db copy"
    )]
    Unfinished,
    /// The keys in the folder are not the source's.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// A database returned an error.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The target's migrations failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// An extension could not be read or loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl From<CodecError> for CopyError {
    fn from(error: CodecError) -> CopyError {
        CopyError::Database(error.into())
    }
}

impl From<PackageError> for CopyError {
    fn from(error: PackageError) -> CopyError {
        CopyError::Load(error.into())
    }
}
