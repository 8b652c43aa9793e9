//! Shared by the database tests: a fresh database, and calls that pack and unpack.

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tinybase_abi::codec::{BatchWriter, Expect, Reader, RowsHead, Value, pack_values};
use tinybase_host::db::{
    Database, DbError, Query, ReadHint, SqlOwner,
    postgres::{Postgres, PostgresOptions},
    sqlite::{Sqlite, SqliteOptions},
};
use tinybase_test_postgres::server_url;

/// The database of one test: on the run's PostgreSQL server, or else an SQLite file.
pub(crate) struct Fresh {
    pub(crate) db: Arc<dyn Database>,
    pub(crate) dir: TempDir,
    /// Dropped after what is connected to it.
    on_server: Option<tinybase_test_postgres::Database>,
}

impl Fresh {
    pub(crate) async fn open() -> Fresh {
        let dir = tempfile::tempdir().unwrap();
        let create = |server: String| tinybase_test_postgres::Database::create(&server).unwrap();
        let on_server = server_url().map(create);
        Fresh { db: open(on_server.as_ref(), &dir).await, dir, on_server }
    }

    /// Opens a database on a server where no extension gets its own role, or SQLite's as usual.
    pub(crate) async fn open_without_roles() -> Fresh {
        let mut fresh = Fresh::open().await;
        if let Some(database) = &fresh.on_server {
            let options = PostgresOptions { extension_roles: false, ..PostgresOptions::new(database.url()) };
            fresh.db = Postgres::open(&options).await.unwrap();
        }
        fresh
    }

    /// Returns the database on the run's server.
    pub(crate) fn on_server(&self) -> Option<&tinybase_test_postgres::Database> {
        self.on_server.as_ref()
    }

    /// Opens the same database again, as another process would.
    pub(crate) async fn beside(&self) -> Arc<dyn Database> {
        open(self.on_server.as_ref(), &self.dir).await
    }
}

async fn open(on_server: Option<&tinybase_test_postgres::Database>, dir: &TempDir) -> Arc<dyn Database> {
    match on_server {
        Some(database) => Postgres::open(&PostgresOptions::new(database.url())).await.unwrap(),
        None => Sqlite::open(&SqliteOptions::new(dir.path().join("t.db"))).unwrap(),
    }
}

/// An SQLite file in its own directory, for tests that are about SQLite.
pub(crate) struct FreshSqlite {
    pub(crate) db: Arc<Sqlite>,
    pub(crate) options: SqliteOptions,
    pub(crate) dir: TempDir,
}

impl FreshSqlite {
    pub(crate) fn open() -> FreshSqlite {
        FreshSqlite::open_with(|_| {})
    }

    pub(crate) fn open_with(choose: impl FnOnce(&mut SqliteOptions)) -> FreshSqlite {
        let dir = tempfile::tempdir().unwrap();
        let mut options = SqliteOptions::new(dir.path().join("t.db"));
        choose(&mut options);
        FreshSqlite { db: Sqlite::open(&options).unwrap(), options, dir }
    }

    pub(crate) fn reopen(self) -> FreshSqlite {
        let FreshSqlite { db, options, dir } = self;
        drop(db);
        FreshSqlite { db: Sqlite::open(&options).unwrap(), options, dir }
    }
}

pub(crate) type Statement<'a> = (&'a str, &'a [Value], Expect);

pub(crate) fn batch(statements: &[Statement<'_>]) -> Vec<u8> {
    let mut batch = BatchWriter::default();
    for (sql, params, expect) in statements {
        batch.push(sql, params.iter().map(Value::as_ref), *expect);
    }
    batch.finish()
}

/// The unpacked result of a batch.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) now: String,
    pub(crate) affected: Vec<u64>,
    pub(crate) rows: Vec<Vec<Vec<Value>>>,
}

pub(crate) fn unpack_done(packed: &[u8]) -> Done {
    let mut reader = Reader::new(packed);
    let now = reader.text().unwrap().to_owned();
    let mut done = Done { now, affected: Vec::new(), rows: Vec::new() };
    for _ in 0..reader.u32().unwrap() {
        done.affected.push(reader.u64().unwrap());
        let rows = reader.bytes().unwrap();
        done.rows.push(if rows.is_empty() { Vec::new() } else { unpack_rows(rows) });
    }
    done
}

pub(crate) fn unpack_rows(packed: &[u8]) -> Vec<Vec<Value>> {
    let head = RowsHead::read(packed).unwrap();
    let mut reader = Reader::new(&packed[head.start..]);
    (0..head.rows)
        .map(|_| head.columns.iter().map(|_| reader.value().unwrap().to_owned()).collect())
        .collect()
}

pub(crate) async fn apply<D: Database + ?Sized>(
    db: &Arc<D>,
    statements: &[Statement<'_>],
) -> Result<Done, DbError> {
    apply_as(db, &SqlOwner::Host, statements).await
}

pub(crate) async fn apply_as<D: Database + ?Sized>(
    db: &Arc<D>,
    scope: &SqlOwner,
    statements: &[Statement<'_>],
) -> Result<Done, DbError> {
    Ok(unpack_done(&db.apply(scope, batch(statements)).await?))
}

pub(crate) async fn query<D: Database + ?Sized>(
    db: &Arc<D>,
    hint: ReadHint,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Vec<Value>>, DbError> {
    query_as(db, &SqlOwner::Host, hint, sql, params, None).await
}

pub(crate) async fn query_as<D: Database + ?Sized>(
    db: &Arc<D>,
    scope: &SqlOwner,
    hint: ReadHint,
    sql: &str,
    params: &[Value],
    deadline: Option<Duration>,
) -> Result<Vec<Vec<Value>>, DbError> {
    let params = pack_values(params.iter().map(Value::as_ref));
    let packed = db.query(Query { scope, sql, params: &params, hint, deadline }).await?;
    Ok(unpack_rows(&packed))
}
