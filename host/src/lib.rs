//! The host: loads plugins, serves HTTP, owns the database. It never contains what could be an extension.

pub mod absolute_url;
pub mod accounts;
pub mod admin;
pub mod audit;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod copy;
pub mod db;
pub mod error;
pub mod http;
pub mod isolation;
pub mod logging;
pub mod memory;
mod nearest;
pub mod nodes;
pub mod observe;
pub mod outbound;
pub mod plugins;
pub mod registry;
pub mod request_log;
pub mod secrets;
pub mod settings;
pub mod sql;
pub mod telemetry;
pub mod time_log;
