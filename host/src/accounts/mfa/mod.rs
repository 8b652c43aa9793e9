//! The second factor: codes of an authenticator app, recovery codes, and the ticket that a sign-in waits with between the
//! factors. It never verifies a first factor, and never begins a session itself.

mod guesses;
mod operations;
mod proof;
mod recovery;
mod requests;
mod routes;
mod shared_guesses;
mod shared_tickets;
mod store;
mod tickets;
mod totp;
mod tried_tickets;
mod upkeep;
mod verify;

use std::sync::Arc;

pub(super) use operations::{login as login_operation, session as session_schema};
pub use requests::{Enrolment, MfaStatus, RecoveryCodes, SecondFactorAsked, SignInAnswer};
pub(super) use routes::add as add_routes;

use self::shared_guesses::{Guessed, UserGuesses};
use crate::{db::DbError, secrets::Vault, sql::HostSql};

/// What second factors need, beside what all accounts have.
#[derive(Debug)]
pub(super) struct SecondFactors {
    sql: HostSql,
    vault: Arc<Vault>,
    tickets: tickets::Tickets,
    code_guesses: UserGuesses,
    password_guesses: UserGuesses,
}

impl SecondFactors {
    /// Second factors over the host's database; `vault` seals their secrets.
    pub(super) fn new(sql: HostSql, vault: &Arc<Vault>) -> SecondFactors {
        SecondFactors {
            code_guesses: UserGuesses::new(Guessed::Code, &sql),
            password_guesses: UserGuesses::new(Guessed::Password, &sql),
            tickets: tickets::Tickets::new(Arc::clone(vault), &sql),
            sql,
            vault: Arc::clone(vault),
        }
    }

    /// Deletes what nodes share of guesses and tickets and is over, `rows_max` rows of each at most. Answers how many.
    pub(super) async fn sweep(&self, rows_max: u64) -> Result<u64, DbError> {
        let guesses = shared_guesses::sweep(&self.sql, rows_max).await?;
        Ok(guesses + shared_tickets::sweep(&self.sql, rows_max).await?)
    }
}
