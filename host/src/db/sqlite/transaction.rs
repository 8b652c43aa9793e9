//! Interactive transactions: the handle of the caller, and the loop in which the writer serves a transaction until it
//! ends. The caller decides whether to commit; nothing is retried here.

use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, TrySendError};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{
    batch::{self, Outcome, Undo},
    clock::Clock,
    connection::SqliteConnection,
    writer::{Reply, gone},
};
use crate::db::{DbError, SqlOwner, Transaction};

/// A caller makes one call at a time; more than this only wait if it drops its futures.
const CALLS_QUEUED_MAX: usize = 16;

/// A call of a transaction.
pub(super) enum TransactionCall {
    Query { sql: String, params: Vec<u8>, reply: Reply<Vec<u8>> },
    Apply { scope: Option<SqlOwner>, batch: Vec<u8>, reply: Reply<Vec<u8>> },
    Commit(Reply<()>),
    Rollback(Reply<()>),
}

/// The caller's side of a transaction.
pub(super) struct SqliteTransaction {
    calls: Sender<TransactionCall>,
    ends_at: Instant,
    time_max: Duration,
}

impl SqliteTransaction {
    pub(super) fn new(calls: Sender<TransactionCall>, time_max: Duration) -> SqliteTransaction {
        SqliteTransaction { calls, ends_at: Instant::now() + time_max, time_max }
    }

    fn call<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> TransactionCall,
    ) -> BoxFuture<'static, Result<T, DbError>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.calls.try_send(make(reply));
        let (ends_at, time_max) = (self.ends_at, self.time_max);
        let ended = move || if Instant::now() >= ends_at { DbError::Timeout(time_max) } else { gone() };
        Box::pin(async move {
            match sent {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(ended())),
                Err(TrySendError::Full(_)) => Err(DbError::Busy),
                Err(TrySendError::Disconnected(_)) => Err(ended()),
            }
        })
    }
}

impl Transaction for SqliteTransaction {
    fn query(&mut self, sql: String, params: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        self.call(|reply| TransactionCall::Query { sql, params, reply })
    }

    fn apply(&mut self, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        self.call(|reply| TransactionCall::Apply { scope: None, batch, reply })
    }

    fn apply_as(&mut self, scope: &SqlOwner, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        let scope = Some(scope.clone());
        self.call(|reply| TransactionCall::Apply { scope, batch, reply })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>> {
        self.call(TransactionCall::Commit)
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>> {
        self.call(TransactionCall::Rollback)
    }
}

/// How a transaction ended.
pub(super) enum End {
    /// It is to be committed; the reply is sent once that is durable.
    Committed(Reply<()>),
    /// It is to be rolled back.
    Abandoned(Option<Reply<()>>),
}

/// Serves a transaction that has begun on `link` until it ends. The caller rolls back what is still open then.
pub(super) fn serve(
    link: &mut SqliteConnection,
    clock: &mut Clock,
    scope: &SqlOwner,
    time_max: Duration,
    reply: Reply<Sender<TransactionCall>>,
) -> End {
    let (calls, inbox) = crossbeam_channel::bounded(CALLS_QUEUED_MAX);
    let ends_at = Instant::now() + time_max;
    if reply.send(Ok(calls)).is_err() {
        return End::Abandoned(None);
    }
    let mut spoiled: Option<DbError> = None;
    loop {
        let call = match inbox.recv_deadline(ends_at) {
            Ok(call) => call,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return End::Abandoned(None),
        };
        let time_left = ends_at.saturating_duration_since(Instant::now());
        match call {
            TransactionCall::Query { sql, params, reply } => {
                let result = match &spoiled {
                    Some(error) => Err(error.clone()),
                    None => {
                        link.query(scope, &sql, &params, time_left).map_err(|error| whole(error, time_max))
                    }
                };
                let _ = reply.send(result);
            }
            TransactionCall::Apply { scope: other, batch, reply } => {
                let scope = other.as_ref().unwrap_or(scope);
                let _ =
                    reply.send(apply(link, scope, &batch, clock.tick(), time_left, &mut spoiled, time_max));
            }
            TransactionCall::Commit(reply) => return commit(link, reply, spoiled),
            TransactionCall::Rollback(reply) => return End::Abandoned(Some(reply)),
        }
    }
}

fn apply(
    link: &mut SqliteConnection,
    scope: &SqlOwner,
    batch: &[u8],
    now: &str,
    time_left: Duration,
    spoiled: &mut Option<DbError>,
    time_max: Duration,
) -> Result<Vec<u8>, DbError> {
    if let Some(error) = spoiled {
        return Err(error.clone());
    }
    let parts = batch::Parts { scope, packed: batch, attached: &[] };
    match batch::apply(link, &parts, now, time_left, Undo::Savepoint) {
        Outcome::Answered(result) => result.map_err(|error| whole(error, time_max)),
        Outcome::TransactionAborted(error) => {
            let error = whole(error, time_max);
            *spoiled = Some(error.clone());
            Err(error)
        }
    }
}

fn commit(link: &SqliteConnection, reply: Reply<()>, spoiled: Option<DbError>) -> End {
    let result = match spoiled {
        Some(error) => Err(error),
        None => link.engine("COMMIT").map_err(|error| link.guard.explain(error)),
    };
    match result {
        Ok(()) => End::Committed(reply),
        Err(error) => {
            let _ = reply.send(Err(error));
            End::Abandoned(None)
        }
    }
}

/// A statement gets the remaining time of its transaction; the caller knows only the total.
fn whole(error: DbError, time_max: Duration) -> DbError {
    match error {
        DbError::Timeout(_) => DbError::Timeout(time_max),
        other => other,
    }
}
