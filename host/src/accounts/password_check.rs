//! Verifies passwords: guessers wait first, and the response takes equally long if there is no such user. It never
//! begins a session.

use serde_json::json;
use tinybase_abi::codec::BatchWriter;

use super::{
    Accounts, Caller, Client,
    backoff::{Burst, network},
    login_throttle::Try,
    password_rules::may_be_stored,
    users::User,
};
use crate::{
    audit::{self, Entry},
    error::ApiError,
};

impl Accounts {
    /// Returns the user with this email if the password is right and the user may sign in. Message and timing are the
    /// same if there is no such user.
    ///
    /// # Errors
    /// 429 `login_backoff` after too many wrong passwords; 503 while too many passwords are being verified.
    pub(super) async fn prove_password(
        &self,
        email: &str,
        user: Option<User>,
        password: String,
        client: &Client,
    ) -> Result<Option<User>, ApiError> {
        let tried = Try { email, address: client.address() };
        let is_stranger =
            self.login_throttle.is_throttled(tried).await? && !self.knows_network(email, client).await?;
        self.login_throttle.admit(tried, is_stranger).await?;
        let verified = may_be_stored(&password) && {
            let stored = user.as_ref().map(|user| user.password_hash.reveal().to_owned());
            self.passwords.verify(password, stored).await?
        };
        let proved = user.filter(|user| verified && user.is_active);
        if proved.is_some() {
            self.login_throttle.succeeded(tried).await?;
        } else if let Some(burst) = self.login_throttle.failed(tried, is_stranger).await? {
            self.tell_of_guesses(email, burst, client);
        }
        Ok(proved)
    }

    /// Returns the caller's user if the password is right. It is required again before actions that a stolen token must
    /// not allow.
    ///
    /// # Errors
    /// 403 `password_wrong`, and as [`Accounts::prove_password`].
    pub(super) async fn confirm_password(
        &self,
        caller: &Caller,
        password: String,
        client: &Client,
    ) -> Result<User, ApiError> {
        let user = self.users.by_id(&caller.user_id).await?;
        let email = user.as_ref().map_or_else(|| caller.email.clone(), |user| user.email.clone());
        let proved = self.prove_password(&email, user, password, client).await?;
        proved.ok_or_else(|| {
            ApiError::forbidden("password_wrong", "the current password is wrong; nothing was changed")
        })
    }

    /// Returns whether a session of this account began from the client's network.
    async fn knows_network(&self, email: &str, client: &Client) -> Result<bool, ApiError> {
        let addresses = self.sessions.addresses_of(email).await?;
        let Some(here) = client.address().map(network) else { return Ok(false) };
        Ok(addresses
            .iter()
            .filter_map(|address| address.parse().ok())
            .any(|address| network(address) == here))
    }

    /// Writes an entry to the audit log, outside the request path, so that known and unknown emails take equally long.
    fn tell_of_guesses(&self, email: &str, burst: Burst, client: &Client) {
        let scope = match burst {
            Burst::OfNetwork => "network",
            Burst::OfAccount => "account",
        };
        tracing::warn!(
            address = client.actor.address,
            scope,
            "many wrong passwords for one account: who guesses waits"
        );
        let (sql, actor, email) = (self.users.sql().clone(), client.actor.clone(), email.to_owned());
        tokio::spawn(async move {
            let mut batch = BatchWriter::default();
            let change = json!({"scope": scope});
            let entry =
                Entry { action: "user.login_backoff", target_kind: "email", target_id: &email, change };
            audit::push(&mut batch, &actor, &entry);
            if let Err(error) = sql.apply(batch).await {
                tracing::error!(%error, "the audit log lacks an entry on guessed passwords");
            }
        });
    }
}
