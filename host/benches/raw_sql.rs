//! Measures bare statements over the engine's pool: the query that a gateway in front of PostgreSQL would send, from as
//! many tasks as there are connections, one statement at a time. Prints `<kind> <statements per second>`. `cargo xtask
//! bench --engine postgres` sets the variables.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tinybase_abi::codec::{BatchWriter, Expect, Reader, RowsHead, ValueRef, pack_values};
use tinybase_host::db::{
    Database, Query, ReadHint, SqlOwner,
    postgres::{Postgres, PostgresOptions},
};

const READ: &str = "SELECT row_to_json(r)::text FROM (SELECT id, owner_id, data::json AS data, created_at, updated_at \
                    FROM collections_r_1 WHERE id = ?1) r";
const LIST: &str = "SELECT (SELECT sum(count)::bigint FROM collections_counts WHERE number = 1), json_agg(r)::text FROM \
                    (SELECT id, owner_id, data::json AS data, created_at, updated_at FROM collections_r_1 \
                    ORDER BY seq DESC LIMIT 30) r";
const CREATE: &str = "WITH made AS (INSERT INTO collections_r_2 (id, owner_id, created_at, updated_at, version, data) \
                      VALUES (?1, NULL, ?2, ?2, 1, ?3) RETURNING id, owner_id, data::json AS data, created_at, updated_at) \
                      SELECT row_to_json(made)::text FROM made";
const IDS: &str = "SELECT id FROM collections_r_1 ORDER BY seq LIMIT 1000";
const DATA: &str = r#"{"title":"Record 1","body":"The quick brown fox jumps over the lazy dog while the five boxing wizards watch from a hill.","n":7919}"#;

type Fault = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy)]
enum Kind {
    Read,
    List,
    Create,
}

fn variable(name: &str) -> Result<String, Fault> {
    env::var(name).map_err(|_| format!("{name} is not set; run: cargo xtask bench --engine postgres").into())
}

#[tokio::main]
async fn main() -> Result<(), Fault> {
    // `cargo test --benches` runs it with nothing to measure.
    let Ok(name) = variable("RAW_SQL_KIND") else { return Ok(()) };
    let kind = match name.as_str() {
        "read" => Kind::Read,
        "list" => Kind::List,
        "create" => Kind::Create,
        _ => return Err("RAW_SQL_KIND is read, list or create".into()),
    };
    let connections: usize = variable("RAW_SQL_CONNECTIONS")?.parse()?;
    let time = Duration::from_secs(variable("RAW_SQL_SECONDS")?.parse()?);
    let mut options = PostgresOptions::new(variable("RAW_SQL_URL")?);
    options.connections_max = connections;
    let db: Arc<dyn Database> = Postgres::open(&options).await?;
    let ids = Arc::new(ids(&*db).await?);
    let done = Arc::new(AtomicU64::new(0));
    let (started, ends_at) = (Instant::now(), Instant::now() + time);
    let tasks = (0..connections).map(|task| {
        let (db, ids, done) = (Arc::clone(&db), Arc::clone(&ids), Arc::clone(&done));
        tokio::spawn(async move {
            let mut at = task * 31;
            while Instant::now() < ends_at {
                at += 1;
                run(&*db, kind, &ids[at % ids.len()]).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Fault>(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    let per_second = done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    #[allow(clippy::print_stdout, reason = "a benchmark prints what it found")]
    {
        println!("{name} {per_second:.1}");
    }
    db.shut_down().await;
    Ok(())
}

async fn query(db: &dyn Database, sql: &str, params: &[ValueRef<'_>]) -> Result<Vec<u8>, Fault> {
    let params = pack_values(params.iter().copied());
    let query = Query { scope: &SqlOwner::Host, sql, params: &params, hint: ReadHint::Scan, deadline: None };
    Ok(db.query(query).await?)
}

async fn ids(db: &dyn Database) -> Result<Vec<String>, Fault> {
    let packed = query(db, IDS, &[]).await?;
    let head = RowsHead::read(&packed)?;
    let mut reader = Reader::new(&packed[head.start..]);
    (0..head.rows)
        .map(|_| match reader.value()? {
            ValueRef::Text(id) => Ok(id.to_owned()),
            other => Err(format!("{other:?} is no id").into()),
        })
        .collect()
}

async fn run(db: &dyn Database, kind: Kind, id: &str) -> Result<(), Fault> {
    match kind {
        Kind::Read => query(db, READ, &[ValueRef::Text(id)]).await.map(drop),
        Kind::List => query(db, LIST, &[]).await.map(drop),
        Kind::Create => {
            let mut batch = BatchWriter::default();
            let id = uuid::Uuid::now_v7().to_string();
            batch.push(CREATE, [ValueRef::Text(&id), ValueRef::Now, ValueRef::Text(DATA)], Expect::Any);
            db.apply(&SqlOwner::Host, batch.finish()).await.map(drop).map_err(Into::into)
        }
    }
}
