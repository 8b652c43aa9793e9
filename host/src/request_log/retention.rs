//! Retention: deletes rows beyond the configured age or number, in small batches. Of the old rows it deletes at most
//! one hour of the log per minute, because the clock may be wrong. It never deletes others.

use std::time::Duration;

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tokio::task::AbortHandle;

use crate::{
    config,
    db::DbError,
    sql::{HostSql, a_step_at_most, text, time_from_now},
};

/// The interval between sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// The time span that one sweep deletes for age: if the clock is ahead for a minute, only the oldest hour is lost.
const STEP_SECONDS: i64 = 3600;
/// The maximum number of rows in one batch, so that other writers hardly wait.
const DELETED_AT_ONCE_MAX: u64 = 500;

const OLDEST: &str = "SELECT at FROM tb_request_log ORDER BY at LIMIT 1";
const DELETE_OLD: &str = "DELETE FROM tb_request_log WHERE id IN \
     (SELECT id FROM tb_request_log WHERE at < ?1 ORDER BY at LIMIT ?2)";
/// Ids only have gaps where rows were deleted, so at most `?1` rows remain.
const DELETE_EXCESS: &str = "DELETE FROM tb_request_log WHERE id IN (SELECT id FROM tb_request_log \
     WHERE id <= (SELECT max(id) FROM tb_request_log) - ?1 ORDER BY id LIMIT ?2)";

/// The job that limits the log's age and size. Dropping this stops it.
pub struct Retention(AbortHandle);

impl Retention {
    /// Starts the job, which sweeps at once and then every minute. It also runs if the log is disabled, because earlier
    /// rows still age. Must be called within the runtime.
    pub fn start(sql: HostSql, config: &config::RequestLog) -> Retention {
        let (days, rows_max) = (config.retention_days, config.rows_max);
        let job = tokio::spawn(async move {
            let mut clock = tokio::time::interval(SWEEP_EVERY);
            loop {
                clock.tick().await;
                let keep_from = (days > 0).then(|| time_from_now(-i64::from(days) * 86_400));
                match sweep_a_step(&sql, keep_from.as_deref(), rows_max).await {
                    Ok(0) => {}
                    Ok(deleted) => tracing::debug!(deleted, "deleted old rows of the request log"),
                    Err(error) => tracing::error!(%error, "old rows of the request log could not be deleted"),
                }
            }
        });
        Retention(job.abort_handle())
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sweeps as [`sweep`] does, but deletes at most the oldest hour of the rows from before `keep_from`.
///
/// # Errors
/// As [`sweep`].
pub async fn sweep_a_step(sql: &HostSql, keep_from: Option<&str>, rows_max: u64) -> Result<u64, DbError> {
    let oldest = match keep_from {
        Some(_) => sql.row(OLDEST, &[]).await?,
        None => None,
    };
    let keep_from = oldest
        .zip(keep_from)
        .map(|(oldest, keep_from)| a_step_at_most(&text(&oldest, 0), STEP_SECONDS, keep_from));
    sweep(sql, keep_from.as_deref(), rows_max).await
}

/// Deletes rows from before `keep_from` (RFC 3339 UTC with microseconds), and the oldest rows beyond `rows_max`.
/// Returns how many were deleted.
///
/// # Errors
/// Database errors; earlier deletions stay in place.
pub async fn sweep(sql: &HostSql, keep_from: Option<&str>, rows_max: u64) -> Result<u64, DbError> {
    let mut deleted = 0;
    if let Some(keep_from) = keep_from {
        deleted += delete(sql, DELETE_OLD, ValueRef::Text(keep_from)).await?;
    }
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    Ok(deleted + delete(sql, DELETE_EXCESS, ValueRef::Integer(rows_max)).await?)
}

async fn delete(sql: &HostSql, statement: &str, bound: ValueRef<'_>) -> Result<u64, DbError> {
    let mut deleted = 0;
    loop {
        let mut batch = BatchWriter::default();
        let most = ValueRef::Integer(DELETED_AT_ONCE_MAX.cast_signed());
        batch.push(statement, [bound, most], Expect::Any);
        let now = sql.apply(batch).await?.affected.iter().sum::<u64>();
        deleted += now;
        if now < DELETED_AT_ONCE_MAX {
            return Ok(deleted);
        }
    }
}
