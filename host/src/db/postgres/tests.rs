//! Tests reads that find no memory for their rows, on a real server.

use std::{net::Ipv4Addr, pin::pin, sync::Arc, time::Duration};

use tinybase_abi::codec::{Value, pack_values};
use tinybase_test_postgres::server_url;
use tokio::{task::JoinSet, time::timeout};

use super::{Postgres, PostgresOptions};
use crate::{
    db::{Database, DbError, Query, ReadHint, SqlOwner, turns::CallerKey},
    memory::{self, MemoryLimits, Share},
};

/// The timeout of what must happen eventually.
const LONG: Duration = Duration::from_secs(20);
/// The timeout of what must happen immediately.
const AT_ONCE: Duration = Duration::from_secs(5);
/// One and a half megabytes.
const LARGE: &str = "SELECT repeat('x', 500000) FROM generate_series(1, $1::bigint)";
const READERS: usize = 4;

#[allow(clippy::print_stdout, reason = "a skipped test says why")]
async fn open(
    choose: impl FnOnce(&mut PostgresOptions),
) -> Option<(Arc<Postgres>, tinybase_test_postgres::Database)> {
    let Some(server) = server_url() else {
        println!("skipped: the run has no PostgreSQL server");
        return None;
    };
    let database = tinybase_test_postgres::Database::create(&server).unwrap();
    let mut options = PostgresOptions::new(database.url());
    options.connections_max = 2 * READERS;
    choose(&mut options);
    let db = Postgres::open(&options).await.unwrap();
    Some((db, database))
}

fn params() -> Vec<u8> {
    pack_values([Value::Integer(3)].iter().map(Value::as_ref))
}

async fn read(db: Arc<Postgres>, hint: ReadHint, deadline: Option<Duration>) -> Result<Vec<u8>, DbError> {
    let params = params();
    db.query(Query { scope: &SqlOwner::Host, sql: LARGE, params: &params, hint, deadline }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_room_where_nobody_waits_for_it() {
    let Some((db, _database)) = open(|_| {}).await else { return };
    memory::limit(MemoryLimits { bytes_max: 8 << 20, wait_timeout: LONG });
    let held = Share::forced_rows(7 << 20);

    let mut open = db.begin(&SqlOwner::Host, LONG).await.unwrap();
    let refused = timeout(AT_ONCE, open.query(LARGE.to_owned(), params())).await;
    let refused = refused.expect("a transaction holds locks while it waits");
    assert!(matches!(refused, Err(DbError::NoRoom)), "{refused:?}");
    drop(open);
    for _ in 0..2 {
        let refused = timeout(AT_ONCE, read(Arc::clone(&db), ReadHint::PointLookup, None)).await;
        let refused = refused.expect("others wait for a read by key");
        assert!(matches!(refused, Err(DbError::NoRoom)), "{refused:?}");
    }
    let refused = read(Arc::clone(&db), ReadHint::Scan, Some(Duration::from_millis(300))).await;
    assert!(matches!(refused, Err(DbError::NoRoom)), "the statement took no time: {refused:?}");

    let mut reads = JoinSet::new();
    for _ in 0..READERS {
        reads.spawn(read(Arc::clone(&db), ReadHint::Scan, None));
    }
    for _ in 0..READERS / 2 {
        let refused =
            timeout(AT_ONCE, reads.join_next()).await.expect("half of the connections are for others");
        assert!(matches!(refused, Some(Ok(Err(DbError::NoRoom)))), "{refused:?}");
    }
    drop(held);
    while let Some(answer) = timeout(LONG, reads.join_next()).await.unwrap() {
        assert!(answer.unwrap().unwrap().len() > 1_500_000);
    }
    db.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_waits_for_its_turn_as_long_as_it_was_given() {
    let chosen = |options: &mut PostgresOptions| options.transaction_time_max = Duration::from_millis(100);
    let Some((db, _database)) = open(chosen).await else { return };
    let caller = CallerKey::of(None, Ipv4Addr::new(192, 0, 2, 1).into());
    let begin = || caller.scope(async { db.begin(&SqlOwner::Host, LONG).await });
    let first = begin().await.unwrap();
    let mut second = pin!(begin());
    let waited = timeout(Duration::from_millis(500), second.as_mut()).await;
    assert!(waited.is_err(), "it was given longer: {:?}", waited.map(|begun| begun.err()));
    first.rollback().await.unwrap();
    timeout(LONG, second).await.unwrap().unwrap().rollback().await.unwrap();
    db.shut_down().await;
}
