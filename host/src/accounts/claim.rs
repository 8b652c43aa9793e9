//! How an instance without users gets its first one: by a login from this machine, or by one with the setup token. The
//! token is derived from the secrets key. It is therefore the same on every node and after every start, and is stored
//! nowhere. It never creates the user itself.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use super::{Accounts, Client, SetupStatus};
use crate::{error::ApiError, secrets::Secret};

/// The prefix of every setup token, so that it is not mistaken for another kind.
const PREFIX: &str = "tbs_";

/// The number of bytes of the derived key in a setup token.
const TOKEN_BYTES: usize = 24;

impl Accounts {
    /// Returns whether the first login is still to come, and what it needs from `client`.
    ///
    /// # Errors
    /// Database errors.
    pub async fn setup_status(&self, client: &Client) -> Result<SetupStatus, ApiError> {
        let needs_setup = self.users.none_yet().await?;
        Ok(SetupStatus { needs_setup, setup_token_required: needs_setup && !client.is_here })
    }

    /// Returns the setup token while there is no user.
    ///
    /// # Errors
    /// Database errors.
    pub async fn open_setup_token(&self) -> Result<Option<Secret>, ApiError> {
        Ok(self.users.none_yet().await?.then(|| self.setup_token().into()))
    }

    /// Refuses new users before there is an administrator.
    pub(super) async fn check_claimed(&self) -> Result<(), ApiError> {
        if self.users.none_yet().await? {
            let detail = "registration is disabled until there is an administrator: the first account is made by signing in \
                          with a password";
            return Err(ApiError::forbidden("setup_needed", detail));
        }
        Ok(())
    }

    /// Refuses a first login that neither comes from this machine nor carries the setup token from the log.
    pub(super) fn check_claim(&self, given: Option<&str>, client: &Client) -> Result<(), ApiError> {
        let Some(given) = given else {
            if client.is_here {
                return Ok(());
            }
            let detail = "this instance has no administrator yet: send the setup token, which the server's log shows at its \
                          start, as setup_token";
            return Err(ApiError::forbidden("setup_token_required", detail));
        };
        if bool::from(self.setup_token().as_bytes().ct_eq(given.as_bytes())) {
            return Ok(());
        }
        tracing::warn!(address = client.actor.address, "a first login came with a wrong setup token");
        let detail = "this is not the setup token; the server's log shows it at its start";
        Err(ApiError::forbidden("setup_token_invalid", detail))
    }

    fn setup_token(&self) -> String {
        let key = self.settings.vault().derive("setup token");
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&key[..TOKEN_BYTES]))
    }
}
