//! Wrong codes per user, shared by all nodes of a PostgreSQL database. The rule is that of the in-memory version, as
//! one statement on rows that all nodes see. It never sees a code.

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::attempt_limit::{
    AttemptLimit, FIRST_WAIT_SECONDS, FREE_FAILURES_MAX, MEMORY_SECONDS, WAIT_SECONDS_MAX,
};
use crate::{
    accounts::tokens::now_seconds,
    db::{DbError, Engine},
    error::ApiError,
    sql::{HostSql, integer},
};

/// Nanoseconds since 1970 by the database's clock, constant within a statement.
macro_rules! now {
    () => {
        "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT) * 1000"
    };
}

/// The remaining wait of a row. `?3` is the number of failures without a wait, `?4` the first wait, which doubles, `?5`
/// the longest wait, and `?6` how long failures are remembered.
macro_rules! wait {
    () => {
        "CASE WHEN tries.failures < CAST(?3 AS BIGINT) OR tries.last_at + CAST(?6 AS BIGINT) <= now.at THEN 0 \
         ELSE tries.last_at + LEAST(CAST(?4 AS BIGINT) * \
         CAST(power(2, LEAST(tries.failures - CAST(?3 AS BIGINT), 20)) AS BIGINT), CAST(?5 AS BIGINT)) - now.at END"
    };
}

const TAKE: &str = concat!(
    "INSERT INTO tb_code_tries AS tries (kind, user_id, failures, last_at) VALUES (?1, ?2, 1, ",
    now!(),
    ") ON CONFLICT (kind, user_id) DO UPDATE SET failures = CASE \
     WHEN tries.last_at + CAST(?6 AS BIGINT) <= excluded.last_at THEN 1 ELSE tries.failures + 1 END, \
     last_at = excluded.last_at WHERE (SELECT ",
    wait!(),
    " FROM (SELECT excluded.last_at AS at) AS now) <= 0"
);
const WAIT: &str = concat!(
    "SELECT ",
    wait!(),
    " FROM tb_code_tries AS tries CROSS JOIN (SELECT ",
    now!(),
    " AS at) AS now WHERE tries.kind = ?1 AND tries.user_id = ?2"
);
const FORGET: &str = "DELETE FROM tb_code_tries WHERE kind = ?1 AND user_id = ?2";
const SWEEP: &str = concat!(
    "DELETE FROM tb_code_tries WHERE (kind, user_id) IN (SELECT kind, user_id FROM tb_code_tries \
     WHERE last_at + CAST(?2 AS BIGINT) <= ",
    now!(),
    " ORDER BY last_at LIMIT ?1 FOR UPDATE SKIP LOCKED)"
);

const NANOSECONDS: u64 = 1_000_000_000;

/// The kind of secret that is guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempts {
    /// A code of the second factor.
    Code,
    /// The password, requested again.
    Password,
}

/// The failures of users, kept in this process or shared by all nodes.
#[derive(Debug)]
pub(super) struct AttemptStore {
    attempts: Attempts,
    own: AttemptLimit,
    /// Set if other nodes may use the database.
    shared: Option<HostSql>,
}

impl AttemptStore {
    pub(super) fn new(attempts: Attempts, sql: &HostSql) -> AttemptStore {
        let shared = (sql.database().engine() == Engine::Postgres).then(|| sql.clone());
        AttemptStore { attempts, own: AttemptLimit::default(), shared }
    }

    /// Counts an attempt as failed before it is checked, so that concurrent attempts gain nothing.
    ///
    /// # Errors
    /// 429 `mfa_backoff` if the attempt must not be checked.
    pub(super) async fn take_try(&self, user_id: &str) -> Result<(), ApiError> {
        let Some(sql) = &self.shared else {
            return self.own.take_try(user_id, now_seconds()).map_err(super::factor_check::backoff);
        };
        let params = self.rule(user_id);
        let mut batch = BatchWriter::default();
        batch.push(TAKE, params, Expect::Any);
        if sql.apply(batch).await?.affected == [1] {
            return Ok(());
        }
        let wait = sql.row(WAIT, &params).await?.map_or(0, |row| integer(&row, 0));
        let seconds = u64::try_from(wait).unwrap_or(0).div_ceil(NANOSECONDS);
        Err(super::factor_check::backoff(seconds.max(1)))
    }

    /// Resets a user's failures after a correct code.
    pub(super) async fn succeeded(&self, user_id: &str) -> Result<(), DbError> {
        let Some(sql) = &self.shared else {
            self.own.succeeded(user_id);
            return Ok(());
        };
        let mut batch = BatchWriter::default();
        batch.push(FORGET, [ValueRef::Text(self.kind()), ValueRef::Text(user_id)], Expect::Any);
        sql.apply(batch).await.map(|_| ())
    }

    fn rule<'p>(&'p self, user_id: &'p str) -> [ValueRef<'p>; 6] {
        [
            ValueRef::Text(self.kind()),
            ValueRef::Text(user_id),
            ValueRef::Integer(FREE_FAILURES_MAX.into()),
            nanoseconds(FIRST_WAIT_SECONDS),
            nanoseconds(WAIT_SECONDS_MAX),
            nanoseconds(MEMORY_SECONDS),
        ]
    }

    fn kind(&self) -> &'static str {
        match self.attempts {
            Attempts::Code => "code",
            Attempts::Password => "password",
        }
    }
}

/// Deletes expired shared failures, at most `rows_max`. Returns how many.
pub(super) async fn sweep(sql: &HostSql, rows_max: u64) -> Result<u64, DbError> {
    if sql.database().engine() == Engine::Sqlite {
        return Ok(0);
    }
    let mut batch = BatchWriter::default();
    let params = [ValueRef::Integer(rows_max.cast_signed()), nanoseconds(MEMORY_SECONDS)];
    batch.push(SWEEP, params, Expect::Any);
    Ok(sql.apply(batch).await?.affected.iter().sum())
}

fn nanoseconds(seconds: u64) -> ValueRef<'static> {
    ValueRef::Integer((seconds * NANOSECONDS).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::OnPostgres;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_users_wrong_codes_count_over_all_nodes() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let sql = database.node().await;
        let node = async || AttemptStore::new(Attempts::Code, &database.node().await);
        let nodes = [node().await, node().await];
        for failure in 0..FREE_FAILURES_MAX as usize {
            nodes[failure % 2].take_try("u1").await.unwrap();
        }
        let refused = nodes[1].take_try("u1").await.unwrap_err();
        assert_eq!((refused.status.as_u16(), &*refused.code), (429, "mfa_backoff"));
        assert_eq!(refused.headers.unwrap()["retry-after"], "30");
        nodes[0].take_try("u2").await.unwrap();
        AttemptStore::new(Attempts::Password, &sql).take_try("u1").await.unwrap();
        nodes[1].succeeded("u1").await.unwrap();
        nodes[0].take_try("u1").await.unwrap();
        assert_eq!(sweep(&sql, 100).await.unwrap(), 0);
    }
}
