//! Retention: deletes entries beyond the configured age, in small batches, and at most one day of the log per hour,
//! because the clock may be wrong. It never deletes other entries: the database refuses that.

use std::time::Duration;

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tokio::task::AbortHandle;

use crate::{
    db::DbError,
    sql::{HostSql, a_step_at_most, text, time_from_now},
};

/// The interval between sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// The time span that one sweep deletes: if the clock is ahead for an hour, only the oldest day is lost.
const STEP_SECONDS: i64 = 86_400;
/// The maximum number of entries in one batch, so that other writers hardly wait.
const DELETED_AT_ONCE_MAX: u64 = 500;

const OLDEST: &str = "SELECT at FROM tb_audit_log ORDER BY at LIMIT 1";
const MOVE_FLOOR: &str = "UPDATE tb_audit_floor SET keep_from = ?1 WHERE keep_from < ?1";
const DELETE: &str =
    "DELETE FROM tb_audit_log WHERE id IN (SELECT id FROM tb_audit_log WHERE at < ?1 ORDER BY at LIMIT ?2)";

/// The job that limits the age of the log. Dropping this stops it.
pub struct Retention(Option<AbortHandle>);

impl Retention {
    /// Starts the job; if `days` is 0, nothing is ever deleted. Must be called within the runtime.
    pub fn start(sql: HostSql, days: u32) -> Retention {
        if days == 0 {
            return Retention(None);
        }
        let job = tokio::spawn(async move {
            let mut clock = tokio::time::interval(SWEEP_EVERY);
            loop {
                clock.tick().await;
                match sweep_a_step(&sql, &time_from_now(-i64::from(days) * 86_400)).await {
                    Ok(0) => {}
                    Ok(deleted) => tracing::info!(deleted, days, "deleted old entries of the audit log"),
                    Err(error) => {
                        tracing::error!(%error, "old entries of the audit log could not be deleted")
                    }
                }
            }
        });
        Retention(Some(job.abort_handle()))
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Deletes entries before `keep_from`, but at most the oldest day of the log. Returns how many were deleted.
///
/// # Errors
/// As [`sweep`].
pub async fn sweep_a_step(sql: &HostSql, keep_from: &str) -> Result<u64, DbError> {
    match sql.row(OLDEST, &[]).await? {
        Some(oldest) => sweep(sql, &a_step_at_most(&text(&oldest, 0), STEP_SECONDS, keep_from)).await,
        None => Ok(0),
    }
}

/// Deletes every entry before `keep_from` (RFC 3339 UTC with microseconds), which must be at least one day ago. Returns
/// how many were deleted.
///
/// # Errors
/// Refusals by the database, and database errors.
pub async fn sweep(sql: &HostSql, keep_from: &str) -> Result<u64, DbError> {
    let mut batch = BatchWriter::default();
    batch.push(MOVE_FLOOR, [ValueRef::Text(keep_from)], Expect::Any);
    sql.apply(batch).await?;
    let mut deleted = 0;
    loop {
        let mut batch = BatchWriter::default();
        let most = i64::try_from(DELETED_AT_ONCE_MAX).expect("a small number");
        batch.push(DELETE, [ValueRef::Text(keep_from), ValueRef::Integer(most)], Expect::Any);
        let now = sql.apply(batch).await?.affected.first().copied().unwrap_or(0);
        deleted += now;
        if now < DELETED_AT_ONCE_MAX {
            return Ok(deleted);
        }
    }
}
