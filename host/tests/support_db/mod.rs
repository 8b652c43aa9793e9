//! What the database tests share: a fresh database, and calls that pack and unpack.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test crate uses its part, and a failed call fails its test"
)]

use std::{sync::Arc, time::Duration};

use tempfile::TempDir;
use tinybase_abi::codec::{BatchWriter, Expect, Reader, RowsHead, Value, pack_values};
use tinybase_host::db::{
    Cost, Database, DbError, Query, Scope,
    sqlite::{Sqlite, SqliteOptions},
};

/// A database in a directory of its own.
pub(crate) struct Fresh {
    pub(crate) db: Arc<Sqlite>,
    pub(crate) options: SqliteOptions,
    pub(crate) dir: TempDir,
}

impl Fresh {
    pub(crate) fn open() -> Fresh {
        Fresh::open_with(|_| {})
    }

    pub(crate) fn open_with(choose: impl FnOnce(&mut SqliteOptions)) -> Fresh {
        let dir = tempfile::tempdir().unwrap();
        let mut options = SqliteOptions::new(dir.path().join("t.db"));
        choose(&mut options);
        Fresh { db: Sqlite::open(&options).unwrap(), options, dir }
    }

    pub(crate) fn reopen(self) -> Fresh {
        let Fresh { db, options, dir } = self;
        drop(db);
        Fresh { db: Sqlite::open(&options).unwrap(), options, dir }
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

/// What a batch did, unpacked.
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

pub(crate) async fn apply(db: &Sqlite, statements: &[Statement<'_>]) -> Result<Done, DbError> {
    apply_as(db, &Scope::Host, statements).await
}

pub(crate) async fn apply_as(
    db: &Sqlite,
    scope: &Scope,
    statements: &[Statement<'_>],
) -> Result<Done, DbError> {
    Ok(unpack_done(&db.apply(scope, batch(statements)).await?))
}

pub(crate) async fn query(
    db: &Sqlite,
    cost: Cost,
    sql: &str,
    params: &[Value],
) -> Result<Vec<Vec<Value>>, DbError> {
    query_as(db, &Scope::Host, cost, sql, params, None).await
}

pub(crate) async fn query_as(
    db: &Sqlite,
    scope: &Scope,
    cost: Cost,
    sql: &str,
    params: &[Value],
    deadline: Option<Duration>,
) -> Result<Vec<Vec<Value>>, DbError> {
    let params = pack_values(params.iter().map(Value::as_ref));
    let packed = db.query(Query { scope, sql, params: &params, cost, deadline }).await?;
    Ok(unpack_rows(&packed))
}
