//! Challenges for users who have passed the first factor and need the second. A challenge contains all its data,
//! sealed; only its use and its number of attempts are stored separately. It never verifies a code.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::challenge_store::ChallengeStore;
use crate::{db::DbError, secrets::Vault, sql::HostSql};

/// How long a challenge is valid, in seconds.
pub(super) const CHALLENGE_TTL_SECONDS: u64 = 300;

/// The number of codes that may be tried with one challenge.
pub(super) const WRONG_CODES_MAX: u32 = 5;

/// The longest challenge that is opened, in bytes.
const TICKET_BYTES_MAX: usize = 2048;

/// The purpose for which challenges are sealed.
const PURPOSE: &str = "second factor ticket";

/// The contents of a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::accounts) struct Challenge {
    /// The challenge's id.
    pub(super) id: Uuid,
    /// The user's id.
    pub(super) user_id: String,
    /// The user's epoch at creation; a later one invalidates the challenge.
    pub(super) epoch: i64,
    /// A digest that shows whether the password has changed.
    pub(super) password_mark: String,
    /// The method of the first factor.
    pub(super) method: String,
    /// When it expires, in seconds since 1970.
    pub(super) expires_at_seconds: u64,
}

impl Challenge {
    pub(super) fn new(
        user_id: &str,
        epoch: i64,
        password_mark: String,
        method: &str,
        now_seconds: u64,
    ) -> Challenge {
        Challenge {
            id: Uuid::new_v4(),
            user_id: user_id.to_owned(),
            epoch,
            password_mark,
            method: method.to_owned(),
            expires_at_seconds: now_seconds + CHALLENGE_TTL_SECONDS,
        }
    }
}

/// Creates and opens challenges.
#[derive(Debug)]
pub(super) struct Challenges {
    vault: Arc<Vault>,
    tried: ChallengeStore,
}

impl Challenges {
    pub(super) fn new(vault: Arc<Vault>, sql: &HostSql) -> Challenges {
        Challenges { vault, tried: ChallengeStore::new(sql) }
    }

    /// Returns the sealed form for the client.
    pub(super) fn seal(&self, challenge: &Challenge) -> String {
        let plain = serde_json::to_vec(challenge).expect("a ticket is JSON");
        self.vault.seal(PURPOSE, &plain)
    }

    /// Opens a challenge that this host sealed and that has not expired.
    fn open(&self, sealed: &str, now_seconds: u64) -> Option<Challenge> {
        if sealed.len() > TICKET_BYTES_MAX {
            return None;
        }
        let plain = self.vault.open(PURPOSE, sealed).ok()?;
        let challenge = serde_json::from_slice::<Challenge>(&plain).ok()?;
        (challenge.expires_at_seconds > now_seconds).then_some(challenge)
    }

    /// Opens a challenge and counts an attempt. Returns `None` if the challenge is not from this host, has expired, was
    /// used, or has no attempts left.
    pub(super) async fn take_try(
        &self,
        sealed: &str,
        now_seconds: u64,
    ) -> Result<Option<Challenge>, DbError> {
        let Some(challenge) = self.open(sealed, now_seconds) else { return Ok(None) };
        Ok(self.tried.take_try(&challenge, now_seconds).await?.then_some(challenge))
    }

    /// Marks a challenge as used. Returns false if another request was first.
    pub(super) async fn use_up(&self, challenge: &Challenge) -> Result<bool, DbError> {
        self.tried.use_up(challenge).await
    }

    /// Makes a challenge usable again whose session did not begin.
    pub(super) async fn give_back(&self, challenge: &Challenge) -> Result<(), DbError> {
        self.tried.give_back(challenge).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::OnPostgres;

    fn vault() -> Arc<Vault> {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(Vault::load_or_create(dir.path()).unwrap())
    }

    fn challenge(now_seconds: u64) -> Challenge {
        Challenge::new("u1", 7, "mark".into(), "password", now_seconds)
    }

    fn alone() -> Challenges {
        Challenges { vault: vault(), tried: ChallengeStore::of_this_process() }
    }

    #[test]
    fn a_ticket_says_what_was_sealed_until_its_time_is_over() {
        let (challenges, challenge) = (alone(), challenge(1000));
        let sealed = challenges.seal(&challenge);
        assert!(!sealed.contains("password"), "{sealed}");
        assert_eq!(challenges.open(&sealed, 1000 + CHALLENGE_TTL_SECONDS - 1), Some(challenge));
        assert_eq!(challenges.open(&sealed, 1000 + CHALLENGE_TTL_SECONDS), None);
        for forged in [String::new(), "v1.a.b".into(), sealed[..sealed.len() - 1].into(), "x".repeat(1 << 20)]
        {
            assert_eq!(challenges.open(&forged, 1000), None);
        }
        assert_eq!(alone().open(&sealed, 1000), None, "another host took it");
    }

    /// Checks the limits, attempts and single use, with two stores of the same challenges in alternation.
    async fn holds_to_its_limits(ways: [&Challenges; 2]) {
        let guessed = ways[0].seal(&challenge(0));
        for at in 0..WRONG_CODES_MAX as usize {
            assert!(ways[at % 2].take_try(&guessed, 1).await.unwrap().is_some());
        }
        for way in ways {
            assert_eq!(way.take_try(&guessed, 1).await.unwrap(), None);
        }
        let used = ways[0].seal(&challenge(0));
        let opened = ways[0].take_try(&used, 1).await.unwrap().unwrap();
        assert!(ways[1].use_up(&opened).await.unwrap() && !ways[0].use_up(&opened).await.unwrap());
        assert_eq!(ways[0].take_try(&used, 1).await.unwrap(), None);
        ways[0].give_back(&opened).await.unwrap();
        assert!(ways[1].take_try(&used, 1).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn it_stands_so_many_wrong_codes_and_one_use() {
        let challenges = alone();
        holds_to_its_limits([&challenges; 2]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_stands_them_once_whichever_node_is_asked() {
        let Some(database) = OnPostgres::migrated().await else { return };
        let vault = vault();
        let node = async || Challenges::new(Arc::clone(&vault), &database.node().await);
        holds_to_its_limits([&node().await, &node().await]).await;
    }
}
