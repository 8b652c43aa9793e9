//! The writer thread: takes the queued jobs, commits them as one transaction, and then responds. Only this thread
//! changes the file. It reads only within interactive transactions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use super::{
    SqliteOptions,
    batch::{self, Outcome, Undo},
    checkpoint::Checkpoints,
    clock::Clock,
    connection::SqliteConnection,
    sync::{Ack, Acknowledger, Health},
    transaction::{self, End, TransactionCall},
};
use crate::{
    db::{DbError, ScopedBatch, SqlOwner},
    metrics::stats::DATABASE,
};

/// How often an idle writer checks whether another process changed the file.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The minimum size limit of a group, even if few jobs wait.
const GROUP_JOBS_MIN: usize = 16;

/// A job with more statements than this never gets a savepoint: a separate commit costs less.
const STATEMENTS_SAVED_MAX: u64 = 64;

/// The number of groups in which each job gets a savepoint after one failed part way. It keeps a caller with many
/// failing jobs from making the writer do all work twice.
const CAREFUL_GROUPS: u32 = 8;

pub(super) type Reply<T> = oneshot::Sender<Result<T, DbError>>;

/// A batch that waits to be applied.
pub(super) struct Job {
    pub(super) scope: SqlOwner,
    pub(super) batch: Vec<u8>,
    pub(super) attached: Vec<ScopedBatch>,
    pub(super) reply: Reply<Vec<u8>>,
}

impl Job {
    fn parts(&self) -> batch::Parts<'_> {
        batch::Parts { scope: &self.scope, packed: &self.batch, attached: &self.attached }
    }

    fn is_long(&self) -> bool {
        self.parts().statements() > STATEMENTS_SAVED_MAX
    }
}

/// A message to the writer.
pub(super) enum Message {
    /// Apply a batch in some group.
    Apply(Job),
    /// Serve one transaction's calls until it ends.
    Begin { scope: SqlOwner, time_max: Duration, reply: Reply<Sender<TransactionCall>> },
    /// Make a write that is never read, in the same way as every write.
    Probe(Reply<()>),
    /// Finish, and close the database once the readers have closed.
    Stop { done: oneshot::Sender<()>, readers: Vec<oneshot::Receiver<()>> },
}

/// The sender to the writer: a queue with a limit.
pub(super) struct WriterHandle {
    messages: Sender<Message>,
    queued: Arc<AtomicUsize>,
    queue_jobs_max: usize,
    /// Incremented whenever another process has changed the data.
    pub(super) external_change_count: Arc<AtomicU64>,
}

impl WriterHandle {
    /// Starts the thread with its own connection.
    pub(super) fn start(options: &SqliteOptions, seat: WriterState) -> std::io::Result<WriterHandle> {
        let (messages, inbox) = crossbeam_channel::unbounded();
        let queued = Arc::new(AtomicUsize::new(0));
        let external_change_count = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            seat,
            inbox,
            queued: Arc::clone(&queued),
            external_change_count: Arc::clone(&external_change_count),
            data_version: None,
            put_back: None,
            careful_groups: 0,
            query_timeout: options.query_timeout,
            group_jobs_max: options.group_jobs_max,
            group_time_max: options.group_time_max,
        };
        std::thread::Builder::new().name("db-writer".to_owned()).spawn(move || writer.run())?;
        Ok(WriterHandle { messages, queued, queue_jobs_max: options.queue_jobs_max, external_change_count })
    }

    /// Queues a message; returns busy if the queue is full, and closed if the writer has ended.
    pub(super) fn send(&self, message: Message) -> Result<(), DbError> {
        if self.queued.fetch_add(1, Ordering::Relaxed) >= self.queue_jobs_max {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            DATABASE.busy.add_one();
            return Err(DbError::Busy);
        }
        DATABASE.write_queue.step(1);
        self.messages.send(message).map_err(|_| gone())
    }

    /// Queues the stop message after everything that waits, whatever the limit, and after the end of `readers`: if two
    /// connections close at the same time, neither is the last, which deletes the write-ahead log.
    pub(super) fn send_stop(&self, done: oneshot::Sender<()>, readers: Vec<oneshot::Receiver<()>>) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        DATABASE.write_queue.step(1);
        // If the writer has ended, the message is dropped and with it `done`, which has the same effect.
        let _ = self.messages.send(Message::Stop { done, readers });
    }
}

/// Returns the error of a call whose thread has ended.
pub(super) fn gone() -> DbError {
    DbError::Closed("it was shut down, or its writer failed and the log says why".to_owned())
}

/// The state of the writer.
pub(super) struct WriterState {
    pub(super) link: SqliteConnection,
    pub(super) clock: Clock,
    pub(super) acknowledger: Acknowledger,
    pub(super) checkpoints: Checkpoints,
    pub(super) health: Arc<Health>,
}

struct Writer {
    seat: WriterState,
    inbox: Receiver<Message>,
    queued: Arc<AtomicUsize>,
    external_change_count: Arc<AtomicU64>,
    data_version: Option<i64>,
    /// A message that ended a group and is served after it.
    put_back: Option<Message>,
    /// For how many more groups each job gets a savepoint.
    careful_groups: u32,
    query_timeout: Duration,
    group_jobs_max: usize,
    group_time_max: Duration,
}

/// A job that was applied or refused; its transaction is not committed yet.
pub(super) struct Applied {
    pub(super) job: Job,
    pub(super) result: Result<Vec<u8>, DbError>,
}

impl Writer {
    fn run(mut self) {
        loop {
            self.note_foreign_changes();
            match self.next_message() {
                Ok(Message::Apply(job)) => self.serve_group(job),
                Ok(Message::Begin { scope, time_max, reply }) => {
                    self.serve_transaction(&scope, time_max, reply)
                }
                Ok(Message::Probe(reply)) => self.serve_probe(reply),
                Ok(Message::Stop { done, readers }) => {
                    for reader in readers {
                        // A reader that has ended has closed as well.
                        let _ = reader.blocking_recv();
                    }
                    self.close();
                    // The caller may no longer wait; the file is closed all the same.
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.seat.checkpoints.while_idle(),
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
        }
    }

    fn next_message(&mut self) -> Result<Message, RecvTimeoutError> {
        if let Some(message) = self.put_back.take() {
            return Ok(message);
        }
        let message = self.inbox.recv_timeout(IDLE_CHECK_INTERVAL)?;
        self.taken();
        Ok(message)
    }

    fn taken(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        DATABASE.write_queue.step(-1);
    }

    /// Returns the next job of the group, if one waits. Any other message ends the group.
    fn next_of_group(&mut self) -> Option<Job> {
        let message = self.inbox.try_recv().ok()?;
        self.taken();
        match message {
            Message::Apply(job) if !self.must_be_alone(&job) => Some(job),
            other => {
                self.put_back = Some(other);
                None
            }
        }
    }

    fn serve_group(&mut self, first: Job) {
        if let Err(error) = self.begin() {
            return Ack::Group(vec![Applied { job: first, result: Err(error) }]).send(Ok(()));
        }
        let started = Instant::now();
        let jobs_max = if self.must_be_alone(&first) { 1 } else { self.group_size_limit() };
        self.careful_groups = self.careful_groups.saturating_sub(1);
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            if let Err(error) = self.apply_into(&mut group, job) {
                return self.fail_group(group, &error);
            }
            let full = group.len() >= jobs_max || started.elapsed() >= self.group_time_max;
            next = if full { None } else { self.next_of_group() };
        }
        self.commit_group(group);
    }

    /// Returns all waiting jobs if a sync follows, because syncs cost more the more often they run. If a commit is
    /// acknowledged immediately, returns half of them: while the second half is applied, the first callers get their
    /// results and send the next jobs, so that neither they nor the writer wait for the whole of the other.
    fn group_size_limit(&self) -> usize {
        match self.seat.acknowledger {
            Acknowledger::AfterSync { .. } => self.group_jobs_max,
            Acknowledger::AtOnce(_) => (self.inbox.len() / 2).max(GROUP_JOBS_MIN).min(self.group_jobs_max),
        }
    }

    /// Applies a job and adds it to the group. Fails only if no transaction can be started.
    fn apply_into(&mut self, group: &mut Vec<Applied>, job: Job) -> Result<(), DbError> {
        let is_saved = self.careful_groups > 0 && !job.is_long();
        let undo = if is_saved { Undo::Savepoint } else { Undo::Transaction };
        let now = self.seat.clock.tick();
        match batch::apply(&mut self.seat.link, &job.parts(), now, self.query_timeout, undo) {
            Outcome::Answered(result) => group.push(Applied { job, result }),
            Outcome::TransactionAborted(error) => {
                let fatal = matches!(error, DbError::Closed(_));
                group.push(Applied { job, result: Err(error.clone()) });
                if fatal {
                    return Err(error);
                }
                self.careful_groups = CAREFUL_GROUPS;
                if group.iter().any(|applied| applied.job.is_long()) {
                    self.roll_back();
                    std::mem::take(group).into_iter().for_each(|applied| self.serve_alone(applied));
                    return self.begin();
                }
                self.replay(group)?;
            }
        }
        Ok(())
    }

    /// Whether a job is its own group, so that its transaction can be undone without affecting others.
    fn must_be_alone(&self, job: &Job) -> bool {
        self.careful_groups > 0 && job.is_long()
    }

    /// Applies the jobs of a spoiled transaction again, each with a savepoint. A job that fails now is refused; if that
    /// spoils the transaction again, the rest is retried.
    fn replay(&mut self, group: &mut [Applied]) -> Result<(), DbError> {
        'again: loop {
            self.roll_back();
            self.begin()?;
            for applied in group.iter_mut().filter(|applied| applied.result.is_ok()) {
                let job = &applied.job;
                let now = self.seat.clock.tick();
                match batch::apply(
                    &mut self.seat.link,
                    &job.parts(),
                    now,
                    self.query_timeout,
                    Undo::Savepoint,
                ) {
                    Outcome::Answered(result) => applied.result = result,
                    Outcome::TransactionAborted(error) => {
                        applied.result = Err(error);
                        continue 'again;
                    }
                }
            }
            return Ok(());
        }
    }

    fn commit_group(&mut self, group: Vec<Applied>) {
        let begun = Instant::now();
        let WriterState { link, clock, .. } = &mut self.seat;
        match clock.keep_if_due(link).and_then(|()| link.engine("COMMIT")) {
            Ok(()) => {
                DATABASE.commit.observe_time(begun.elapsed());
                DATABASE.group_jobs.observe(group.len() as u64);
                self.committed(Ack::Group(group));
            }
            Err(error) => {
                let error = self.seat.link.guard.explain(error);
                self.roll_back();
                if matches!(error, DbError::ForeignKey) && group.len() > 1 {
                    // A deferred foreign key check at the commit failed: each job is committed alone, so that only the
                    // failing one is refused.
                    return group.into_iter().for_each(|applied| self.serve_alone(applied));
                }
                self.fail_group(group, &error);
            }
        }
    }

    fn serve_alone(&mut self, applied: Applied) {
        if applied.result.is_err() {
            return Ack::Group(vec![applied]).send(Ok(()));
        }
        let mut group = Vec::new();
        match self.begin().and_then(|()| self.apply_into(&mut group, applied.job)) {
            Ok(()) => self.commit_group(group),
            Err(error) => self.fail_group(group, &error),
        }
    }

    fn fail_group(&mut self, group: Vec<Applied>, error: &DbError) {
        self.roll_back();
        tracing::error!(jobs = group.len(), %error, "a group of writes could not be committed");
        Ack::Group(group).send(Err(error.clone()));
    }

    fn begin(&self) -> Result<(), DbError> {
        self.seat.health.check()?;
        self.seat.link.engine("BEGIN IMMEDIATE").map_err(|error| self.seat.link.guard.explain(error))
    }

    fn committed(&mut self, ack: Ack) {
        self.seat.acknowledger.committed(ack);
        self.seat.checkpoints.after_commit(&self.seat.link);
    }

    fn roll_back(&self) {
        if !self.seat.link.connection.is_autocommit()
            && let Err(error) = self.seat.link.engine("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }

    fn serve_transaction(
        &mut self,
        scope: &SqlOwner,
        time_max: Duration,
        reply: Reply<Sender<TransactionCall>>,
    ) {
        if let Err(error) = self.begin() {
            return drop(reply.send(Err(error)));
        }
        match transaction::serve(&mut self.seat.link, &mut self.seat.clock, scope, time_max, reply) {
            End::Committed(reply) => self.committed(Ack::Transaction(reply)),
            End::Abandoned(reply) => {
                self.roll_back();
                reply.map(|reply| reply.send(Ok(())));
            }
        }
    }

    fn serve_probe(&mut self, reply: Reply<()>) {
        let written = self.begin().and_then(|()| {
            let WriterState { link, clock, .. } = &mut self.seat;
            clock.keep(link).and_then(|()| link.engine("COMMIT")).map_err(|error| link.guard.explain(error))
        });
        match written {
            Ok(()) => self.committed(Ack::Transaction(reply)),
            Err(error) => {
                self.roll_back();
                let _ = reply.send(Err(error));
            }
        }
    }

    fn note_foreign_changes(&mut self) {
        match self.seat.link.engine_number("PRAGMA data_version") {
            Ok(version) if self.data_version == Some(version) => {}
            Ok(version) => {
                if self.data_version.replace(version).is_some() {
                    self.external_change_count.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot see whether another process changed the database"),
        }
    }

    fn close(self) {
        let WriterState { link, mut clock, acknowledger, checkpoints, health } = self.seat;
        if health.check().is_ok()
            && let Err(error) = clock.keep_at_end(&link)
        {
            tracing::warn!(%error, "the time of the last write could not be kept");
        }
        acknowledger.finish();
        checkpoints.finish();
        close_file(link, &health);
    }
}

/// Copies the log into the database file and closes it, unless the disk failed: then nothing may rely on that log.
fn close_file(link: SqliteConnection, health: &Health) {
    link.guard.enter_engine();
    let connection = link.connection;
    connection.flush_prepared_statement_cache();
    let folded = match health.check() {
        Ok(()) => connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"),
        Err(_) => connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop),
    };
    if let Err(error) = folded {
        tracing::warn!(%error, "the write-ahead log could not be folded into the database file; the next start does it");
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the database file could not be closed");
    }
}
