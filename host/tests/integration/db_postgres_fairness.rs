//! Tests fairness between callers on PostgreSQL: a caller with many heavy requests leaves connections and turns to
//! others. Heavy requests wait for a lock that the test has, so nothing depends on the speed of the machine.

use std::{future::Future, net::Ipv4Addr, time::Duration};

use crate::support::db::batch;
use crate::support::postgres::{FreshPostgres, LONG, wait_until};
use sqlx::{Connection, PgConnection};
use tinybase_abi::codec::{Expect, Value, pack_values};
use tinybase_host::db::{Database, DbError, Query, ReadHint, SqlOwner, turns::CallerKey};
use tokio::task::JoinSet;

const NONE: [Value; 0] = [];
/// Connections of one kind; a caller may use three.
const CONNECTIONS: usize = 4;
const HEAVY: &str = "SELECT pg_advisory_xact_lock_shared(7)";
/// More than the connections, and than what could queue before another caller's request.
const REQUESTS: usize = 40;
const OTHERS_REQUESTS: usize = 20;

fn caller(last: u8) -> CallerKey {
    CallerKey::of(None, Ipv4Addr::new(192, 0, 2, last).into())
}

async fn open() -> Option<FreshPostgres> {
    FreshPostgres::open_with(|options| {
        options.connections_max = 2 * CONNECTIONS;
        options.acquire_timeout = LONG;
        options.query_timeout = LONG;
    })
    .await
}

/// Acquires the lock that heavy requests wait for.
async fn lock(fresh: &FreshPostgres) -> PgConnection {
    let mut holder = PgConnection::connect(fresh.options.url.reveal()).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
    holder
}

/// Waits until as many heavy requests wait for the lock as one caller may run.
async fn are_under_way(holder: &mut PgConnection, count: i64) {
    const WAITING: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait_until("heavy requests under way", async || {
        let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&mut *holder).await.unwrap();
        assert!(waiting <= count, "{waiting} are under way");
        waiting == count
    })
    .await;
}

/// Starts the requests of one caller, and then those of another, which must all finish before any of the first
/// caller's.
async fn others_go_first<Heavy, Light>(
    fresh: &FreshPostgres,
    heavy: impl Fn() -> Heavy,
    light: impl Fn() -> Light,
) where
    Heavy: Future<Output = Result<Vec<u8>, DbError>> + Send + 'static,
    Light: Future<Output = Result<Vec<u8>, DbError>>,
{
    let mut holder = lock(fresh).await;
    let mut all_heavy = JoinSet::new();
    for _ in 0..REQUESTS {
        all_heavy.spawn(caller(1).scope(heavy()));
    }
    are_under_way(&mut holder, i64::try_from(CONNECTIONS).unwrap() - 1).await;
    for number in 0..OTHERS_REQUESTS {
        let done = tokio::time::timeout(Duration::from_secs(5), caller(2).scope(light())).await;
        done.unwrap_or_else(|_| panic!("request {number} waits for another caller's")).unwrap();
    }
    assert!(all_heavy.try_join_next().is_none(), "none of the first caller's has ended");
    drop(holder);
    while let Some(done) = all_heavy.join_next().await {
        done.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_another_caller_find_a_connection() {
    let Some(fresh) = open().await else { return };
    let read = |sql: &'static str| {
        let db = fresh.db.clone();
        async move {
            let params = pack_values([]);
            let query =
                Query { scope: &SqlOwner::Host, sql, params: &params, hint: ReadHint::Scan, deadline: None };
            db.query(query).await
        }
    };
    others_go_first(&fresh, || read(HEAVY), || read("SELECT 1")).await;
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_another_caller_find_a_connection() {
    let Some(fresh) = open().await else { return };
    fresh.script("CREATE TABLE t (a BIGINT)").await;
    let change = |sql: &'static str| {
        let db = fresh.db.clone();
        async move { db.apply(&SqlOwner::Host, batch(&[(sql, &NONE, Expect::Any)])).await }
    };
    others_go_first(&fresh, || change(HEAVY), || change("INSERT INTO t VALUES (1)")).await;
    fresh.end().await;
}

/// Interactive transactions run one at a time: callers take turns.
#[expect(clippy::async_yields_async, reason = "who calls is known where it is begun; it is awaited later")]
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_another_caller_waits_for_one_and_not_for_all() {
    let Some(fresh) = open().await else { return };
    let first = caller(1).scope(fresh.db.begin(&SqlOwner::Host, LONG)).await.unwrap();
    let begin = async |of: u8| {
        let mut begun = caller(of).scope(async { fresh.db.begin(&SqlOwner::Host, LONG) }).await;
        // Polled once, it is in the queue.
        assert!(tokio::time::timeout(Duration::ZERO, &mut begun).await.is_err(), "one runs at a time");
        begun
    };
    let mut queued = JoinSet::new();
    let mut waiting = Vec::new();
    for _ in 0..REQUESTS {
        waiting.push(begin(1).await);
    }
    let other = tokio::spawn(begin(2).await);
    for begun in waiting {
        queued.spawn(async move { begun.await.unwrap() });
    }
    first.rollback().await.unwrap();
    let mut before = 0;
    while !other.is_finished() {
        if let Some(done) = queued.try_join_next() {
            before += 1;
            assert!(before <= 2, "{before} of the first caller's went before");
            done.unwrap().rollback().await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    other.await.unwrap().unwrap().rollback().await.unwrap();
    queued.abort_all();
    fresh.end().await;
}
