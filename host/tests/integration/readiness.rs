//! Tests whether the host detects that its database is not usable.

use std::sync::Arc;

use crate::support::db::{Fresh, FreshSqlite};
use tinybase_host::{db::Database, metrics::Readiness, sql::HostSql};
use tinybase_test_postgres::sqlite_only;

async fn code(ready: &Readiness) -> String {
    ready.check().await.map_or_else(|error| error.code.into_owned(), |()| "ready".into())
}

fn readiness(db: Arc<dyn Database>) -> Readiness {
    Readiness::new(HostSql::new(db))
}

#[tokio::test]
async fn a_database_that_works_is_ready_until_the_end_is_near() {
    let fresh = Fresh::open().await;
    let ready = readiness(Arc::clone(&fresh.db));
    assert_eq!(code(&ready).await, "ready");
    ready.stop();
    assert_eq!(code(&ready).await, "shutting_down");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_not_ready() {
    if sqlite_only("the queue of the one writer") {
        return;
    }
    let fresh = FreshSqlite::open_with(|options| options.queue_jobs_max = 0);
    assert_eq!(code(&readiness(fresh.db)).await, "writer_not_ready");
}

#[tokio::test]
async fn a_closed_database_is_not_ready_and_is_asked_once_a_second() {
    let fresh = Fresh::open().await;
    let asked_before = readiness(Arc::clone(&fresh.db));
    assert_eq!(code(&asked_before).await, "ready");
    fresh.db.shut_down().await;
    assert_eq!(code(&readiness(Arc::clone(&fresh.db))).await, "database_not_ready");
    assert_eq!(code(&asked_before).await, "ready", "the answer of a moment ago holds");
}

#[tokio::test]
async fn a_database_whose_file_is_gone_is_not_ready_until_it_is_back() {
    if sqlite_only("the file of the database") {
        return;
    }
    let fresh = FreshSqlite::open();
    let aside = fresh.dir.path().join("aside");
    std::fs::rename(&fresh.options.path, &aside).unwrap();
    assert_eq!(code(&readiness(Arc::clone(&fresh.db) as _)).await, "database_file_replaced");
    std::fs::rename(&aside, &fresh.options.path).unwrap();
    assert_eq!(code(&readiness(Arc::clone(&fresh.db) as _)).await, "ready");
}
