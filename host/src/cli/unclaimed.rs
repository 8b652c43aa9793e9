//! Notifies the operator of an instance without users: its first login becomes the administrator, and what that login
//! requires. It never creates the user.

use super::{Failure, output};
use crate::accounts::Accounts;

/// Warns in the log and on stdout, as long as there is no user.
pub(super) async fn announce(accounts: &Accounts) -> Result<(), Failure> {
    let Some(token) = accounts.open_setup_token().await? else { return Ok(()) };
    let token = token.reveal();
    tracing::warn!(
        setup_token = token,
        "this instance has no administrator: the first login creates it, from this machine as it is, from elsewhere with the \
         setup token"
    );
    output::line(
        "no administrator yet: the first login creates it, from http://localhost without anything else",
    )?;
    output::line(format!("from elsewhere the first login needs \"setup_token\": \"{token}\""))
}
