//! Measures the SQLite engine alone: commits per second by number of writers and durability, and the cost of a point
//! read. Run it with `cargo bench -p tinybase --bench db`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that fails has no result to print"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef, pack_values};
use tinybase_host::db::{
    Database, Durability, Query, ReadHint, SqlOwner,
    sqlite::{Sqlite, SqliteOptions},
};

const RUN_TIME: Duration = Duration::from_secs(3);

const SCHEMA: &str = "CREATE TABLE r (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, owner_id TEXT,
    created_at TEXT, updated_at TEXT, version INTEGER, data TEXT)";

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        println!("{:>9} {:>8} {:>10} {:>9} {:>9}", "durable", "writers", "commits/s", "p50 µs", "p99 µs");
        for durability in [Durability::Normal, Durability::Full] {
            for writers in [1, 32, 128] {
                commits(durability, writers).await;
            }
        }
        point_reads().await;
    });
}

fn open(durability: Durability) -> (tempfile::TempDir, Arc<Sqlite>) {
    // In the build's output folder, which is on a disk, while /tmp may not be.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut options = SqliteOptions::new(dir.path().join("bench.db"));
    options.durability = durability;
    let db = Sqlite::open(&options).unwrap();
    (dir, db)
}

async fn create_table(db: &Sqlite) {
    let mut batch = BatchWriter::default();
    batch.push(SCHEMA, [], Expect::Any);
    db.apply(&SqlOwner::Host, batch.finish()).await.unwrap();
}

async fn insert(db: &Sqlite) -> String {
    let id = uuid::Uuid::now_v7().to_string();
    let data = format!(r#"{{"id":"{id}","title":"a record","body":"{:0<150}","n":1}}"#, "");
    let mut batch = BatchWriter::default();
    batch.push(
        "INSERT INTO r (id, owner_id, created_at, updated_at, version, data) VALUES (?1, NULL, ?2, ?2, 1, ?3)",
        [ValueRef::Text(&id), ValueRef::Now, ValueRef::Text(&data)],
        Expect::Any,
    );
    db.apply(&SqlOwner::Host, batch.finish()).await.unwrap();
    id
}

async fn commits(durability: Durability, writers: usize) {
    let (_dir, db) = open(durability);
    create_table(&db).await;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (db, stop) = (Arc::clone(&db), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut micros = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    insert(&db).await;
                    micros.push(start.elapsed().as_micros());
                }
                micros
            })
        })
        .collect();
    let started = Instant::now();
    tokio::time::sleep(RUN_TIME).await;
    stop.store(true, Ordering::Relaxed);
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await.unwrap());
    }
    let rate = micros.len() as f64 / started.elapsed().as_secs_f64();
    micros.sort_unstable();
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    println!("{durability:>9?} {writers:>8} {rate:>10.0} {:>9} {:>9}", at(0.5), at(0.99));
    db.shut_down().await;
}

async fn point_reads() {
    let (_dir, db) = open(Durability::Normal);
    create_table(&db).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        ids.extend(futures_util::future::join_all((0..500).map(|_| insert(&db))).await);
    }
    let reads = AtomicU64::new(0);
    for threads in [1, 2] {
        let started = Instant::now();
        reads.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (db, ids, reads) = (&db, &ids, &reads);
                scope.spawn(move || read_for(db, ids, thread, reads));
            }
        });
        let count = reads.load(Ordering::Relaxed) as f64;
        let micros = started.elapsed().as_micros() as f64 * f64::from(threads) / count;
        println!("point read by a unique key of {} records, {threads} threads: {micros:.2} µs", ids.len());
    }
    db.shut_down().await;
}

fn read_for(db: &Sqlite, ids: &[String], thread: u32, reads: &AtomicU64) {
    let started = Instant::now();
    let mut at = thread as usize * 7919;
    let mut count = 0;
    while started.elapsed() < RUN_TIME {
        for _ in 0..100 {
            at = (at + 48_271) % ids.len();
            let params = pack_values([ValueRef::Text(&ids[at])]);
            let query = Query {
                scope: &SqlOwner::Host,
                sql: "SELECT data, owner_id, version FROM r WHERE id = ?1",
                params: &params,
                hint: ReadHint::Indexed,
                deadline: None,
            };
            let answer = futures_util::FutureExt::now_or_never(db.query(query)).unwrap().unwrap();
            assert!(answer.len() > 150);
            count += 1;
        }
    }
    reads.fetch_add(count, Ordering::Relaxed);
}
