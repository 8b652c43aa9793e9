//! How the host runs its own statements: values in, rows out. It never runs a statement for a plugin.

use std::{fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tinybase_abi::codec::{BatchWriter, CodecError, Expect, Reader, RowsHead, Value, ValueRef, pack_values};

use crate::db::{Database, DbError, Engine, Query, ReadHint, SqlOwner};

/// One row, in the order of the statement's columns.
pub type Row = Vec<Value>;

/// The database in the host's own name.
#[derive(Clone)]
pub struct HostSql(Arc<dyn Database>);

impl fmt::Debug for HostSql {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HostSql({:?})", self.0.engine())
    }
}

/// What a batch did.
#[derive(Debug)]
pub struct Applied {
    /// How many rows each statement affected.
    pub affected: Vec<u64>,
    /// The rows that each statement returned.
    pub rows: Vec<Vec<Row>>,
}

impl HostSql {
    /// The host's own access to `db`.
    pub fn new(db: Arc<dyn Database>) -> HostSql {
        HostSql(db)
    }

    /// The database itself.
    pub fn database(&self) -> &Arc<dyn Database> {
        &self.0
    }

    /// The time `seconds` from now by the database's clock, as times are stored: what is to be held against times that
    /// other nodes stored.
    pub fn time_from_now(&self, seconds: i64) -> String {
        let time = self.0.now().saturating_add(SignedDuration::from_secs(seconds));
        stored_time(time.expect("the sum of two times saturates"))
    }

    /// Every row of a read by key or index.
    pub async fn rows(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Vec<Row>, DbError> {
        let packed = pack_values(params.iter().copied());
        let query =
            Query { scope: &SqlOwner::Host, sql, params: &packed, hint: ReadHint::Indexed, deadline: None };
        let answer = self.0.query(query);
        Ok(read_rows(&answer.await?)?)
    }

    /// The first row of a read by key or index.
    pub async fn row(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Option<Row>, DbError> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// Every row of a read of unknown cost, which a reader thread does.
    pub async fn scan(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let packed = pack_values(params.iter().map(Value::as_ref));
        let query =
            Query { scope: &SqlOwner::Host, sql, params: &packed, hint: ReadHint::Scan, deadline: None };
        let answer = self.0.query(query);
        Ok(read_rows(&answer.await?)?)
    }

    /// Adds to a batch that the rows of `select` change no more until the batch is done, so that what its later statements
    /// read of other rows holds for two who do it at once. SQLite's one writer makes that needless: nothing is added there.
    pub fn hold(&self, batch: &mut BatchWriter, select: &str, params: &[ValueRef<'_>]) {
        if self.0.engine() == Engine::Postgres {
            batch.push(&format!("{select} FOR NO KEY UPDATE"), params.iter().copied(), Expect::Any);
        }
    }

    /// As [`HostSql::hold`], for rows that may not be there yet: nobody else writes the table until the batch is done.
    pub fn hold_table(&self, batch: &mut BatchWriter, table: &'static str) {
        if self.0.engine() == Engine::Postgres {
            batch.push(&format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"), [], Expect::Any);
        }
    }

    /// Applies a batch together or not at all.
    pub async fn apply(&self, batch: BatchWriter) -> Result<Applied, DbError> {
        Ok(read_applied(&self.0.apply(&SqlOwner::Host, batch.finish()).await?)?)
    }

    /// Applies what hooks wanted done, and `batch` behind it, together or not at all. For a change that must find their
    /// work done, such as the end of what other tables refer to; others wait meanwhile, at most `time_max`.
    ///
    /// # Errors
    /// [`ApplyAfterError`], which tells whose part failed.
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

/// Which part of [`HostSql::apply_after`] failed.
#[derive(Debug)]
pub enum ApplyAfterError {
    /// What the hooks wanted done.
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

/// The text at `column`; empty where it is none.
pub fn text(row: &Row, column: usize) -> String {
    match row.get(column) {
        Some(Value::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

/// The text at `column`; `None` where it is `NULL`.
pub fn optional_text(row: &Row, column: usize) -> Option<String> {
    match row.get(column) {
        Some(Value::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

/// The integer at `column`; 0 where it is none.
pub fn integer(row: &Row, column: usize) -> i64 {
    match row.get(column) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}

/// The number at `column`; 0 where it is none.
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

/// The time `seconds` from now by this machine's clock, in the form in which times are stored.
pub fn time_from_now(seconds: i64) -> String {
    let time = Timestamp::now().saturating_add(SignedDuration::from_secs(seconds));
    stored_time(time.expect("the sum of two times saturates"))
}

/// A time in the form in which times are stored: RFC 3339 UTC with microseconds.
pub fn stored_time(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// How far a sweep goes: up to `until`, and no further than `step_seconds` behind the oldest of what there is. So a clock that
/// is ahead for a while costs little more than what the next sweeps would have taken anyway.
pub fn a_step_at_most(oldest: &str, step_seconds: i64, until: &str) -> String {
    let step = SignedDuration::from_secs(step_seconds);
    let reached = match oldest.parse::<Timestamp>() {
        Ok(oldest) => stored_time(oldest.saturating_add(step).expect("the sum of two times saturates")),
        // No time at all: what there is of it, and nothing behind.
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
