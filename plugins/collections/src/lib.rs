//! The collections extension: schemas, records, queries and access rules over the host's database.
//! It never opens the database itself: all it knows of storage is the SQL that it hands to the host.

pub mod access;
pub mod etag;
pub mod fault;
pub mod filter;
pub mod json;
pub mod limits;
pub mod query;
pub mod schema;
pub mod sql_value;
pub mod validate;
