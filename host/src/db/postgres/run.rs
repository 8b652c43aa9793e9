//! Runs one statement on a lent connection: parameters in, rows and a count out. It knows nothing of transactions, and
//! retries nothing.

use std::sync::Arc;

use futures_util::StreamExt;
use sqlx::{AssertSqlSafe, Either, Executor};
use tinybase_abi::codec::Reader;

use super::{
    Shared,
    errors::Fault,
    pool::Link,
    scope::{self, StatementKind},
    statement::{Prepared, is_script},
    values,
};
use crate::db::{DbError, Scope};

/// What a statement did.
#[derive(Debug)]
pub(super) struct Effect {
    pub(super) affected: u64,
    /// Packed rows; empty where the statement returns none.
    pub(super) rows: Vec<u8>,
}

/// Runs a read. An extension's must change nothing, which the text is looked at for; the host's own are known.
pub(super) async fn query(
    shared: &Shared,
    link: &mut Link,
    scope: &Scope,
    sql: &str,
    params: &[u8],
    now: &str,
) -> Result<Vec<u8>, Fault> {
    let prepared = shared.statements.prepare(link, scope, sql).await?;
    if prepared.kind != StatementKind::Read {
        return Err(DbError::Sql("a query must change nothing; apply it in a batch".to_owned()).into());
    }
    let mut reader = Reader::new(params);
    let effect = execute(shared, link, &prepared, &mut reader, now).await?;
    if effect.rows.is_empty() { Ok(prepared.rows().finish()) } else { Ok(effect.rows) }
}

/// Runs a statement of a batch; its parameters stand in `params`, which is left behind them.
pub(super) async fn change(
    shared: &Shared,
    link: &mut Link,
    scope: &Scope,
    sql: &str,
    params: &mut Reader<'_>,
    now: &str,
) -> Result<Effect, Fault> {
    if params.clone().u32().map_err(DbError::from)? == 0 && is_script(sql) {
        params.u32().map_err(DbError::from)?;
        return script(link, scope, sql).await;
    }
    let prepared = shared.statements.prepare(link, scope, sql).await?;
    execute(shared, link, &prepared, params, now).await
}

async fn execute(
    shared: &Shared,
    link: &mut Link,
    prepared: &Prepared,
    params: &mut Reader<'_>,
    now: &str,
) -> Result<Effect, Fault> {
    let arguments = values::encode(params, &prepared.params, now).map_err(|error| match error {
        DbError::Sql(_) => Fault::Misfit(error),
        other => Fault::Told(other),
    })?;
    let query =
        sqlx::query_with(AssertSqlSafe(Arc::clone(&prepared.sql)), arguments).persistent(prepared.is_kept);
    let mut rows = (!prepared.columns.is_empty()).then(|| prepared.rows());
    let mut affected = 0;
    link.is_busy = true;
    let mut answers = link.connection.fetch_many(query);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Either::Left(done)) => affected += done.rows_affected(),
            Ok(Either::Right(row)) => {
                let Some(rows) = &mut rows else { continue };
                values::pack_row(&row, &prepared.columns, rows)?;
                if rows.len_bytes() > shared.rows_bytes_max {
                    return Err(DbError::TooLarge { bytes_max: shared.rows_bytes_max }.into());
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
    Ok(Effect { affected, rows: rows.map(tinybase_abi::codec::RowsWriter::finish).unwrap_or_default() })
}

async fn script(link: &mut Link, scope: &Scope, sql: &str) -> Result<Effect, Fault> {
    scope::check(scope, sql)?;
    link.is_busy = true;
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut link.connection).await {
        Ok(done) => {
            link.is_busy = false;
            Ok(Effect { affected: done.rows_affected(), rows: Vec::new() })
        }
        Err(error) => {
            link.settle(&error);
            Err(error.into())
        }
    }
}
