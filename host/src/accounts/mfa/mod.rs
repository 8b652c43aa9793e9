//! The second factor: codes of an authenticator app, recovery codes, and the ticket that a sign-in waits with between the
//! factors. It never verifies a first factor, and never begins a session itself.

mod guesses;
mod operations;
mod proof;
mod recovery;
mod requests;
mod routes;
mod store;
mod tickets;
mod totp;
mod upkeep;
mod verify;

use std::sync::Arc;

pub(super) use operations::{login as login_operation, session as session_schema};
pub use requests::{Enrolment, MfaStatus, RecoveryCodes, SecondFactorAsked, SignInAnswer};
pub(super) use routes::add as add_routes;

use crate::{secrets::Vault, sql::HostSql};

/// What second factors need, beside what all accounts have.
#[derive(Debug)]
pub(super) struct SecondFactors {
    sql: HostSql,
    vault: Arc<Vault>,
    tickets: tickets::Tickets,
    code_guesses: guesses::Guesses,
    password_guesses: guesses::Guesses,
}

impl SecondFactors {
    /// Second factors over the host's database; `vault` seals their secrets.
    pub(super) fn new(sql: HostSql, vault: &Arc<Vault>) -> SecondFactors {
        SecondFactors {
            sql,
            vault: Arc::clone(vault),
            tickets: tickets::Tickets::new(Arc::clone(vault)),
            code_guesses: guesses::Guesses::default(),
            password_guesses: guesses::Guesses::default(),
        }
    }
}
