//! Runs the host's own statements: values in, rows out. It never runs a statement for a plugin.

use std::{fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tinybase_abi::codec::{BatchWriter, CodecError, Expect, Reader, RowsHead, Value, ValueRef, pack_values};

use crate::db::{Database, DbError, Engine, Query, ReadHint, SqlOwner};

/// One row, in the order of the statement's columns.
pub type Row = Vec<Value>;

/// The database, used in the host's own name.
#[derive(Clone)]
pub struct HostSql(Arc<dyn Database>);

impl fmt::Debug for HostSql {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HostSql({:?})", self.0.engine())
    }
}

/// The result of a batch.
#[derive(Debug)]
pub struct Applied {
    /// How many rows each statement affected.
    pub affected: Vec<u64>,
    /// The rows that each statement returned.
    pub rows: Vec<Vec<Row>>,
}

impl HostSql {
    /// Returns the host's access to `db`.
    pub fn new(db: Arc<dyn Database>) -> HostSql {
        HostSql(db)
    }

    /// Returns the database itself.
    pub fn database(&self) -> &Arc<dyn Database> {
        &self.0
    }

    /// Returns the time `seconds` from now by the database's clock, in its stored form, for comparison with times that
    /// other nodes stored.
    pub fn time_from_now(&self, seconds: i64) -> String {
        let time = self.0.now().saturating_add(SignedDuration::from_secs(seconds));
        stored_time(time.expect("the sum of two times saturates"))
    }

    /// Returns all rows of a read by key or index.
    pub async fn rows(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Vec<Row>, DbError> {
        let packed = pack_values(params.iter().copied());
        let query =
            Query { scope: &SqlOwner::Host, sql, params: &packed, hint: ReadHint::Indexed, deadline: None };
        let answer = self.0.query(query);
        Ok(read_rows(&answer.await?)?)
    }

    /// Returns the first row of a read by key or index.
    pub async fn row(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Option<Row>, DbError> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// Returns all rows of a read of unknown cost, which runs on a reader thread.
    pub async fn scan(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let packed = pack_values(params.iter().map(Value::as_ref));
        let query =
            Query { scope: &SqlOwner::Host, sql, params: &packed, hint: ReadHint::Scan, deadline: None };
        let answer = self.0.query(query);
        Ok(read_rows(&answer.await?)?)
    }

    /// Adds a statement to a batch that locks the rows of `select` until the batch is done, so that what its later
    /// statements read of other rows stays valid if two batches run at once. SQLite has a single writer, so nothing is
    /// added there.
    pub fn hold(&self, batch: &mut BatchWriter, select: &str, params: &[ValueRef<'_>]) {
        if self.0.engine() == Engine::Postgres {
            batch.push(&format!("{select} FOR NO KEY UPDATE"), params.iter().copied(), Expect::Any);
        }
    }

    /// Like [`HostSql::hold`], for rows that may not exist yet: locks the table against other writers until the batch
    /// is done.
    pub fn hold_table(&self, batch: &mut BatchWriter, table: &'static str) {
        if self.0.engine() == Engine::Postgres {
            batch.push(&format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"), [], Expect::Any);
        }
    }

    /// Applies a batch atomically.
    pub async fn apply(&self, batch: BatchWriter) -> Result<Applied, DbError> {
        Ok(read_applied(&self.0.apply(&SqlOwner::Host, batch.finish()).await?)?)
    }

    /// Applies the statements of hooks, and then `batch`, atomically. For a change that requires their work to be done,
    /// such as deleting what other tables refer to. Others wait meanwhile, at most `time_max`.
    ///
    /// # Errors
    /// [`ApplyAfterError`], which says whose part failed.
    pub async fn apply_after(
        &self,
        hooks: BatchWriter,
        batch: BatchWriter,
        time_max: Duration,
    ) -> Result<Applied, ApplyAfterError> {
        if hooks.is_empty() {
            return self.apply(batch).await.map_err(ApplyAfterError::Own);
        }
        let mut transaction = self.0.begin(&SqlOwner::Host, time_max).await.map_err(ApplyAfterError::Own)?;
        transaction.apply(hooks.finish()).await.map_err(ApplyAfterError::Hooks)?;
        let applied = transaction.apply(batch.finish()).await.map_err(ApplyAfterError::Own)?;
        let applied = read_applied(&applied).map_err(|error| ApplyAfterError::Own(error.into()))?;
        transaction.commit().await.map_err(ApplyAfterError::Own)?;
        Ok(applied)
    }
}

/// The part of [`HostSql::apply_after`] that failed.
#[derive(Debug)]
pub enum ApplyAfterError {
    /// The statements of the hooks.
    Hooks(DbError),
    /// The host's own batch, or the transaction.
    Own(DbError),
}

fn read_applied(packed: &[u8]) -> Result<Applied, CodecError> {
    let mut reader = Reader::new(packed);
    reader.text()?;
    let mut applied = Applied { affected: Vec::new(), rows: Vec::new() };
    for _ in 0..reader.u32()? {
        applied.affected.push(reader.u64()?);
        let rows = reader.bytes()?;
        applied.rows.push(if rows.is_empty() { Vec::new() } else { read_rows(rows)? });
    }
    Ok(applied)
}

pub(crate) fn read_rows(packed: &[u8]) -> Result<Vec<Row>, CodecError> {
    let head = RowsHead::read(packed)?;
    let mut reader = Reader::new(&packed[head.start..]);
    let mut row = || head.columns.iter().map(|_| Ok(reader.value()?.to_owned())).collect();
    (0..head.rows).map(|_| row()).collect()
}

/// Returns the text at `column`; empty if it is not text.
pub fn text(row: &Row, column: usize) -> String {
    match row.get(column) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

/// Returns the text at `column`; `None` if it is `NULL`.
pub fn optional_text(row: &Row, column: usize) -> Option<String> {
    match row.get(column) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the integer at `column`; 0 if it is not an integer.
pub fn integer(row: &Row, column: usize) -> i64 {
    match row.get(column) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}

/// Returns the number at `column`; 0 if it is not a number.
pub fn real(row: &Row, column: usize) -> f64 {
    match row.get(column) {
        Some(Value::Real(number)) => *number,
        Some(Value::Integer(number)) => *number as f64,
        _ => 0.0,
    }
}

/// Whether `column` is `NULL`.
pub fn is_null(row: &Row, column: usize) -> bool {
    matches!(row.get(column), None | Some(Value::Null))
}

/// Returns the time `seconds` from now by this machine's clock, in its stored form.
pub fn time_from_now(seconds: i64) -> String {
    let time = Timestamp::now().saturating_add(SignedDuration::from_secs(seconds));
    stored_time(time.expect("the sum of two times saturates"))
}

/// Formats a time in its stored form: RFC 3339 UTC with microseconds.
pub fn stored_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Returns how far a sweep goes: up to `until`, but at most `step_seconds` past the oldest entry. A clock that is ahead
/// for a while thus deletes little more than the next sweeps would have deleted anyway.
pub fn a_step_at_most(oldest: &str, step_seconds: i64, until: &str) -> String {
    let step = SignedDuration::from_secs(step_seconds);
    let reached = match oldest.parse::<Timestamp>() {
        Ok(oldest) => stored_time(oldest.saturating_add(step).expect("the sum of two times saturates")),
        // It is not a time: include this value, but nothing after it.
        Err(_) => format!("{oldest}0"),
    };
    if reached.as_str() < until { reached } else { until.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_goes_a_step_at_most() {
        let (old, day) = ("2026-01-01T00:00:00.000000Z", 86_400);
        let soon = "2026-01-01T12:00:00.000000Z";
        for (oldest, until, reached) in [
            (old, "2027-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"),
            (old, soon, soon),
            (soon, old, old),
            ("2020", old, "20200"),
        ] {
            assert_eq!(a_step_at_most(oldest, day, until), reached);
        }
    }

    #[test]
    fn times_are_stored_with_microseconds_and_sort_as_text() {
        let (now, later) = (time_from_now(0), time_from_now(60));
        assert_eq!((now.len(), now.ends_with('Z')), ("2026-11-23T10:08:51.123456Z".len(), true), "{now}");
        assert!(now < later, "{now} {later}");
    }
}
