//! Decides when a committed write may be acknowledged, and owns the thread that does it. It commits nothing.
//!
//! # Why nothing acknowledged is lost
//!
//! With full durability, the writer's connection runs with `synchronous=NORMAL`: a commit appends its frames to the
//! write-ahead log and does not sync it. Committed groups are sent to the syncer in the order of their commits. It
//! takes all that wait, calls `fdatasync` on the log, and then responds to their callers. Meanwhile the writer builds
//! the next group. These properties must hold for a power cut at any moment:
//!
//! 1. *A group is acknowledged only after a sync that began after its commit returned.* The writer sends a group after
//!    `COMMIT`; the syncer receives it before it calls `fdatasync`. When a commit returns, all its frames have been
//!    written to the log's inode. `fdatasync` on any descriptor of that inode writes out all of its dirty pages and the
//!    size that is needed to find them.
//! 2. *Recovery reads the log up to that point.* It reads the log from its start and stops at the first frame whose
//!    salt or running checksum is wrong. All frames before a synced one are older, so the same sync or an earlier one
//!    covered them. Frames that were not synced may be torn: they belong to groups that were not acknowledged, and the
//!    checksum discards them.
//! 3. *A checkpoint loses nothing.* In NORMAL mode SQLite syncs the log before it copies pages to the database file,
//!    and syncs that file before it records them as copied. Only a log that was fully copied is restarted, with a
//!    header with new salts that SQLite syncs before the first new frame. A frame that is overwritten is therefore on
//!    disk in the database file, and a group that was copied before its own sync is durable too.
//! 4. *The log is one file for as long as the engine lives.* SQLite deletes it only with the last connection to the
//!    database, and `TRUNCATE` keeps the inode. The syncer's descriptor is opened once the log exists and closed with
//!    the engine. The log has no POSIX locks (those are on the database file and the `-shm` file), so closing that
//!    descriptor drops none. The directory is synced once after that, so that a new log can be found by its name.
//! 5. *A failed sync is final.* The kernel may mark pages clean that never reached the disk, and a second sync would
//!    then succeed without doing anything. So on the first failure every waiting call gets `Closed` and writes are
//!    refused until a restart. No checkpoint runs any more, not even on close, because it would rely on that log. A
//!    failed sync of a checkpoint closes the database for writes in the same way. If the sync failed for lack of space,
//!    calls get that error instead; a restart is needed all the same.
//! 6. *The files are those that a restart finds.* If they are removed or replaced, this process writes to files without
//!    a name. So before a group is acknowledged, its files are looked up by their names.
//!
//! A reader may see a group that is not on disk yet. A write that is based on it is acknowledged after a later sync,
//! which covers both.

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

/// The maximum number of committed groups that wait for the disk; beyond that the writer waits too.
const GROUPS_UNSYNCED_MAX: usize = 2;

/// Whether the disk of the database still works reliably.
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

    /// Returns the error of every write since the disk failed.
    pub(super) fn check(&self) -> Result<(), DbError> {
        if self.failed.load(Ordering::Acquire)
            && let Some(error) = &*self.problem.lock()
        {
            return Err(error.clone());
        }
        Ok(())
    }
}

/// A caller that waits until its commit is durable.
pub(super) enum Ack {
    /// The batches of a group, with their results.
    Group(Vec<Applied>),
    /// An interactive transaction.
    Transaction(Reply<()>),
}

impl Ack {
    /// Sends the results, or the error if the disk failed.
    pub(super) fn send(self, durable: Result<(), DbError>) {
        // A caller that no longer waits does not undo its request.
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

/// Acknowledges commits once they are as durable as configured.
pub(super) enum Acknowledger {
    /// Immediately, if the files are still those that were opened.
    AtOnce(Arc<Identity>),
    /// After a sync, on its own thread.
    AfterSync {
        /// Commits in order.
        waiting: Sender<Ack>,
        /// The syncer.
        thread: JoinHandle<()>,
    },
}

impl Acknowledger {
    /// Starts the syncer for the log at `wal_path`, which must exist.
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

    /// Accepts a commit that has returned.
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

    /// Waits until every accepted commit is acknowledged.
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
