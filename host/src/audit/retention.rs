//! Retention: entries that are older than the operator wants are deleted, few at a time, and no more than a day of the log in
//! an hour, since the clock may be wrong. It deletes nothing else, since the database refuses.

use std::time::Duration;

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tokio::task::AbortHandle;

use crate::{
    db::DbError,
    sql::{HostSql, a_step_at_most, text, time_from_now},
};

/// How often old entries are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How much of the log one look deletes: a clock that is ahead for an hour takes a day of the oldest entries and no more.
const STEP_SECONDS: i64 = 86_400;
/// How many entries one batch deletes, so that other writers hardly wait.
const DELETED_AT_ONCE_MAX: u64 = 500;

const OLDEST: &str = "SELECT at FROM tb_audit_log ORDER BY at LIMIT 1";
const MOVE_FLOOR: &str = "UPDATE tb_audit_floor SET keep_from = ?1 WHERE keep_from < ?1";
const DELETE: &str =
    "DELETE FROM tb_audit_log WHERE id IN (SELECT id FROM tb_audit_log WHERE at < ?1 ORDER BY at LIMIT ?2)";

/// The job that keeps the log to its age. It ends when this is dropped.
pub struct Retention(Option<AbortHandle>);

impl Retention {
    /// Starts the job; with `days` 0 nothing is ever deleted. To be called within the runtime.
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

/// Gives up entries before `keep_from`, of the oldest day that the log holds at most. Answers how many were deleted.
///
/// # Errors
/// Those of [`sweep`].
pub async fn sweep_a_step(sql: &HostSql, keep_from: &str) -> Result<u64, DbError> {
    match sql.row(OLDEST, &[]).await? {
        Some(oldest) => sweep(sql, &a_step_at_most(&text(&oldest, 0), STEP_SECONDS, keep_from)).await,
        None => Ok(0),
    }
}

/// Gives up every entry before `keep_from` (RFC 3339 UTC with microseconds), which must be at least a day ago. Answers
/// how many were deleted.
///
/// # Errors
/// What the database refuses or fails with.
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
