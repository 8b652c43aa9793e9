//! The host: loads plugins, serves HTTP, owns the database. It never contains what could be an extension.

pub mod db;
pub mod error;
