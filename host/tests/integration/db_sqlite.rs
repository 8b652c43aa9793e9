//! Tests the SQLite engine through the `Database` trait, on real files.

use std::{sync::Arc, time::Duration};

use crate::support::db::{FreshSqlite, apply, batch, query, query_as};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::db::{Database, DbError, ReadHint, SqlOwner};
use tinybase_test_postgres::sqlite_only;

const NONE: [Value; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_applied_whole_and_tells_what_it_did() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE)", &NONE, Expect::Any)])
        .await
        .unwrap();
    let done = apply(
        &fresh.db,
        &[
            ("INSERT INTO t (b) VALUES (?1) RETURNING a, b", &["x".into()], Expect::Exactly(1)),
            ("INSERT INTO t (b) VALUES (?1), (?2)", &["y".into(), "z".into()], Expect::AtLeast(1)),
            ("UPDATE t SET b = b || ?1", &["!".into()], Expect::Any),
            ("DELETE FROM t WHERE a = 99", &NONE, Expect::Any),
        ],
    )
    .await
    .unwrap();
    assert_eq!(done.affected, [1, 2, 3, 0]);
    assert_eq!(done.rows[0], [vec![Value::Integer(1), "x".into()]]);
    for cost in [ReadHint::Indexed, ReadHint::Scan] {
        let rows = query(&fresh.db, cost, "SELECT b FROM t ORDER BY a", &NONE).await.unwrap();
        assert_eq!(rows, [["x!".into()], ["y!".into()], ["z!".into()]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_undone_and_named() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY);
                  CREATE TABLE t (a TEXT UNIQUE, b INTEGER NOT NULL CHECK (b < 10), c TEXT REFERENCES p (id), d TEXT);
                  CREATE UNIQUE INDEX t_d ON t (lower(d));
                  CREATE TRIGGER t_guard BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'kept; forever'); END;";
    apply(
        &fresh.db,
        &[(schema, &NONE, Expect::Any), ("INSERT INTO t VALUES ('a', 1, NULL, 'd')", &NONE, Expect::Any)],
    )
    .await
    .unwrap();
    let insert = "INSERT INTO t VALUES (?1, ?2, ?3, ?4)";
    let cases: [(&str, [Value; 4], Expect, &str); 7] = [
        (insert, ["a".into(), 1.into(), Value::Null, Value::Null], Expect::Any, "db_unique"),
        (insert, ["b".into(), 1.into(), Value::Null, "D".into()], Expect::Any, "db_unique"),
        (insert, ["b".into(), 1.into(), "no".into(), Value::Null], Expect::Any, "db_foreign_key"),
        (insert, ["b".into(), Value::Null, Value::Null, Value::Null], Expect::Any, "db_constraint"),
        (insert, ["b".into(), 11.into(), Value::Null, Value::Null], Expect::Any, "db_constraint"),
        (insert, ["b".into(), 1.into(), Value::Null, Value::Null], Expect::Exactly(2), "db_condition"),
        (
            "DELETE FROM t WHERE ?1 || ?2 || ?3 || ?4",
            ["1".into(), 1.into(), 1.into(), 1.into()],
            Expect::Any,
            "db_constraint",
        ),
    ];
    for (sql, params, expect, code) in &cases {
        let alone = apply(&fresh.db, &[(sql, params, *expect)]).await.unwrap_err();
        assert_eq!(alone.code(), *code, "{sql} {params:?}");
        let behind = [("UPDATE t SET b = 5", NONE.as_slice(), Expect::Any), (sql, params, *expect)];
        assert_eq!(apply(&fresh.db, &behind).await.unwrap_err().code(), *code, "{sql} {params:?}");
    }
    let rows = query(&fresh.db, ReadHint::Indexed, "SELECT a, b FROM t", &NONE).await.unwrap();
    assert_eq!(rows, [["a".into(), 1.into()]]);
    let taken =
        apply(&fresh.db, &[(insert, &["a".into(), 1.into(), Value::Null, Value::Null], Expect::Any)]).await;
    assert!(matches!(taken, Err(DbError::Unique { table, columns }) if table == "t" && columns == ["a"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_one_statement_that_changes_nothing() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (a)", &NONE, Expect::Any)]).await.unwrap();
    for cost in [ReadHint::Indexed, ReadHint::Scan] {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "SELECT 1; SELECT 2",
            "SELECT 1; DROP TABLE t",
            "BEGIN",
            "ATTACH 'x' AS y",
            "PRAGMA user_version = 3",
            "",
            "SELECT ?1",
        ] {
            let answer = query(&fresh.db, cost, sql, &NONE).await;
            assert!(matches!(answer, Err(DbError::Sql(_) | DbError::Denied { .. })), "{sql}: {answer:?}");
        }
    }
    assert_eq!(
        query(&fresh.db, ReadHint::Indexed, "SELECT count(*) FROM t", &NONE).await.unwrap(),
        [[0.into()]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_lose_nothing_and_fail_alone() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (a INTEGER PRIMARY KEY, at TEXT)", &NONE, Expect::Any)])
        .await
        .unwrap();
    let writers = (0..64i64).map(|writer| {
        let db = Arc::clone(&fresh.db);
        tokio::spawn(async move {
            for number in 0..50 {
                let row = [Value::Integer(writer * 1000 + number), Value::Now];
                let sql = "INSERT INTO t VALUES (?1, ?2)";
                apply(&db, &[(sql, &row, Expect::Any)]).await.unwrap();
                // The same again is refused, whatever its group.
                assert_eq!(apply(&db, &[(sql, &row, Expect::Any)]).await.unwrap_err().code(), "db_unique");
                let spoils = "INSERT OR ROLLBACK INTO t VALUES (?1, ?2)";
                assert_eq!(apply(&db, &[(spoils, &row, Expect::Any)]).await.unwrap_err().code(), "db_unique");
                let partial =
                    [Value::Integer(-1 - writer * 1000 - number), Value::Integer(writer * 1000 + number)];
                let fails_late = "INSERT OR FAIL INTO t VALUES (?1, 'late'), (?2, 'late')";
                assert_eq!(
                    apply(&db, &[(fails_late, &partial, Expect::Any)]).await.unwrap_err().code(),
                    "db_unique"
                );
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let sums = query(&fresh.db, ReadHint::Scan, "SELECT count(*), min(a) FROM t", &NONE).await.unwrap();
    assert_eq!(sums, [[(64 * 50).into(), 0.into()]]);
    assert_eq!(fresh.db.external_change_count(), 0);
    assert_eq!(fresh.db.check_integrity().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_past_its_deadline_is_stopped() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    for cost in [ReadHint::Indexed, ReadHint::Scan] {
        let length = Duration::from_millis(30);
        let answer = query_as(&fresh.db, &SqlOwner::Host, cost, endless, &NONE, Some(length)).await;
        assert!(matches!(answer, Err(DbError::Timeout(told)) if told == length), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_database_says_so() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    let create = batch(&[("CREATE TABLE t (a)", &NONE, Expect::Any)]);
    fresh.db.apply(&SqlOwner::Host, create.clone()).await.unwrap();
    fresh.db.shut_down().await;
    for cost in [ReadHint::Indexed, ReadHint::Scan] {
        assert_eq!(query(&fresh.db, cost, "SELECT 1", &NONE).await.unwrap_err().code(), "db_closed");
    }
    assert_eq!(fresh.db.apply(&SqlOwner::Host, create).await.unwrap_err().code(), "db_closed");
    assert!(
        fresh
            .db
            .begin(&SqlOwner::Host, Duration::from_secs(1))
            .await
            .is_err_and(|error| error.code() == "db_closed")
    );
    let again = fresh.reopen();
    assert_eq!(
        query(&again.db, ReadHint::Indexed, "SELECT count(*) FROM t", &NONE).await.unwrap(),
        [[0.into()]]
    );
}

#[tokio::test]
async fn times_go_on_behind_those_of_a_clock_that_was_ahead() {
    if sqlite_only("the times of the SQLite writer") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (a)", &NONE, Expect::Any)]).await.unwrap();
    let told = async |fresh: &FreshSqlite| {
        let done =
            apply(&fresh.db, &[("INSERT INTO t VALUES (?1)", &[Value::Now], Expect::Any)]).await.unwrap();
        done.now.parse::<jiff::Timestamp>().unwrap()
    };
    let on_file = |fresh: &FreshSqlite, statement: &str| -> Option<i64> {
        let file = rusqlite::Connection::open(&fresh.options.path).unwrap();
        let mut statement = file.prepare(statement).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().next().transpose().unwrap()
    };
    let before = told(&fresh).await;
    fresh.db.shut_down().await;
    // As a server whose clock was an hour ahead leaves it.
    let kept = on_file(&fresh, "PRAGMA user_version").unwrap();
    assert_eq!(1_577_836_800 + kept, before.as_second());
    on_file(&fresh, &format!("PRAGMA user_version = {}", kept + 3600));
    let fresh = fresh.reopen();
    let (first, second) = (told(&fresh).await, told(&fresh).await);
    assert!(first.as_second() >= before.as_second() + 3600 && second > first, "{before} {first} {second}");
    fresh.db.shut_down().await;
    let fresh = fresh.reopen();
    assert!(told(&fresh).await > second, "also behind a restart, with the clock put right");
}
