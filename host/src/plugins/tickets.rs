//! Tickets: what a before hook wants to commit with another plugin's change, kept here until that change is applied.
//! The plugin in between carries a number and never sees the statements.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use parking_lot::Mutex;
use tinybase_abi::codec::split_tickets;

use crate::db::{Answer, Attached, Database, DbError, Engine, Query, Scope, Transaction};

/// The most tickets that may wait to be redeemed.
const TICKETS_MAX: usize = 10_000;
/// The most bytes of statements that may wait.
const TICKETS_BYTES_MAX: usize = 64 << 20;
/// How long a ticket waits for the change that it belongs to.
const TICKET_AGE_MAX: Duration = Duration::from_secs(60);

/// The statements that wait for their change.
#[derive(Default)]
pub struct Tickets {
    next: AtomicU64,
    waiting: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    tickets: HashMap<u64, Waiting>,
    /// Of all their statements.
    bytes: usize,
}

struct Waiting {
    issued: Instant,
    statements: Vec<Attached>,
    bytes: usize,
}

impl Kept {
    fn has_room(&self, bytes: usize) -> bool {
        self.tickets.len() < TICKETS_MAX && self.bytes + bytes <= TICKETS_BYTES_MAX
    }

    /// A change that was never applied, since it was refused after its hooks, leaves its ticket behind.
    fn forget_old(&mut self) {
        self.tickets.retain(|_, waiting| waiting.issued.elapsed() < TICKET_AGE_MAX);
        self.bytes = self.tickets.values().map(|waiting| waiting.bytes).sum();
    }

    fn take(&mut self, ticket: u64) -> Option<Vec<Attached>> {
        let waiting = self.tickets.remove(&ticket)?;
        self.bytes -= waiting.bytes;
        Some(waiting.statements)
    }
}

impl Tickets {
    /// Keeps statements; the answer redeems them once. `None` where too many wait already.
    pub fn issue(&self, statements: Vec<Attached>) -> Option<u64> {
        let bytes = statements.iter().map(|(_, batch)| batch.len()).sum();
        let mut kept = self.kept.lock();
        if !kept.has_room(bytes) {
            kept.forget_old();
            if !kept.has_room(bytes) {
                return None;
            }
        }
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        kept.tickets.insert(ticket, Waiting { issued: Instant::now(), statements, bytes });
        kept.bytes += bytes;
        self.waiting.store(kept.tickets.len(), Ordering::Release);
        Some(ticket)
    }

    /// The statements that these stand for, once.
    ///
    /// # Errors
    /// Where one is not known, or not any more.
    pub(super) fn redeem(&self, tickets: &[u64]) -> Result<Vec<Attached>, DbError> {
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
        self.waiting.store(kept.tickets.len(), Ordering::Release);
        Ok(statements)
    }

    fn split(&self, batch: Vec<u8>) -> Result<(Vec<u8>, Vec<Attached>), DbError> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Ok((batch, Vec::new()));
        }
        let (batch, tickets) = split_tickets(&batch)?;
        let attached = self.redeem(&tickets)?;
        Ok((batch, attached))
    }
}

/// A database that redeems the tickets in what it is asked to apply.
pub struct Redeeming {
    inner: Arc<dyn Database>,
    tickets: Arc<Tickets>,
}

impl Redeeming {
    /// Redeems `tickets` in front of `inner`.
    pub fn new(inner: Arc<dyn Database>, tickets: Arc<Tickets>) -> Redeeming {
        Redeeming { inner, tickets }
    }
}

impl Database for Redeeming {
    fn engine(&self) -> Engine {
        self.inner.engine()
    }

    fn query(&self, query: Query<'_>) -> Answer<Vec<u8>> {
        self.inner.query(query)
    }

    fn apply_attached(&self, scope: &Scope, batch: Vec<u8>, mut attached: Vec<Attached>) -> Answer<Vec<u8>> {
        match self.tickets.split(batch) {
            Ok((batch, more)) => {
                attached.extend(more);
                self.inner.apply_attached(scope, batch, attached)
            }
            Err(error) => Answer::ready(Err(error)),
        }
    }

    fn begin(
        &self,
        scope: &Scope,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Box<dyn Transaction>, DbError>> {
        let begun = self.inner.begin(scope, deadline);
        let tickets = Arc::clone(&self.tickets);
        Box::pin(async move { Ok(Box::new(RedeemingTransaction { inner: begun.await?, tickets }) as _) })
    }

    fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>> {
        self.inner.write_probe()
    }

    fn snapshot(&self, into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>> {
        self.inner.snapshot(into)
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn foreign_changes(&self) -> u64 {
        self.inner.foreign_changes()
    }

    fn shut_down(&self) -> BoxFuture<'static, ()> {
        self.inner.shut_down()
    }
}

struct RedeemingTransaction {
    inner: Box<dyn Transaction>,
    tickets: Arc<Tickets>,
}

impl Transaction for RedeemingTransaction {
    fn query(&mut self, sql: String, params: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        self.inner.query(sql, params)
    }

    fn apply(&mut self, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
        Box::pin(async move {
            let (batch, attached) = self.tickets.split(batch)?;
            let applied = self.inner.apply(batch).await?;
            for (scope, batch) in attached {
                self.inner.apply_as(&scope, batch).await?;
            }
            Ok(applied)
        })
    }

    fn apply_as(&mut self, scope: &Scope, batch: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, DbError>> {
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
        let tickets = Tickets::default();
        let some = |bytes: usize| vec![(Scope::Host, vec![0; bytes])];
        let half = tickets.issue(some(TICKETS_BYTES_MAX / 2)).unwrap();
        assert!(tickets.issue(some(TICKETS_BYTES_MAX / 2 + 1)).is_none());
        tickets.redeem(&[half]).unwrap();
        assert!(tickets.redeem(&[half]).is_err(), "a ticket is good for once");
        let rest = tickets.issue(some(TICKETS_BYTES_MAX)).unwrap();
        assert!(tickets.issue(some(1)).is_none());
        tickets.redeem(&[rest]).unwrap();
        for _ in 0..TICKETS_MAX {
            tickets.issue(some(1)).unwrap();
        }
        assert!(tickets.issue(some(1)).is_none());
    }
}
