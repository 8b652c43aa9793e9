//! Reads: short ones on the calling thread, each thread on a connection of its own as far as there are enough, and
//! those of unknown cost on a few threads behind a queue. It never writes.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{
    SqliteOptions, errors,
    link::{Link, Role},
    writer::Reply,
};
use crate::{
    db::{Answer, DbError, Query, Scope},
    observe::stats::DATABASE,
};

/// How far the reader threads stand back for all others: at 0, four scans on two cores made short reads wait about
/// half a millisecond for a core; at 10 they wait as on a quiet machine, and scans still get what is idle.
const SCAN_NICENESS: i32 = 10;

/// A read that waits for a thread.
struct ReadJob {
    scope: Scope,
    sql: String,
    params: Vec<u8>,
    time_max: Duration,
    abandoned: Arc<AtomicBool>,
    reply: Reply<Vec<u8>>,
}

enum Message {
    Read(ReadJob),
    Stop(oneshot::Sender<()>),
}

/// All reading connections of one database.
pub(super) struct Readers {
    options: SqliteOptions,
    closed: AtomicBool,
    short: Box<[Mutex<Option<Link>>]>,
    messages: Sender<Message>,
    queued: Arc<AtomicUsize>,
}

fn closed() -> DbError {
    DbError::Closed("it was shut down".to_owned())
}

impl Readers {
    /// Starts the reader threads; connections are opened as they are first needed.
    pub(super) fn start(options: &SqliteOptions) -> std::io::Result<Readers> {
        let (messages, inbox) = crossbeam_channel::unbounded();
        let queued = Arc::new(AtomicUsize::new(0));
        for number in 0..options.reader_threads.max(1) {
            let (inbox, queued, options) = (inbox.clone(), Arc::clone(&queued), options.clone());
            std::thread::Builder::new()
                .name(format!("db-reader-{number}"))
                .spawn(move || serve(&options, &inbox, &queued))?;
        }
        let short = (0..options.short_connections_max.max(1)).map(|_| Mutex::new(None)).collect();
        Ok(Readers { options: options.clone(), closed: AtomicBool::new(false), short, messages, queued })
    }

    /// Reads on the calling thread, and again on a reader thread where that is more than a short read returns.
    pub(super) fn short_or_queue(&self, query: Query<'_>) -> Answer<Vec<u8>> {
        match self.short(query) {
            Err(DbError::TooLarge { bytes_max }) if bytes_max == self.options.short_rows_bytes_max => {
                self.queue(query)
            }
            answer => Answer::ready(answer),
        }
    }

    /// Reads on the calling thread.
    fn short(&self, query: Query<'_>) -> Result<Vec<u8>, DbError> {
        let mut slot = self.slot();
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let time_max = query.deadline.unwrap_or(self.options.query_timeout);
        let begun = Instant::now();
        let link = link_in(&mut slot, &self.options, Role::ShortReader)?;
        let bytes_max = link.rows_bytes_max(query.scope).min(self.options.short_rows_bytes_max);
        let answer = link.query_within(query.scope, query.sql, query.params, time_max, bytes_max);
        DATABASE.reads_short.observe_time(begun.elapsed());
        answer
    }

    /// This thread's connection, or a free one near it, or this thread's once it is free.
    fn slot(&self) -> MutexGuard<'_, Option<Link>> {
        let own = thread_number() % self.short.len();
        let (before, from_own) = self.short.split_at(own);
        from_own
            .iter()
            .chain(before)
            .find_map(|slot| slot.try_lock())
            .unwrap_or_else(|| self.short[own].lock())
    }

    /// Answers on a reader thread.
    pub(super) fn queue(&self, query: Query<'_>) -> Answer<Vec<u8>> {
        if self.closed.load(Ordering::Acquire) {
            return Answer::ready(Err(closed()));
        }
        if self.queued.fetch_add(1, Ordering::Relaxed) >= self.options.queue_reads_max {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            DATABASE.busy.add_one();
            return Answer::ready(Err(DbError::Busy));
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
        if self.messages.send(Message::Read(job)).is_err() {
            return Answer::ready(Err(closed()));
        }
        let watch = Watch(abandoned);
        Answer::Later(Box::pin(async move {
            let _watch = watch;
            answer.await.unwrap_or_else(|_| Err(closed()))
        }))
    }

    /// Lets running reads end, then closes every connection.
    pub(super) fn stop(&self) -> Vec<oneshot::Receiver<()>> {
        self.closed.store(true, Ordering::Release);
        let threads = (0..self.options.reader_threads.max(1)).map(|_| {
            let (done, ended) = oneshot::channel();
            // A thread that is gone drops the message, which ends the wait as well.
            let _ = self.messages.send(Message::Stop(done));
            ended
        });
        let threads = threads.collect();
        for slot in &self.short {
            drop(slot.lock().take());
        }
        threads
    }
}

/// Tells the reader thread, when its caller's future is dropped, that nobody waits for the answer.
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
    slot: &'a mut Option<Link>,
    options: &SqliteOptions,
    role: Role,
) -> Result<&'a mut Link, DbError> {
    match slot {
        Some(link) => Ok(link),
        None => Ok(slot.insert(Link::open(options, role).map_err(errors::map)?)),
    }
}

fn serve(options: &SqliteOptions, inbox: &Receiver<Message>, queued: &AtomicUsize) {
    if let Err(error) = rustix::process::setpriority_process(None, SCAN_NICENESS) {
        tracing::debug!(%error, "reads of unknown cost run at the priority of all others");
    }
    let mut slot = None;
    while let Ok(message) = inbox.recv() {
        let job = match message {
            Message::Read(job) => job,
            Message::Stop(done) => {
                drop(slot.take());
                let _ = done.send(());
                return;
            }
        };
        queued.fetch_sub(1, Ordering::Relaxed);
        if job.abandoned.load(Ordering::Relaxed) {
            continue;
        }
        let begun = Instant::now();
        let read = catch_unwind(AssertUnwindSafe(|| {
            let link = link_in(&mut slot, options, Role::Reader)?;
            link.guard.watch(Some(Arc::clone(&job.abandoned)));
            link.query(&job.scope, &job.sql, &job.params, job.time_max)
        }));
        let result = read.unwrap_or_else(|_| {
            slot = None;
            Err(DbError::Sql("the read panicked; the log says where".to_owned()))
        });
        DATABASE.reads_queued.observe_time(begun.elapsed());
        let _ = job.reply.send(result);
    }
}
