//! Tests the SQLite engine under load, and when its process or its callers end.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::support::db::{FreshSqlite, apply, batch, query, query_as};
use tinybase_abi::codec::{Expect, Value, pack_values};
use tinybase_host::db::{
    Database, DbError, DbFuture, Durability, Query, ReadHint, SqlOwner,
    sqlite::{Sqlite, SqliteOptions},
};
use tinybase_test_postgres::sqlite_only;

const NONE: [Value; 0] = [];
const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition that must become true soon.
async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        tokio::task::yield_now().await;
    }
}

fn later(db: &Sqlite, sql: &str, deadline: Duration) -> tokio::task::JoinHandle<Result<Vec<u8>, DbError>> {
    let params = pack_values([]);
    let scan = Query {
        scope: &SqlOwner::Host,
        sql,
        params: &params,
        hint: ReadHint::Scan,
        deadline: Some(deadline),
    };
    tokio::spawn(db.query(scan))
}

#[tokio::test(flavor = "multi_thread")]
async fn short_reads_go_on_while_every_reader_scans() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t AS SELECT 7 AS a", &NONE, Expect::Any)]).await.unwrap();
    let scans: Vec<_> = (0..4).map(|_| later(&fresh.db, ENDLESS, PATIENCE)).collect();
    // The fifth has to wait for a reader, so once it waits all four are running.
    for _ in 0..1000 {
        let rows = query(&fresh.db, ReadHint::Indexed, "SELECT a FROM t", &NONE).await.unwrap();
        assert_eq!(rows, [[7.into()]]);
    }
    assert!(scans.iter().all(|scan| !scan.is_finished()));
    for scan in scans {
        scan.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_whose_caller_went_away_frees_its_reader() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open_with(|options| options.reader_threads = 1);
    let scan = later(&fresh.db, ENDLESS, Duration::from_secs(600));
    let waits = later(&fresh.db, "SELECT 1", Duration::from_secs(600));
    scan.abort();
    tokio::time::timeout(PATIENCE, waits).await.expect("the reader is free again").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn full_queues_and_large_results_are_refused() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open_with(|options| {
        (options.reader_threads, options.queue_reads_max, options.queue_jobs_max) = (1, 2, 2);
        options.rows_bytes_max = 1 << 16;
    });
    let scans: Vec<_> = (0..8).map(|_| later(&fresh.db, ENDLESS, PATIENCE)).collect();
    wait_until("a refused read", async || scans.iter().any(tokio::task::JoinHandle::is_finished)).await;
    for scan in scans.into_iter().filter(tokio::task::JoinHandle::is_finished) {
        assert!(matches!(scan.await.unwrap(), Err(DbError::Busy)));
    }
    let transaction = fresh.db.begin(&SqlOwner::Host, PATIENCE).await.unwrap();
    let jobs: Vec<_> = (0..3).map(|_| fresh.db.apply(&SqlOwner::Host, batch(&[]))).collect();
    transaction.rollback().await.unwrap();
    let answers = futures_util::future::join_all(jobs).await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(DbError::Busy))).count(), 1);

    let large = "SELECT replace(hex(zeroblob(20000)), '00', 'ab') UNION ALL SELECT hex(zeroblob(20000))";
    for cost in [ReadHint::Indexed] {
        let answer = query(&fresh.db, cost, large, &NONE).await;
        assert!(matches!(answer, Err(DbError::TooLarge { bytes_max: 65_536 })), "{answer:?}");
    }
    apply(&fresh.db, &[("CREATE TABLE t (a)", &NONE, Expect::Any)]).await.unwrap();
    let returning = "INSERT INTO t SELECT hex(zeroblob(20000)) FROM json_each('[1,2,3]') RETURNING a";
    let answer = apply(&fresh.db, &[(returning, &NONE, Expect::Any)]).await;
    assert!(matches!(answer, Err(DbError::TooLarge { .. })), "{answer:?}");
    assert_eq!(
        query(&fresh.db, ReadHint::Indexed, "SELECT count(*) FROM t", &NONE).await.unwrap(),
        [[0.into()]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_have_a_limit_of_their_own_and_large_short_reads_leave_the_thread() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open_with(|options| {
        (options.extension_rows_bytes_max, options.short_rows_bytes_max) = (1 << 20, 1 << 16);
    });
    let extension = SqlOwner::Extension("notes".into());
    // Returns whether it was read on the calling thread, and the result.
    let read = async |scope: &SqlOwner, bytes: usize| {
        let sql = format!("SELECT hex(zeroblob({}))", bytes / 2);
        let query =
            Query { scope, sql: &sql, params: &pack_values([]), hint: ReadHint::Indexed, deadline: None };
        let answer = fresh.db.query(query);
        (matches!(answer, DbFuture::Ready(_)), answer.await.map(|rows| rows.len()))
    };
    assert!(matches!(read(&extension, 1 << 15).await, (true, Ok(_))));
    assert!(matches!(read(&extension, 1 << 17).await, (false, Ok(_))));
    let answer = read(&extension, 1 << 21).await;
    assert!(matches!(answer, (false, Err(DbError::TooLarge { bytes_max: 1_048_576 }))), "{answer:?}");
    assert!(matches!(read(&SqlOwner::Host, 1 << 21).await, (false, Ok(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_was_called_short_keeps_no_thread_for_long() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open_with(|options| options.query_timeout = Duration::from_secs(2));
    let params = pack_values([]);
    let endless = Query {
        scope: &SqlOwner::Host,
        sql: ENDLESS,
        params: &params,
        hint: ReadHint::Indexed,
        deadline: None,
    };
    let begun = Instant::now();
    let answer = fresh.db.query(endless);
    // Only the call itself occupies the caller's thread.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert!(matches!(answer.await, Err(DbError::Timeout(time)) if time == Duration::from_secs(2)));
    // A read that is longer than a short one, but within its limit, succeeds.
    let long = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) SELECT max(i) FROM n";
    assert_eq!(query(&fresh.db, ReadHint::Indexed, long, &NONE).await.unwrap(), [[400_000.into()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_comes_back_as_it_went_in() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", &NONE, Expect::Any)]).await.unwrap();
    let values = [
        Value::Null,
        i64::MIN.into(),
        i64::MAX.into(),
        (-0.5).into(),
        f64::INFINITY.into(),
        "".into(),
        "a\0b\0".into(),
        "😀 \u{feff}".into(),
        "x".repeat(10 << 20).into(),
        Value::Blob(Vec::new()),
        Value::Blob(vec![0; 1 << 20]),
    ];
    for (key, value) in (0i64..).zip(&values) {
        let row = [key.into(), value.clone()];
        let done = apply(&fresh.db, &[("INSERT INTO t VALUES (?1, ?2) RETURNING v", &row, Expect::Any)])
            .await
            .unwrap();
        assert!(done.rows[0] == [[value.clone()]], "value {key} was returned otherwise");
        for cost in [ReadHint::Indexed, ReadHint::Scan] {
            let rows = query(&fresh.db, cost, "SELECT v FROM t WHERE k = ?1", &[key.into()]).await.unwrap();
            assert!(rows == [[value.clone()]], "value {key} was read otherwise");
        }
    }
    let query = query(&fresh.db, ReadHint::Indexed, "SELECT CAST(x'ff' AS TEXT)", &NONE).await;
    assert!(matches!(query, Err(DbError::Sql(message)) if message.contains("UTF-8")));
}

async fn insert_times(db: Arc<Sqlite>, count: usize) {
    for _ in 0..count {
        let insert = [("INSERT INTO t (at) VALUES (?1) RETURNING at", [Value::Now].as_slice(), Expect::Any)];
        let done = apply(&db, &insert).await.unwrap();
        assert_eq!(done.rows[0], [[Value::from(&done.now)]]);
    }
}

async fn read_until(db: Arc<Sqlite>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let sql = "SELECT sum(length(a)) FROM (SELECT a FROM t LIMIT 50)";
        query(&db, ReadHint::Scan, sql, &NONE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn now_never_goes_back_in_the_order_of_commits() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let mut fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (seq INTEGER PRIMARY KEY, at TEXT)", &NONE, Expect::Any)])
        .await
        .unwrap();
    for _ in 0..2 {
        let writers = (0..16).map(|_| tokio::spawn(insert_times(Arc::clone(&fresh.db), 50)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        fresh.db.shut_down().await;
        fresh = fresh.reopen();
    }
    let steps =
        "SELECT count(*), coalesce(sum(at < before), 0), min(length(at)), max(length(at)), min(at LIKE '%Z')
                 FROM (SELECT at, lag(at, 1, at) OVER (ORDER BY seq) AS before FROM t)";
    let rows = query(&fresh.db, ReadHint::Indexed, steps, &NONE).await.unwrap();
    assert_eq!(rows, [[1600.into(), 0.into(), 27.into(), 27.into(), 1.into()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_stays_bounded_under_a_steady_load() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    const WAL_BYTES_MAX: u64 = 4 << 20;
    for durability in [Durability::Full, Durability::Normal] {
        let fresh = FreshSqlite::open_with(|options| {
            options.durability = durability;
            options.wal_bytes_max = WAL_BYTES_MAX;
            options.checkpoint_bytes = 1 << 18;
        });
        apply(&fresh.db, &[("CREATE TABLE t (a TEXT)", &NONE, Expect::Any)]).await.unwrap();
        let log = fresh.options.path.with_file_name("t.db-wal");
        let stop = Arc::new(AtomicBool::new(false));
        let reads = tokio::spawn(read_until(Arc::clone(&fresh.db), Arc::clone(&stop)));
        let row = [Value::from("x".repeat(20_000))];
        let mut largest = 0;
        for _ in 0..100 {
            let insert = [("INSERT INTO t VALUES (?1)", row.as_slice(), Expect::Any)];
            let jobs = (0..8).map(|_| apply(&fresh.db, &insert));
            for done in futures_util::future::join_all(jobs).await {
                done.unwrap();
            }
            largest = largest.max(log.metadata().unwrap().len());
        }
        stop.store(true, Ordering::Relaxed);
        reads.await.unwrap();
        assert!(
            largest > WAL_BYTES_MAX / 4,
            "16 MB were written, but the log never grew over {largest} bytes"
        );
        assert!(largest <= WAL_BYTES_MAX, "the log grew to {largest} bytes");
        // The engine's own maintenance of its file is not an external change.
        assert_eq!(fresh.db.external_change_count(), 0);
        fresh.db.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_cut_back_once_a_long_read_has_ended() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    const WAL_BYTES_MAX: u64 = 1 << 20;
    let fresh = FreshSqlite::open_with(|options| {
        (options.wal_bytes_max, options.checkpoint_bytes) = (WAL_BYTES_MAX, 1 << 18);
    });
    apply(&fresh.db, &[("CREATE TABLE t (a TEXT)", &NONE, Expect::Any)]).await.unwrap();
    let log = fresh.options.path.with_file_name("t.db-wal");
    let row = [Value::from("x".repeat(20_000))];
    let insert = [("INSERT INTO t VALUES (?1)", row.as_slice(), Expect::Any)];
    apply(&fresh.db, &insert).await.unwrap();
    let endless = "WITH RECURSIVE tb_n (i) AS (SELECT length(a) FROM t UNION ALL SELECT i + 1 FROM tb_n) SELECT max(i) FROM tb_n";
    let scan = later(&fresh.db, endless, Duration::from_secs(600));
    wait_until("a log over its limit", async || {
        apply(&fresh.db, &insert).await.unwrap();
        log.metadata().unwrap().len() > WAL_BYTES_MAX * 2
    })
    .await;
    scan.abort();
    wait_until("a log under its limit", async || {
        apply(&fresh.db, &insert).await.unwrap();
        log.metadata().unwrap().len() <= WAL_BYTES_MAX
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_copied_to_the_file_once_nothing_is_written() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (a TEXT)", &NONE, Expect::Any)]).await.unwrap();
    let row = [Value::from("x".repeat(1 << 20))];
    for _ in 0..8 {
        apply(&fresh.db, &[("INSERT INTO t VALUES (?1)", row.as_slice(), Expect::Any)]).await.unwrap();
    }
    let copied = async || fresh.options.path.metadata().unwrap().len() > 8 << 20;
    assert!(!copied().await, "the burst is far below the next regular copy");
    wait_until("the burst in the database file", copied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_that_writes_is_noticed() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (a)", &NONE, Expect::Any)]).await.unwrap();
    let other = Sqlite::open(&fresh.options).unwrap();
    let insert = [("INSERT INTO t VALUES (1)", NONE.as_slice(), Expect::Any)];
    let before = fresh.db.external_change_count();
    apply(&other, &insert).await.unwrap();
    wait_until("a change by another", async || fresh.db.external_change_count() > before).await;
    let seen = fresh.db.external_change_count();
    apply(&fresh.db, &insert).await.unwrap();
    apply(&fresh.db, &insert).await.unwrap();
    assert_eq!(fresh.db.external_change_count(), seen);
    other.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_holds_is_busy() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    let fresh = FreshSqlite::open_with(|options| options.busy_timeout = Duration::from_millis(20));
    let other = Sqlite::open(&fresh.options).unwrap();
    let transaction = other.begin(&SqlOwner::Host, PATIENCE).await.unwrap();
    let create = [("CREATE TABLE t (a)", NONE.as_slice(), Expect::Any)];
    assert_eq!(apply(&fresh.db, &create).await.unwrap_err().code(), "db_busy");
    transaction.rollback().await.unwrap();
    apply(&fresh.db, &create).await.unwrap();
    other.shut_down().await;
}

#[test]
fn a_new_file_is_its_owners_alone_and_what_is_no_database_is_refused() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let fresh = FreshSqlite::open();
    runtime.block_on(apply(&fresh.db, &[("CREATE TABLE t (a)", &NONE, Expect::Any)])).unwrap();
    for name in ["t.db", "t.db-wal", "t.db-shm"] {
        let mode = fresh.dir.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let path = fresh.dir.path().join("text.db");
    std::fs::write(&path, "this is a text and no database at all, however long it may be").unwrap();
    let refused = Sqlite::open(&SqliteOptions::new(&path)).err().expect("a text is no database");
    assert!(refused.to_string().contains("text.db"), "{refused}");
    let missing = Sqlite::open(&SqliteOptions::new(fresh.dir.path().join("no/such/folder.db")));
    assert!(missing.err().expect("a folder is missing").to_string().contains("no/such/folder.db"));
}

/// The child process of the crash test: writes until it is killed, and prints what was acknowledged.
#[test]
#[ignore = "runs as the child of the crash test alone"]
fn crash_child() {
    let Some(path) = std::env::var_os("CRASH_DB") else { return };
    let mut options = SqliteOptions::new(path);
    options.wal_bytes_max = 1 << 20;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let db = Sqlite::open(&options).unwrap();
        let writers = (0..16).map(|writer| {
            let db = Arc::clone(&db);
            tokio::spawn(async move {
                for number in 0i64.. {
                    let id = format!("{}-{writer}-{number}", std::process::id());
                    let pair = [
                        ("INSERT INTO t VALUES (?1, 'first')", [Value::from(&id)]),
                        ("INSERT INTO t VALUES (?1, 'second')", [Value::from(&id)]),
                    ];
                    let pair =
                        pair.each_ref().map(|(sql, params)| (*sql, params.as_slice(), Expect::Exactly(1)));
                    apply(&db, &pair).await.unwrap();
                    println!("ack {id}");
                }
            })
        });
        futures_util::future::join_all(writers.collect::<Vec<_>>()).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_keeps_what_it_acknowledged() {
    if sqlite_only("the SQLite engine") {
        return;
    }
    const ACKS_BEFORE_KILL: [usize; 5] = [1, 40, 400, 1500, 3000];
    let mut fresh = FreshSqlite::open();
    apply(&fresh.db, &[("CREATE TABLE t (id TEXT, half TEXT, UNIQUE (id, half))", &NONE, Expect::Any)])
        .await
        .unwrap();
    for acks in ACKS_BEFORE_KILL {
        fresh.db.shut_down().await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "db_load::crash_child", "--ignored", "--nocapture", "--quiet"])
            .env("CRASH_DB", &fresh.options.path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.map_while(Result::ok) {
            // The test harness prints in between.
            acknowledged.extend(line.split_once("ack ").map(|(_, id)| id.to_owned()));
            if acknowledged.len() == acks {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= acks, "the child ended before it was killed");
        fresh = fresh.reopen();
        for id in acknowledged {
            let halves = "SELECT count(*) FROM t WHERE id = ?1";
            let rows = query(&fresh.db, ReadHint::Indexed, halves, &[Value::from(&id)]).await.unwrap();
            assert_eq!(rows, [[2.into()]], "{id} was acknowledged");
        }
        let torn = "SELECT id FROM t GROUP BY id HAVING count(*) <> 2";
        let torn =
            query_as(&fresh.db, &SqlOwner::Host, ReadHint::Scan, torn, &NONE, Some(PATIENCE)).await.unwrap();
        assert!(torn.is_empty(), "half of these is there: {torn:?}");
        assert_eq!(fresh.db.check_integrity().await.unwrap(), Vec::<String>::new());
    }
}
