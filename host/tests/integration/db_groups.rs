//! Tests group commits of SQLite's writer: a failing job does not affect the others, and the cost of a job does not
//! grow with the length of its transaction.

use std::time::{Duration, Instant};

use crate::support::db::{FreshSqlite, Statement, apply, batch, query};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::db::{Database, DbError, ReadHint, SqlOwner};
use tinybase_test_postgres::sqlite_only;

const NONE: [Value; 0] = [];
const PATIENCE: Duration = Duration::from_secs(30);
const INSERT: &str = "INSERT INTO t VALUES (?1, ?2)";

/// Returns values that are spread over the index, so that each is on a different page.
fn spread(count: i64) -> Vec<[Value; 2]> {
    (0..count)
        .map(|number| [number.into(), Value::Text(format!("{:08}-", number * 7_919 % 30_000))])
        .collect()
}

fn inserts(rows: &[[Value; 2]]) -> Vec<Statement<'_>> {
    rows.iter().map(|row| (INSERT, &row[..], Expect::Exactly(1))).collect()
}

/// Returns how long a batch with this many inserts takes.
async fn time_of(rows: i64) -> Duration {
    let fresh = FreshSqlite::open();
    // The trigger makes SQLite keep each insert undoable on its own, as for a record.
    let setup = "CREATE TABLE n (c INTEGER); INSERT INTO n VALUES (0); \
        CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); CREATE INDEX t_b ON t (b); \
        WITH RECURSIVE m (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM m WHERE i < 30000) \
            INSERT INTO t SELECT i + 1000000, printf('%08d', i) || hex(zeroblob(400)) FROM m; \
        CREATE TRIGGER tb_t_i AFTER INSERT ON t BEGIN UPDATE n SET c = c + 1; END;";
    apply(&fresh.db, &[(setup, &NONE, Expect::Any)]).await.unwrap();
    let rows = spread(rows);
    let begun = Instant::now();
    apply(&fresh.db, &inserts(&rows)).await.unwrap();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_costs_no_more_the_more_its_batch_has_changed() {
    if sqlite_only("the writer of SQLite") {
        return;
    }
    // If each statement walked through the pages that earlier ones changed, the time would grow quadratically.
    let (few, many) = (time_of(1_000).await, time_of(12_000).await);
    assert!(many < few * 30, "1,000 inserts take {few:?}, 12,000 take {many:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_part_way_takes_no_other_with_it() {
    if sqlite_only("the writer of SQLite") {
        return;
    }
    let fresh = FreshSqlite::open();
    let setup = "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)";
    apply(&fresh.db, &[(setup, &NONE, Expect::Any)]).await.unwrap();
    let row = |number: i64| [number.into(), Value::Text(format!("b{number}"))];
    let taken = [900_i64.into(), "b1".into()];
    let long = |from: i64| (from..from + 100).map(row).collect::<Vec<_>>();
    for turn in 0..3 {
        apply(&fresh.db, &[("DELETE FROM t", &NONE, Expect::Any)]).await.unwrap();
        let blocker = fresh.db.begin(&SqlOwner::Host, PATIENCE).await.unwrap();
        // All of these wait for the transaction to end, and so are one group.
        let (good, long, bad_long) = ([row(1)], long(100), long(200));
        let partly = [row(2), taken.clone(), row(3)];
        let mut bad_long = bad_long;
        bad_long.push(taken.clone());
        let late = [row(4)];
        let script = "CREATE TABLE left_behind (a); INSERT INTO left_behind VALUES (1); SELECT nothing;";
        let at_once = [(INSERT, &taken[..], Expect::Exactly(1))];
        let none_met = [("UPDATE t SET b = 'x' WHERE a = -1", &NONE[..], Expect::Exactly(1))];
        let batches = [
            inserts(&good),
            inserts(&partly),
            inserts(&long),
            vec![(script, &NONE[..], Expect::Any)],
            at_once.to_vec(),
            inserts(&bad_long),
            none_met.to_vec(),
            inserts(&late),
        ];
        let waiting: Vec<_> =
            batches.iter().map(|statements| fresh.db.apply(&SqlOwner::Host, batch(statements))).collect();
        blocker.rollback().await.unwrap();
        let done = futures_util::future::join_all(waiting).await;
        let fine: Vec<bool> = done.iter().map(Result::is_ok).collect();
        assert_eq!(fine, [true, false, true, false, false, false, false, true], "turn {turn}: {done:?}");
        assert!(matches!(done[1], Err(DbError::Unique { .. })), "{:?}", done[1]);
        assert!(matches!(done[6], Err(DbError::Condition { statement: 0, affected: 0 })), "{:?}", done[6]);
        let stored = query(&fresh.db, ReadHint::Indexed, "SELECT count(*), min(a), max(a) FROM t", &NONE)
            .await
            .unwrap();
        assert_eq!(stored, [[102.into(), 1.into(), 199.into()]], "turn {turn}");
        let left = "SELECT count(*) FROM sqlite_master WHERE name = 'left_behind'";
        assert_eq!(
            query(&fresh.db, ReadHint::Indexed, left, &NONE).await.unwrap(),
            [[0.into()]],
            "turn {turn}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_part_way_leaves_nothing() {
    if sqlite_only("the writer of SQLite") {
        return;
    }
    let fresh = FreshSqlite::open();
    let script = "CREATE TABLE left_behind (a); SELECT nothing;";
    apply(&fresh.db, &[(script, &NONE, Expect::Any)]).await.unwrap_err();
    let mut transaction = fresh.db.begin(&SqlOwner::Host, PATIENCE).await.unwrap();
    transaction.apply(batch(&[(script, &NONE, Expect::Any)])).await.unwrap_err();
    transaction.apply(batch(&[("CREATE TABLE kept (a)", &NONE, Expect::Any)])).await.unwrap();
    transaction.commit().await.unwrap();
    let made = query(&fresh.db, ReadHint::Indexed, "SELECT name FROM sqlite_master", &NONE).await.unwrap();
    assert_eq!(made, [["kept".into()]]);
}
