//! Keeps the write-ahead log bounded: a thread copies its pages to the database file as it grows, and the writer
//! restarts it at its limit. It accesses the log only through SQLite.

use std::{
    fs::File,
    io,
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
    connection::{Role, SqliteConnection},
    sync::Health,
};
use crate::metrics::stats;

/// How long the writer waits for readers at the limit before it goes on and lets the log grow. A log can be restarted
/// only when no read is running that began before all of its pages were copied.
const RESTART_WAIT_MAX: Duration = Duration::from_millis(250);

/// The maximum number of pages that the writer itself copies when it restarts the log. It keeps the pause for waiting
/// writes at a few milliseconds instead of the time of a whole copy.
const RESTART_REST_PAGES: i32 = 256;

/// The number of pages that are copied as soon as no writes are waiting. Reads then need not look them up in the log.
const IDLE_COPY_PAGES: i32 = 1000;

/// The minimum interval between warnings about readers that keep the write-ahead log from shrinking.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The writer's view of the log, and its connection to the thread.
pub(super) struct Checkpoints {
    /// The number of pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    /// The number of pages when the thread was last told to copy them.
    pages_asked: i32,
    /// The number of pages that the thread has copied and synced to the database file.
    pages_copied: Arc<AtomicI32>,
    pages_per_checkpoint: i32,
    pages_before_restart: i32,
    /// The size at which to try again after readers blocked a restart. The steps grow, so that long reads do not stall
    /// writes.
    pages_next_restart: i32,
    /// How much the log may grow between two tries.
    pages_restart_step: i32,
    /// How much more the log may grow at a try, until the thread has copied nearly all of it.
    pages_of_grace: i32,
    busy_timeout: Duration,
    wal_bytes_max: u64,
    /// Locked while the log is copied: SQLite refuses a concurrent checkpoint immediately instead of waiting.
    copying: Arc<Mutex<()>>,
    wake: Sender<()>,
    thread: JoinHandle<()>,
    warned_at: Option<Instant>,
    health: Arc<Health>,
}

impl Checkpoints {
    /// Starts the thread, and observes the log that the writer's connection appends to.
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
        // Replaces SQLite's own checkpoint at every thousand pages, which runs within a commit.
        writer.wal_hook(Some(move |_: &mut Wal, now: i32| {
            counted.store(now, Ordering::Relaxed);
            stats::set_wal_pages(now);
            Ok(())
        }))?;
        let link = SqliteConnection::open(options, Role::Checkpointer)?;
        let (wake, woken) = crossbeam_channel::bounded(1);
        let copying = Arc::new(Mutex::new(()));
        let pages_copied = Arc::new(AtomicI32::new(0));
        let copier = Copier {
            link,
            database: open_for_good(options).map_err(io_error)?,
            copying: Arc::clone(&copying),
            pages_copied: Arc::clone(&pages_copied),
            health: Arc::clone(&health),
        };
        let thread = std::thread::Builder::new()
            .name("db-checkpointer".to_owned())
            .spawn(move || copier.serve(&woken))
            .map_err(io_error)?;
        // A quarter of the limit is left for the thread to catch up, another for the group that crosses the threshold.
        let pages_before_restart = pages_of(options.wal_bytes_max / 2).max(1);
        Ok(Checkpoints {
            pages,
            pages_asked: 0,
            pages_copied,
            pages_per_checkpoint: pages_of(options.checkpoint_bytes).max(1),
            pages_before_restart,
            pages_next_restart: pages_before_restart,
            pages_restart_step: 0,
            pages_of_grace: pages_before_restart / 2,
            busy_timeout: options.busy_timeout,
            wal_bytes_max: options.wal_bytes_max,
            copying,
            wake,
            thread,
            warned_at: None,
            health,
        })
    }

    /// Checks the log between two groups.
    pub(super) fn after_commit(&mut self, link: &SqliteConnection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.pages_asked {
            // The log was restarted.
            self.pages_asked = 0;
            self.pages_copied.store(0, Ordering::Relaxed);
            self.pages_next_restart = self.pages_before_restart;
            self.pages_restart_step = 0;
        }
        if self.health.check().is_err() {
            return;
        }
        if pages >= self.pages_next_restart {
            self.approach_restart(link, pages);
        } else if pages - self.pages_asked >= self.pages_per_checkpoint {
            self.wake_thread(pages);
        }
    }

    /// Checks the log while no writes are waiting.
    pub(super) fn while_idle(&mut self) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages - self.pages_asked >= IDLE_COPY_PAGES && self.health.check().is_ok() {
            self.wake_thread(pages);
        }
    }

    /// Lets the thread catch up with the log first, in passes that get shorter and shorter.
    fn approach_restart(&mut self, link: &SqliteConnection, pages: i32) {
        let rest = pages - self.pages_copied.load(Ordering::Relaxed);
        if rest <= RESTART_REST_PAGES || pages - self.pages_next_restart >= self.pages_of_grace {
            self.restart(link, pages);
        } else {
            self.wake_thread(pages);
        }
    }

    fn wake_thread(&mut self, pages: i32) {
        self.pages_asked = pages;
        // Does not wait for a thread that is still copying or has ended.
        let _: Result<(), TrySendError<()>> = self.wake.try_send(());
    }

    /// Ends the thread and closes its connection.
    pub(super) fn finish(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the checkpointer panicked; the log is copied on the next start");
        }
    }

    fn restart(&mut self, link: &SqliteConnection, pages: i32) {
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

    /// Returns 0 if the log can be restarted, 1 if readers still use it.
    fn copy_and_restart(&self, link: &SqliteConnection) -> rusqlite::Result<i64> {
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

/// Opens a descriptor of the database file that is never closed: closing it would drop SQLite's locks on that file.
fn open_for_good(options: &SqliteOptions) -> io::Result<&'static File> {
    Ok(Box::leak(Box::new(File::open(&options.path)?)))
}

fn io_error(error: io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// The state of the thread.
struct Copier {
    link: SqliteConnection,
    database: &'static File,
    copying: Arc<Mutex<()>>,
    pages_copied: Arc<AtomicI32>,
    health: Arc<Health>,
}

impl Copier {
    fn serve(&self, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            if self.health.check().is_err() {
                return;
            }
            let _alone = self.copying.lock();
            match self.copy() {
                Ok(copied) => self.pages_copied.store(copied, Ordering::Relaxed),
                Err(error) => note_failure(&error, &self.health),
            }
        }
    }

    /// Copies as many pages as possible. Returns how many of the log's pages are copied.
    fn copy(&self) -> rusqlite::Result<i32> {
        self.link.guard.enter_engine();
        let copied =
            self.link.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
        // SQLite syncs the file only with the log's last page, which the writer copies during a write. It would then
        // have to wait for everything that is not synced yet.
        if let Err(error) = self.database.sync_data() {
            self.health.fail(format!("the database file could not be synced: {error}"));
        }
        Ok(copied)
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
