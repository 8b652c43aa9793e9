//! What the database interface means on PostgreSQL: which statements an extension may run, how packed values cross, what the
//! server's errors say. The host and the test kit go by it, so that a test sees what a server would answer. It never
//! connects to one.

pub mod numeric;
pub mod scope;
pub mod server_error;
pub mod text;
pub mod values;

use thiserror::Error;
use tinybase_abi::codec::CodecError;

/// Why a statement is not even run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementError {
    /// It touches what its extension may not.
    #[error("{extension} may not use the table {table}")]
    Denied {
        /// Who asked.
        extension: String,
        /// The table, or what else it names.
        table: String,
    },
    /// It cannot be understood, or its parameters do not fit it.
    #[error("{0}")]
    Sql(String),
    /// It nests so deep that nobody reads it.
    #[error("the statement nests too deep; {depth_max} levels of operators and brackets are the most")]
    TooDeep {
        /// How many levels a statement may have.
        depth_max: usize,
    },
    /// PostgreSQL cannot hold a value, such as a text with the character NUL.
    #[error("{0}")]
    InvalidValue(String),
    /// A packed buffer was malformed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
