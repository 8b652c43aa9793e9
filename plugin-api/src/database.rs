//! The database: reads, batches that are applied atomically, and transactions across calls for what batches cannot
//! do. Every value is bound as a parameter, never inserted into the SQL text.

use std::time::Duration;

pub use tinybase_abi::codec::{Expect, Value, ValueRef};
use tinybase_abi::{
    bytes::Bytes,
    codec::{BatchWriter, Reader, pack_values},
    interfaces::database::Client,
};

use crate::{Error, Result};

/// The parameters of a statement: `params![id, title, 3]`.
#[macro_export]
macro_rules! __params {
    ($($value:expr),* $(,)?) => { &[$($crate::database::Value::from($value)),*][..] };
}
pub use __params as params;

/// The expected cost of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadHint {
    /// One row at most, by a key, with a plain `SELECT` that depends only on its parameters. Runs at once; on
    /// PostgreSQL, concurrent reads with the same statement are combined.
    PointLookup,
    /// A few rows by key or index. Runs at once.
    Indexed,
    /// Anything else. Runs on a reader thread, so that it blocks no other request.
    Scan,
}

impl ReadHint {
    /// The number used in the ABI. A host treats an unknown number as [`ReadHint::Scan`].
    fn number(self) -> u8 {
        match self {
            ReadHint::Indexed => 0,
            ReadHint::Scan => 1,
            ReadHint::PointLookup => 2,
        }
    }
}

/// The engine that stores the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The embedded SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// The database. Only tables whose names begin with the extension's name and `_` can be written.
#[derive(Clone, Copy)]
pub struct Database {
    client: Client,
}

impl Database {
    pub(crate) fn new(client: Client) -> Database {
        Database { client }
    }

    /// Returns the engine, for SQL that differs between engines.
    pub fn engine(&self) -> Engine {
        if self.client.engine() == 0 { Engine::Sqlite } else { Engine::Postgres }
    }

    /// Reads with one statement.
    pub async fn query(&self, hint: ReadHint, sql: &str, params: &[Value]) -> Result<Rows> {
        let params = pack_values(params.iter().map(Value::as_ref));
        self.query_packed(hint, sql, &params, None).await
    }

    /// Reads with parameters that are already packed, within a deadline set by the caller.
    pub async fn query_packed(
        &self,
        hint: ReadHint,
        sql: &str,
        params: &[u8],
        deadline: Option<Duration>,
    ) -> Result<Rows> {
        let deadline_ms = deadline.map_or(0, milliseconds);
        let rows = self.client.query(sql, params, hint.number(), deadline_ms);
        Rows::read(rows.await.into_result()?)
    }

    /// Returns the first row of a read with [`ReadHint::Indexed`].
    pub async fn query_one(&self, sql: &str, params: &[Value]) -> Result<Option<Vec<Value>>> {
        let rows = self.query(ReadHint::Indexed, sql, params).await?;
        rows.iter().next().map(|row| row.values()).transpose()
    }

    /// Applies one statement. Returns the number of affected rows.
    pub async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64> {
        let mut batch = Batch::default();
        batch.push(sql, params);
        Ok(self.apply(batch).await?.statements.first().map_or(0, |statement| statement.affected))
    }

    /// Applies a batch atomically. Returns once the batch is as durable as the operator's settings require.
    pub async fn apply(&self, batch: Batch) -> Result<Applied> {
        Applied::read(&self.client.apply(batch.finish().into()).await.into_result()?)
    }

    /// Begins a transaction across calls. Other writers wait until it ends, or until `deadline` has passed and the
    /// host rolls it back. Prefer [`Database::apply`].
    pub async fn begin(&self, deadline: Duration) -> Result<Transaction> {
        let id = self.client.begin(milliseconds(deadline)).await.into_result()?;
        Ok(Transaction { client: self.client, id: Some(id) })
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// Statements that are applied atomically.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    writer: BatchWriter,
}

impl Batch {
    /// Appends a statement.
    pub fn push(&mut self, sql: &str, params: &[Value]) {
        self.push_expecting(Expect::Any, sql, params);
    }

    /// Appends a statement that must affect as many rows as `expect` requires. Otherwise the batch fails with
    /// `db_condition`.
    pub fn push_expecting(&mut self, expect: Expect, sql: &str, params: &[Value]) {
        self.writer.push(sql, params.iter().map(Value::as_ref), expect);
    }

    /// Appends a statement with borrowed parameters.
    pub fn push_refs<'a>(
        &mut self,
        expect: Expect,
        sql: &str,
        params: impl IntoIterator<Item = ValueRef<'a>>,
    ) {
        self.writer.push(sql, params, expect);
    }

    /// Appends every statement of another batch.
    pub fn append(&mut self, other: Batch) -> Result<()> {
        Ok(self.writer.append(&other.finish())?)
    }

    /// Returns the size of the statements and their parameters in bytes.
    pub fn len_bytes(&self) -> usize {
        self.writer.len_bytes()
    }

    /// Returns the number of statements.
    pub fn len(&self) -> usize {
        self.writer.len()
    }

    /// Returns whether there are no statements.
    pub fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    pub(crate) fn from_packed(packed: &[u8]) -> Result<Batch> {
        let mut writer = BatchWriter::default();
        if !packed.is_empty() {
            writer.append(packed)?;
        }
        Ok(Batch { writer })
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}

/// The result of a batch.
#[derive(Debug)]
pub struct Applied {
    /// When the batch was applied, RFC 3339. Every [`Value::Now`] in it was replaced by this time.
    pub now: String,
    /// The result of each statement, in order.
    pub statements: Vec<AppliedStatement>,
}

/// The result of one statement of a batch.
#[derive(Debug)]
pub struct AppliedStatement {
    /// The number of affected rows.
    pub affected: u64,
    /// The returned rows.
    pub rows: Rows,
}

impl Applied {
    fn read(packed: &[u8]) -> Result<Applied> {
        let mut reader = Reader::new(packed);
        let now = reader.text()?.to_owned();
        let count = reader.u32()? as usize;
        let mut statements = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            let affected = reader.u64()?;
            let rows = reader.bytes()?;
            let rows = if rows.is_empty() { Rows::default() } else { Rows::read(rows.to_vec().into())? };
            statements.push(AppliedStatement { affected, rows });
        }
        Ok(Applied { now, statements })
    }
}

/// The rows that a statement returned, kept in packed form.
#[derive(Debug)]
pub struct Rows {
    packed: Bytes,
    columns: usize,
    len: usize,
    start: usize,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows { packed: Bytes::empty(), columns: 0, len: 0, start: 0 }
    }
}

impl Rows {
    fn read(packed: Bytes) -> Result<Rows> {
        let mut reader = Reader::new(&packed);
        let columns = reader.u32()? as usize;
        for _ in 0..columns {
            reader.bytes()?;
        }
        let len = reader.u32()? as usize;
        let start = reader.offset();
        Ok(Rows { packed, columns, len, start })
    }

    /// Returns the size of the packed rows in bytes.
    pub fn len_bytes(&self) -> usize {
        self.packed.len()
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the names of the columns in order.
    pub fn columns(&self) -> Result<Vec<&str>> {
        let mut reader = Reader::new(&self.packed);
        if self.packed.is_empty() {
            return Ok(Vec::new());
        }
        reader.u32()?;
        (0..self.columns).map(|_| Ok(reader.text()?)).collect()
    }

    /// Iterates over the rows in order.
    pub fn iter(&self) -> RowIter<'_> {
        RowIter { reader: Reader::new(&self.packed[self.start..]), columns: self.columns, left: self.len }
    }

    /// Returns the first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = Row<'a>;
    type IntoIter = RowIter<'a>;

    fn into_iter(self) -> RowIter<'a> {
        self.iter()
    }
}

/// An iterator over rows.
#[derive(Debug)]
pub struct RowIter<'a> {
    reader: Reader<'a>,
    columns: usize,
    left: usize,
}

impl<'a> Iterator for RowIter<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        self.left = self.left.checked_sub(1)?;
        let row = Row { reader: self.reader.clone(), columns: self.columns };
        for _ in 0..self.columns {
            if self.reader.skip_value().is_err() {
                self.left = 0;
                return None;
            }
        }
        Some(row)
    }
}

/// One row.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    reader: Reader<'a>,
    columns: usize,
}

impl<'a> Row<'a> {
    /// Returns the value of a column, counted from 0.
    pub fn value(&self, column: usize) -> Result<ValueRef<'a>> {
        if column >= self.columns {
            return Err(Error::internal("no_such_column", format!("the row has no column {column}")));
        }
        let mut reader = self.reader.clone();
        for _ in 0..column {
            reader.skip_value()?;
        }
        Ok(reader.value()?)
    }

    /// Returns the value of a text column.
    pub fn text(&self, column: usize) -> Result<&'a str> {
        match self.value(column)? {
            ValueRef::Text(text) => Ok(text),
            other => Err(mismatch(column, "text", other)),
        }
    }

    /// Returns the value of a text column that may be null.
    pub fn text_or_null(&self, column: usize) -> Result<Option<&'a str>> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(text) => Ok(Some(text)),
            other => Err(mismatch(column, "text or null", other)),
        }
    }

    /// Returns the value of an integer column.
    pub fn integer(&self, column: usize) -> Result<i64> {
        match self.value(column)? {
            ValueRef::Integer(number) => Ok(number),
            other => Err(mismatch(column, "an integer", other)),
        }
    }

    /// Returns the value of a numeric column: a real or an integer.
    pub fn real(&self, column: usize) -> Result<f64> {
        match self.value(column)? {
            ValueRef::Real(number) => Ok(number),
            #[allow(clippy::cast_precision_loss)]
            ValueRef::Integer(number) => Ok(number as f64),
            other => Err(mismatch(column, "a number", other)),
        }
    }

    /// Returns the first `N` values, read in one pass.
    pub fn first<const N: usize>(&self) -> Result<[ValueRef<'a>; N]> {
        if N > self.columns {
            return Err(Error::internal(
                "no_such_column",
                format!("the row has {} columns, not {N}", self.columns),
            ));
        }
        let mut reader = self.reader.clone();
        let mut values = [ValueRef::Null; N];
        for value in &mut values {
            *value = reader.value()?;
        }
        Ok(values)
    }

    /// Returns all values, owned.
    pub fn values(&self) -> Result<Vec<Value>> {
        let mut reader = self.reader.clone();
        (0..self.columns).map(|_| Ok(reader.value()?.to_owned())).collect()
    }
}

fn mismatch(column: usize, expected: &str, found: ValueRef<'_>) -> Error {
    let found = match found {
        ValueRef::Null => "null",
        ValueRef::Integer(_) => "an integer",
        ValueRef::Real(_) => "a real",
        ValueRef::Text(_) | ValueRef::Now => "text",
        ValueRef::Blob(_) => "bytes",
    };
    Error::internal("column_type", format!("column {column} is {found}, not {expected}"))
}

/// A transaction across calls. It is rolled back when dropped.
pub struct Transaction {
    client: Client,
    id: Option<u64>,
}

impl Transaction {
    fn id(&self) -> u64 {
        self.id.expect("a transaction that was ended is gone")
    }

    /// Reads within the transaction.
    pub async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Rows> {
        let params = pack_values(params.iter().map(Value::as_ref));
        Rows::read(self.client.transaction_query(self.id(), sql, &params).await.into_result()?)
    }

    /// Applies a batch within the transaction. If it fails, none of its changes are kept, and the transaction
    /// continues.
    pub async fn apply(&mut self, batch: Batch) -> Result<Applied> {
        let applied = self.client.transaction_apply(self.id(), batch.finish().into());
        Applied::read(&applied.await.into_result()?)
    }

    /// Commits the transaction.
    pub async fn commit(mut self) -> Result<()> {
        let id = self.id.take().expect("a transaction ends once");
        Ok(self.client.transaction_end(id, true).await.into_result()?)
    }

    /// Rolls the transaction back.
    pub async fn rollback(mut self) -> Result<()> {
        let id = self.id.take().expect("a transaction ends once");
        Ok(self.client.transaction_end(id, false).await.into_result()?)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.client.transaction_abandon(id);
        }
    }
}
