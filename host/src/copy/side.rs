//! One of the two databases of a copy. Its statements run in the host's name, with a very long time limit.

use std::{sync::Arc, time::Duration};

use tinybase_abi::codec::{BatchWriter, Reader, RowsHead, Value, pack_values};

use crate::{
    db::{Database, DbError, Engine, Query, ReadHint, ScopedBatch, SqlOwner},
    sql::Row,
};

/// The time limit of one statement, which must suffice for an index over all rows.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// A database that is copied from or to.
#[derive(Clone)]
pub struct Side(Arc<dyn Database>);

impl Side {
    /// Wraps a database that was opened with [`STATEMENT_TIME_MAX`] as its time limit.
    pub fn new(db: Arc<dyn Database>) -> Side {
        Side(db)
    }

    /// Returns the database itself.
    pub fn database(&self) -> &Arc<dyn Database> {
        &self.0
    }

    /// Returns the kind of engine.
    pub fn engine(&self) -> Engine {
        self.0.engine()
    }

    /// Reads; returns packed rows.
    pub async fn packed(&self, sql: &str, params: &[Value]) -> Result<Vec<u8>, DbError> {
        let params = pack_values(params.iter().map(Value::as_ref));
        let deadline = Some(STATEMENT_TIME_MAX);
        self.0
            .query(Query { scope: &SqlOwner::Host, sql, params: &params, hint: ReadHint::Scan, deadline })
            .await
    }

    /// Reads all rows.
    pub async fn rows(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let packed = self.packed(sql, params).await?;
        let head = RowsHead::read(&packed)?;
        let mut reader = Reader::new(&packed[head.start..]);
        let mut row = || head.columns.iter().map(|_| Ok(reader.value()?.to_owned())).collect();
        (0..head.rows).map(|_| row()).collect()
    }

    /// Reads one number; 0 if there is none.
    pub async fn number(&self, sql: &str) -> Result<i64, DbError> {
        Ok(self.rows(sql, &[]).await?.first().map_or(0, |row| crate::sql::integer(row, 0)))
    }

    /// Applies a batch of the host, and then others in their own scopes, atomically.
    pub async fn apply(&self, batch: BatchWriter, attached: Vec<ScopedBatch>) -> Result<(), DbError> {
        self.0.apply_attached(&SqlOwner::Host, batch.finish(), attached).await.map(drop)
    }
}

/// Quotes any name for SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
