//! The outbox: events stored together with their change and delivered at least once, also after a crash. An
//! event stays until its listener has succeeded. It never overtakes another event of the same listener that
//! is due. Due times use the database's clock, so that nodes with different clocks agree on them.

use std::{sync::Arc, time::Duration};

use tinybase_abi::{
    bytes::Bytes,
    codec::{BatchWriter, Expect, Value, ValueRef},
};

use super::{
    generation::{Generation, Listener},
    outbox_leader::SubscriptionLease,
    services::PluginContext,
};
use crate::{
    db::DbError,
    isolation::Work,
    metrics::stats::EVENTS,
    sql::{HostSql, Row, integer, text},
};

/// The maximum number of events read at once for a listener.
const EVENTS_AT_ONCE: i64 = 100;
/// The maximum number of bytes of events read at once. A larger event is read alone.
const BYTES_AT_ONCE: i64 = 4 << 20;
/// How often the outbox is polled without being woken, for retries and for events that another process wrote.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The maximum wait before an event is delivered again, in seconds.
const RETRY_SECONDS_MAX: i64 = 3600;

const INSERT: &str = "INSERT INTO tb_outbox (topic, subject, payload, subscriber, created_at, next_attempt_at) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const SIZES: &str = "SELECT id, octet_length(payload) FROM tb_outbox \
                     WHERE subscriber = ?1 AND next_attempt_at <= ?2 ORDER BY id LIMIT ?3";
const DUE: &str = "SELECT id, topic, subject, payload, attempts FROM tb_outbox \
                   WHERE subscriber = ?1 AND next_attempt_at <= ?2 AND id <= ?3 ORDER BY id";
const DONE: &str = "DELETE FROM tb_outbox WHERE id = ?1";
const FAILED: &str =
    "UPDATE tb_outbox SET attempts = attempts + 1, next_attempt_at = ?2, last_error = ?3 WHERE id = ?1";

/// Returns the batch that stores an event for a listener.
pub fn statement(listener: &Listener, topic: &str, subject: &str, payload: &[u8]) -> Vec<u8> {
    let mut batch = BatchWriter::default();
    push_new(&mut batch, &listener.subscriber, (topic, subject), payload);
    batch.finish()
}

fn push_new(batch: &mut BatchWriter, subscriber: &str, (topic, subject): (&str, &str), payload: &[u8]) {
    let values = [
        ValueRef::Text(topic),
        ValueRef::Text(subject),
        ValueRef::Blob(payload),
        ValueRef::Text(subscriber),
        ValueRef::Now,
        ValueRef::Now,
    ];
    batch.push(INSERT, values, Expect::Any);
}

/// Delivers due events for as long as the server serves.
pub async fn run(shared: Arc<PluginContext>) {
    let sql = HostSql::new(Arc::clone(&shared.database));
    let lease = SubscriptionLease::new(sql.clone(), Arc::clone(&shared.node), shared.limits.call_timeout);
    loop {
        let generation = shared.current.load_full();
        for listener in generation.durable_listeners() {
            if let Err(error) = deliver_due(&shared, &sql, &lease, listener, generation.number).await {
                let plugin = listener.plugin.name();
                tracing::error!(plugin, %error, "the outbox could not be read or written");
            }
        }
        let number = generation.number;
        drop(generation);
        if shared.current.load().number != number {
            continue;
        }
        tokio::select! {
            () = shared.bus.outbox_wake.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn deliver_due(
    shared: &PluginContext,
    sql: &HostSql,
    lease: &SubscriptionLease,
    listener: &Listener,
    generation: u64,
) -> Result<(), DbError> {
    // Most polls find nothing and take no lease.
    let mut due = due(sql, &listener.subscriber).await?;
    if due.events.is_empty() || !lease.take(&listener.subscriber).await? {
        return Ok(());
    }
    if !lease.is_alone() {
        // The events found before may have been delivered by the previous lease owner.
        due = self::due(sql, &listener.subscriber).await?;
    }
    loop {
        for event in &due.events {
            if shared.current.load().number != generation {
                // The current listeners get the rest: due events keep no old plugin alive.
                return lease.release(&listener.subscriber).await;
            }
            if !deliver(shared, sql, lease, listener, event).await? {
                return Ok(());
            }
        }
        if !due.has_more {
            return lease.release(&listener.subscriber).await;
        }
        due = self::due(sql, &listener.subscriber).await?;
    }
}

/// The events that are due.
struct Due {
    events: Vec<Row>,
    /// Whether more events may follow.
    has_more: bool,
}

/// Returns the first due events, up to the limits for one read.
async fn due(sql: &HostSql, subscriber: &str) -> Result<Due, DbError> {
    let params = |last| [ValueRef::Text(subscriber), ValueRef::Now, ValueRef::Integer(last)];
    let sizes = sql.rows(SIZES, &params(EVENTS_AT_ONCE)).await?;
    let (mut last, mut count, mut bytes) = (None, 0, 0);
    for row in &sizes {
        bytes += integer(row, 1);
        if last.is_some() && bytes > BYTES_AT_ONCE {
            break;
        }
        (last, count) = (Some(integer(row, 0)), count + 1);
    }
    let Some(last) = last else { return Ok(Due { events: Vec::new(), has_more: false }) };
    let events = sql.rows(DUE, &params(last)).await?;
    let has_more = count < sizes.len() || i64::try_from(count).is_ok_and(|count| count == EVENTS_AT_ONCE);
    Ok(Due { events, has_more })
}

/// Adds the record of a failed delivery to a batch. The event is delivered again after `wait` seconds.
fn push_failed(batch: &mut BatchWriter, sql: &HostSql, id: i64, wait: i64, problem: &str) {
    let again_at = sql.time_from_now(wait);
    let params = [ValueRef::Integer(id), ValueRef::Text(&again_at), ValueRef::Text(problem)];
    batch.push(FAILED, params, Expect::Any);
}

/// Delivers an event to its listener. Returns whether this node still has the listener's lease.
async fn deliver(
    shared: &PluginContext,
    sql: &HostSql,
    lease: &SubscriptionLease,
    listener: &Listener,
    event: &Row,
) -> Result<bool, DbError> {
    let (id, topic, subject, attempts) =
        (integer(event, 0), text(event, 1), text(event, 2), integer(event, 4));
    let payload = match event.get(3) {
        Some(Value::Blob(payload)) => payload.clone(),
        _ => Vec::new(),
    };
    let mut batch = BatchWriter::default();
    let Some(hooks) = listener.plugin.hooks() else { return Ok(false) };
    let (position, of) = (listener.position, topic.clone());
    let call = move || hooks.after(position, &of, &subject, Bytes::from(payload));
    match listener.plugin.bounded(shared.limits.call_timeout, Work::Listener, call).await {
        Ok(()) => {
            EVENTS.told.add_one();
            batch.push(DONE, [ValueRef::Integer(id)], Expect::Any);
        }
        Err(error) => {
            let words = error.words();
            let wait = (1_i64 << attempts.clamp(0, 12)).min(RETRY_SECONDS_MAX);
            let plugin = listener.plugin.name();
            tracing::warn!(
                plugin,
                topic,
                attempts,
                wait_seconds = wait,
                "an event will be delivered again: {}",
                words.message
            );
            push_failed(&mut batch, sql, id, wait, &words.message);
        }
    }
    lease.push_renewal(&mut batch, &listener.subscriber);
    let applied = sql.apply(batch).await?;
    Ok(lease.is_alone() || applied.affected.last() == Some(&1))
}

impl Generation {
    /// Returns the listeners that must be notified at least once.
    pub fn durable_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.after.values().flatten().filter(|listener| listener.queue.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{db::testing::OnPostgres, sql::real};

    /// The time left until the event is delivered again, in seconds of the database's clock.
    const LEFT: &str =
        "SELECT extract(epoch FROM next_attempt_at::timestamptz - clock_timestamp())::float8 FROM tb_outbox";

    async fn on_sqlite(dir: &tempfile::TempDir) -> HostSql {
        let db: Arc<dyn crate::db::Database> =
            crate::db::sqlite::Sqlite::open(&crate::db::sqlite::SqliteOptions::new(dir.path().join("t.db")))
                .unwrap();
        crate::db::migrations::Migrator::of_host(&*db).upgrade(None).await.unwrap();
        HostSql::new(db)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_events_are_read_a_few_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut engines = vec![on_sqlite(&dir).await];
        let server = OnPostgres::migrated().await;
        if let Some(database) = &server {
            engines.push(database.node().await);
        }
        let large = vec![b'x'; 3 << 20];
        for sql in engines {
            for payload in [b"{}".as_slice(), &large, &large, &large, b"{}"] {
                let mut batch = BatchWriter::default();
                push_new(&mut batch, "x", ("topic", "subject"), payload);
                sql.apply(batch).await.unwrap();
            }
            let (mut counts, mut has_more) = (Vec::new(), true);
            while has_more {
                let due = due(&sql, "x").await.unwrap();
                forget(&sql, &due).await;
                counts.push(due.events.len());
                has_more = due.has_more;
            }
            assert_eq!(counts, [2, 1, 2]);
        }
    }

    async fn forget(sql: &HostSql, due: &Due) {
        let mut batch = BatchWriter::default();
        for event in &due.events {
            batch.push(DONE, [ValueRef::Integer(integer(event, 0))], Expect::Any);
        }
        sql.apply(batch).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_due_goes_by_the_databases_clock() {
        for apart in ["1 hour", "-1 hour"] {
            let Some(database) = OnPostgres::migrated().await else { return };
            database.move_clock(apart);
            let sql = database.node().await;
            let mut batch = BatchWriter::default();
            push_new(&mut batch, "x", ("topic", "subject"), b"{}");
            sql.apply(batch).await.unwrap();
            let events = due(&sql, "x").await.unwrap().events;
            assert_eq!(events.len(), 1, "{apart}: a new event is due at once");

            let mut batch = BatchWriter::default();
            push_failed(&mut batch, &sql, integer(&events[0], 0), 60, "not now");
            sql.apply(batch).await.unwrap();
            assert!(due(&sql, "x").await.unwrap().events.is_empty(), "{apart}: one that failed waits");
            let left = real(&sql.row(LEFT, &[]).await.unwrap().unwrap(), 0);
            assert!((50.0..61.0).contains(&left), "{apart}: {left} s are left");
        }
    }
}
