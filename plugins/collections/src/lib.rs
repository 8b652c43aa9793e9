//! The collections extension: schemas, records, queries and access rules over the host's database. It never opens the
//! database itself: it only passes SQL to the host.
#![forbid(unsafe_code)]

pub mod access;
mod budget;
pub mod catalog;
mod collections;
mod commands;
pub mod dialect;
mod error;
pub mod etag;
pub mod fault;
pub mod filter;
mod heavy;
mod http;
pub mod json;
pub mod limits;
mod metrics;
mod number;
mod openapi;
mod paging;
pub mod plugin;
pub mod query;
mod records;
pub mod schema;
pub mod scopes;
pub mod sql_value;
pub mod storage;
mod table_transfer;
#[cfg(test)]
mod testing;
pub mod validate;
