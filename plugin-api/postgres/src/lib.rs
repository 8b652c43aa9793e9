//! The semantics of the database interface on PostgreSQL: which statements an extension may run, how packed values are
//! converted, and what the server's errors mean. The host and the test kit share it, so that tests behave like the
//! server. It never connects to a database.

pub mod numeric;
pub mod scope;
pub mod server_error;
pub mod text;
pub mod values;

use thiserror::Error;
use tinybase_abi::codec::CodecError;

/// The reason why a statement is rejected before it runs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StatementError {
    /// It uses something that its extension may not.
    #[error("{extension} may not use the table {table}")]
    Denied {
        /// The extension.
        extension: String,
        /// The name of the table or other object.
        table: String,
    },
    /// It cannot be parsed, or its parameters do not fit.
    #[error("{0}")]
    Sql(String),
    /// It is nested too deeply to be parsed.
    #[error("the statement nests too deep; {depth_max} levels of operators and brackets are the most")]
    TooDeep {
        /// The maximum nesting depth of a statement.
        depth_max: usize,
    },
    /// PostgreSQL cannot store a value, such as a text with the character NUL.
    #[error("{0}")]
    InvalidValue(String),
    /// A packed buffer was malformed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
