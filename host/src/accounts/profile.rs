//! Changes of a user's own email and password, which end the user's other sessions. It never changes other users.

use serde_json::json;
use tinybase_abi::codec::BatchWriter;

use super::{
    Accounts, Caller, ChangeMeRequest, Client, MeAnswer,
    service::{email_taken, refused_by_hook},
    users::{self, User},
};
use crate::{
    audit::{self, Entry},
    db::DbError,
    error::ApiError,
};

impl Accounts {
    /// Changes the caller's email, password or both, and ends all of the caller's sessions except the current one.
    ///
    /// # Errors
    /// 403 `password_wrong`, 400 `email_taken`, 409 `account_changed` if the user was changed concurrently, 429
    /// `login_backoff` after too many wrong passwords, 503 while too many passwords are being hashed.
    pub async fn change_me(
        &self,
        caller: &Caller,
        request: ChangeMeRequest,
        client: &Client,
    ) -> Result<MeAnswer, ApiError> {
        let before = self.confirm_password(caller, request.current_password, client).await?;
        let email = request.email.filter(|email| *email != before.email);
        if email.is_none() && request.password.is_none() {
            return Ok(MeAnswer::of(before));
        }
        let mut change = json!({});
        let mut after = before.clone();
        if let Some(email) = email {
            change["email"] = json!({"from": before.email, "to": email});
            after.email = email;
        }
        if let Some(password) = request.password {
            change["password"] = json!("changed");
            after.password_hash = self.passwords.hash(password).await?.into();
        }
        let entry = Entry { action: "user.update", target_kind: "user", target_id: &before.id, change };
        self.write_change(caller, &before, &after, &entry, client).await?;
        Ok(MeAnswer::of(after))
    }

    async fn write_change(
        &self,
        caller: &Caller,
        before: &User,
        after: &User,
        entry: &Entry<'_>,
        client: &Client,
    ) -> Result<(), ApiError> {
        let mut batch = BatchWriter::default();
        users::change_credentials(&mut batch, before, after);
        Accounts::end_sessions(&mut batch, &before.id, caller.session_id.as_deref());
        audit::push(&mut batch, &client.actor, entry);
        let own = batch.len();
        let event = after.event("user.update");
        self.events().before(&event, &mut batch).await?;
        self.users.sql().apply(batch).await.map_err(|error| match error {
            DbError::Unique { ref table, .. } if table == "tb_users" => email_taken(),
            DbError::Condition { statement, .. } if statement < own => ApiError::conflict(
                "account_changed",
                "the account was changed by another request meanwhile; look at it and try again",
            ),
            other => refused_by_hook(other, own),
        })?;
        self.user_changed(&before.id);
        self.events().after(event);
        Ok(())
    }
}
