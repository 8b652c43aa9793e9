//! What an operator may choose about the PostgreSQL engine: every limit by name, with its default. It opens nothing.

use std::time::Duration;

use crate::{db::Durability, secrets::Secret};

/// The engine's settings. [`PostgresOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The server and the database, as `postgres://user:password@host:port/database?sslmode=…`.
    pub url: Secret,
    /// Whether extensions' statements run under roles of their own, where the server lets such be made.
    pub extension_roles: bool,
    /// When a write is acknowledged: with [`Durability::Normal`], before the server has synced its log.
    pub durability: Durability,
    /// How many connections this process opens for statements. One more listens for changes.
    pub connections_max: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a call waits for a connection before it answers busy.
    pub acquire_timeout: Duration,
    /// How long a statement may take that names no deadline of its own.
    pub query_timeout: Duration,
    /// The longest that an extension's interactive transaction may ask for; meanwhile others that begin one wait.
    pub transaction_time_max: Duration,
    /// The largest result of one statement of the host, in bytes.
    pub rows_bytes_max: usize,
    /// The largest result of one statement or batch of an extension, in bytes.
    pub extension_rows_bytes_max: usize,
    /// How many prepared statements each connection keeps, and how many this process knows the types of.
    pub statement_cache_entries: usize,
    /// How many reads by key go to the server together at most, of those that wait while others of the same statement are
    /// under way. With 1, each goes alone.
    pub gathered_reads_max: usize,
    /// How often a batch is tried that others' batches got in the way of.
    pub attempts_max: u32,
    /// How often the number of changes is read, in case its notification was lost.
    pub change_poll_interval: Duration,
    /// How old the last look at the number of changes may be before nothing that is cached counts any more.
    pub change_age_max: Duration,
    /// After how long a lost server is tried again at first, and at last.
    pub reconnect_delay: (Duration, Duration),
}

impl PostgresOptions {
    /// The defaults for the database at `url`.
    pub fn new(url: impl Into<String>) -> PostgresOptions {
        PostgresOptions {
            url: Secret::from(url.into()),
            extension_roles: true,
            durability: Durability::Full,
            connections_max: 32,
            connect_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(10),
            transaction_time_max: Duration::from_secs(30),
            rows_bytes_max: 64 << 20,
            extension_rows_bytes_max: 64 << 20,
            statement_cache_entries: 256,
            gathered_reads_max: 64,
            attempts_max: 8,
            change_poll_interval: Duration::from_millis(250),
            change_age_max: Duration::from_millis(900),
            reconnect_delay: (Duration::from_millis(50), Duration::from_secs(2)),
        }
    }
}
