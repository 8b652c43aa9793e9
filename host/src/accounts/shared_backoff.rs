//! Delays for password guessing, shared by all nodes of a PostgreSQL database. The rules are those of the in-memory
//! version; each is one statement on rows that all nodes see. It never knows whether the account exists.

use std::{net::IpAddr, time::Duration};

use sha2::{Digest, Sha256};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::backoff::{
    ACCOUNT_FAILURES_MAX, ACCOUNT_WINDOW, Burst, FAILURES_FREE, FORGOTTEN_AFTER, STRANGER_WAIT, WAIT_MAX,
    WAIT_MIN, has_to_wait, is_full, network,
};
use crate::{
    clock::Clock,
    db::DbError,
    error::ApiError,
    sql::{HostSql, Row, integer, real},
};

/// Nanoseconds since 1970 by the database's clock, constant within a statement, plus the offset `?2` of tests.
macro_rules! now {
    () => {
        "(CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT) * 1000 + CAST(?2 AS BIGINT))"
    };
}

const LEVEL: &str = concat!("SELECT failures, ", now!(), " - counted_at FROM tb_login_levels WHERE key = ?1");

const WAIT: &str = concat!("SELECT free_at - ", now!(), " FROM tb_login_tries WHERE key = ?1");

/// Makes a stranger wait before the first attempt.
const HOLD: &str = concat!(
    "INSERT INTO tb_login_tries (key, failures, free_at, forgotten_at) VALUES (?1, 0, ",
    now!(),
    " + CAST(?3 AS BIGINT), ",
    now!(),
    " + CAST(?4 AS BIGINT)) ON CONFLICT (key) DO NOTHING"
);

/// Counts a failure, unless concurrent failures mean that this attempt should not have been admitted. `?3` is how long
/// the failure is remembered, `?4` the minimum wait, `?5` the number of failures without a wait, `?6` the first wait,
/// which doubles with each failure, and `?7` the longest wait.
const FAILED: &str = concat!(
    "INSERT INTO tb_login_tries AS tries (key, failures, free_at, forgotten_at) VALUES (?1, 1, ",
    now!(),
    " + CAST(?4 AS BIGINT), ",
    now!(),
    " + CAST(?3 AS BIGINT)) ON CONFLICT (key) DO UPDATE SET (failures, free_at, forgotten_at) = ( \
     SELECT counted.failures, ",
    now!(),
    " + GREATEST(CAST(?4 AS BIGINT), CASE WHEN counted.failures < CAST(?5 AS BIGINT) THEN 0 ELSE LEAST( \
     CAST(?6 AS BIGINT) * CAST(power(2, LEAST(counted.failures - CAST(?5 AS BIGINT), 20)) AS BIGINT), \
     CAST(?7 AS BIGINT)) END), ",
    now!(),
    " + CAST(?3 AS BIGINT) FROM (SELECT CASE WHEN tries.forgotten_at <= ",
    now!(),
    " THEN 1 ELSE tries.failures + 1 END AS failures) AS counted) WHERE tries.free_at <= ",
    now!(),
    " RETURNING failures"
);

/// Counts a failure of an account; `?3` is the number of nanoseconds in which one drains away.
const RAISE: &str = concat!(
    "INSERT INTO tb_login_levels AS level (key, failures, counted_at) VALUES (?1, 1, ",
    now!(),
    ") ON CONFLICT (key) DO UPDATE SET failures = GREATEST(level.failures - GREATEST(",
    now!(),
    " - level.counted_at, 0) / CAST(?3 AS DOUBLE PRECISION), 0) + 1, counted_at = ",
    now!(),
    " RETURNING failures"
);

const FORGET: &str = concat!("DELETE FROM tb_login_tries WHERE key = ?1 AND free_at <= ", now!());

/// Deletes at most `?1` expired rows.
pub(super) const SWEEP_TRIES: &str = concat!(
    "DELETE FROM tb_login_tries WHERE key IN (SELECT key FROM tb_login_tries \
     WHERE forgotten_at <= ",
    now!(),
    " ORDER BY forgotten_at LIMIT ?1 FOR UPDATE SKIP LOCKED)"
);
/// Deletes at most `?1` levels that have drained away; `?3` is as above.
pub(super) const SWEEP_LEVELS: &str = concat!(
    "DELETE FROM tb_login_levels WHERE key IN (SELECT key FROM tb_login_levels WHERE failures * CAST(?3 AS DOUBLE PRECISION) <= ",
    now!(),
    " - counted_at LIMIT ?1 FOR UPDATE SKIP LOCKED)"
);

/// The state of all waits, shared by all nodes.
#[derive(Debug)]
pub(super) struct SharedBackoff {
    sql: HostSql,
    clock: Clock,
}

/// The key of a row, the same on every node.
type Key = [u8; 16];

impl SharedBackoff {
    pub(super) fn new(sql: HostSql, clock: Clock) -> SharedBackoff {
        SharedBackoff { sql, clock }
    }

    /// Returns the same rules with another clock.
    pub(super) fn with_clock(self, clock: Clock) -> SharedBackoff {
        SharedBackoff { clock, ..self }
    }

    pub(super) async fn is_throttled(&self, email: &str) -> Result<bool, DbError> {
        let row = self.sql.row(LEVEL, &[ValueRef::Blob(&account(email)), self.ahead()]).await?;
        Ok(row.is_some_and(|row| {
            let drained = integer(&row, 1).max(0) as f64 / nanoseconds_a_failure();
            is_full(real(&row, 0) - drained)
        }))
    }

    pub(super) async fn admit(
        &self,
        email: &str,
        address: IpAddr,
        is_stranger: bool,
    ) -> Result<(), ApiError> {
        let key = attempt(email, address);
        if is_stranger {
            let times = [nanoseconds(STRANGER_WAIT), nanoseconds(FORGOTTEN_AFTER)];
            let mut batch = BatchWriter::default();
            batch.push(HOLD, [ValueRef::Blob(&key), self.ahead(), times[0], times[1]], Expect::Any);
            self.sql.apply(batch).await?;
        }
        self.wait(&key).await
    }

    pub(super) async fn failed(
        &self,
        email: &str,
        address: IpAddr,
        is_stranger: bool,
    ) -> Result<Option<Burst>, ApiError> {
        let (key, account) = (attempt(email, address), account(email));
        let mut batch = BatchWriter::default();
        let params = [
            ValueRef::Blob(&key),
            self.ahead(),
            nanoseconds(FORGOTTEN_AFTER),
            nanoseconds(if is_stranger { STRANGER_WAIT } else { Duration::ZERO }),
            ValueRef::Integer(FAILURES_FREE.into()),
            nanoseconds(WAIT_MIN),
            nanoseconds(WAIT_MAX),
        ];
        batch.push(FAILED, params, Expect::Exactly(1));
        let params = [ValueRef::Blob(&account), self.ahead(), ValueRef::Real(nanoseconds_a_failure())];
        batch.push(RAISE, params, Expect::Any);
        let applied = match self.sql.apply(batch).await {
            Err(DbError::Condition { statement: 0, .. }) => {
                self.wait(&key).await?;
                // The wait caused by the first failure has just ended.
                return Err(has_to_wait(Duration::ZERO));
            }
            other => other?,
        };
        let first = |at: usize| applied.rows.get(at).and_then(|rows| rows.first());
        let begins = first(0).is_some_and(|row| integer(row, 0) == i64::from(FAILURES_FREE));
        let level = first(1).map_or(0.0, |row| real(row, 0));
        let guarded = is_full(level) && !is_full(level - 1.0);
        Ok(if guarded { Some(Burst::OfAccount) } else { begins.then_some(Burst::OfNetwork) })
    }

    pub(super) async fn succeeded(&self, email: &str, address: IpAddr) -> Result<(), ApiError> {
        let key = attempt(email, address);
        let Some(row) = self.sql.row(WAIT, &[ValueRef::Blob(&key), self.ahead()]).await? else {
            return Ok(());
        };
        waited(&row)?;
        let mut batch = BatchWriter::default();
        batch.push(FORGET, [ValueRef::Blob(&key), self.ahead()], Expect::Any);
        if self.sql.apply(batch).await?.affected == [0] {
            self.wait(&key).await?;
        }
        Ok(())
    }

    /// Deletes expired rows, at most `rows_max` of each kind. Returns how many.
    pub(super) async fn sweep(&self, rows_max: u64) -> Result<u64, DbError> {
        let mut batch = BatchWriter::default();
        let most = ValueRef::Integer(rows_max.cast_signed());
        batch.push(SWEEP_TRIES, [most, self.ahead()], Expect::Any);
        let drain = ValueRef::Real(nanoseconds_a_failure());
        batch.push(SWEEP_LEVELS, [most, self.ahead(), drain], Expect::Any);
        Ok(self.sql.apply(batch).await?.affected.iter().sum())
    }

    async fn wait(&self, key: &Key) -> Result<(), ApiError> {
        let row = self.sql.row(WAIT, &[ValueRef::Blob(key), self.ahead()]).await?;
        row.map_or(Ok(()), |row| waited(&row))
    }

    fn ahead(&self) -> ValueRef<'static> {
        nanoseconds(self.clock.ahead())
    }
}

fn waited(row: &Row) -> Result<(), ApiError> {
    match u64::try_from(integer(row, 0)) {
        Ok(wait) if wait > 0 => Err(has_to_wait(Duration::from_nanos(wait))),
        _ => Ok(()),
    }
}

fn nanoseconds(time: Duration) -> ValueRef<'static> {
    ValueRef::Integer(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}

/// Returns the nanoseconds in which one failure of an account drains away.
fn nanoseconds_a_failure() -> f64 {
    ACCOUNT_WINDOW.as_nanos() as f64 / ACCOUNT_FAILURES_MAX
}

fn account(email: &str) -> Key {
    key(Sha256::new().chain_update("account").chain_update(email))
}

fn attempt(email: &str, address: IpAddr) -> Key {
    // An email contains no NUL.
    let network = network(address).to_string();
    key(Sha256::new().chain_update("attempt").chain_update(email).chain_update("\0").chain_update(network))
}

fn key(hash: Sha256) -> Key {
    *hash.finalize().first_chunk().expect("a hash is longer than a key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::OnPostgres;

    const EMAIL: &str = "ada@example.org";

    fn from(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn seconds(refused: Result<(), ApiError>) -> u64 {
        let Err(refused) = refused else { return 0 };
        assert_eq!((refused.status.as_u16(), &*refused.code), (429, "login_backoff"));
        refused.headers.unwrap()["retry-after"].to_str().unwrap().parse().unwrap()
    }

    async fn nodes(database: &OnPostgres) -> (Clock, [SharedBackoff; 2]) {
        let clock = Clock::default();
        let node = async || SharedBackoff::new(database.node().await, clock.clone());
        (clock.clone(), [node().await, node().await])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn waits_hold_on_every_node_and_double() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let (clock, [one, other]) = nodes(&database).await;
        let mut waits = Vec::new();
        for failure in 1..=8 {
            let (here, there) = if failure % 2 == 0 { (&one, &other) } else { (&other, &one) };
            let burst = here.failed(EMAIL, from(1), false).await.unwrap();
            assert_eq!(burst, (failure == 5).then_some(Burst::OfNetwork), "{failure}");
            let wait = seconds(there.admit(EMAIL, from(1), false).await);
            waits.push(wait);
            clock.advance(Duration::from_secs(wait));
            there.admit(EMAIL, from(1), false).await.unwrap();
        }
        assert_eq!(waits, [0, 0, 0, 0, 2, 4, 8, 16]);
        one.admit("bob@example.org", from(1), false).await.unwrap();
        one.succeeded(EMAIL, from(1)).await.unwrap();
        assert_eq!(other.failed(EMAIL, from(1), false).await.unwrap(), None, "a success ends the waits");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_guesses_at_once_over_all_nodes_only_the_first_are_answered() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let (_, nodes) = nodes(&database).await;
        let nodes = nodes.map(std::sync::Arc::new);
        let tried = (0..40).map(|number: usize| {
            let node = std::sync::Arc::clone(&nodes[number % 2]);
            tokio::spawn(async move { node.failed(EMAIL, from(1), false).await.is_ok() })
        });
        let mut answered = 0;
        for tried in tried.collect::<Vec<_>>() {
            answered += usize::from(tried.await.unwrap());
        }
        assert_eq!(answered, 5);
        assert!(
            seconds(nodes[0].succeeded(EMAIL, from(1)).await) > 0,
            "a right guess is told to who should wait"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_account_that_many_guess_is_guarded_everywhere_and_forgotten_in_the_end() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let (clock, [one, other]) = nodes(&database).await;
        for number in 1..50 {
            assert_eq!(one.failed(EMAIL, from(number), false).await.unwrap(), None);
        }
        assert!(!other.is_throttled(EMAIL).await.unwrap());
        assert_eq!(one.failed(EMAIL, from(50), false).await.unwrap(), Some(Burst::OfAccount));
        assert!(other.is_throttled(EMAIL).await.unwrap());
        assert_eq!(seconds(other.admit(EMAIL, from(99), true).await), 60);
        assert_eq!(one.sweep(1_000).await.unwrap(), 0);
        clock.advance(2 * ACCOUNT_WINDOW);
        assert!(!other.is_throttled(EMAIL).await.unwrap());
        assert_eq!(one.sweep(1_000).await.unwrap(), 52, "51 networks and an account");
    }
}
