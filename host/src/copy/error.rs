//! Why an instance was not copied: what happened, where, and what to do next.

use thiserror::Error;
use tinybase_abi::codec::CodecError;

use crate::{
    db::{DbError, migrations::MigrateError},
    nodes::KeyFault,
    plugins::{LoadError, package::PackageError},
};

/// Why a copy did not come to its end. It can be gone on with, unless it says otherwise.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The source holds something else.
    #[error("the source is no instance of TinyBase: it has no tb_migrations")]
    NoInstance,
    /// The source is not what this program would make.
    #[error("the source lacks {missing} migration(s) of {owner}; run with it first: tinybase db upgrade")]
    SourceBehind {
        /// Whose.
        owner: String,
        /// How many.
        missing: usize,
    },
    /// An extension keeps no tables in the target's engine.
    #[error(
        "the extension {name} has {source_count} migration(s) for the source's engine and {target_count} for the target's: it \
         cannot be copied; install a version that knows both engines"
    )]
    OneEngine {
        /// The extension.
        name: String,
        /// How many for the source.
        source_count: usize,
        /// How many for the target.
        target_count: usize,
    },
    /// A server works on one of the databases.
    #[error(
        "the node {node} at {address} serves the {side}, or did until it broke off; stop it, or go on all the same with --force"
    )]
    Served {
        /// The source or the target.
        side: &'static str,
        /// Its name.
        node: String,
        /// Where it listens.
        address: String,
    },
    /// The target holds something already.
    #[error(
        "the target is not empty: it has the table {0}; give an empty database, or one that a copy was begun to"
    )]
    NotEmpty(String),
    /// The target was begun with another source.
    #[error(
        "the target holds an unfinished copy of another source, or of this one before its tables were changed; \
         begin again with an empty target"
    )]
    OtherSource,
    /// Something else writes to the target's record of the copy.
    #[error("another copy writes to the same target, at the table {0}; let it come to its end")]
    TwoCopies(String),
    /// A table cannot be copied row by row, and nobody says how else.
    #[error("the table {table} cannot be copied: {problem}")]
    Table {
        /// Which.
        table: String,
        /// Why.
        problem: String,
    },
    /// A row does not go into the target.
    #[error("the target does not take the row {key} of {table}: {problem}")]
    Row {
        /// The table.
        table: String,
        /// The row's key.
        key: String,
        /// Why.
        problem: DbError,
    },
    /// An extension's tables were not made.
    #[error("the extension {name} does not say how its tables are made: {problem}")]
    Extension {
        /// Its name.
        name: String,
        /// Why.
        problem: String,
    },
    /// Source and target differ.
    #[error(
        "source and target differ in {}; was the source written to meanwhile? Begin again with an empty target",
        .0.join(", ")
    )]
    Differs(Vec<String>),
    /// The target waits for the rest of a copy.
    #[error(
        "the database is the target of a copy that is not finished; go on with the same: tinybase db copy"
    )]
    Unfinished,
    /// The folder's keys are not the source's.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// A database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The target's tables could not be made.
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
