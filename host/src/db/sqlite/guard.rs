//! Guards the statements that a connection runs: the scope's authorizer, the deadline, and cancellation by the caller.
//! It runs nothing itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{
    errors,
    scope::{Gate, Made},
};
use crate::{
    db::{DbError, SqlOwner},
    metrics::stats::DATABASE,
};

/// SQLite checks the deadline after about this many of its instructions: every 20 to 100 µs.
const INSTRUCTIONS_PER_CHECK: i32 = 2000;

const NO_DEADLINE: u64 = u64::MAX;

/// One connection's guard, shared with the callbacks that SQLite keeps.
#[derive(Debug)]
pub(super) struct Guard {
    epoch: Instant,
    deadline_nanos: AtomicU64,
    time_max: Mutex<Duration>,
    interrupted: AtomicBool,
    /// Whether timeouts are counted in the metrics.
    counts_timeouts: AtomicBool,
    abandoned: Mutex<Option<Arc<AtomicBool>>>,
    gate: Mutex<Gate>,
}

impl Guard {
    /// Installs a guard on a connection.
    pub(super) fn install(connection: &mut Connection) -> rusqlite::Result<Arc<Guard>> {
        let guard = Arc::new(Guard {
            epoch: Instant::now(),
            deadline_nanos: AtomicU64::new(NO_DEADLINE),
            time_max: Mutex::new(Duration::ZERO),
            interrupted: AtomicBool::new(false),
            counts_timeouts: AtomicBool::new(true),
            abandoned: Mutex::new(None),
            gate: Mutex::new(Gate::new()),
        });
        let asked = Arc::clone(&guard);
        connection.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            asked.gate.lock().authorize(&context)
        }))?;
        let watched = Arc::clone(&guard);
        connection.progress_handler(INSTRUCTIONS_PER_CHECK, Some(move || watched.must_stop()))?;
        Ok(guard)
    }

    /// Whether the statement must stop: its deadline has passed, or nobody waits for it any more.
    pub(super) fn must_stop(&self) -> bool {
        let deadline = self.deadline_nanos.load(Ordering::Relaxed);
        if deadline == NO_DEADLINE {
            return false;
        }
        let late = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(NO_DEADLINE) > deadline;
        let alone = || self.abandoned.lock().as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed));
        if late || alone() {
            self.interrupted.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Prepares for one statement in the name of `scope` that may take `time_max` from now.
    pub(super) fn enter(&self, scope: &SqlOwner, time_max: Duration) {
        self.gate.lock().enter(scope);
        let nanos = (self.epoch.elapsed() + time_max).as_nanos();
        self.deadline_nanos.store(u64::try_from(nanos).unwrap_or(NO_DEADLINE - 1), Ordering::Relaxed);
        *self.time_max.lock() = time_max;
        self.interrupted.store(false, Ordering::Relaxed);
    }

    /// Prepares for the engine's own statements, which nothing interrupts.
    pub(super) fn enter_engine(&self) {
        self.gate.lock().enter_engine();
        self.deadline_nanos.store(NO_DEADLINE, Ordering::Relaxed);
    }

    /// Makes the next statements stop once this flag is set.
    pub(super) fn watch(&self, abandoned: Option<Arc<AtomicBool>>) {
        *self.abandoned.lock() = abandoned;
    }

    /// Sets whether timeouts are counted; they are not for statements that are retried.
    pub(super) fn count_timeouts(&self, whether: bool) {
        self.counts_timeouts.store(whether, Ordering::Relaxed);
    }

    /// Whether the statement altered a table. SQLite does not report the new name in advance.
    pub(super) fn altered(&self) -> bool {
        self.gate.lock().alters
    }

    /// Whether the statement was prepared, and not found in the cache.
    pub(super) fn was_asked(&self) -> bool {
        self.gate.lock().is_asked
    }

    /// Returns what the statement creates. SQLite does not report all of it in advance.
    pub(super) fn take_made(&self) -> Vec<Made> {
        self.gate.lock().take_made()
    }

    /// Returns the database's error for an error of this connection.
    pub(super) fn explain(&self, error: rusqlite::Error) -> DbError {
        if let Some(denied) = self.gate.lock().take_denied() {
            return denied;
        }
        if self.interrupted.load(Ordering::Relaxed)
            && error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
        {
            if self.counts_timeouts.load(Ordering::Relaxed) {
                DATABASE.timeouts.add_one();
            }
            return DbError::Timeout(*self.time_max.lock());
        }
        errors::map(error)
    }
}
