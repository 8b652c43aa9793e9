//! What an operator may choose about the SQLite engine: every limit by name, with its default. It opens nothing.

use std::{path::PathBuf, time::Duration};

use crate::db::Durability;

/// The engine's settings. [`SqliteOptions::new`] gives the defaults, which suit a server of a few cores.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database file; created with mode 0600 where it is missing.
    pub path: PathBuf,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// How many threads answer reads of unknown cost, and how many one caller has at most. Each has a connection.
    pub reader_threads: usize,
    /// How many there are with those that are started for callers for whom none works, while the others are busy.
    pub reader_threads_max: usize,
    /// How many connections short reads may spread over; threads beyond that share them.
    pub short_connections_max: usize,
    /// How long a statement may take that names no deadline of its own.
    pub query_timeout: Duration,
    /// How long another process may hold the file before a call answers busy.
    pub busy_timeout: Duration,
    /// The longest that an extension's interactive transaction may ask for; meanwhile every other writer waits.
    pub transaction_time_max: Duration,
    /// Where the write-ahead log stops to grow under a steady load, in bytes.
    pub wal_bytes_max: u64,
    /// After how much growth of the write-ahead log its pages are copied to the database file, in bytes.
    pub checkpoint_bytes: u64,
    /// The largest result of one statement of the host, in bytes.
    pub rows_bytes_max: usize,
    /// The largest result of one statement or batch of an extension, in bytes.
    pub extension_rows_bytes_max: usize,
    /// The largest result of a read on the calling thread, in bytes: a larger one is begun again on a reader thread.
    pub short_rows_bytes_max: usize,
    /// How many jobs are committed as one transaction at most.
    pub group_jobs_max: usize,
    /// After how long a group is committed although more jobs wait.
    pub group_time_max: Duration,
    /// How many jobs may wait for the writer; beyond that a write answers busy.
    pub queue_jobs_max: usize,
    /// How many reads of unknown cost may wait; beyond that a read answers busy.
    pub queue_reads_max: usize,
    /// How many of those may be one caller's.
    pub queue_reads_of_one_max: usize,
    /// How many prepared statements each connection keeps.
    pub statement_cache_entries: usize,
    /// How much of the file each connection for short reads caches, in bytes.
    pub page_cache_bytes: usize,
    /// How much of the file the writer caches, in bytes: its pages are those that were written last.
    pub writer_cache_bytes: usize,
    /// How much of the file each of the other connections caches, in bytes: scans gain little from it.
    pub scan_cache_bytes: usize,
}

impl SqliteOptions {
    /// The defaults for the database file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> SqliteOptions {
        SqliteOptions {
            path: path.into(),
            durability: Durability::Full,
            reader_threads: 4,
            reader_threads_max: 16,
            short_connections_max: std::thread::available_parallelism()
                .map_or(4, |cores| cores.get() * 2)
                .min(32),
            query_timeout: Duration::from_secs(10),
            busy_timeout: Duration::from_secs(5),
            transaction_time_max: Duration::from_secs(30),
            wal_bytes_max: 256 << 20,
            checkpoint_bytes: 64 << 20,
            rows_bytes_max: 64 << 20,
            extension_rows_bytes_max: 64 << 20,
            short_rows_bytes_max: 2 << 20,
            group_jobs_max: 512,
            group_time_max: Duration::from_millis(20),
            queue_jobs_max: 4096,
            queue_reads_max: 1024,
            queue_reads_of_one_max: 256,
            statement_cache_entries: 256,
            page_cache_bytes: 4 << 20,
            writer_cache_bytes: 4 << 20,
            scan_cache_bytes: 1 << 20,
        }
    }
}
