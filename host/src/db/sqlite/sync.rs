//! When a committed write may be acknowledged, and the thread that sees to it. It commits nothing.
//!
//! # Why nothing acknowledged is lost
//!
//! With durability full, the writer's connection runs with `synchronous=NORMAL`: a commit appends its frames to the
//! write-ahead log and does not sync it. Committed groups are handed to the syncer in the order of their commits. It
//! takes all that wait, then calls `fdatasync` on the log, then answers their callers; meanwhile the writer builds
//! the next group. What must hold for a power cut at any moment:
//!
//! 1. *A group is answered only after a sync that began after its commit returned.* The writer sends a group after
//!    `COMMIT`; the syncer receives it before it calls `fdatasync`. When a commit returns, every frame of it has been
//!    written to the log's inode, and `fdatasync` on any descriptor of that inode writes out all of its dirty pages
//!    and the size that is needed to find them.
//! 2. *The log is read back up to there.* Recovery walks the log from its start and stops at the first frame whose
//!    salt or running checksum is wrong. All frames before a synced one are older, so the same sync or an earlier one
//!    covered them. Frames that were not synced may be torn: they are of groups that were not answered, and the
//!    checksum drops them.
//! 3. *A checkpoint loses nothing.* In NORMAL SQLite syncs the log before it copies pages to the database file, and
//!    syncs that file before it notes them as copied. Only a log that was copied whole is begun again, by a header
//!    with new salts that SQLite syncs before the first new frame. So a frame that is overwritten is in the database
//!    file for good, and a group that was copied before its own sync is durable all the same.
//! 4. *The log is one file for as long as the engine lives.* SQLite deletes it only with the last connection to the
//!    database, and `TRUNCATE` keeps the inode. The syncer's descriptor is opened once the log exists and closed with
//!    the engine. The log carries no POSIX locks (those are on the database file and the `-shm` file), so that
//!    descriptor drops none. The directory is synced once behind that, so that a new log is found by its name.
//! 5. *A failed sync is final.* The kernel may mark pages clean that never reached the disk, and a second sync would
//!    then succeed with nothing done. So on the first failure every waiting call is answered `Closed`, writes are
//!    refused until a restart, and no checkpoint runs any more, also not on close: it would rest on that log.
//!    A checkpoint whose own sync failed closes the database for writes in the same way. Where the sync failed for want
//!    of room, calls get that error, and a restart is needed all the same.
//! 6. *The files are those that a restart finds.* Whoever removes or replaces them leaves this process with files that have no
//!    name. So before a group is answered its files are looked up by their names.
//!
//! What a reader sees may be a group that is not on disk yet. Whoever acts on it by writing is answered after a later
//! sync, which covers both.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use super::{
    errors::is_full,
    identity::Identity,
    writer::{Applied, Reply, gone},
};
use crate::{db::DbError, metrics::stats::DATABASE};

/// How many committed groups may wait for the disk before the writer waits with them.
const GROUPS_UNSYNCED_MAX: usize = 2;

/// Whether the disk under the database still does what it says.
#[derive(Debug, Default)]
pub(super) struct Health {
    failed: AtomicBool,
    problem: Mutex<Option<DbError>>,
}

impl Health {
    /// Closes the database for writes.
    pub(super) fn fail(&self, problem: String) {
        self.close(DbError::Closed(format!("its disk failed: {problem}; check it, then restart")));
    }

    /// Closes the database for writes, because what was written did not reach the disk.
    fn fail_to_sync(&self, error: &io::Error) {
        if is_full(error) {
            let problem =
                format!("the write-ahead log could not be synced: {error}; make room, then restart");
            self.close(DbError::DiskFull(problem));
        } else {
            self.fail(format!("the write-ahead log could not be synced: {error}"));
        }
    }

    fn close(&self, error: DbError) {
        tracing::error!(%error, "the database is closed for writes; check the disk, then restart");
        *self.problem.lock() = Some(error);
        self.failed.store(true, Ordering::Release);
    }

    /// The error of every write since the disk failed.
    pub(super) fn check(&self) -> Result<(), DbError> {
        if self.failed.load(Ordering::Acquire)
            && let Some(error) = &*self.problem.lock()
        {
            return Err(error.clone());
        }
        Ok(())
    }
}

/// A caller that waits for its commit to be durable.
pub(super) enum Ack {
    /// The batches of a group, with what each is answered.
    Group(Vec<Applied>),
    /// An interactive transaction.
    Transaction(Reply<()>),
}

impl Ack {
    /// Answers as it is, or with the error where the disk failed.
    pub(super) fn send(self, durable: Result<(), DbError>) {
        // A caller that went away does not undo what it asked for.
        match self {
            Ack::Group(group) => {
                for Applied { job, result } in group {
                    let result = match &durable {
                        Ok(()) => result,
                        Err(error) => result.and(Err(error.clone())),
                    };
                    let _ = job.reply.send(result);
                }
            }
            Ack::Transaction(reply) => drop(reply.send(durable)),
        }
    }
}

/// Answers commits once they are as durable as they must be.
pub(super) enum Acknowledger {
    /// At once, where the files are those that were opened.
    AtOnce(Arc<Identity>),
    /// After a sync, by a thread of its own.
    AfterSync {
        /// Commits in their order.
        waiting: Sender<Ack>,
        /// The syncer.
        thread: JoinHandle<()>,
    },
}

impl Acknowledger {
    /// Starts the syncer on the log at `wal_path`, which must exist.
    pub(super) fn after_sync(
        wal_path: &Path,
        health: Arc<Health>,
        identity: Arc<Identity>,
    ) -> io::Result<Acknowledger> {
        let log = File::open(wal_path)?;
        if let Some(directory) = wal_path.parent().filter(|path| !path.as_os_str().is_empty()) {
            File::open(directory)?.sync_all()?;
        } else {
            File::open(".")?.sync_all()?;
        }
        let (waiting, inbox) = crossbeam_channel::bounded(GROUPS_UNSYNCED_MAX);
        let thread = std::thread::Builder::new()
            .name("db-syncer".to_owned())
            .spawn(move || serve(&inbox, &health, &identity, || log.sync_data()))?;
        Ok(Acknowledger::AfterSync { waiting, thread })
    }

    /// Hands over a commit that has returned.
    pub(super) fn committed(&self, ack: Ack) {
        match self {
            Acknowledger::AtOnce(identity) => ack.send(identity.check()),
            Acknowledger::AfterSync { waiting, .. } => {
                if let Err(unsent) = waiting.send(ack) {
                    unsent.into_inner().send(Err(gone()));
                }
            }
        }
    }

    /// Waits until every commit that was handed over is answered.
    pub(super) fn finish(self) {
        if let Acknowledger::AfterSync { waiting, thread } = self {
            drop(waiting);
            if thread.join().is_err() {
                tracing::error!("the syncer panicked; its last commits were answered as closed");
            }
        }
    }
}

fn serve(
    inbox: &Receiver<Ack>,
    health: &Health,
    identity: &Identity,
    mut sync: impl FnMut() -> io::Result<()>,
) {
    while let Ok(first) = inbox.recv() {
        let waiting: Vec<Ack> = std::iter::once(first).chain(inbox.try_iter()).collect();
        let begun = Instant::now();
        if health.check().is_ok()
            && let Err(error) = sync().inspect(|()| DATABASE.sync.observe_time(begun.elapsed()))
        {
            health.fail_to_sync(&error);
        }
        let durable = health.check().and_then(|()| identity.check());
        for ack in waiting {
            ack.send(durable.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_failed_sync_is_told_to_all_that_wait_and_to_all_after() {
        let health = Arc::new(Health::default());
        let (waiting, inbox) = crossbeam_channel::unbounded();
        let mut answers = Vec::new();
        for _ in 0..3 {
            let (reply, answer) = oneshot::channel();
            waiting.send(Ack::Transaction(reply)).unwrap();
            answers.push(answer);
        }
        drop(waiting);
        let mut syncs = 0;
        serve(&inbox, &health, &Identity::none(), || {
            syncs += 1;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert_eq!(syncs, 1);
        for answer in answers {
            assert!(matches!(answer.blocking_recv().unwrap(), Err(DbError::DiskFull(_))));
        }
        assert!(health.check().is_err());
    }

    #[test]
    fn an_answer_comes_behind_a_sync_that_began_behind_the_commit() {
        let (waiting, inbox) = crossbeam_channel::unbounded();
        let commit = |waiting: &Sender<Ack>| {
            let (reply, answer) = oneshot::channel();
            waiting.send(Ack::Transaction(reply)).unwrap();
            answer
        };
        let mut before = commit(&waiting);
        let mut during = Vec::new();
        // The sender is dropped with its second commit, so that `serve` ends.
        let mut waiting = Some(waiting);
        let mut syncs = 0;
        serve(&inbox, &Health::default(), &Identity::none(), || {
            syncs += 1;
            let answered = before.try_recv().is_ok();
            assert_eq!(answered, syncs == 2, "answered before its sync, or not behind it");
            during.extend(waiting.take().map(|waiting| commit(&waiting)));
            Ok(())
        });
        assert_eq!(syncs, 2);
        assert!(during.remove(0).blocking_recv().unwrap().is_ok());
    }
}
