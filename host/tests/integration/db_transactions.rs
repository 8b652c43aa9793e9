//! Tests interactive transactions: what they see, and how they end.

use std::time::Duration;

use crate::support::db::{Fresh, Statement, apply, batch, query, unpack_rows};
use tinybase_abi::codec::{Expect, Value, pack_values};
use tinybase_host::db::{DbError, ReadHint, SqlOwner, Transaction};
use tinybase_test_postgres::sqlite_only;

const NONE: [Value; 0] = [];
const LONG: Duration = Duration::from_secs(20);
const INSERT: Statement<'_> = ("INSERT INTO t VALUES (1)", &NONE, Expect::Any);

async fn table() -> Fresh {
    let fresh = Fresh::open().await;
    apply(&fresh.db, &[("CREATE TABLE t (a INTEGER PRIMARY KEY)", &NONE, Expect::Any)]).await.unwrap();
    fresh
}

async fn count(fresh: &Fresh) -> Value {
    query(&fresh.db, ReadHint::Indexed, "SELECT count(*) FROM t", &NONE).await.unwrap().remove(0).remove(0)
}

async fn begin(fresh: &Fresh) -> Box<dyn Transaction> {
    fresh.db.begin(&SqlOwner::Host, LONG).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_its_own_changes_and_others_see_them_once_committed() {
    let fresh = table().await;
    let mut transaction = begin(&fresh).await;
    transaction.apply(batch(&[INSERT])).await.unwrap();
    let seen = transaction.query("SELECT a FROM t".to_owned(), pack_values([])).await.unwrap();
    assert_eq!(unpack_rows(&seen), [[1.into()]]);
    assert_eq!(count(&fresh).await, 0.into());
    let waits = tokio::spawn(
        fresh.db.apply(&SqlOwner::Host, batch(&[("INSERT INTO t VALUES (2)", &NONE, Expect::Any)])),
    );
    transaction.commit().await.unwrap();
    waits.await.unwrap().unwrap();
    assert_eq!(count(&fresh).await, 2.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_or_dropped_it_leaves_nothing() {
    let fresh = table().await;
    let mut transaction = begin(&fresh).await;
    transaction.apply(batch(&[INSERT])).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(count(&fresh).await, 0.into());
    let mut transaction = begin(&fresh).await;
    transaction.apply(batch(&[INSERT])).await.unwrap();
    drop(transaction);
    apply(&fresh.db, &[("INSERT INTO t VALUES (2)", &NONE, Expect::Any)]).await.unwrap();
    assert_eq!(count(&fresh).await, 1.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_deadline_it_is_rolled_back_and_says_so() {
    let fresh = table().await;
    let short = Duration::from_millis(40);
    let mut transaction = fresh.db.begin(&SqlOwner::Host, short).await.unwrap();
    transaction.apply(batch(&[INSERT])).await.unwrap();
    // Another transaction waits for the first, which only its deadline can end.
    begin(&fresh).await.rollback().await.unwrap();
    apply(&fresh.db, &[("INSERT INTO t VALUES (2)", &NONE, Expect::Any)]).await.unwrap();
    let late = transaction.apply(batch(&[INSERT])).await;
    assert!(matches!(late, Err(DbError::Timeout(told)) if told == short), "{late:?}");
    assert!(matches!(transaction.commit().await, Err(DbError::Timeout(told)) if told == short));
    assert_eq!(query(&fresh.db, ReadHint::Indexed, "SELECT a FROM t", &NONE).await.unwrap(), [[2.into()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_within_it_has_what_is_left_of_its_time() {
    let fresh = table().await;
    let short = Duration::from_millis(40);
    let mut transaction = fresh.db.begin(&SqlOwner::Host, short).await.unwrap();
    let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let late = transaction.query(endless.to_owned(), pack_values([])).await;
    assert!(matches!(late, Err(DbError::Timeout(told)) if told == short), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_fails_undoes_itself_alone() {
    let fresh = table().await;
    let mut transaction = begin(&fresh).await;
    transaction.apply(batch(&[INSERT])).await.unwrap();
    assert_eq!(transaction.apply(batch(&[INSERT])).await.unwrap_err().code(), "db_unique");
    transaction.commit().await.unwrap();
    assert_eq!(count(&fresh).await, 1.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_spoiled_commits_nothing() {
    if sqlite_only("a statement that ends the whole transaction, INSERT OR ROLLBACK") {
        return;
    }
    let fresh = table().await;
    let mut transaction = begin(&fresh).await;
    transaction.apply(batch(&[INSERT])).await.unwrap();
    let spoils = ("INSERT OR ROLLBACK INTO t VALUES (1)", NONE.as_slice(), Expect::Any);
    assert_eq!(transaction.apply(batch(&[spoils])).await.unwrap_err().code(), "db_unique");
    assert_eq!(transaction.apply(batch(&[INSERT])).await.unwrap_err().code(), "db_unique");
    assert_eq!(transaction.commit().await.unwrap_err().code(), "db_unique");
    assert_eq!(count(&fresh).await, 0.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_scope_and_lends_it_not() {
    let fresh = table().await;
    let notes = SqlOwner::Extension("notes".into());
    let mut transaction = fresh.db.begin(&notes, LONG).await.unwrap();
    assert_eq!(transaction.apply(batch(&[INSERT])).await.unwrap_err().code(), "db_denied");
    let read = transaction.query("SELECT a FROM t".to_owned(), pack_values([])).await;
    assert_eq!(read.unwrap_err().code(), "db_denied");
    transaction.apply(batch(&[("CREATE TABLE notes_t (a INTEGER)", &NONE, Expect::Any)])).await.unwrap();
    transaction.apply_as(&SqlOwner::Host, batch(&[INSERT])).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(count(&fresh).await, 1.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_checked_at_the_commit_fails_its_own_job_alone() {
    let fresh = table().await;
    let child = "CREATE TABLE c (a INTEGER REFERENCES t (a) DEFERRABLE INITIALLY DEFERRED)";
    apply(&fresh.db, &[(child, &NONE, Expect::Any)]).await.unwrap();
    // While a transaction occupies the writer, jobs queue up to become one group.
    let transaction = begin(&fresh).await;
    let good = fresh.db.apply(&SqlOwner::Host, batch(&[("INSERT INTO t VALUES (7)", &NONE, Expect::Any)]));
    let bad = fresh.db.apply(&SqlOwner::Host, batch(&[("INSERT INTO c VALUES (99)", &NONE, Expect::Any)]));
    let good_too =
        fresh.db.apply(&SqlOwner::Host, batch(&[("INSERT INTO c VALUES (7)", &NONE, Expect::Any)]));
    transaction.rollback().await.unwrap();
    good.await.unwrap();
    assert_eq!(bad.await.unwrap_err().code(), "db_foreign_key");
    good_too.await.unwrap();
    assert_eq!(query(&fresh.db, ReadHint::Indexed, "SELECT a FROM c", &NONE).await.unwrap(), [[7.into()]]);
}
