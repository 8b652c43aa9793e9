//! Which node tells a listener what is due: one at a time, so that no two nodes tell the same event at once, and none
//! overtakes another. It never tells an event itself. Where one process serves the database, that is the one.

use std::{sync::Arc, time::Duration};

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use crate::{
    db::{DbError, Engine},
    sql::HostSql,
};

/// How much longer a node is the teller than one call of a listener may take.
const HOLD_SPARE: Duration = Duration::from_secs(10);

/// For how long a node need not be listed: it may tell just before it joins the nodes.
const UNLISTED: Duration = Duration::from_secs(5);

/// Nanoseconds since 1970 by the database's clock, the same for all of a statement.
macro_rules! now {
    () => {
        "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT) * 1000"
    };
}

/// `?3` is how long it holds, `?4` for how long of that a node need not be listed.
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
const HOLD: &str = concat!(
    "UPDATE tb_outbox_tellers SET held_until = ",
    now!(),
    " + CAST(?3 AS BIGINT) WHERE subscriber = ?1 AND node = ?2"
);
const LEAVE: &str = "DELETE FROM tb_outbox_tellers WHERE subscriber = ?1 AND node = ?2";

/// This node as a teller.
pub(super) struct Teller {
    sql: HostSql,
    node: Arc<str>,
    hold: i64,
    is_alone: bool,
}

impl Teller {
    /// The node `node`, whose listeners may take `call_timeout` for an event.
    pub(super) fn new(sql: HostSql, node: Arc<str>, call_timeout: Duration) -> Teller {
        let is_alone = sql.database().engine() == Engine::Sqlite;
        Teller { sql, node, hold: nanoseconds(call_timeout + HOLD_SPARE), is_alone }
    }

    /// Whether there is no other, so that nothing need be taken.
    pub(super) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Becomes the teller of a listener; false where another is.
    pub(super) async fn take(&self, subscriber: &str) -> Result<bool, DbError> {
        if self.is_alone {
            return Ok(true);
        }
        let mut batch = BatchWriter::default();
        let [subscriber, node, hold] = self.params(subscriber);
        batch.push(TAKE, [subscriber, node, hold, ValueRef::Integer(nanoseconds(UNLISTED))], Expect::Any);
        Ok(self.sql.apply(batch).await?.affected == [1])
    }

    /// Adds to a batch, as its last statement, that it goes on; that affects no row where another is the teller by now.
    pub(super) fn push_hold(&self, batch: &mut BatchWriter, subscriber: &str) {
        if !self.is_alone {
            batch.push(HOLD, self.params(subscriber), Expect::Any);
        }
    }

    /// Lets another be the teller.
    pub(super) async fn leave(&self, subscriber: &str) -> Result<(), DbError> {
        if self.is_alone {
            return Ok(());
        }
        let mut batch = BatchWriter::default();
        let [subscriber, node, _] = self.params(subscriber);
        batch.push(LEAVE, [subscriber, node], Expect::Any);
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
    async fn a_listener_has_one_teller_at_a_time() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let sql = database.node().await;
        let teller = |name: &str, timeout| Teller::new(sql.clone(), name.into(), timeout);
        let (first, second) = (teller("a", Duration::from_secs(30)), teller("b", Duration::from_secs(30)));
        assert!(first.take("x").await.unwrap());
        assert!(first.take("x").await.unwrap(), "the teller takes it again");
        assert!(!second.take("x").await.unwrap());
        assert!(second.take("y").await.unwrap(), "each listener has its own");
        let held = async |teller: &Teller| {
            let mut batch = BatchWriter::default();
            teller.push_hold(&mut batch, "x");
            sql.apply(batch).await.unwrap().affected == [1]
        };
        assert!(held(&first).await && !held(&second).await);
        second.leave("x").await.unwrap();
        assert!(!second.take("x").await.unwrap(), "only the teller leaves");
        first.leave("x").await.unwrap();
        assert!(second.take("x").await.unwrap());
        let mut batch = BatchWriter::default();
        batch.push("UPDATE tb_outbox_tellers SET held_until = 0", [], Expect::Any);
        sql.apply(batch).await.unwrap();
        assert!(first.take("x").await.unwrap(), "one that holds it for too long loses it");
        assert!(!held(&second).await);
    }
}
