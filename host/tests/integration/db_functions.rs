//! Tests that the engine's replacements of SQL functions return what SQLite's own return, and finish in time for any
//! input.

use std::time::{Duration, Instant};

use crate::support::db::{FreshSqlite, apply, query, query_as};
use rusqlite::{Connection, types::Value as Sql};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::db::{DbError, ReadHint, SqlOwner};
use tinybase_test_postgres::sqlite_only;

const NONE: [Value; 0] = [];
const MEGABYTE: usize = 1 << 20;

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn text(&mut self, letters: &[&str], length_max: usize) -> String {
        (0..self.below(length_max + 1)).map(|_| letters[self.below(letters.len())]).collect()
    }

    /// Returns a value of any type, mostly text.
    fn value(&mut self, letters: &[&str], length_max: usize) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => Value::Integer(self.below(300) as i64 - 100),
            2 => Value::Real((self.below(100_000) as f64 - 500.0) / 7.0),
            3 => Value::Real(self.below(9) as f64 * 1e18),
            4 => Value::Blob(self.text(letters, length_max).into_bytes()),
            _ => Value::Text(self.text(letters, length_max)),
        }
    }
}

fn to_sql(value: &Value) -> Sql {
    match value {
        Value::Integer(number) => Sql::Integer(*number),
        Value::Real(number) => Sql::Real(*number),
        Value::Text(text) => Sql::Text(text.clone()),
        Value::Blob(bytes) => Sql::Blob(bytes.clone()),
        _ => Sql::Null,
    }
}

/// Runs a statement on the engine and on plain SQLite and compares the results; an error counts as a result.
async fn differ(fresh: &FreshSqlite, plain: &Connection, sql: &str, params: &[Value]) {
    let ours = query(&fresh.db, ReadHint::Indexed, sql, params).await;
    let ours = ours.ok().map(|rows| to_sql(&rows[0][0]));
    let mut statement = plain.prepare_cached(sql).unwrap();
    let theirs: Option<Sql> =
        statement.query_row(rusqlite::params_from_iter(params.iter().map(to_sql)), |row| row.get(0)).ok();
    assert_eq!(ours, theirs, "{sql} of {params:?}");
}

#[tokio::test]
async fn they_answer_what_sqlites_own_answer() {
    if sqlite_only("the functions of SQLite") {
        return;
    }
    let (fresh, plain) = (FreshSqlite::open(), Connection::open_in_memory().unwrap());
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let letters = ["a", "A", "b", "%", "_", "\\", "ä", "Ä", "日", ".", "0", "1", "\0"];
    let patterns = ["a", "B", "%", "%", "_", "_", "\\", "ä", "日", "1", "!"];
    for _ in 0..20_000 {
        let (pattern, text) = (dice.value(&patterns, 6), dice.value(&letters, 8));
        differ(&fresh, &plain, "SELECT ?1 LIKE ?2", &[text.clone(), pattern.clone()]).await;
        let escape = ["\\", "%", "_", "!", "ä", "", "ab"][dice.below(7)];
        differ(&fresh, &plain, "SELECT ?1 LIKE ?2 ESCAPE ?3", &[text.clone(), pattern, escape.into()]).await;
        let (part, other) = (dice.value(&letters, 2), dice.value(&letters, 3));
        differ(&fresh, &plain, "SELECT replace(?1, ?2, ?3)", &[text.clone(), part.clone(), other]).await;
        differ(&fresh, &plain, "SELECT instr(?1, ?2)", &[text, part]).await;
    }
}

#[tokio::test]
async fn a_pattern_that_changes_from_row_to_row_is_read_anew() {
    if sqlite_only("the functions of SQLite") {
        return;
    }
    let fresh = FreshSqlite::open();
    let sql = "SELECT group_concat(('a%' LIKE column1 ESCAPE column2) || '') FROM \
               (VALUES ('a!%', '!'), ('a!%', '\\'), ('a%', '!'), ('b', '!'))";
    assert_eq!(query(&fresh.db, ReadHint::Indexed, sql, &NONE).await.unwrap(), [["1,0,1,0".into()]]);
    let sql = "SELECT 'a%' LIKE 'a!%' ESCAPE column1 FROM (VALUES ('!'), ('\\'), ('!'))";
    let rows = query(&fresh.db, ReadHint::Indexed, sql, &NONE).await.unwrap();
    assert_eq!(rows, [[1.into()], [0.into()], [1.into()]]);
}

#[tokio::test]
async fn a_schema_may_rest_on_them() {
    if sqlite_only("the functions of SQLite") {
        return;
    }
    let fresh = FreshSqlite::open();
    let table =
        "CREATE TABLE t (a TEXT CHECK (a LIKE 'x%'), b GENERATED ALWAYS AS (replace(a, 'x', 'y')) STORED)";
    let index = "CREATE INDEX t_i ON t (instr(a, 'z'))";
    apply(&fresh.db, &[(table, &NONE, Expect::Any), (index, &NONE, Expect::Any)]).await.unwrap();
    apply(&fresh.db, &[("INSERT INTO t VALUES ('xz')", &NONE, Expect::Any)]).await.unwrap();
    let refused = apply(&fresh.db, &[("INSERT INTO t VALUES ('z')", &NONE, Expect::Any)]).await;
    assert!(matches!(refused, Err(DbError::Constraint(_))), "{refused:?}");
    let rows =
        query(&fresh.db, ReadHint::Indexed, "SELECT b FROM t WHERE instr(a, 'z') = 2", &NONE).await.unwrap();
    assert_eq!(rows, [["yz".into()]]);
}

#[tokio::test]
async fn no_text_makes_them_slow() {
    if sqlite_only("the functions of SQLite") {
        return;
    }
    let fresh = FreshSqlite::open();
    let text = Value::Text("a".repeat(MEGABYTE));
    let half = Value::Text("a".repeat(MEGABYTE / 2) + "b");
    let pattern = |tail: &str| Value::Text(format!("%{}{tail}", "a".repeat(4000)));
    for (sql, params) in [
        ("SELECT ?1 LIKE ?2", vec![text.clone(), pattern("b")]),
        ("SELECT ?1 LIKE ?2", vec![text.clone(), pattern("_b%")]),
        ("SELECT instr(?1, ?2)", vec![text.clone(), half.clone()]),
        ("SELECT length(replace(?1, ?2, ''))", vec![text.clone(), half]),
    ] {
        let begun = Instant::now();
        query(&fresh.db, ReadHint::Indexed, sql, &params).await.unwrap();
        // SQLite's own functions take tens of seconds for these.
        assert!(begun.elapsed() < Duration::from_secs(4), "{sql} took {:?}", begun.elapsed());
    }
    for (sql, params) in [
        ("SELECT ?1 LIKE ?2", vec![text.clone(), Value::Text("a".repeat(5000))]),
        ("SELECT ?1 GLOB ?2", vec![text, Value::Text(format!("*{}b", "a".repeat(1000)))]),
        ("SELECT length(zeroblob(1000000000))", vec![]),
        ("SELECT length(printf('%.*c', 1000000000, 'x'))", vec![]),
        ("SELECT length(randomblob(1000000000))", vec![]),
    ] {
        let answer = query(&fresh.db, ReadHint::Indexed, sql, &params).await;
        assert!(matches!(answer, Err(DbError::Sql(_) | DbError::TooLarge { .. })), "{sql}: {answer:?}");
    }
}

#[tokio::test]
async fn a_deadline_ends_a_match() {
    if sqlite_only("the functions of SQLite") {
        return;
    }
    let fresh = FreshSqlite::open();
    let text = Value::Text("a".repeat(32 * MEGABYTE));
    let pattern = Value::Text(format!("%{}_b%", "a".repeat(4000)));
    let deadline = Some(Duration::from_millis(30));
    let begun = Instant::now();
    let read = query_as(
        &fresh.db,
        &SqlOwner::Host,
        ReadHint::Indexed,
        "SELECT ?1 LIKE ?2",
        &[text, pattern],
        deadline,
    )
    .await;
    assert!(matches!(read, Err(DbError::Timeout(_))), "{read:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
