//! Runs one statement on a lent connection: binds parameters, returns rows and a count. It knows nothing of
//! transactions, and retries nothing.

use std::{borrow::Cow, sync::Arc};

use futures_util::StreamExt;
use sqlx::{AssertSqlSafe, Column, Either, Executor, Row, postgres::PgRow};
use tinybase_abi::codec::{Reader, RowsWriter};
use tinybase_postgres::{
    StatementError,
    scope::{self, StatementKind},
    text::is_script,
    values::{self, Wire},
};

use super::{
    Shared,
    errors::{self, Fault},
    pool::{Link, Purpose},
    read_coalescing::Waiting,
    statement::Prepared,
};
use crate::{
    db::{DbError, SqlOwner, turns::CallerKey},
    memory::{Gathering, NoRoom},
};

/// The size of a transfer, in bytes, from which on a connection's buffers are released afterwards.
const STRETCHED_BYTES_MIN: usize = 64 << 10;

/// The effect of a statement.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) affected: u64,
    /// Packed rows; empty if the statement returns none.
    pub(super) rows: Vec<u8>,
    /// Whether the columns differ from those known for the statement.
    is_outdated: bool,
}

/// What a statement does if there is no memory for its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// It waits.
    Waits,
    /// It fails immediately: others wait for it, or for locks that it may have.
    Fails,
}

/// The rows of a result, with its columns.
struct Rows<'p> {
    writer: RowsWriter,
    wires: Cow<'p, [Wire]>,
}

impl<'p> Rows<'p> {
    /// Starts with the first row, whose columns are those of all rows.
    fn begin(prepared: &'p Prepared, row: &PgRow) -> Rows<'p> {
        if prepared.is_answered_by(row) {
            return Rows { writer: prepared.rows(), wires: Cow::Borrowed(&prepared.columns) };
        }
        let columns = row.columns();
        Rows {
            writer: RowsWriter::new(columns.iter().map(Column::name)),
            wires: columns.iter().map(|column| Wire::of(column.type_info())).collect(),
        }
    }
}

/// Runs a read. The text of an extension's read is checked to change nothing; the host's own reads are trusted.
pub(super) async fn query(
    shared: &Shared,
    link: &mut Link,
    scope: &SqlOwner,
    (sql, params): (&str, &[u8]),
    now: &str,
    short: Short,
) -> Result<Vec<u8>, Fault> {
    shared.roles.assume(link, scope).await?;
    let prepared = shared.statements.prepare(link, scope, sql).await?;
    if prepared.kind != StatementKind::Read {
        return Err(DbError::Sql("a query must change nothing; apply it in a batch".to_owned()).into());
    }
    let mut reader = Reader::new(params);
    let effect = execute(shared, short, link, &prepared, &mut reader, now).await?;
    if effect.is_outdated {
        shared.statements.forget(scope, sql);
    }
    if effect.rows.is_empty() { Ok(prepared.rows().finish()) } else { Ok(effect.rows) }
}

/// Runs a statement of a batch. Its parameters are read from `params`, which is advanced past them.
pub(super) async fn change(
    shared: &Shared,
    link: &mut Link,
    scope: &SqlOwner,
    sql: &str,
    params: &mut Reader<'_>,
    now: &str,
) -> Result<Effect, Fault> {
    if params.clone().u32().map_err(DbError::from)? == 0 && is_script(sql) {
        params.u32().map_err(DbError::from)?;
        scope::check(scope.extension(), sql)?;
        shared.roles.assume(link, scope).await?;
        return script(link, sql).await;
    }
    shared.roles.assume(link, scope).await?;
    let prepared = shared.statements.prepare(link, scope, sql).await?;
    let effect = execute(shared, Short::Fails, link, &prepared, params, now).await?;
    if effect.is_outdated {
        shared.statements.forget(scope, sql);
    }
    Ok(effect)
}

async fn execute(
    shared: &Shared,
    short: Short,
    link: &mut Link,
    prepared: &Prepared,
    params: &mut Reader<'_>,
    now: &str,
) -> Result<Effect, Fault> {
    let bytes_max = shared.rows_bytes_max(&prepared.scope);
    let begins_at = params.offset();
    let arguments = values::encode(params, &prepared.params, now).map_err(|error| match error {
        StatementError::Sql(_) => Fault::Misfit(error.into()),
        other => other.into(),
    })?;
    let query =
        sqlx::query_with(AssertSqlSafe(Arc::clone(&prepared.sql)), arguments).persistent(prepared.is_kept);
    let mut rows: Option<Rows<'_>> = None;
    let (mut affected, mut gathering) = (0, Gathering::default());
    link.is_busy = true;
    link.is_stretched |= params.offset() - begins_at + prepared.sql.len() >= STRETCHED_BYTES_MIN;
    let mut answers = link.connection.fetch_many(query);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Either::Left(done)) => affected += done.rows_affected(),
            Ok(Either::Right(row)) => {
                let rows = rows.get_or_insert_with(|| Rows::begin(prepared, &row));
                values::pack_row(&row, &rows.wires, &mut rows.writer)?;
                let bytes = rows.writer.len_bytes();
                link.is_stretched |= bytes >= STRETCHED_BYTES_MIN;
                if bytes > bytes_max {
                    return Err(DbError::TooLarge { bytes_max }.into());
                }
                if gathering.is_short(bytes) {
                    link.waits_for_room = short == Short::Waits;
                    make_room(shared, &mut gathering, bytes, short).await?;
                    link.waits_for_room = false;
                }
            }
            Err(error) => {
                drop(answers);
                link.settle(&error);
                return Err(error.into());
            }
        }
    }
    drop(answers);
    link.is_busy = false;
    if prepared.kind == StatementKind::Read {
        affected = 0;
    }
    let is_outdated = rows.as_ref().is_some_and(|rows| matches!(rows.wires, Cow::Owned(_)));
    let rows = match rows {
        Some(rows) => rows.writer.finish(),
        None if prepared.columns.is_empty() => Vec::new(),
        None => prepared.rows().finish(),
    };
    Ok(Effect { affected, rows, is_outdated })
}

async fn make_room(
    shared: &Shared,
    gathering: &mut Gathering,
    bytes: usize,
    short: Short,
) -> Result<(), DbError> {
    let room = match short {
        Short::Waits => gathering.grow(bytes, CallerKey::current(), &shared.waiting_for_room).await,
        Short::Fails => gathering.grow_to(bytes),
    };
    room.map_err(|NoRoom| DbError::NoRoom)
}

/// Runs a statement for all waiting reads, on its own connection. Returns no rows if that fails, and none for a read
/// whose parameters do not fit: these must run alone.
///
/// # Errors
/// If no connection is available.
pub(super) async fn together(
    shared: &Shared,
    prepared: &Prepared,
    waiting: &[Waiting],
) -> Result<Vec<Option<Vec<u8>>>, DbError> {
    let mut lent = shared.links.lend(Purpose::Read).await?;
    if shared.roles.assume(&mut lent, &prepared.scope).await.is_err() {
        return Ok(Vec::new());
    }
    let now = shared.clock.tick();
    let done = match waiting {
        [] => Ok(Vec::new()),
        [one] => {
            let mut params = Reader::new(&one.params);
            let done = execute(shared, Short::Fails, &mut lent, prepared, &mut params, &now).await;
            done.map(|effect| vec![Some(effect.rows)])
        }
        many => for_many(shared, &mut lent, prepared, many, &now).await,
    };
    if let Err(Fault::Stale(_)) = done {
        // The reads that run alone prepare it again; this connection would keep the old one.
        let _ = shared.renew(&mut lent).await;
    }
    Ok(done.unwrap_or_default())
}

fn other_types() -> Fault {
    Fault::Stale("the types of its columns are others now".to_owned())
}

async fn for_many(
    shared: &Shared,
    link: &mut Link,
    prepared: &Prepared,
    waiting: &[Waiting],
    now: &str,
) -> Result<Vec<Option<Vec<u8>>>, Fault> {
    let Some(gate) = &prepared.gate else { return Ok(Vec::new()) };
    let each = waiting.iter().map(|one| &*one.params);
    let (arguments, places) = values::encode_arrays(each, &prepared.params, now)?;
    let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&gate.sql)), arguments);
    let mut answers: Vec<Option<RowsWriter>> = waiting.iter().map(|_| None).collect();
    for place in &places {
        answers[*place] = Some(prepared.rows());
    }
    let (mut bytes, mut gathering) = (0, Gathering::default());
    let bytes_max = shared.rows_bytes_max(&prepared.scope);
    link.is_busy = true;
    let sent = gate.sql.len() + waiting.iter().map(|one| one.params.len()).sum::<usize>();
    link.is_stretched |= sent >= STRETCHED_BYTES_MIN;
    let mut rows = link.connection.fetch(query);
    while let Some(row) = rows.next().await {
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                drop(rows);
                link.settle(&error);
                return Err(error.into());
            }
        };
        if bytes == 0 && !values::is_of(&row, 1, &prepared.columns) {
            return Err(other_types());
        }
        let place = values::place(&row).and_then(|place| places.get(place));
        let Some(Some(answer)) = place.and_then(|place| answers.get_mut(*place)) else { continue };
        let before = answer.len_bytes();
        values::pack_row_from(&row, 1, &prepared.columns, answer)?;
        bytes += answer.len_bytes() - before;
        link.is_stretched |= bytes >= STRETCHED_BYTES_MIN;
        if bytes > bytes_max {
            return Err(DbError::TooLarge { bytes_max }.into());
        }
        if gathering.is_short(bytes) {
            make_room(shared, &mut gathering, bytes, Short::Fails).await?;
        }
    }
    drop(rows);
    link.is_busy = false;
    Ok(answers.into_iter().map(|answer| answer.map(RowsWriter::finish)).collect())
}

async fn script(link: &mut Link, sql: &str) -> Result<Effect, Fault> {
    link.is_busy = true;
    link.is_stretched |= sql.len() >= STRETCHED_BYTES_MIN;
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut link.connection).await {
        Ok(done) => {
            link.is_busy = false;
            Ok(Effect { affected: done.rows_affected(), rows: Vec::new(), is_outdated: false })
        }
        Err(error) => {
            link.settle(&error);
            Err(errors::of_reading(error))
        }
    }
}
