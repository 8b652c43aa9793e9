//! Deferred batches: statements that a before hook wants to commit with another plugin's change, kept here
//! until that change is applied. The plugin in between only passes a number and never sees the statements.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tinybase_abi::codec::split_tickets;

use crate::db::{
    Database, DbError, DbFuture, Engine, ExtensionRights, Query, ScopedBatch, SqlOwner, Transaction,
};

/// The maximum number of tickets waiting to be redeemed.
const BATCHES_MAX: usize = 10_000;
/// The maximum total size of waiting statements, in bytes.
const BATCHES_BYTES_MAX: usize = 64 << 20;
/// How long a ticket waits for its change.
const BATCH_AGE_MAX: Duration = Duration::from_secs(60);

/// The statements waiting for their change.
#[derive(Default)]
pub struct DeferredBatches {
    waiting: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    batches: HashMap<u64, Waiting>,
    /// The size of all their statements.
    bytes: usize,
}

struct Waiting {
    issued: Instant,
    statements: Vec<ScopedBatch>,
    bytes: usize,
}

impl Kept {
    fn has_room(&self, bytes: usize) -> bool {
        self.batches.len() < BATCHES_MAX && self.bytes + bytes <= BATCHES_BYTES_MAX
    }

    /// Removes expired tickets. A change that is refused after its hooks ran leaves its ticket unredeemed.
    fn forget_old(&mut self) {
        self.batches.retain(|_, waiting| waiting.issued.elapsed() < BATCH_AGE_MAX);
        self.bytes = self.batches.values().map(|waiting| waiting.bytes).sum();
    }

    /// Returns an unused number that cannot be guessed: whoever knows it owns the ticket, and other
    /// extensions must not.
    fn free_number(&self) -> u64 {
        loop {
            let number = rand::random();
            if !self.batches.contains_key(&number) {
                return number;
            }
        }
    }

    fn take(&mut self, ticket: u64) -> Option<Vec<ScopedBatch>> {
        let waiting = self.batches.remove(&ticket)?;
        self.bytes -= waiting.bytes;
        Some(waiting.statements)
    }
}

impl DeferredBatches {
    /// Stores statements and returns a ticket that redeems them once. Returns `None` if too many are waiting
    /// already.
    pub fn issue(&self, statements: Vec<ScopedBatch>) -> Option<u64> {
        let bytes = statements.iter().map(|(_, batch)| batch.len()).sum();
        let mut kept = self.kept.lock();
        if !kept.has_room(bytes) {
            kept.forget_old();
            if !kept.has_room(bytes) {
                return None;
            }
        }
        let ticket = kept.free_number();
        kept.batches.insert(ticket, Waiting { issued: Instant::now(), statements, bytes });
        kept.bytes += bytes;
        self.waiting.store(kept.batches.len(), Ordering::Release);
        Some(ticket)
    }

    /// Removes and returns the statements of these tickets.
    ///
    /// # Errors
    /// If a ticket is unknown or has expired.
    pub(super) fn redeem(&self, tickets: &[u64]) -> Result<Vec<ScopedBatch>, DbError> {
        let mut kept = self.kept.lock();
        let mut statements = Vec::new();
        for ticket in tickets {
            statements.extend(kept.take(*ticket).ok_or_else(|| {
                DbError::Sql(
                    "what was to commit with this change was applied already, or waited for too long: ask for it again"
                        .to_owned(),
                )
            })?);
        }
        self.waiting.store(kept.batches.len(), Ordering::Release);
        Ok(statements)
    }

    fn split(&self, batch: Vec<u8>) -> Result<(Vec<u8>, Vec<ScopedBatch>), DbError> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Ok((batch, Vec::new()));
        }
        let (batch, tickets) = split_tickets(&batch)?;
        let attached = self.redeem(&tickets)?;
        Ok((batch, attached))
    }
}

/// A database that redeems the tickets in the batches it applies.
pub struct DeferredBatchDatabase {
    inner: Arc<dyn Database>,
    deferred_batches: Arc<DeferredBatches>,
}

impl DeferredBatchDatabase {
    /// Wraps `inner` so that tickets of `deferred_batches` are redeemed.
    pub fn new(inner: Arc<dyn Database>, deferred_batches: Arc<DeferredBatches>) -> DeferredBatchDatabase {
        DeferredBatchDatabase { inner, deferred_batches }
    }
}

impl Database for DeferredBatchDatabase {
    fn engine(&self) -> Engine {
        self.inner.engine()
    }

    fn query(&self, query: Query<'_>) -> DbFuture<Vec<u8>> {
        self.inner.query(query)
    }

    fn apply_attached(
        &self,
        scope: &SqlOwner,
        batch: Vec<u8>,
        mut attached: Vec<ScopedBatch>,
    ) -> DbFuture<Vec<u8>> {
        match self.deferred_batches.split(batch) {
            Ok((batch, more)) => {
                attached.extend(more);
                self.inner.apply_attached(scope, batch, attached)
            }
            Err(error) => DbFuture::ready(Err(error)),
        }
    }

    fn begin(
        &self,
        scope: &SqlOwner,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Box<dyn Transaction>, DbError>> {
        let begun = self.inner.begin(scope, deadline);
        let deferred_batches = Arc::clone(&self.deferred_batches);
        Box::pin(async move {
            Ok(Box::new(DeferredBatchTransaction { inner: begun.await?, deferred_batches }) as _)
        })
    }

    fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>> {
        self.inner.write_probe()
    }

    fn extension_rights(&self) -> ExtensionRights {
        self.inner.extension_rights()
    }

    fn forget_extension(&self, name: &str) -> BoxFuture<'static, Result<(), DbError>> {
        self.inner.forget_extension(name)
    }

    fn snapshot(&self, into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>> {
        self.inner.snapshot(into)
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn external_change_count(&self) -> u64 {
        self.inner.external_change_count()
    }

    fn shut_down(&self) -> BoxFuture<'static, ()> {
        self.inner.shut_down()
    }
}

struct DeferredBatchTransaction {
    inner: Box<dyn Transaction>,
    deferred_batches: Arc<DeferredBatches>,
}

impl Transaction for DeferredBatchTransaction {
    fn query(&mut self, sql: String, params: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        self.inner.query(sql, params)
    }

    fn apply(&mut self, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        Box::pin(async move {
            let (batch, attached) = self.deferred_batches.split(batch)?;
            let applied = self.inner.apply(batch).await?;
            for (scope, batch) in attached {
                self.inner.apply_as(&scope, batch).await?;
            }
            Ok(applied)
        })
    }

    fn apply_as(&mut self, scope: &SqlOwner, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        self.inner.apply_as(scope, batch)
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>> {
        self.inner.commit()
    }

    fn rollback(self: Box<Self>) -> BoxFuture<'static, Result<(), DbError>> {
        self.inner.rollback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_number_and_in_bytes() {
        let deferred_batches = DeferredBatches::default();
        let some = |bytes: usize| vec![(SqlOwner::Host, vec![0; bytes])];
        let half = deferred_batches.issue(some(BATCHES_BYTES_MAX / 2)).unwrap();
        assert!(deferred_batches.issue(some(BATCHES_BYTES_MAX / 2 + 1)).is_none());
        deferred_batches.redeem(&[half]).unwrap();
        assert!(deferred_batches.redeem(&[half]).is_err(), "a ticket is good for once");
        let rest = deferred_batches.issue(some(BATCHES_BYTES_MAX)).unwrap();
        assert!(deferred_batches.issue(some(1)).is_none());
        deferred_batches.redeem(&[rest]).unwrap();
        for _ in 0..BATCHES_MAX {
            deferred_batches.issue(some(1)).unwrap();
        }
        assert!(deferred_batches.issue(some(1)).is_none());
    }

    #[test]
    fn a_ticket_cannot_be_guessed() {
        let deferred_batches = DeferredBatches::default();
        let issued: Vec<u64> =
            (0..64).map(|_| deferred_batches.issue(vec![(SqlOwner::Host, vec![0])]).unwrap()).collect();
        for ticket in &issued {
            for guess in [ticket.wrapping_sub(1), ticket.wrapping_add(1), 0, 1, 2, 63] {
                assert!(!issued.contains(&guess), "{guess} follows from {ticket}");
                assert!(deferred_batches.redeem(&[guess]).is_err(), "{guess} was redeemed");
            }
        }
        deferred_batches.redeem(&issued).unwrap();
    }

    #[tokio::test]
    async fn what_a_ticket_carries_runs_in_the_name_of_whose_it_is() {
        use tinybase_abi::codec::{BatchWriter, Expect};

        let dir = tempfile::tempdir().unwrap();
        let options = crate::db::sqlite::SqliteOptions::new(dir.path().join("t.db"));
        let (db, deferred_batches) =
            (crate::db::sqlite::Sqlite::open(&options).unwrap(), Arc::new(DeferredBatches::default()));
        let redeeming = DeferredBatchDatabase::new(db, Arc::clone(&deferred_batches));
        let scope = |name: &str| SqlOwner::Extension(name.into());
        let batch = |sql: &str, ticket: Option<u64>| {
            let mut batch = BatchWriter::default();
            batch.push(sql, [], Expect::Any);
            if let Some(ticket) = ticket {
                batch.push_ticket(ticket);
            }
            batch.finish()
        };
        for name in ["a", "b"] {
            let made = batch(&format!("CREATE TABLE {name}_t (x)"), None);
            redeeming.apply(&scope(name), made).await.unwrap();
        }
        // A hook of b adds its own statement, or one on a table of a, to a change of a.
        for (added, goes_through) in
            [("INSERT INTO b_t VALUES (1)", true), ("INSERT INTO a_t VALUES (1)", false)]
        {
            let ticket = deferred_batches.issue(vec![(scope("b"), batch(added, None))]).unwrap();
            let applied =
                redeeming.apply(&scope("a"), batch("INSERT INTO a_t VALUES (2)", Some(ticket))).await;
            match applied {
                Ok(_) => assert!(goes_through, "{added}"),
                Err(DbError::Denied { scope, .. }) => {
                    assert_eq!((goes_through, scope.as_str()), (false, "b"))
                }
                Err(other) => panic!("{added}: {other}"),
            }
        }
        let count = "SELECT (SELECT count(*) FROM a_t) * 10 + (SELECT count(*) FROM b_t)";
        let params = tinybase_abi::codec::pack_values([]);
        let query = Query {
            scope: &SqlOwner::Host,
            sql: count,
            params: &params,
            hint: crate::db::ReadHint::Indexed,
            deadline: None,
        };
        let rows = redeeming.query(query).await.unwrap();
        let head = tinybase_abi::codec::RowsHead::read(&rows).unwrap();
        let counted = tinybase_abi::codec::Reader::new(&rows[head.start..]).value().unwrap().to_owned();
        assert_eq!(counted, 11.into(), "what was refused took its whole change with it");
    }
}
