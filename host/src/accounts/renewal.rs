//! How a session goes on: a refresh token is replaced by a new pair of tokens. One that comes back after it was used
//! ends its session, for someone else may hold it. It never begins a session.

use serde_json::json;
use tinybase_abi::codec::{BatchWriter, Expect};

use super::{
    Accounts, Client, LoginAnswer,
    refresh::{self, RefreshTokens, Stored},
    sessions,
    tokens::TokenFault,
};
use crate::{
    audit::{self, Entry},
    db::DbError,
    error::ApiError,
};

impl Accounts {
    /// Replaces a refresh token by a new pair.
    ///
    /// # Errors
    /// 400 `not_a_refresh_token` for an access token, 401 `refresh_token_invalid` for one that is unknown, expired,
    /// ended or used before; the last ends its whole session.
    pub async fn refresh(&self, token: &str, client: &Client) -> Result<LoginAnswer, ApiError> {
        if !RefreshTokens::has_form(token) {
            return Err(match self.tokens.verify(token) {
                Ok(_) | Err(TokenFault::Expired) => ApiError::bad_request(
                    "not_a_refresh_token",
                    "this is an access token; send the refresh token",
                ),
                Err(TokenFault::Invalid) => refresh_token_invalid(),
            });
        }
        let stored = self.refresh_tokens.find(token).await?.ok_or_else(refresh_token_invalid)?;
        if stored.is_used {
            return Err(self.end_reused(&stored, client).await?);
        }
        if stored.is_expired || !stored.user.is_active {
            return Err(refresh_token_invalid());
        }
        let new = self.refresh_tokens.make();
        let mut batch = BatchWriter::default();
        refresh::mark_used(&mut batch, token);
        sessions::renew(&mut batch, &stored.session_id, stored.user.epoch, &self.sessions.expires_at());
        refresh::insert(&mut batch, &new, &stored.session_id);
        match self.users.sql().apply(batch).await {
            Ok(_) => Ok(self.answer(&stored.user, &stored.session_id, new, false)),
            Err(DbError::Condition { .. }) => Err(self.lost_race(token, client).await?),
            Err(other) => Err(other.into()),
        }
    }

    /// Another request used or ended the token between our read and our write: if it used it, that is a reuse.
    async fn lost_race(&self, token: &str, client: &Client) -> Result<ApiError, ApiError> {
        match self.refresh_tokens.find(token).await? {
            Some(stored) if stored.is_used => self.end_reused(&stored, client).await,
            _ => Ok(refresh_token_invalid()),
        }
    }

    async fn end_reused(&self, stored: &Stored, client: &Client) -> Result<ApiError, ApiError> {
        let (user, session_id) = (&stored.user, &stored.session_id);
        let mut batch = BatchWriter::default();
        sessions::delete(&mut batch, session_id, &user.id, Expect::Exactly(1));
        audit::push(
            &mut batch,
            &client.actor,
            &Entry {
                action: "session.reuse",
                target_kind: "session",
                target_id: session_id,
                change: json!({"user_id": user.id}),
            },
        );
        match self.users.sql().apply(batch).await {
            Ok(_) => {}
            // Several reuses at once: the first has ended the session and told of it.
            Err(DbError::Condition { .. }) => return Ok(refresh_token_invalid()),
            Err(other) => return Err(other.into()),
        }
        self.user_changed(&user.id);
        tracing::warn!(
            user_id = user.id,
            session_id,
            "a refresh token came back after it was used: someone else may hold it, so its session was ended"
        );
        self.events().after(user.event("user.refresh_reused"));
        Ok(refresh_token_invalid())
    }
}

fn refresh_token_invalid() -> ApiError {
    ApiError::unauthorized("refresh_token_invalid", "the refresh token is not valid any more; sign in again")
}
