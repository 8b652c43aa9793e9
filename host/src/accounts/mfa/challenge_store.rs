//! Tracks which challenges were tried and used. They are kept in memory if this process is the only one on the
//! database, or in a table if several nodes may share it. A challenge can thus be used only once, on whichever node. It
//! never opens a challenge.

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{
    challenges::{CHALLENGE_TTL_SECONDS, Challenge, WRONG_CODES_MAX},
    used_challenges::UsedChallenges,
};
use crate::{
    db::{DbError, Engine},
    sql::HostSql,
};

/// Counts an attempt, unless the challenge `?1` was used or tried `?3` times.
const TAKE: &str = "INSERT INTO tb_mfa_tickets AS tickets (id, tries, expires_at) VALUES (?1, 1, ?2) \
     ON CONFLICT (id) DO UPDATE SET tries = tickets.tries + 1 \
     WHERE NOT tickets.used AND tickets.tries < CAST(?3 AS BIGINT)";
const USE: &str = "UPDATE tb_mfa_tickets SET used = true WHERE id = ?1 AND NOT used";
const GIVE_BACK: &str = "UPDATE tb_mfa_tickets SET used = false WHERE id = ?1";
/// Deletes challenges that expired `?2` seconds ago, so that they have also expired on a node whose clock is behind.
const SWEEP: &str = "DELETE FROM tb_mfa_tickets WHERE id IN (SELECT id FROM tb_mfa_tickets \
     WHERE expires_at < CAST(extract(epoch FROM statement_timestamp()) AS BIGINT) - CAST(?2 AS BIGINT) \
     ORDER BY expires_at LIMIT ?1 FOR UPDATE SKIP LOCKED)";

/// The maximum clock difference between nodes in seconds.
const CLOCKS_APART_SECONDS_MAX: u64 = CHALLENGE_TTL_SECONDS;

/// The tried challenges, kept in this process or shared by all nodes.
#[derive(Debug)]
pub(super) struct ChallengeStore {
    own: UsedChallenges,
    /// Set if other nodes may use the database.
    shared: Option<HostSql>,
}

impl ChallengeStore {
    pub(super) fn new(sql: &HostSql) -> ChallengeStore {
        let shared = (sql.database().engine() == Engine::Postgres).then(|| sql.clone());
        ChallengeStore { own: UsedChallenges::default(), shared }
    }

    #[cfg(test)]
    pub(super) fn of_this_process() -> ChallengeStore {
        ChallengeStore { own: UsedChallenges::default(), shared: None }
    }

    /// Counts an attempt. Returns false if the challenge was used or has no attempts left.
    pub(super) async fn take_try(&self, challenge: &Challenge, now_seconds: u64) -> Result<bool, DbError> {
        let Some(sql) = &self.shared else { return Ok(self.own.take_try(challenge, now_seconds)) };
        let id = challenge.id.to_string();
        let (ends, tries) = (challenge.expires_at_seconds.cast_signed(), WRONG_CODES_MAX.into());
        let params = [ValueRef::Text(&id), ValueRef::Integer(ends), ValueRef::Integer(tries)];
        changes_one(sql, TAKE, &params).await
    }

    /// Marks a tried challenge as used. Returns false if another request was first.
    pub(super) async fn use_up(&self, challenge: &Challenge) -> Result<bool, DbError> {
        let Some(sql) = &self.shared else { return Ok(self.own.use_up(challenge)) };
        changes_one(sql, USE, &[ValueRef::Text(&challenge.id.to_string())]).await
    }

    /// Makes a used challenge usable again.
    pub(super) async fn give_back(&self, challenge: &Challenge) -> Result<(), DbError> {
        let Some(sql) = &self.shared else {
            self.own.give_back(challenge);
            return Ok(());
        };
        changes_one(sql, GIVE_BACK, &[ValueRef::Text(&challenge.id.to_string())]).await.map(|_| ())
    }
}

async fn changes_one(sql: &HostSql, statement: &str, params: &[ValueRef<'_>]) -> Result<bool, DbError> {
    let mut batch = BatchWriter::default();
    batch.push(statement, params.iter().copied(), Expect::Any);
    Ok(sql.apply(batch).await?.affected == [1])
}

/// Deletes expired shared challenges, at most `rows_max`. Returns how many.
pub(super) async fn sweep(sql: &HostSql, rows_max: u64) -> Result<u64, DbError> {
    if sql.database().engine() == Engine::Sqlite {
        return Ok(0);
    }
    let mut batch = BatchWriter::default();
    let params = [rows_max, CLOCKS_APART_SECONDS_MAX].map(|number| ValueRef::Integer(number.cast_signed()));
    batch.push(SWEEP, params, Expect::Any);
    Ok(sql.apply(batch).await?.affected.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accounts::tokens::now_seconds, db::testing::OnPostgres};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_over_for_every_node_is_deleted() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let sql = database.node().await;
        let challenges = ChallengeStore::new(&sql);
        let now = now_seconds();
        for begun in [now, now - CHALLENGE_TTL_SECONDS, now - 3 * CHALLENGE_TTL_SECONDS] {
            let challenge = Challenge::new("u1", 7, "mark".into(), "password", begun);
            assert!(challenges.take_try(&challenge, begun).await.unwrap());
        }
        assert_eq!(sweep(&sql, 100).await.unwrap(), 1);
        assert_eq!(sweep(&sql, 100).await.unwrap(), 0);
    }
}
