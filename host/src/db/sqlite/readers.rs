//! Runs reads. Short ones run on the calling thread; each thread has its own connection as far as there are enough.
//! Those of unknown cost run on a few threads, where callers take turns. It never writes.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{
    SqliteOptions,
    connection::{Role, SqliteConnection},
    errors,
    identity::Identity,
    writer::Reply,
};
use crate::{
    db::{
        DbError, DbFuture, Query, SqlOwner,
        turns::{CallerKey, Next, TurnLimits, Turns},
    },
    metrics::stats::DATABASE,
};

/// The niceness of the reader threads. At 0, four scans on two cores made short reads wait about half a millisecond for
/// a core; at 10 they wait as on an idle machine, and scans still get the idle time.
const SCAN_NICENESS: i32 = 10;

/// How long a read with a short hint may run on its caller's thread. One that takes longer is stopped there and run
/// again on a reader thread, with its full time.
const SHORT_TIME_MAX: Duration = Duration::from_millis(100);

/// A read that waits for a thread.
struct ReadJob {
    scope: SqlOwner,
    sql: String,
    params: Vec<u8>,
    time_max: Duration,
    abandoned: Arc<AtomicBool>,
    reply: Reply<Vec<u8>>,
}

/// All reading connections of one database.
pub(super) struct Readers {
    options: SqliteOptions,
    identity: Arc<Identity>,
    closed: AtomicBool,
    short: Box<[Mutex<Option<SqliteConnection>>]>,
    turns: Arc<Turns<ReadJob>>,
    threads: AtomicUsize,
}

fn closed() -> DbError {
    DbError::Closed("it was shut down".to_owned())
}

impl Readers {
    /// Starts the reader threads; connections are opened as they are first needed.
    pub(super) fn start(options: &SqliteOptions, identity: Arc<Identity>) -> std::io::Result<Readers> {
        let threads = options.reader_threads.max(1);
        let turns = Turns::new(TurnLimits {
            waiting_max: options.queue_reads_max,
            waiting_of_one_max: options.queue_reads_of_one_max,
            threads,
            threads_max: options.reader_threads_max.max(threads),
        });
        let short = (0..options.short_connections_max.max(1)).map(|_| Mutex::new(None)).collect();
        let readers = Readers {
            options: options.clone(),
            identity,
            closed: AtomicBool::new(false),
            short,
            turns: Arc::new(turns),
            threads: AtomicUsize::new(0),
        };
        (0..threads).try_for_each(|_| readers.start_thread())?;
        Ok(readers)
    }

    fn start_thread(&self) -> std::io::Result<()> {
        let number = self.threads.fetch_add(1, Ordering::Relaxed);
        let (turns, options, identity) =
            (Arc::clone(&self.turns), self.options.clone(), Arc::clone(&self.identity));
        std::thread::Builder::new()
            .name(format!("db-reader-{number}"))
            .spawn(move || serve(&options, &identity, &turns))
            .map(drop)
    }

    /// Reads on the calling thread, and again on a reader thread if that takes too long or returns more than a short
    /// read may.
    pub(super) fn short_or_queue(&self, query: Query<'_>) -> DbFuture<Vec<u8>> {
        let time_max = query.deadline.unwrap_or(self.options.query_timeout);
        let is_first_try = time_max > SHORT_TIME_MAX;
        match self.short(query, time_max.min(SHORT_TIME_MAX), is_first_try) {
            Err(DbError::Timeout(_)) if is_first_try => self.queue(query),
            Err(DbError::TooLarge { bytes_max }) if bytes_max == self.options.short_rows_bytes_max => {
                self.queue(query)
            }
            answer => DbFuture::ready(answer),
        }
    }

    /// Reads on the calling thread.
    fn short(&self, query: Query<'_>, time_max: Duration, is_first_try: bool) -> Result<Vec<u8>, DbError> {
        let mut slot = self.slot();
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let begun = Instant::now();
        let link = link_in(&mut slot, &self.options, &self.identity, Role::ShortReader)?;
        link.guard.count_timeouts(!is_first_try);
        let bytes_max = link.rows_bytes_max(query.scope).min(self.options.short_rows_bytes_max);
        let answer = link.query_within(query.scope, query.sql, query.params, time_max, bytes_max);
        DATABASE.reads_short.observe_time(begun.elapsed());
        answer
    }

    /// Returns this thread's connection, or a free one near it, or this thread's once it is free.
    fn slot(&self) -> MutexGuard<'_, Option<SqliteConnection>> {
        let own = thread_number() % self.short.len();
        let (before, from_own) = self.short.split_at(own);
        from_own
            .iter()
            .chain(before)
            .find_map(|slot| slot.try_lock())
            .unwrap_or_else(|| self.short[own].lock())
    }

    /// Reads on a reader thread.
    pub(super) fn queue(&self, query: Query<'_>) -> DbFuture<Vec<u8>> {
        if self.closed.load(Ordering::Acquire) {
            return DbFuture::ready(Err(closed()));
        }
        let (reply, answer) = oneshot::channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let job = ReadJob {
            scope: query.scope.clone(),
            sql: query.sql.to_owned(),
            params: query.params.to_owned(),
            time_max: query.deadline.unwrap_or(self.options.query_timeout),
            abandoned: Arc::clone(&abandoned),
            reply,
        };
        match self.turns.push(CallerKey::current(), job) {
            Ok(false) => {}
            Ok(true) => {
                if let Err(error) = self.start_thread() {
                    self.turns.not_started();
                    tracing::warn!(%error, "no further reader thread could be started; the read waits for one that is there");
                }
            }
            Err(error) => return DbFuture::ready(Err(error)),
        }
        let watch = Watch(abandoned);
        DbFuture::Later(Box::pin(async move {
            let _watch = watch;
            answer.await.unwrap_or_else(|_| Err(closed()))
        }))
    }

    /// Waits for running reads, then closes every connection.
    pub(super) fn stop(&self) -> Vec<oneshot::Receiver<()>> {
        self.closed.store(true, Ordering::Release);
        let threads = self.turns.stop();
        for slot in &self.short {
            drop(slot.lock().take());
        }
        threads
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

/// Notifies the reader thread that nobody waits for the result, when the caller's future is dropped.
struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.with(Cell::get)
}

fn link_in<'a>(
    slot: &'a mut Option<SqliteConnection>,
    options: &SqliteOptions,
    identity: &Identity,
    role: Role,
) -> Result<&'a mut SqliteConnection, DbError> {
    match slot {
        Some(link) => Ok(link),
        None => {
            // Opening by name could open another file, even if it was replaced during the opening, so check both before
            // and after.
            identity.check()?;
            let link = SqliteConnection::open(options, role).map_err(errors::map);
            identity.check()?;
            Ok(slot.insert(link?))
        }
    }
}

fn serve(options: &SqliteOptions, identity: &Identity, turns: &Turns<ReadJob>) {
    if let Err(error) = rustix::process::setpriority_process(None, SCAN_NICENESS) {
        tracing::debug!(%error, "reads of unknown cost run at the priority of all others");
    }
    let mut slot = None;
    loop {
        let (caller, job) = match turns.next() {
            Next::Job(caller, job) => (caller, job),
            Next::End(done) => {
                drop(slot.take());
                done.map(|done| done.send(()));
                return;
            }
        };
        if !job.abandoned.load(Ordering::Relaxed) {
            read(options, identity, &mut slot, job);
        }
        turns.done(caller);
    }
}

fn read(options: &SqliteOptions, identity: &Identity, slot: &mut Option<SqliteConnection>, job: ReadJob) {
    let begun = Instant::now();
    let read = catch_unwind(AssertUnwindSafe(|| {
        let link = link_in(slot, options, identity, Role::Reader)?;
        link.guard.watch(Some(Arc::clone(&job.abandoned)));
        link.query(&job.scope, &job.sql, &job.params, job.time_max)
    }));
    let result = read.unwrap_or_else(|_| {
        *slot = None;
        Err(DbError::Sql("the read panicked; the log says where".to_owned()))
    });
    DATABASE.reads_queued.observe_time(begun.elapsed());
    let _ = job.reply.send(result);
}
