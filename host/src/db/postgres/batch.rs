//! Applies packed batches atomically. A batch that conflicts with concurrent changes is retried. One whose schema was
//! changed by others is prepared again, once.

use std::time::{Duration, Instant};

use tinybase_abi::codec::{BatchResultWriter, Expect, Reader};

use super::{
    Shared,
    errors::Fault,
    pool::{Lent, Purpose},
    run,
};
use crate::{
    db::{DbError, ScopedBatch, SqlOwner},
    memory::{Gathering, NoRoom},
};

/// The maximum delay before the second attempt of a batch; doubled with each further attempt.
const RETRY_DELAY: Duration = Duration::from_millis(4);

/// A batch together with its attached batches.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) scope: SqlOwner,
    pub(super) packed: Vec<u8>,
    pub(super) attached: Vec<ScopedBatch>,
}

impl Parts {
    fn each(&self) -> impl Iterator<Item = (&SqlOwner, &[u8])> {
        let own = std::iter::once((&self.scope, self.packed.as_slice()));
        own.chain(self.attached.iter().map(|(scope, packed)| (scope, packed.as_slice())))
    }

    /// Whether the batch is a single statement without an expectation. It needs no transaction: the server undoes one
    /// that fails.
    fn is_alone(&self) -> Result<bool, DbError> {
        let mut reader = Reader::new(&self.packed);
        let count = reader.u32()?;
        Ok(self.attached.is_empty()
            && (count == 0 || (count == 1 && reader.statement()?.expect == Expect::Any)))
    }
}

/// Applies a batch in its own transaction; returns a packed result.
pub(super) async fn apply(shared: &Shared, parts: &Parts) -> Result<Vec<u8>, DbError> {
    let is_alone = parts.is_alone()?;
    let mut lent = shared.links.lend(Purpose::Write).await?;
    let mut was_stale = false;
    let mut attempt = 1;
    loop {
        let now = shared.clock.tick();
        let work = async {
            if is_alone {
                run_parts(shared, &mut lent, parts, &now).await
            } else {
                enclosed(shared, &mut lent, parts, &now).await
            }
        };
        let started = Instant::now();
        let fault = match tokio::time::timeout(shared.query_timeout, work).await {
            Ok(Ok(result)) => {
                crate::metrics::stats::DATABASE.commit.observe_time(started.elapsed());
                return Ok(result);
            }
            Ok(Err(fault)) => fault,
            Err(_) => return Err(shared.timed_out(shared.query_timeout)),
        };
        match fault {
            Fault::Contended if attempt < shared.attempts_max => {
                let delay_max = RETRY_DELAY * 2_u32.pow(attempt);
                attempt += 1;
                let delay = rand::random_range(Duration::ZERO..delay_max);
                tokio::time::sleep(delay).await;
            }
            Fault::Stale(_) | Fault::Misfit(_) if !was_stale => {
                was_stale = true;
                forget(shared, &mut lent, parts).await?;
            }
            fault => return Err(shared.explain(&mut lent, fault, shared.query_timeout).await),
        }
    }
}

/// Forgets what is known of a batch's statements, in this process and on this connection.
async fn forget(shared: &Shared, lent: &mut Lent, parts: &Parts) -> Result<(), DbError> {
    for (scope, packed) in parts.each() {
        forget_packed(shared, scope, packed)?;
    }
    shared.renew(lent).await
}

/// Forgets what this process knows of the statements of a packed batch.
pub(super) fn forget_packed(shared: &Shared, scope: &SqlOwner, packed: &[u8]) -> Result<(), DbError> {
    let mut reader = Reader::new(packed);
    for _ in 0..reader.u32()? {
        let head = reader.statement()?;
        shared.statements.forget(scope, head.sql);
        reader.values(|_, _| Ok::<_, DbError>(()))?;
    }
    Ok(())
}

async fn enclosed(shared: &Shared, lent: &mut Lent, parts: &Parts, now: &str) -> Result<Vec<u8>, Fault> {
    // Before the transaction: a role that is set within it is reset if it is rolled back.
    shared.roles.assume(lent, &parts.scope).await?;
    let role = lent.role.clone();
    lent.is_open = true;
    lent.engine("BEGIN").await?;
    match run_parts(shared, lent, parts, now).await {
        Ok(result) => {
            // The server rolls back a transaction whose commit it refuses.
            let committed = lent.engine("COMMIT").await;
            lent.is_open = lent.is_broken;
            if committed.is_err() {
                lent.role = role;
            }
            committed?;
            Ok(result)
        }
        Err(fault) => {
            if lent.engine("ROLLBACK").await.is_ok() {
                lent.is_open = false;
                lent.role = role;
            }
            Err(fault)
        }
    }
}

async fn run_parts(shared: &Shared, lent: &mut Lent, parts: &Parts, now: &str) -> Result<Vec<u8>, Fault> {
    let result = run_statements(shared, lent, &parts.scope, &parts.packed, now).await?;
    for (scope, packed) in &parts.attached {
        run_statements(shared, lent, scope, packed, now).await?;
    }
    Ok(result)
}

/// Runs the statements of a packed batch within the open transaction.
pub(super) async fn run_statements(
    shared: &Shared,
    lent: &mut Lent,
    scope: &SqlOwner,
    packed: &[u8],
    now: &str,
) -> Result<Vec<u8>, Fault> {
    let mut reader = Reader::new(packed);
    let mut result = BatchResultWriter::new(now);
    let (mut bytes, bytes_max, mut gathering) = (0, shared.rows_bytes_max(scope), Gathering::default());
    for position in 0..reader.u32().map_err(DbError::from)? as usize {
        let head = reader.statement().map_err(DbError::from)?;
        let effect = run::change(shared, lent, scope, head.sql, &mut reader, now).await?;
        let met = match head.expect {
            Expect::Any => true,
            Expect::Exactly(rows) => effect.affected == rows,
            Expect::AtLeast(rows) => effect.affected >= rows,
        };
        if !met {
            return Err(DbError::Condition { statement: position, affected: effect.affected }.into());
        }
        bytes += effect.rows.len();
        if bytes > bytes_max {
            return Err(DbError::TooLarge { bytes_max }.into());
        }
        gathering.grow_to(bytes).map_err(|NoRoom| DbError::NoRoom)?;
        result.push(effect.affected, &effect.rows);
    }
    Ok(result.finish())
}
