//! Tests coalesced reads by key through the `Database` trait: on PostgreSQL they are sent to the server together, with
//! no visible difference but the time. What both engines guarantee runs on both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::db::{Fresh, apply, query, query_as};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::{
    db::{
        Database, DbError, Engine, ReadHint, SqlOwner,
        postgres::{Postgres, PostgresOptions},
    },
    metrics::stats::DATABASE,
};
use tokio::task::JoinSet;

const NONE: [Value; 0] = [];
const ROWS: i64 = 200;
const READ: &str = "SELECT id, n, t FROM t WHERE id = ?1 -- by its key";

/// Opens the database of a test, with a table of rows to read.
async fn filled() -> Fresh {
    let fresh = Fresh::open().await;
    fill(&fresh.db).await;
    fresh
}

async fn fill<D: Database + ?Sized>(db: &Arc<D>) {
    let table = "CREATE TABLE t (id TEXT PRIMARY KEY, n BIGINT, t TEXT)";
    apply(db, &[(table, &NONE, Expect::Any)]).await.unwrap();
    for n in 0..ROWS {
        let row = [id(n).into(), n.into(), text(n)];
        apply(db, &[("INSERT INTO t VALUES (?1, ?2, ?3)", &row, Expect::Exactly(1))]).await.unwrap();
    }
}

fn id(n: i64) -> String {
    format!("id-{n}")
}

/// Every third is null.
fn text(n: i64) -> Value {
    if n % 3 == 0 { Value::Null } else { format!("'$1' {n} ä").into() }
}

fn row(n: i64) -> Vec<Vec<Value>> {
    if (0..ROWS).contains(&n) { vec![vec![id(n).into(), n.into(), text(n)]] } else { Vec::new() }
}

/// Reads `count` rows concurrently with one statement, and compares each result with the requested row.
async fn read_at_once<D: Database + ?Sized>(db: &Arc<D>, count: i64) {
    let mut reads = JoinSet::new();
    for n in 0..count {
        let db = Arc::clone(db);
        // Some of them do not exist, some are requested twice.
        let n = n * 7 % (ROWS + 40);
        reads.spawn(
            async move { (n, query(&db, ReadHint::PointLookup, READ, &[id(n).into()]).await.unwrap()) },
        );
    }
    while let Some(done) = reads.join_next().await {
        let (n, rows) = done.unwrap();
        assert_eq!(rows, row(n), "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_read_gets_its_own_row() {
    let fresh = filled().await;
    // The first read makes the statement known.
    assert_eq!(query(&fresh.db, ReadHint::PointLookup, READ, &[id(1).into()]).await.unwrap(), row(1));
    let before = DATABASE.gathered.counted().sum;
    for _ in 0..10 {
        read_at_once(&fresh.db, 400).await;
    }
    if fresh.db.engine() == Engine::Postgres {
        assert!(DATABASE.gathered.counted().sum > before, "none of 4,000 reads went together with another");
    }
    assert_eq!(
        query(&fresh.db, ReadHint::PointLookup, READ, &[Value::Null]).await.unwrap(),
        Vec::<Vec<Value>>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_other_types_and_extensions_read_as_well() {
    let fresh = filled().await;
    let scope = SqlOwner::Extension("notes".into());
    let table = "CREATE TABLE notes_t (id BIGINT PRIMARY KEY, x DOUBLE PRECISION)";
    crate::support::db::apply_as(&fresh.db, &scope, &[(table, &NONE, Expect::Any)]).await.unwrap();
    let insert = "INSERT INTO notes_t VALUES (?1, ?2)";
    for n in 0..50_i64 {
        let values = [n.into(), Value::Real(n as f64 / 2.0)];
        crate::support::db::apply_as(&fresh.db, &scope, &[(insert, &values, Expect::Any)]).await.unwrap();
    }
    for _ in 0..2 {
        let mut reads = JoinSet::new();
        for n in 0..50_i64 {
            reads.spawn(read_by_two(Arc::clone(&fresh.db), scope.clone(), n));
        }
        while let Some(done) = reads.join_next().await {
            done.unwrap();
        }
    }
    let foreign =
        query_as(&fresh.db, &scope, ReadHint::PointLookup, READ, &[id(1).into()], None).await.unwrap_err();
    assert_eq!(foreign.code(), "db_denied");
}

/// Reads by a number and a text, which can be coalesced, and by a float, which runs alone.
async fn read_by_two(db: Arc<dyn Database>, scope: SqlOwner, n: i64) {
    let half = Value::Real(n as f64 / 2.0);
    let told = if n % 5 == 0 { "b" } else { "a" };
    let by_two = "SELECT x FROM notes_t WHERE id = ?1 AND CAST(?2 AS TEXT) = 'a'";
    let found =
        query_as(&db, &scope, ReadHint::PointLookup, by_two, &[n.into(), told.into()], None).await.unwrap();
    let expected = if told == "a" { vec![vec![half.clone()]] } else { Vec::new() };
    assert_eq!(found, expected);
    let by_float = "SELECT id FROM notes_t WHERE x = ?1 AND id = ?2";
    let found =
        query_as(&db, &scope, ReadHint::PointLookup, by_float, &[half, n.into()], None).await.unwrap();
    assert_eq!(found, [[n.into()]]);
}

/// The engine's names for the parameters are outside of the statement, whose own names take precedence.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_uses_the_engines_names_gets_its_own_row() {
    let fresh = filled().await;
    let scope = SqlOwner::Extension("notes".into());
    // If `tb_each.v1` meant this column, every row would have the requested key.
    let table = "CREATE TABLE notes_named (id BIGINT PRIMARY KEY, v1 BIGINT)";
    crate::support::db::apply_as(&fresh.db, &scope, &[(table, &NONE, Expect::Any)]).await.unwrap();
    for n in 0..50_i64 {
        let insert = "INSERT INTO notes_named VALUES (?1, ?1)";
        crate::support::db::apply_as(&fresh.db, &scope, &[(insert, &[n.into()], Expect::Any)]).await.unwrap();
    }
    let by_alias = "SELECT TB_Each.id FROM notes_named AS TB_Each WHERE TB_Each.id = ?1";
    for _ in 0..10 {
        let mut reads = JoinSet::new();
        for n in 0..50_i64 {
            let (db, scope) = (Arc::clone(&fresh.db), scope.clone());
            let read = async move {
                query_as(&db, &scope, ReadHint::PointLookup, by_alias, &[n.into()], None).await
            };
            reads.spawn(async move { (n, read.await.unwrap()) });
        }
        while let Some(done) = reads.join_next().await {
            let (n, rows) = done.unwrap();
            assert_eq!(rows, vec![vec![Value::from(n)]], "{n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_give_up_hold_nobody() {
    let fresh = filled().await;
    let mut reads = JoinSet::new();
    let given_up: Vec<_> = (0..600)
        .filter_map(|n| {
            let db = Arc::clone(&fresh.db);
            let handle =
                reads.spawn(async move { query(&db, ReadHint::PointLookup, READ, &[id(n).into()]).await });
            (n % 2 == 0).then_some(handle)
        })
        .collect();
    tokio::task::yield_now().await;
    given_up.iter().for_each(tokio::task::AbortHandle::abort);
    let mut answered = 0;
    while let Some(done) = reads.join_next().await {
        if let Ok(rows) = done {
            rows.unwrap();
            answered += 1;
        }
    }
    assert!(answered >= 300, "{answered} were answered of 300 that did not give up");
    read_at_once(&fresh.db, 100).await;
}

/// Opens an engine with these options on its own database; both end with the returned values.
async fn postgres(
    choose: impl FnOnce(&mut PostgresOptions),
) -> Option<(Arc<Postgres>, tinybase_test_postgres::Database)> {
    let Some(server) = tinybase_test_postgres::server_url() else {
        println!("skipped: TINYBASE_TEST_POSTGRES_URL names no PostgreSQL server");
        return None;
    };
    let database = tinybase_test_postgres::Database::create(&server).unwrap();
    let mut options = PostgresOptions::new(database.url());
    choose(&mut options);
    let db = Postgres::open(&options).await.unwrap();
    fill(&db).await;
    query(&db, ReadHint::PointLookup, READ, &[id(1).into()]).await.unwrap();
    Some((db, database))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_fails_alone() {
    let Some((db, _database)) = postgres(|_| {}).await else { return };
    let mut reads = JoinSet::new();
    for n in 0..200 {
        let db = Arc::clone(&db);
        reads.spawn(async move {
            let param = match n % 10 {
                3 => Value::from("a\0b"),
                7 => Value::from(7),
                _ => id(n).into(),
            };
            (n, query(&db, ReadHint::PointLookup, READ, &[param]).await)
        });
    }
    while let Some(done) = reads.join_next().await {
        let (n, answer) = done.unwrap();
        match n % 10 {
            3 => assert_eq!(answer.unwrap_err().code(), "db_invalid_value"),
            7 => assert!(answer.unwrap_err().to_string().contains("parameter ?1 is an integer")),
            _ => assert_eq!(answer.unwrap(), row(n)),
        }
    }
    // An error for one row goes to the read that caused it.
    let divide = "SELECT 10 / CAST(?1 AS BIGINT)";
    query(&db, ReadHint::PointLookup, divide, &[1.into()]).await.unwrap();
    let mut reads = JoinSet::new();
    for n in 0..60_i64 {
        let db = Arc::clone(&db);
        reads.spawn(async move { (n, query(&db, ReadHint::PointLookup, divide, &[(n % 6).into()]).await) });
    }
    while let Some(done) = reads.join_next().await {
        let (n, answer) = done.unwrap();
        match n % 6 {
            0 => assert!(answer.unwrap_err().to_string().contains("division by zero")),
            by => assert_eq!(answer.unwrap(), [[Value::from(10 / by)]]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_too_large_together_come_alone() {
    const BYTES: usize = 1_000;
    let Some((db, _database)) = postgres(|options| options.rows_bytes_max = 3 * BYTES).await else { return };
    let long = "UPDATE t SET t = repeat('x', ?1)";
    apply(&db, &[(long, &[i64::try_from(BYTES).unwrap().into()], Expect::Any)]).await.unwrap();
    let mut reads = JoinSet::new();
    for n in 0..100 {
        let db = Arc::clone(&db);
        reads.spawn(async move { query(&db, ReadHint::PointLookup, READ, &[id(n).into()]).await });
    }
    while let Some(done) = reads.join_next().await {
        assert_eq!(done.unwrap().unwrap()[0][2], "x".repeat(BYTES).into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_is_read_anew() {
    let Some((db, _database)) = postgres(|_| {}).await else { return };
    read_at_once(&db, 300).await;
    // The text is as long as the number in memory, so that one could be mistaken for the other.
    let change = "ALTER TABLE t ALTER COLUMN n TYPE TEXT USING lpad(n::text, 8, '0')";
    apply(&db, &[(change, &NONE, Expect::Any)]).await.unwrap();
    let mut reads = JoinSet::new();
    for n in 0..300 {
        let db = Arc::clone(&db);
        reads.spawn(async move {
            (n % ROWS, query(&db, ReadHint::PointLookup, READ, &[id(n % ROWS).into()]).await)
        });
    }
    while let Some(done) = reads.join_next().await {
        let (n, answer) = done.unwrap();
        assert_eq!(answer.unwrap(), [[id(n).into(), format!("{n:08}").into(), text(n)]]);
    }
    apply(&db, &[("ALTER TABLE t DROP COLUMN n", &NONE, Expect::Any)]).await.unwrap();
    let gone = query(&db, ReadHint::PointLookup, READ, &[id(1).into()]).await.unwrap_err();
    assert_eq!(gone.code(), "db_schema_changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_are_replaced() {
    let Some((db, database)) = postgres(|_| {}).await else { return };
    let ends_at = Instant::now() + Duration::from_secs(2);
    let mut readers = JoinSet::new();
    for reader in 0..32_i64 {
        let db = Arc::clone(&db);
        readers.spawn(async move {
            let mut n = reader;
            while Instant::now() < ends_at {
                n = (n + 31) % ROWS;
                match query(&db, ReadHint::PointLookup, READ, &[id(n).into()]).await {
                    Ok(rows) => assert_eq!(rows, row(n)),
                    // Refused immediately while it is known to be down.
                    Err(DbError::Unavailable(_)) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    let end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'tinybase' AND datname = current_database()";
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sqlx::raw_sql(AssertSqlSafe(end_all)).execute(&mut admin).await.unwrap();
    }
    while let Some(done) = readers.join_next().await {
        done.unwrap();
    }
    let patience = Instant::now() + Duration::from_secs(20);
    while query(&db, ReadHint::PointLookup, READ, &[id(1).into()]).await.is_err() {
        assert!(Instant::now() < patience, "it does not answer again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    read_at_once(&db, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_keeps_its_deadline() {
    let Some((db, database)) = postgres(|_| {}).await else { return };
    let mut admin = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").execute(&mut admin).await.unwrap();
    let mut reads = JoinSet::new();
    for n in 0..40 {
        let db = Arc::clone(&db);
        let deadline = Some(Duration::from_millis(300));
        reads.spawn(async move {
            query_as(&db, &SqlOwner::Host, ReadHint::PointLookup, READ, &[id(n).into()], deadline).await
        });
    }
    while let Some(done) = reads.join_next().await {
        assert_eq!(done.unwrap().unwrap_err().code(), "db_timeout");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut admin).await.unwrap();
    read_at_once(&db, 100).await;
}
