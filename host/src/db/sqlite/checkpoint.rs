//! Keeps the write-ahead log bounded: a thread copies its pages to the database file as it grows, and the writer
//! begins it anew at its limit. It never touches the log by other means than SQLite.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, hooks::Wal};

use super::{
    SqliteOptions,
    link::{Link, Role},
    sync::Health,
};

/// How long the writer waits for readers at the limit, before it goes on and lets the log grow. A log can be begun
/// anew only when no read goes on that began before all of its pages were copied.
const RESTART_WAIT_MAX: Duration = Duration::from_millis(250);

/// How often at most the log tells of readers that keep the write-ahead log from shrinking.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The writer's view of the log, and the way to the thread.
pub(super) struct Checkpoints {
    /// How many pages the log held after the last commit.
    pages: Arc<AtomicI32>,
    /// How many it held when pages were last copied.
    pages_copied: i32,
    pages_per_checkpoint: i32,
    pages_before_restart: i32,
    /// When to try again after readers stood in the way: ever later, so that long reads do not stall writes.
    pages_next_restart: i32,
    /// How much the log may grow between two tries.
    pages_restart_step: i32,
    busy_timeout: Duration,
    wal_bytes_max: u64,
    /// Held while the log is copied: SQLite refuses a second checkpoint at once instead of waiting.
    copying: Arc<Mutex<()>>,
    wake: Sender<()>,
    thread: JoinHandle<()>,
    warned_at: Option<Instant>,
    health: Arc<Health>,
}

impl Checkpoints {
    /// Starts the thread, and watches the log that the writer's connection appends to.
    pub(super) fn start(
        options: &SqliteOptions,
        writer: &mut Connection,
        health: Arc<Health>,
    ) -> rusqlite::Result<Checkpoints> {
        let page_bytes: i64 = writer.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages_of =
            |bytes: u64| i32::try_from(bytes / page_bytes.unsigned_abs().max(512)).unwrap_or(i32::MAX);
        let pages = Arc::new(AtomicI32::new(0));
        let counted = Arc::clone(&pages);
        // This takes the place of SQLite's own checkpoint at every thousand pages, which runs within a commit.
        writer.wal_hook(Some(move |_: &mut Wal, now: i32| {
            counted.store(now, Ordering::Relaxed);
            Ok(())
        }))?;
        let link = Link::open(options, Role::Checkpointer)?;
        let (wake, woken) = crossbeam_channel::bounded(1);
        let copying = Arc::new(Mutex::new(()));
        let (thread_health, thread_copying) = (Arc::clone(&health), Arc::clone(&copying));
        let thread = std::thread::Builder::new()
            .name("db-checkpointer".to_owned())
            .spawn(move || serve(&link, &woken, &thread_copying, &thread_health))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        // Half of the limit is left for the group that crosses the line.
        let pages_before_restart = pages_of(options.wal_bytes_max / 2).max(1);
        Ok(Checkpoints {
            pages,
            pages_copied: 0,
            pages_per_checkpoint: pages_of(options.checkpoint_bytes).max(1),
            pages_before_restart,
            pages_next_restart: pages_before_restart,
            pages_restart_step: 0,
            busy_timeout: options.busy_timeout,
            wal_bytes_max: options.wal_bytes_max,
            copying,
            wake,
            thread,
            warned_at: None,
            health,
        })
    }

    /// Looks at the log between two groups.
    pub(super) fn after_commit(&mut self, link: &Link) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.pages_copied {
            // The log was begun anew.
            self.pages_copied = 0;
            self.pages_next_restart = self.pages_before_restart;
            self.pages_restart_step = 0;
        }
        if self.health.check().is_err() {
            return;
        }
        if pages >= self.pages_next_restart {
            self.restart(link, pages);
        } else if pages - self.pages_copied >= self.pages_per_checkpoint {
            self.pages_copied = pages;
            // A thread that is still at it, or gone, is not waited for.
            let _: Result<(), TrySendError<()>> = self.wake.try_send(());
        }
    }

    /// Ends the thread and closes its connection.
    pub(super) fn finish(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the checkpointer panicked; the log is copied on the next start");
        }
    }

    fn restart(&mut self, link: &Link, pages: i32) {
        let step = self.pages_restart_step.saturating_mul(2);
        self.pages_restart_step =
            step.clamp(self.pages_per_checkpoint, self.pages_before_restart.max(self.pages_per_checkpoint));
        self.pages_next_restart = pages.saturating_add(self.pages_restart_step);
        match self.copy_and_restart(link) {
            // The next commit begins at the log's start.
            Ok(0) => {}
            Ok(_) => self.warn_of_readers(pages),
            Err(error) => note_failure(&error, &self.health),
        }
    }

    /// Answers 0 if the log can be begun anew, 1 if readers stood in the way.
    fn copy_and_restart(&self, link: &Link) -> rusqlite::Result<i64> {
        let _alone = self.copying.lock();
        link.guard.enter_engine();
        link.connection.busy_timeout(RESTART_WAIT_MAX)?;
        let restarted = link.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0));
        link.connection.busy_timeout(self.busy_timeout)?;
        restarted
    }

    fn warn_of_readers(&mut self, pages: i32) {
        if self.warned_at.is_some_and(|at| at.elapsed() < WARNING_INTERVAL) {
            return;
        }
        self.warned_at = Some(Instant::now());
        tracing::warn!(
            pages,
            bytes_max = self.wal_bytes_max,
            "wal_held_by_readers: a read that runs for long keeps the write-ahead log growing; shorten it, \
             or let database clients outside of this process end their transactions"
        );
    }
}

fn serve(link: &Link, woken: &Receiver<()>, copying: &Mutex<()>, health: &Health) {
    while woken.recv().is_ok() {
        if health.check().is_err() {
            return;
        }
        let _alone = copying.lock();
        link.guard.enter_engine();
        let copied = link.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = copied {
            note_failure(&error, health);
        }
    }
}

fn note_failure(error: &rusqlite::Error, health: &Health) {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {}
        Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt) => {
            health.fail(format!("the write-ahead log could not be copied to the database file: {error}"));
        }
        _ => {
            tracing::warn!(%error, "the write-ahead log could not be copied to the database file; it grows meanwhile")
        }
    }
}
