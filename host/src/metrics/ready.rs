//! Readiness: the database responds, writes reach the disk, and the server is not shutting down. It never reveals more
//! to a client than an error code.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::timeout};

use crate::{db::DbError, error::ApiError, sql::HostSql};

/// The maximum time for the database's response before the server counts as not ready.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a result is cached. Within this time the database is queried only once, however many requests there are.
const ANSWER_KEPT: Duration = Duration::from_secs(1);

/// Why the server is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Reads,
    Writes,
    DiskFull,
    FileReplaced,
}

/// Determines whether the server is ready.
#[derive(Debug)]
pub struct Readiness {
    sql: HostSql,
    stopping: AtomicBool,
    last: Mutex<Option<(Instant, Result<(), Problem>)>>,
}

impl Readiness {
    /// Creates the readiness of a server with this database, whose plugins are loaded.
    pub fn new(sql: HostSql) -> Readiness {
        Readiness { sql, stopping: AtomicBool::new(false), last: Mutex::new(None) }
    }

    /// Marks the server as shutting down: from now on it is not ready.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Checks whether the server is ready.
    ///
    /// # Errors
    /// 503 `shutting_down`, `database_not_ready`, `writer_not_ready`, `disk_full` or `database_file_replaced`.
    pub async fn check(&self) -> Result<(), ApiError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(ApiError::unavailable("shutting_down", "the server is about to end"));
        }
        self.state().await.map_err(|problem| match problem {
            Problem::Reads => ApiError::unavailable("database_not_ready", "the database does not answer"),
            Problem::Writes => ApiError::unavailable("writer_not_ready", "the database takes no writes"),
            Problem::DiskFull => ApiError::unavailable("disk_full", "the disk of the database is full"),
            Problem::FileReplaced => ApiError::unavailable(
                "database_file_replaced",
                "the database file is not the one that was opened",
            ),
        })
    }

    async fn state(&self) -> Result<(), Problem> {
        let mut last = self.last.lock().await;
        if let Some((at, state)) = *last
            && at.elapsed() < ANSWER_KEPT
        {
            return state;
        }
        let state = self.probe().await;
        if let Err(problem) = state {
            tracing::warn!(?problem, "the server is not ready: the database does not do its part");
        }
        *last = Some((Instant::now(), state));
        state
    }

    async fn probe(&self) -> Result<(), Problem> {
        let read = timeout(ANSWER_WAIT_MAX, self.sql.scan("SELECT 1", &[])).await;
        read.unwrap_or(Err(DbError::Busy)).map_err(|error| problem(&error, Problem::Reads))?;
        let written = timeout(ANSWER_WAIT_MAX, self.sql.database().write_probe()).await;
        written.unwrap_or(Err(DbError::Busy)).map_err(|error| problem(&error, Problem::Writes))
    }
}

/// Maps an error to a problem; `failed` is the general one.
fn problem(error: &DbError, failed: Problem) -> Problem {
    match error {
        DbError::DiskFull(_) => Problem::DiskFull,
        DbError::FileReplaced(_) => Problem::FileReplaced,
        _ => failed,
    }
}
