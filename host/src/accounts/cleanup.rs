//! Deletes expired sessions, refresh tokens and one-time tokens: in small batches, and at most one day's worth at a
//! time, because the clock may be wrong. It never deletes anything still valid.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tokio::task::AbortHandle;

use super::Accounts;
use crate::{
    db::DbError,
    sql::{a_step_at_most, text},
};

/// The maximum number of rows in one batch, so that other writers hardly wait.
const DELETED_AT_ONCE_MAX: u64 = 500;

/// How often the job checks whether it is due. The interval is a setting and may change at any time.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The setting for the interval in minutes.
const INTERVAL: &str = "token_cleanup_interval";

/// The default interval in minutes.
const INTERVAL_MINUTES_DEFAULT: u64 = 60;

/// The time span of one sweep, counted from the earliest expiry. If the clock is ahead during one sweep, only rows that
/// expire within a day are lost.
const STEP_SECONDS: i64 = 86_400;

/// The queries for the earliest expiry, and the deletes: at most `?2` rows that expired at or before `?1`.
const DELETES: [(&str, &str); 3] = [
    (
        "SELECT expires_at FROM tb_refresh_tokens ORDER BY expires_at LIMIT 1",
        "DELETE FROM tb_refresh_tokens WHERE token_hash IN ( \
         SELECT token_hash FROM tb_refresh_tokens WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
    ),
    (
        "SELECT expires_at FROM tb_sessions ORDER BY expires_at LIMIT 1",
        "DELETE FROM tb_sessions WHERE id IN ( \
         SELECT id FROM tb_sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
    ),
    (
        "SELECT expires_at FROM tb_one_time_tokens ORDER BY expires_at LIMIT 1",
        "DELETE FROM tb_one_time_tokens WHERE token_hash IN ( \
         SELECT token_hash FROM tb_one_time_tokens WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
    ),
];

impl Accounts {
    /// Deletes expired sessions and tokens, of each kind at most one day's worth, and expired login waits. Returns the
    /// number of deleted rows.
    ///
    /// # Errors
    /// Database errors; earlier deletions stay in place.
    pub async fn sweep(&self) -> Result<u64, DbError> {
        let mut all = 0;
        for (first, delete) in DELETES {
            let sql = self.users.sql();
            let Some(first) = sql.row(first, &[]).await? else { continue };
            let until = a_step_at_most(&text(&first, 0), STEP_SECONDS, &sql.time_from_now(0));
            loop {
                let mut batch = BatchWriter::default();
                let limit = ValueRef::Integer(DELETED_AT_ONCE_MAX.cast_signed());
                batch.push(delete, [ValueRef::Text(&until), limit], Expect::Any);
                let deleted = sql.apply(batch).await?.affected.iter().sum::<u64>();
                all += deleted;
                if deleted < DELETED_AT_ONCE_MAX {
                    break;
                }
            }
        }
        loop {
            let deleted = self.login_throttle.sweep(DELETED_AT_ONCE_MAX).await?
                + self.second_factors.sweep(DELETED_AT_ONCE_MAX).await?;
            all += deleted;
            if deleted < DELETED_AT_ONCE_MAX {
                return Ok(all);
            }
        }
    }

    /// Sweeps if the interval has passed since `last`.
    async fn sweep_if_due(&self, last: &mut Option<Instant>) -> Result<u64, DbError> {
        let (now, interval) = (self.clock.instant(), self.cleanup_interval().await?);
        // Checks come a little early or late: half an interval of tolerance makes no difference.
        if last.is_some_and(|last| now.duration_since(last) + LOOK_EVERY / 2 < interval) {
            return Ok(0);
        }
        *last = Some(now);
        self.sweep().await
    }

    async fn cleanup_interval(&self) -> Result<Duration, DbError> {
        let settings = self.settings.current().await?;
        let minutes = settings.get(INTERVAL).and_then(serde_json::Value::as_u64);
        Ok(Duration::from_secs(60 * minutes.unwrap_or(INTERVAL_MINUTES_DEFAULT).max(1)))
    }
}

/// The cleanup job. Sweeps at once and then at the interval of the setting `token_cleanup_interval`. Dropping this
/// stops it.
pub struct Cleanup(AbortHandle);

impl Cleanup {
    /// Starts the job. Must be called within the runtime.
    pub fn start(accounts: Arc<Accounts>) -> Cleanup {
        let job = tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            let mut last = None;
            loop {
                looks.tick().await;
                match accounts.sweep_if_due(&mut last).await {
                    Ok(0) => {}
                    Ok(deleted) => tracing::info!(deleted, "deleted expired sessions and tokens"),
                    Err(error) => tracing::error!(%error, "expired sessions and tokens could not be deleted"),
                }
            }
        });
        Cleanup(job.abort_handle())
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.0.abort();
    }
}
