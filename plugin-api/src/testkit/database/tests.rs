//! Tests of the test host's database, on this run's engine.

use tinybase_abi::codec::{BatchWriter, Expect, RowsWriter, ValueRef};

use super::*;

fn opened(clock: Clock) -> TestDatabase {
    TestDatabase::open(&TestEngine::of_environment(), "notes", clock).unwrap()
}

#[test]
fn times_are_rfc_3339_and_never_the_same_twice() {
    let clock = Clock::default();
    let database = opened(clock.clone());
    assert_eq!(
        (database.now(), database.now()),
        ("2026-01-01T00:00:00.000001Z".into(), "2026-01-01T00:00:00.000002Z".into())
    );
    clock.run(clock.sleep(std::time::Duration::from_hours(24 * 789)));
    assert_eq!(database.now(), "2028-02-29T00:00:00.000000Z");
    database.close();
}

fn batch(statements: &[(&str, Expect)]) -> Vec<u8> {
    let mut writer = BatchWriter::default();
    for (sql, expect) in statements {
        writer.push(sql, [], *expect);
    }
    writer.finish()
}

/// Returns the result of a query of one number.
fn number(database: &TestDatabase, transaction: Option<u64>, sql: &str) -> Vec<u8> {
    database.query(transaction, sql, &0u32.to_le_bytes()).unwrap()
}

fn answer(number: i64) -> Vec<u8> {
    let mut writer = RowsWriter::new(["n"].into_iter());
    writer.push(ValueRef::Integer(number));
    writer.end_row();
    writer.finish()
}

const TABLE: &str = "CREATE TABLE notes_a(x INTEGER UNIQUE, y INTEGER REFERENCES notes_a(x), \
     z INTEGER NOT NULL DEFAULT 1, owner TEXT REFERENCES tb_users(id))";
const COUNT: &str = "SELECT count(*) AS n FROM notes_a";

#[test]
fn a_batch_is_applied_together_or_not_at_all_within_its_own_tables() {
    let database = opened(Clock::default());
    let apply = |statements: &[(&str, Expect)]| {
        let outcome = database.apply(None, &batch(statements));
        outcome.map(|_| ()).map_err(|error| (error.status, error.words().code))
    };
    let any = Expect::Any;
    assert_eq!(apply(&[(TABLE, any), ("INSERT INTO notes_a(x) VALUES (1)", Expect::Exactly(1))]), Ok(()));
    for (sql, expect, status, code) in [
        ("INSERT INTO notes_a(x) VALUES (1)", any, 409, "db_unique"),
        ("INSERT INTO notes_a(x, y) VALUES (2, 9)", any, 409, "db_foreign_key"),
        ("INSERT INTO notes_a(x, owner) VALUES (2, 'nobody')", any, 409, "db_foreign_key"),
        ("INSERT INTO notes_a(x, z) VALUES (2, NULL)", any, 400, "db_constraint"),
        ("DELETE FROM notes_a WHERE x = 5", Expect::AtLeast(1), 409, "db_condition"),
        ("CREATE TABLE other(x INTEGER)", any, 500, "db_denied"),
        ("DELETE FROM tb_users", any, 500, "db_denied"),
        ("ATTACH 'x' AS x", any, 500, "db_denied"),
        ("COMMIT", any, 500, "db_denied"),
        ("SELECT FROM WHERE", any, 500, "db_sql"),
    ] {
        let outcome = apply(&[("INSERT INTO notes_a(x) VALUES (7)", any), (sql, expect)]);
        assert_eq!(outcome, Err((status, code.to_owned())), "{sql}");
    }
    assert_eq!(number(&database, None, COUNT), answer(1));
    let taken = database.apply(None, &batch(&[("INSERT INTO notes_a(x) VALUES (1)", any)])).unwrap_err();
    let details: serde_json::Value = serde_json::from_str(&taken.words().details).unwrap();
    assert_eq!(details, serde_json::json!({"table": "notes_a", "columns": ["x"]}));
    database.add_user("ada").unwrap();
    assert_eq!(apply(&[("INSERT INTO notes_a(x, owner) VALUES (3, 'ada')", any)]), Ok(()));
    database.close();
}

#[test]
fn a_transaction_outlives_the_failure_of_one_call_and_is_undone_or_kept_as_a_whole() {
    let database = opened(Clock::default());
    let any = Expect::Any;
    database.apply(None, &batch(&[(TABLE, any)])).unwrap();
    for (commit, kept) in [(false, 0), (true, 1)] {
        let begun = database.begin().unwrap();
        let transaction = Some(begun);
        assert_eq!(database.begin().unwrap_err().words().code, "db_busy");
        let insert = batch(&[("INSERT INTO notes_a(x) VALUES (1)", any)]);
        database.apply(transaction, &insert).unwrap();
        assert_eq!(database.apply(transaction, &insert).unwrap_err().words().code, "db_unique");
        assert_eq!(database.apply(None, &insert).unwrap_err().words().code, "db_busy");
        let failing = database.query(transaction, "SELECT FROM WHERE", &0u32.to_le_bytes());
        assert_eq!(failing.unwrap_err().words().code, "db_sql");
        assert_eq!(number(&database, transaction, COUNT), answer(1));
        database.end(begun, commit).unwrap();
        assert_eq!(number(&database, None, COUNT), answer(kept));
        assert_eq!(
            database.query(transaction, COUNT, &0u32.to_le_bytes()).unwrap_err().words().code,
            "db_closed"
        );
    }
    let changing = database.query(None, "DELETE FROM notes_a", &0u32.to_le_bytes());
    assert_eq!(changing.unwrap_err().words().code, "db_sql");
    database.close();
}
