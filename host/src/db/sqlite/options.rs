//! The settings of the SQLite engine: every limit by name, with its default. It opens nothing.

use std::{path::PathBuf, time::Duration};

use crate::db::Durability;

/// The engine's settings. [`SqliteOptions::new`] gives the defaults, which suit a server of a few cores.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database file; created with mode 0600 if it is missing.
    pub path: PathBuf,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Reader threads for reads of unknown cost, and the maximum per caller. Each has a connection.
    pub reader_threads: usize,
    /// The maximum number of reader threads, including those that are started while the others are busy. Those serve
    /// only callers for whom no other thread works.
    pub reader_threads_max: usize,
    /// The maximum number of connections for short reads; if there are more threads, they share them.
    pub short_connections_max: usize,
    /// The time limit of a statement without its own deadline.
    pub query_timeout: Duration,
    /// How long another process may lock the file before a call returns busy.
    pub busy_timeout: Duration,
    /// The longest time that an extension's interactive transaction may request; meanwhile every other writer waits.
    pub transaction_time_max: Duration,
    /// The size at which the write-ahead log stops growing under a steady load, in bytes.
    pub wal_bytes_max: u64,
    /// The growth of the write-ahead log after which its pages are copied to the database file, in bytes.
    pub checkpoint_bytes: u64,
    /// The largest result of one statement of the host, in bytes.
    pub rows_bytes_max: usize,
    /// The largest result of one statement or batch of an extension, in bytes.
    pub extension_rows_bytes_max: usize,
    /// The largest result of a read on the calling thread, in bytes; a larger read is restarted on a reader thread.
    pub short_rows_bytes_max: usize,
    /// The maximum number of jobs that are committed as one transaction.
    pub group_jobs_max: usize,
    /// The time after which a group is committed even if more jobs wait.
    pub group_time_max: Duration,
    /// The maximum number of jobs that wait for the writer; beyond that a write returns busy.
    pub queue_jobs_max: usize,
    /// The maximum number of reads of unknown cost that wait; beyond that a read returns busy.
    pub queue_reads_max: usize,
    /// The maximum number of those that one caller may have.
    pub queue_reads_of_one_max: usize,
    /// The number of prepared statements that each connection caches.
    pub statement_cache_entries: usize,
    /// How much of the file each connection for short reads caches, in bytes.
    pub page_cache_bytes: usize,
    /// How much of the file the writer caches, in bytes: these are the pages that were written last.
    pub writer_cache_bytes: usize,
    /// How much of the file each other connection caches, in bytes: scans gain little from it.
    pub scan_cache_bytes: usize,
}

impl SqliteOptions {
    /// Returns the defaults for the database file at `path`.
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
