//! Which node delivers a listener's outbox events. A lease in the database ensures that only one node does so
//! at a time. Thus no event is delivered by two nodes at once, and none overtakes another. With SQLite, the
//! only process delivers. Never delivers an event itself.

use std::{sync::Arc, time::Duration};

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use crate::{
    db::{DbError, Engine},
    sql::HostSql,
};

/// How much longer a lease lasts than one call of a listener may take.
const LEASE_SPARE: Duration = Duration::from_secs(10);

/// How long a lease holder may be missing from the list of nodes: a node may deliver just before it joins.
const UNLISTED: Duration = Duration::from_secs(5);

/// Nanoseconds since 1970 by the database's clock, constant within a statement.
macro_rules! now {
    () => {
        "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT) * 1000"
    };
}

/// `?3` is the duration of the lease, `?4` the part of it for which a node may be missing from the list of
/// nodes.
const TAKE: &str = concat!(
    "INSERT INTO tb_outbox_tellers AS teller (subscriber, node, held_until) VALUES (?1, ?2, ",
    now!(),
    " + CAST(?3 AS BIGINT)) ON CONFLICT (subscriber) DO UPDATE \
     SET node = excluded.node, held_until = excluded.held_until \
     WHERE teller.node = excluded.node OR teller.held_until <= ",
    now!(),
    " OR (teller.held_until <= ",
    now!(),
    " + CAST(?3 AS BIGINT) - CAST(?4 AS BIGINT) \
     AND NOT EXISTS (SELECT 1 FROM tb_nodes WHERE tb_nodes.id = teller.node))"
);
const RENEW: &str = concat!(
    "UPDATE tb_outbox_tellers SET held_until = ",
    now!(),
    " + CAST(?3 AS BIGINT) WHERE subscriber = ?1 AND node = ?2"
);
const RELEASE: &str = "DELETE FROM tb_outbox_tellers WHERE subscriber = ?1 AND node = ?2";

/// The leases of this node, one per listener.
pub(super) struct SubscriptionLease {
    sql: HostSql,
    node: Arc<str>,
    hold: i64,
    is_alone: bool,
}

impl SubscriptionLease {
    /// Creates the leases of the node `node`, whose listeners may take `call_timeout` per event.
    pub(super) fn new(sql: HostSql, node: Arc<str>, call_timeout: Duration) -> SubscriptionLease {
        let is_alone = sql.database().engine() == Engine::Sqlite;
        SubscriptionLease { sql, node, hold: nanoseconds(call_timeout + LEASE_SPARE), is_alone }
    }

    /// Returns whether there is only one process, so that no lease is needed.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Takes the lease of a listener. Returns false if another node has it.
    pub(super) async fn take(&self, subscriber: &str) -> Result<bool, DbError> {
        if self.is_alone {
            return Ok(true);
        }
        let mut batch = BatchWriter::default();
        let [subscriber, node, hold] = self.params(subscriber);
        batch.push(TAKE, [subscriber, node, hold, ValueRef::Integer(nanoseconds(UNLISTED))], Expect::Any);
        Ok(self.sql.apply(batch).await?.affected == [1])
    }

    /// Adds the lease renewal to a batch as its last statement. It affects no row if another node has the
    /// lease by now.
    pub(super) fn push_renewal(&self, batch: &mut BatchWriter, subscriber: &str) {
        if !self.is_alone {
            batch.push(RENEW, self.params(subscriber), Expect::Any);
        }
    }

    /// Releases the lease.
    pub(super) async fn release(&self, subscriber: &str) -> Result<(), DbError> {
        if self.is_alone {
            return Ok(());
        }
        let mut batch = BatchWriter::default();
        let [subscriber, node, _] = self.params(subscriber);
        batch.push(RELEASE, [subscriber, node], Expect::Any);
        self.sql.apply(batch).await.map(|_| ())
    }

    fn params<'p>(&'p self, subscriber: &'p str) -> [ValueRef<'p>; 3] {
        [ValueRef::Text(subscriber), ValueRef::Text(&self.node), ValueRef::Integer(self.hold)]
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::OnPostgres;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_listener_has_one_leader_at_a_time() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let sql = database.node().await;
        let lease = |name: &str, timeout| SubscriptionLease::new(sql.clone(), name.into(), timeout);
        let (first, second) = (lease("a", Duration::from_secs(30)), lease("b", Duration::from_secs(30)));
        assert!(first.take("x").await.unwrap());
        assert!(first.take("x").await.unwrap(), "the teller takes it again");
        assert!(!second.take("x").await.unwrap());
        assert!(second.take("y").await.unwrap(), "each listener has its own");
        let held = async |lease: &SubscriptionLease| {
            let mut batch = BatchWriter::default();
            lease.push_renewal(&mut batch, "x");
            sql.apply(batch).await.unwrap().affected == [1]
        };
        assert!(held(&first).await && !held(&second).await);
        second.release("x").await.unwrap();
        assert!(!second.take("x").await.unwrap(), "only the teller leaves");
        first.release("x").await.unwrap();
        assert!(second.take("x").await.unwrap());
        let mut batch = BatchWriter::default();
        batch.push("UPDATE tb_outbox_tellers SET held_until = 0", [], Expect::Any);
        sql.apply(batch).await.unwrap();
        assert!(first.take("x").await.unwrap(), "one that holds it for too long loses it");
        assert!(!held(&second).await);
    }
}
