//! The settings of the PostgreSQL engine: every limit by name, with its default. It opens nothing.

use std::time::Duration;

use crate::{db::Durability, secrets::Secret};

/// The engine's settings. [`PostgresOptions::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// The server and the database, as `postgres://user:password@host:port/database?sslmode=…`.
    pub url: Secret,
    /// Whether extensions' statements run under their own roles, if the server allows creating them.
    pub extension_roles: bool,
    /// When a write is acknowledged: with [`Durability::Normal`], before the server has synced its log.
    pub durability: Durability,
    /// The number of connections that this process opens for statements. One more listens for changes.
    pub connections_max: usize,
    /// The time limit for making a connection.
    pub connect_timeout: Duration,
    /// How long a call waits for a connection before it returns busy.
    pub acquire_timeout: Duration,
    /// The time limit of a statement without its own deadline.
    pub query_timeout: Duration,
    /// The longest time that an extension's interactive transaction may request; meanwhile other interactive
    /// transactions wait.
    pub transaction_time_max: Duration,
    /// The largest result of one statement of the host, in bytes.
    pub rows_bytes_max: usize,
    /// The largest result of one statement or batch of an extension, in bytes.
    pub extension_rows_bytes_max: usize,
    /// The number of prepared statements that each connection keeps, and of those whose types this process keeps.
    pub statement_cache_entries: usize,
    /// The maximum number of waiting reads by key that are sent together, while others of the same statement are
    /// running. With 1, each is sent alone.
    pub gathered_reads_max: usize,
    /// The maximum number of attempts for a batch that conflicts with other batches.
    pub attempts_max: u32,
    /// How often the number of changes is polled, in case a notification was lost.
    pub change_poll_interval: Duration,
    /// The maximum age of the known number of changes; beyond it, nothing that is cached is valid.
    pub change_age_max: Duration,
    /// The first and the longest delay before reconnecting to a lost server.
    pub reconnect_delay: (Duration, Duration),
}

impl PostgresOptions {
    /// Returns the defaults for the database at `url`.
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
