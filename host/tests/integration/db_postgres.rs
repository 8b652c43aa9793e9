//! Tests the PostgreSQL engine through the `Database` trait, on the real server in `TINYBASE_TEST_POSTGRES_URL`:
//! values, statements, batches and transactions. Each test has its own database.

use std::time::Duration;

use crate::support::db::{Statement, batch, unpack_rows};
use crate::support::postgres::{FreshPostgres, LONG, wait_until};
use tinybase_abi::codec::{Expect, Value, pack_values};
use tinybase_host::db::{Database, DbError, SqlOwner};

const NONE: [Value; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn every_value_comes_back_as_it_went_in() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh
        .script(
            "CREATE TABLE t (i BIGINT, s SMALLINT, n INTEGER, r DOUBLE PRECISION, d NUMERIC, t TEXT, b BYTEA, f BOOLEAN,
             j JSON, k JSONB, u UUID)",
        )
        .await;
    let values: [Value; 11] = [
        i64::MIN.into(),
        (-3).into(),
        70_000.into(),
        1.5.into(),
        0.1.into(),
        "ä\u{10348} '\"".into(),
        vec![0_u8, 255].into(),
        true.into(),
        r#"{"b":1.50, "a":null}"#.into(),
        r#"{"a": 1}"#.into(),
        "018f3f5e-0000-7000-8000-000000000001".into(),
    ];
    let insert = "INSERT INTO t VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)";
    fresh.run(&[(insert, &values, Expect::Exactly(1))]).await.unwrap();
    let mut expected = values.to_vec();
    assert_eq!(fresh.rows("SELECT * FROM t", &NONE).await.unwrap(), [expected.clone()]);
    expected.fill(Value::Null);
    fresh.run(&[("DELETE FROM t", &NONE, Expect::Any), (insert, &expected, Expect::Any)]).await.unwrap();
    assert_eq!(fresh.rows("SELECT * FROM t", &NONE).await.unwrap(), [expected]);
    for (sql, param, problem) in [
        ("SELECT 1 FROM t WHERE i = ?1", Value::from("x"), "parameter ?1 is a text"),
        ("SELECT 1 FROM t WHERE n = ?1", i64::MAX.into(), "parameter ?1 is an integer"),
        ("SELECT 1 FROM t WHERE t = ?1", 7.into(), "parameter ?1 is an integer"),
        ("SELECT now(), ?1::text", "x".into(), "TIMESTAMPTZ"),
        ("SELECT ?1::text", "a\0b".into(), "NUL"),
    ] {
        let told = fresh.rows(sql, &[param]).await.unwrap_err();
        assert!(told.to_string().contains(problem), "{sql}: {told}");
    }
    let told = fresh.rows("SELECT 1 FROM t WHERE i = ?1", &NONE).await.unwrap_err();
    assert!(told.to_string().contains("has 1 parameters, 0 were given"), "{told}");
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_undone_and_named() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh
        .script(
            "CREATE TABLE p (id TEXT PRIMARY KEY);
             CREATE TABLE t (a TEXT UNIQUE, b BIGINT NOT NULL CHECK (b < 10), c TEXT REFERENCES p (id), d TEXT, UNIQUE (b, d));
             CREATE UNIQUE INDEX t_d ON t (lower(d));
             CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'kept; forever'; END $$;
             CREATE TRIGGER t_guard BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION kept();
             INSERT INTO t VALUES ('a', 1, NULL, 'd')",
        )
        .await;
    let insert = "INSERT INTO t VALUES (?1, ?2, ?3, ?4)";
    let unique = |columns: &[&str]| format!("a value for {} is already taken", columns.join(", "));
    let cases: [(&str, [Value; 4], Expect, String); 9] = [
        (insert, ["a".into(), 2.into(), Value::Null, Value::Null], Expect::Any, unique(&["a"])),
        (insert, ["a".into(), 2.into(), Value::Null, Value::Null], Expect::Exactly(1), unique(&["a"])),
        (insert, ["b".into(), 1.into(), Value::Null, "d".into()], Expect::Any, unique(&["b", "d"])),
        (insert, ["b".into(), 2.into(), Value::Null, "D".into()], Expect::Any, unique(&["t_d"])),
        (
            insert,
            ["b".into(), 1.into(), "no".into(), Value::Null],
            Expect::Any,
            DbError::ForeignKey.to_string(),
        ),
        (
            insert,
            ["b".into(), Value::Null, Value::Null, Value::Null],
            Expect::Any,
            "a constraint does not hold".into(),
        ),
        (
            insert,
            ["b".into(), 11.into(), Value::Null, Value::Null],
            Expect::Any,
            "a constraint does not hold".into(),
        ),
        (
            insert,
            ["b".into(), 1.into(), Value::Null, Value::Null],
            Expect::Exactly(2),
            "statement 1 affected 1".into(),
        ),
        (
            "DELETE FROM t WHERE a = ?1 OR b = ?2 OR c = ?3 OR d = ?4",
            ["a".into(), 1.into(), Value::Null, Value::Null],
            Expect::Any,
            "kept; forever".into(),
        ),
    ];
    for (sql, params, expect, problem) in &cases {
        let before = ("INSERT INTO p VALUES ('x')", NONE.as_slice(), Expect::Any);
        let told = fresh.run(&[before, (sql, params, *expect)]).await.unwrap_err();
        assert!(
            told.to_string().starts_with(problem) || told.to_string().contains(problem),
            "{problem}: {told}"
        );
        assert_eq!(fresh.rows("SELECT count(*) FROM p", &NONE).await.unwrap(), [[0.into()]]);
    }
    let alone = fresh.run(&[(insert, &cases[0].1, Expect::Any)]).await.unwrap_err();
    assert!(
        matches!(&alone, DbError::Unique { table, columns } if table == "t" && columns == &["a"]),
        "{alone}"
    );
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_tells_what_it_did_and_an_extension_stays_with_its_own() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE notes_t (a BIGINT GENERATED BY DEFAULT AS IDENTITY, b TEXT); CREATE TABLE tb_t (a BIGINT)").await;
    let notes = SqlOwner::Extension("notes".into());
    let done = fresh
        .run_as(
            &notes,
            &[
                ("INSERT INTO notes_t (b) VALUES (?1) RETURNING a, b", &["x".into()], Expect::Exactly(1)),
                ("INSERT INTO notes_t (b) VALUES (?1), (?2)", &["y".into(), "z".into()], Expect::AtLeast(1)),
                ("UPDATE notes_t SET b = b || ?1", &["!".into()], Expect::Any),
                ("DELETE FROM notes_t WHERE a = 99", &NONE, Expect::Any),
                ("UPDATE notes_t SET b = ?1 WHERE a = 3", &[Value::Now], Expect::Any),
            ],
        )
        .await
        .unwrap();
    assert_eq!(done.affected, [1, 2, 3, 0, 1]);
    assert_eq!(done.rows[0], [vec![Value::Integer(1), "x".into()]]);
    let rows = fresh.rows_as(&notes, "SELECT b FROM notes_t ORDER BY a", &NONE, None).await.unwrap();
    assert_eq!(rows, [["x!".into()], ["y!".into()], [Value::Text(done.now)]]);
    for sql in ["SELECT a FROM tb_t", "DELETE FROM tb_t"] {
        let denied = fresh.run_as(&notes, &[(sql, &NONE, Expect::Any)]).await;
        assert!(matches!(denied, Err(DbError::Denied { .. })), "{sql}: {denied:?}");
    }
    let changes = fresh.rows_as(&notes, "DELETE FROM notes_t RETURNING a", &NONE, None).await.unwrap_err();
    assert!(changes.to_string().contains("a query must change nothing"), "{changes}");
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_prepared_anew_once_the_schema_has_changed() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE t (a BIGINT, b TEXT); INSERT INTO t VALUES (1, 'x')").await;
    let (read, write) = ("SELECT * FROM t WHERE a = ?1", "UPDATE t SET b = ?1");
    assert_eq!(fresh.rows(read, &[1.into()]).await.unwrap(), [[1.into(), "x".into()]]);
    fresh.run(&[(write, &["y".into()], Expect::Exactly(1))]).await.unwrap();
    fresh.script("ALTER TABLE t ALTER a TYPE TEXT USING a::text, ALTER b TYPE BIGINT USING 7, ADD c BIGINT DEFAULT 3").await;
    assert_eq!(fresh.rows(read, &["1".into()]).await.unwrap(), [["1".into(), 7.into(), 3.into()]]);
    fresh.run(&[(write, &[8.into()], Expect::Exactly(1))]).await.unwrap();
    fresh.script("DROP TABLE t").await;
    for result in [
        fresh.rows(read, &["1".into()]).await.map(drop),
        fresh.run(&[(write, &[9.into()], Expect::Any)]).await.map(drop),
    ] {
        assert!(matches!(result, Err(DbError::SchemaChanged(_))), "{result:?}");
    }
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_read_by_the_columns_that_it_has_by_now() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE t (a NUMERIC); INSERT INTO t VALUES (5)").await;
    let (read, write) = ("SELECT * FROM t", "INSERT INTO t (a) VALUES (6) RETURNING *");
    assert_eq!(fresh.rows(read, &NONE).await.unwrap(), [[5.into()]]);
    assert_eq!(fresh.run(&[(write, &NONE, Expect::Any)]).await.unwrap().rows[0], [[6.into()]]);
    // This keeps the connection that prepared them in use: the next one prepares them with the new schema.
    let open = fresh.db.begin(&SqlOwner::Host, LONG).await.unwrap();
    fresh.script("ALTER TABLE t ALTER a TYPE BIGINT, ADD b TEXT DEFAULT 'x'").await;
    for _ in 0..2 {
        let rows = fresh.rows(read, &NONE).await.unwrap();
        assert_eq!(rows[..2], [[5.into(), "x".into()], [6.into(), "x".into()]]);
    }
    assert_eq!(fresh.run(&[(write, &NONE, Expect::Any)]).await.unwrap().rows[0], [[6.into(), "x".into()]]);
    assert_eq!(fresh.rows("SELECT count(*) FROM t", &NONE).await.unwrap(), [[3.into()]]);
    open.rollback().await.unwrap();
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactions_statement_is_prepared_anew_once_the_schema_has_changed() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE t (a BIGINT, b TEXT); INSERT INTO t VALUES (1, 'x')").await;
    let (read, write) = ("SELECT * FROM t", "UPDATE t SET b = ?1");
    let run = async |value: Value| {
        let mut open = fresh.db.begin(&SqlOwner::Host, LONG).await.unwrap();
        open.apply(batch(&[(write, &[value], Expect::Exactly(1))])).await.unwrap();
        let rows = open.query(read.to_owned(), pack_values([])).await.unwrap();
        open.commit().await.unwrap();
        unpack_rows(&rows)
    };
    assert_eq!(run("y".into()).await, [[1.into(), "y".into()]]);
    fresh.script("ALTER TABLE t ALTER b TYPE BIGINT USING 7, ADD c BIGINT DEFAULT 3").await;
    assert_eq!(run(8.into()).await, [[1.into(), 8.into(), 3.into()]]);
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_never_fitted_are_the_statements_own_fault() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE t (a BIGINT UNIQUE, b TEXT)").await;
    for sql in [
        "INSERT INTO t (a) SELECT b FROM t",
        "UPDATE t SET a = b",
        "SELECT coalesce(a, b) FROM t",
        "CREATE TABLE u (b TEXT REFERENCES t (a))",
    ] {
        let told = fresh.run(&[(sql, &NONE, Expect::Any)]).await;
        assert!(matches!(&told, Err(DbError::Sql(told)) if told.contains("42804")), "{sql}: {told:?}");
        let mut open = fresh.db.begin(&SqlOwner::Host, LONG).await.unwrap();
        let told = open.apply(batch(&[(sql, &NONE, Expect::Any)])).await;
        assert!(matches!(&told, Err(DbError::Sql(told)) if told.contains("42804")), "{sql}: {told:?}");
    }
    let told = fresh.rows("SELECT coalesce(a, b) FROM t", &NONE).await;
    assert!(matches!(&told, Err(DbError::Sql(_))), "{told:?}");
    // What is missing may have existed when the statement was written.
    let told = fresh.rows("SELECT c FROM t", &NONE).await;
    assert!(matches!(&told, Err(DbError::SchemaChanged(_))), "{told:?}");
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_past_its_deadline_ends_on_the_server_as_well() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    let short = Duration::from_millis(50);
    let slow = "SELECT pg_sleep(60)";
    let late = fresh.rows_as(&SqlOwner::Host, slow, &NONE, Some(short)).await;
    assert!(matches!(late, Err(DbError::Timeout(told)) if told == short), "{late:?}");
    // Also one whose caller no longer waits.
    drop(tokio::time::timeout(short, fresh.rows(slow, &NONE)).await);
    let active = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    wait_until("the end of the statements", async || {
        fresh.rows(active, &NONE).await.unwrap() == [[Value::Integer(0)]]
    })
    .await;
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_run_one_after_the_other_and_end_with_their_callers() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE t (a BIGINT PRIMARY KEY)").await;
    let insert: Statement<'_> = ("INSERT INTO t VALUES (1)", &NONE, Expect::Any);
    let count = async || fresh.rows("SELECT count(*) FROM t", &NONE).await.unwrap().remove(0).remove(0);
    let begin = async |time| fresh.db.begin(&SqlOwner::Host, time).await.unwrap();

    let mut first = begin(LONG).await;
    first.apply(batch(&[insert])).await.unwrap();
    // A failing statement is undone alone.
    assert!(matches!(first.apply(batch(&[insert])).await, Err(DbError::Unique { .. })));
    let seen = first.query("SELECT a FROM t".to_owned(), pack_values([])).await.unwrap();
    assert_eq!((unpack_rows(&seen), count().await), (vec![vec![1.into()]], 0.into()));
    let late = fresh.db.begin(&SqlOwner::Host, Duration::from_millis(30)).await;
    assert!(matches!(late, Err(DbError::Timeout(_))));
    first.commit().await.unwrap();
    assert_eq!(count().await, 1.into());

    let mut dropped = begin(LONG).await;
    dropped.apply(batch(&[("DELETE FROM t", &NONE, Expect::Any)])).await.unwrap();
    drop(dropped);
    let short = Duration::from_millis(60);
    let mut late = begin(short).await;
    late.apply(batch(&[("DELETE FROM t", &NONE, Expect::Any)])).await.unwrap();
    // The next one begins once the deadline has ended this one.
    begin(LONG).await.rollback().await.unwrap();
    assert!(matches!(late.commit().await, Err(DbError::Timeout(told)) if told == short));
    assert_eq!(count().await, 1.into());
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_cross_are_tried_again_until_all_are_done() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE t (a BIGINT PRIMARY KEY, b BIGINT NOT NULL); INSERT INTO t SELECT n, 0 FROM generate_series(1, 4) n").await;
    let add = "UPDATE t SET b = b + 1 WHERE a = ?1";
    let work = (0..6_i64).map(|at| {
        let (first, second) = (Value::from(at % 4 + 1), Value::from(4 - at % 4));
        let statements = batch(&[(add, &[first], Expect::Exactly(1)), (add, &[second], Expect::Exactly(1))]);
        tokio::spawn(fresh.db.apply(&SqlOwner::Host, statements))
    });
    for done in work.collect::<Vec<_>>() {
        done.await.unwrap().unwrap();
    }
    assert_eq!(fresh.rows("SELECT sum(b)::bigint FROM t", &NONE).await.unwrap(), [[12.into()]]);
    fresh.end().await;
}
