//! Renews sessions: replaces a refresh token by a new pair of tokens. A token that is sent again shortly after, by a
//! second tab or because the response was lost, gets the same pair again. One that is sent again later ends its
//! session, because it may have been stolen. It never begins a session.

use serde_json::json;
use tinybase_abi::codec::{BatchWriter, Expect};

use super::{
    Accounts, Client, LoginAnswer,
    refresh::{self, NewToken, RefreshTokens, Stored},
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
    /// - 400 `not_a_refresh_token` for an access token.
    /// - 401 `refresh_token_invalid` for a token that is unknown, expired, ended or used longer ago than the reuse
    ///   interval. The last case ends its whole session.
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
        if stored.used_at.is_some() {
            return self.repeat(token, &stored, client).await;
        }
        if stored.is_expired || !stored.user.is_active {
            return Err(refresh_token_invalid());
        }
        let (new, now) = (self.refresh_tokens.successor(token), self.refresh_tokens.now());
        let mut batch = BatchWriter::default();
        refresh::mark_used(&mut batch, token, &now);
        sessions::renew(&mut batch, &stored.session_id, stored.user.epoch, &self.sessions.expires_at());
        refresh::insert(&mut batch, &new, &stored.session_id);
        match self.users.sql().apply(batch).await {
            Ok(_) => Ok(self.renewed(&stored, new, &now)),
            Err(DbError::Condition { .. }) => self.lost_race(token, client).await,
            Err(other) => Err(other.into()),
        }
    }

    /// Returns the pair that replaces a token used at `used_at`. It is the same for every request.
    fn renewed(&self, stored: &Stored, new: NewToken, used_at: &str) -> LoginAnswer {
        let access_token = self.tokens.mint_again(&stored.user, &stored.session_id, used_at, &new.token);
        self.answer_with(&stored.user, access_token, new, false)
    }

    /// Handles a token that was used before: returns its pair again if the use was recent, and ends its session
    /// otherwise.
    async fn repeat(&self, token: &str, stored: &Stored, client: &Client) -> Result<LoginAnswer, ApiError> {
        match &stored.used_at {
            Some(used_at) if self.refresh_tokens.may_repeat(used_at) => {
                if !stored.user.is_active {
                    return Err(refresh_token_invalid());
                }
                Ok(self.renewed(stored, self.refresh_tokens.successor(token), used_at))
            }
            _ => Err(self.end_reused(stored, client).await?),
        }
    }

    /// Handles a token that another request used or ended between the read and the write here. If it was used, this
    /// request repeats it.
    async fn lost_race(&self, token: &str, client: &Client) -> Result<LoginAnswer, ApiError> {
        match self.refresh_tokens.find(token).await? {
            Some(stored) if stored.used_at.is_some() => self.repeat(token, &stored, client).await,
            _ => Err(refresh_token_invalid()),
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
            // Of concurrent reuses, the first has ended the session and reported it.
            Err(DbError::Condition { .. }) => return Ok(refresh_token_invalid()),
            Err(other) => return Err(other.into()),
        }
        self.user_changed(&user.id);
        tracing::warn!(
            user_id = user.id,
            session_id,
            "a refresh token came back long after it was used: someone else may hold it, so its session was ended"
        );
        self.events().after(user.event("user.refresh_reused"));
        Ok(refresh_token_invalid())
    }
}

fn refresh_token_invalid() -> ApiError {
    ApiError::unauthorized("refresh_token_invalid", "the refresh token is not valid any more; sign in again")
}
