//! Interactive transactions: the handle of the caller, and the task that serves one until it ends. Only one runs on a
//! database at a time, across all nodes, as on SQLite; batches run concurrently.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{OwnedMutexGuard, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    Shared, batch,
    errors::Fault,
    pool::{Lent, Purpose},
    run,
    shares::Share,
};
use crate::db::{DbError, SqlOwner, Transaction, turns::CallerKey};

/// A caller makes one call at a time; more than this only wait if it drops its futures.
const CALLS_QUEUED_MAX: usize = 16;

/// The advisory lock of interactive transactions. Its number is TinyBase's own choice.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7453010331047502)";

type Reply<T> = oneshot::Sender<Result<T, DbError>>;

enum Call {
    Query { sql: String, params: Vec<u8>, reply: Reply<Vec<u8>> },
    Apply { scope: Option<SqlOwner>, batch: Vec<u8>, reply: Reply<Vec<u8>> },
    Commit(Reply<()>),
    Rollback(Reply<()>),
}

/// Begins a transaction; it is rolled back after `time_max`.
pub(super) async fn begin(
    shared: Arc<Shared>,
    scope: SqlOwner,
    time_max: Duration,
    caller: CallerKey,
) -> Result<Box<dyn Transaction>, DbError> {
    let ends_at = Instant::now() + time_max;
    let late = |_| DbError::Timeout(time_max);
    let share = timeout_at(ends_at, shared.transaction_shares.take(caller)).await.map_err(late)??;
    // Only one of this process waits at the server, so that the waiting ones do not use all connections.
    let turn = timeout_at(ends_at, Arc::clone(&shared.turn).lock_owned()).await.map_err(late)?;
    let mut lent = shared.links.lend(Purpose::Write).await?;
    if let Err(fault) = shared.roles.assume(&mut lent, &scope).await {
        return Err(shared.explain(&mut lent, fault, time_max).await);
    }
    let role = lent.role.clone();
    let begun = timeout_at(ends_at, async {
        lent.is_open = true;
        lent.engine("BEGIN").await?;
        // The wait may exceed the time limit of a statement.
        lent.engine("SET LOCAL statement_timeout = 0").await?;
        lent.engine(LOCK).await
    });
    if let Err(error) = begun.await.map_err(late)? {
        return Err(shared.explain(&mut lent, error.into(), time_max).await);
    }
    let (calls, inbox) = mpsc::channel(CALLS_QUEUED_MAX);
    let open = Open { shared, lent, role, scope, ends_at, time_max, _turn: turn, _share: share };
    tokio::spawn(caller.scope(open.serve(inbox)));
    Ok(Box::new(PostgresTransaction { calls, ends_at, time_max }))
}

/// The caller's side of a transaction.
struct PostgresTransaction {
    calls: mpsc::Sender<Call>,
    ends_at: Instant,
    time_max: Duration,
}

impl PostgresTransaction {
    fn call<T: Send + 'static>(
        &self,
        make: impl FnOnce(Reply<T>) -> Call,
    ) -> BoxFuture<'static, Result<T, DbError>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.calls.try_send(make(reply));
        let (ends_at, time_max) = (self.ends_at, self.time_max);
        let ended = move || {
            if Instant::now() >= ends_at {
                DbError::Timeout(time_max)
            } else {
                DbError::Unavailable("the transaction was lost with its connection".to_owned())
            }
        };
        Box::pin(async move {
            match sent {
                Ok(()) => answer.await.unwrap_or_else(|_| Err(ended())),
                Err(mpsc::error::TrySendError::Full(_)) => Err(DbError::Busy),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(ended()),
            }
        })
    }
}

impl Transaction for PostgresTransaction {
    fn query(&mut self, sql: String, params: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        self.call(|reply| Call::Query { sql, params, reply })
    }

    fn apply(&mut self, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        self.call(|reply| Call::Apply { scope: None, batch, reply })
    }

    fn apply_as(&mut self, scope: &SqlOwner, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        let scope = Some(scope.clone());
        self.call(|reply| Call::Apply { scope, batch, reply })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>> {
        self.call(Call::Commit)
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>> {
        self.call(Call::Rollback)
    }
}

/// An open transaction.
struct Open {
    shared: Arc<Shared>,
    lent: Lent,
    /// The role that the connection had before.
    role: Option<Arc<str>>,
    scope: SqlOwner,
    ends_at: Instant,
    time_max: Duration,
    _turn: OwnedMutexGuard<()>,
    _share: Option<Share>,
}

/// What a call does between its savepoint and the release.
enum Step<'a> {
    Query(&'a str, &'a [u8]),
    Apply(&'a SqlOwner, &'a [u8]),
}

impl Open {
    /// Serves calls until one ends the transaction. If dropped with the transaction open, the server rolls it back.
    async fn serve(mut self, mut inbox: mpsc::Receiver<Call>) {
        while let Ok(Some(call)) = timeout_at(self.ends_at, inbox.recv()).await {
            match call {
                Call::Query { sql, params, reply } => {
                    let _ = reply.send(self.step(Step::Query(&sql, &params)).await);
                }
                Call::Apply { scope, batch, reply } => {
                    let scope = scope.unwrap_or_else(|| self.scope.clone());
                    let _ = reply.send(self.step(Step::Apply(&scope, &batch)).await);
                }
                Call::Commit(reply) => {
                    let _ = reply.send(self.end("COMMIT").await);
                    return;
                }
                Call::Rollback(reply) => {
                    let _ = reply.send(self.end("ROLLBACK").await);
                    return;
                }
            }
            if self.lent.is_broken || self.lent.is_busy {
                return;
            }
        }
        let _ = self.end("ROLLBACK").await;
    }

    /// Runs one call. A failed one is undone alone, so that the transaction may go on. A call whose statements were
    /// prepared with another schema is retried once.
    async fn step(&mut self, step: Step<'_>) -> Result<Vec<u8>, DbError> {
        let ends_at = self.ends_at;
        let mut was_stale = false;
        loop {
            let now = self.shared.clock.tick();
            let fault = match timeout_at(ends_at, self.enclosed(&step, &now)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(fault)) => fault,
                Err(_) => return Err(self.shared.timed_out(self.time_max)),
            };
            match fault {
                Fault::Stale(_) | Fault::Misfit(_) if !was_stale => {
                    was_stale = true;
                    self.forget(&step).await?;
                }
                fault => return Err(self.shared.explain(&mut self.lent, fault, self.time_max).await),
            }
        }
    }

    /// Forgets what is known of a call's statements, in this process and on this connection.
    async fn forget(&mut self, step: &Step<'_>) -> Result<(), DbError> {
        match step {
            Step::Query(sql, _) => self.shared.statements.forget(&self.scope, sql),
            Step::Apply(scope, packed) => batch::forget_packed(&self.shared, scope, packed)?,
        }
        let shared = Arc::clone(&self.shared);
        shared.renew(&mut self.lent).await
    }

    async fn enclosed(&mut self, step: &Step<'_>, now: &str) -> Result<Vec<u8>, Fault> {
        let role = self.lent.role.clone();
        self.lent.engine("SAVEPOINT tb_step").await?;
        let done = match step {
            Step::Query(sql, params) => {
                // It has the locks of all statements before it, and blocks other transactions.
                let short = run::Short::Fails;
                run::query(&self.shared, &mut self.lent, &self.scope, (sql, params), now, short).await
            }
            Step::Apply(scope, packed) => {
                batch::run_statements(&self.shared, &mut self.lent, scope, packed, now).await
            }
        };
        match done {
            Ok(answer) => {
                self.lent.engine("RELEASE SAVEPOINT tb_step").await?;
                Ok(answer)
            }
            Err(fault) => {
                if !(self.lent.is_broken || self.lent.is_busy) {
                    self.lent.engine("ROLLBACK TO SAVEPOINT tb_step").await?;
                    self.lent.role = role;
                    self.lent.engine("RELEASE SAVEPOINT tb_step").await?;
                }
                Err(fault)
            }
        }
    }

    async fn end(&mut self, how: &'static str) -> Result<(), DbError> {
        let ended = tokio::time::timeout(self.shared.query_timeout, self.lent.engine(how)).await;
        match ended {
            Ok(Ok(())) => {
                self.lent.is_open = false;
                if how == "ROLLBACK" {
                    self.lent.role = self.role.take();
                }
                Ok(())
            }
            Ok(Err(error)) => {
                // The server rolls back a transaction whose commit it refuses.
                self.lent.is_open = self.lent.is_broken;
                self.lent.role = self.role.take();
                Err(self.shared.explain(&mut self.lent, error.into(), self.time_max).await)
            }
            Err(_) => Err(self.shared.timed_out(self.shared.query_timeout)),
        }
    }
}
