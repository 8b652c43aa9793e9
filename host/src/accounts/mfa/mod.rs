//! The second factor: codes of an authenticator app, recovery codes, and the challenge that links the two steps of a
//! sign-in. It never verifies a first factor, and never begins a session itself.

mod attempt_limit;
mod attempt_store;
mod challenge_store;
mod challenges;
mod enrollment;
mod factor_check;
mod operations;
mod recovery;
mod requests;
mod routes;
mod store;
mod totp;
mod used_challenges;
mod verify;

use std::sync::Arc;

pub(super) use operations::{login as login_operation, session as session_schema};
pub use requests::{Enrollment, MfaStatus, RecoveryCodes, SecondFactorAsked, SignInAnswer};
pub(super) use routes::add as add_routes;

use self::attempt_store::{AttemptStore, Attempts};
use crate::{db::DbError, secrets::Vault, sql::HostSql};

/// The state of second factors, in addition to that of accounts.
#[derive(Debug)]
pub(super) struct SecondFactors {
    sql: HostSql,
    vault: Arc<Vault>,
    challenges: challenges::Challenges,
    code_guesses: AttemptStore,
    password_guesses: AttemptStore,
}

impl SecondFactors {
    /// Creates second factors on the host's database; `vault` seals their secrets.
    pub(super) fn new(sql: HostSql, vault: &Arc<Vault>) -> SecondFactors {
        SecondFactors {
            code_guesses: AttemptStore::new(Attempts::Code, &sql),
            password_guesses: AttemptStore::new(Attempts::Password, &sql),
            challenges: challenges::Challenges::new(Arc::clone(vault), &sql),
            sql,
            vault: Arc::clone(vault),
        }
    }

    /// Deletes expired shared attempts and challenges, at most `rows_max` rows of each. Returns how many.
    pub(super) async fn sweep(&self, rows_max: u64) -> Result<u64, DbError> {
        let attempt_limit = attempt_store::sweep(&self.sql, rows_max).await?;
        Ok(attempt_limit + challenge_store::sweep(&self.sql, rows_max).await?)
    }
}
