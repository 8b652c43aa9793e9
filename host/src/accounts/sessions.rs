//! Sessions: how they begin (login), go on (refresh) and end (logout), right under any interleaving of the three.
//! Each is one batch whose conditions fail where another request came first.

use tinybase_abi::codec::BatchWriter;

use super::{
    Accounts, Caller, LoginAnswer, LoginRequest, MessageAnswer, Role,
    password_rules::{may_be_stored, password_fault},
    refresh::{self, NewToken, RefreshTokens, Stored},
    service::{refused_by_hook, returned_epoch},
    tokens::TokenFault,
    users::{self, User},
};
use crate::{db::DbError, error::ApiError};

/// How often a login is tried again because the user changed while it was under way.
const LOGIN_ATTEMPTS_MAX: usize = 8;

impl Accounts {
    /// Signs in. While there is no user at all, this creates the first one, an admin.
    ///
    /// # Errors
    /// 401 `credentials_invalid`, in the same words and time for an unknown email and a wrong password; 422 where the
    /// first user's password is too short or too long; 503 while too many passwords are being verified.
    pub async fn login(&self, request: LoginRequest) -> Result<LoginAnswer, ApiError> {
        let mut user = self.users.by_email(&request.email).await?;
        if user.is_none() && self.users.none_yet().await? {
            if let Some(answer) = self.first_login(&request).await? {
                return Ok(answer);
            }
            user = self.users.by_email(&request.email).await?;
        }
        if !may_be_stored(&request.password) {
            return Err(credentials_invalid());
        }
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let verified = self.passwords.verify(request.password, stored).await?;
        let Some(mut user) = user.filter(|user| verified && user.is_active) else {
            return Err(credentials_invalid());
        };
        for _ in 0..LOGIN_ATTEMPTS_MAX {
            if let Some(answer) = self.try_login(&user).await? {
                return Ok(answer);
            }
            // Someone logged this user out, or changed it, in between: the password that was verified must still hold.
            let now = self.users.by_id(&user.id).await?;
            let same = now.filter(|now| now.is_active && now.password_hash == user.password_hash);
            user = same.ok_or_else(credentials_invalid)?;
        }
        Err(ApiError::unavailable("login_contended", "this user is changing all the time; try again shortly"))
    }

    /// `None` where someone else was first.
    async fn first_login(&self, request: &LoginRequest) -> Result<Option<LoginAnswer>, ApiError> {
        if let Some((msg, kind)) = password_fault(&request.password) {
            return Err(ApiError::unprocessable_at(["body", "password"], msg, kind));
        }
        let password_hash = self.passwords.hash(request.password.clone()).await?;
        let user = User::new(request.email.clone(), password_hash, Role::Admin);
        let mut batch = BatchWriter::default();
        users::insert_first(&mut batch, &user);
        let created = user.event("user.create");
        let answer = self.begin_session(&user, batch, Some(created)).await?;
        if answer.is_some() {
            tracing::info!(email = user.email, "the first login created the first admin");
        }
        Ok(answer)
    }

    async fn try_login(&self, user: &User) -> Result<Option<LoginAnswer>, ApiError> {
        let mut batch = BatchWriter::default();
        refresh::delete_expired(&mut batch, &user.id);
        self.begin_session(user, batch, None).await
    }

    /// Commits `batch` and a new refresh token. `None` where a condition of the host's own statements failed.
    async fn begin_session(
        &self,
        user: &User,
        mut batch: BatchWriter,
        created: Option<super::AccountEvent>,
    ) -> Result<Option<LoginAnswer>, ApiError> {
        let new = self.refresh_tokens.make(None);
        refresh::insert(&mut batch, &new, user);
        let own = batch.len();
        let is_first = created.is_some();
        let events = created.into_iter().chain([user.event("user.login")]).collect::<Vec<_>>();
        for event in &events {
            self.events().before(event, &mut batch).await?;
        }
        match self.users.sql().apply(batch).await {
            Ok(_) => {}
            Err(DbError::Condition { statement, .. }) if statement < own => return Ok(None),
            // Two first logins with one email: the loser meets the winner's row.
            Err(DbError::Unique { ref table, .. }) if is_first && table == "tb_users" => return Ok(None),
            Err(other) => return Err(refused_by_hook(other, own)),
        }
        for event in events {
            self.events().after(event);
        }
        Ok(Some(self.answer(user, new, is_first)))
    }

    /// Replaces a refresh token by a new pair.
    ///
    /// # Errors
    /// 400 `not_a_refresh_token` for an access token, 401 `refresh_token_invalid` for one that is unknown, expired,
    /// ended or used before; the last ends its whole family.
    pub async fn refresh(&self, token: &str) -> Result<LoginAnswer, ApiError> {
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
            return Err(self.end_family(&stored).await?);
        }
        if stored.is_expired || !stored.user.is_active {
            return Err(refresh_token_invalid());
        }
        let new = self.refresh_tokens.make(Some(stored.family.clone()));
        let mut batch = BatchWriter::default();
        refresh::mark_used(&mut batch, token);
        refresh::insert(&mut batch, &new, &stored.user);
        match self.users.sql().apply(batch).await {
            Ok(_) => Ok(self.answer(&stored.user, new, false)),
            Err(DbError::Condition { .. }) => Err(self.lost_race(token).await?),
            Err(other) => Err(other.into()),
        }
    }

    /// Another request used or ended the token between our read and our write: if it used it, that is a reuse.
    async fn lost_race(&self, token: &str) -> Result<ApiError, ApiError> {
        match self.refresh_tokens.find(token).await? {
            Some(stored) if stored.is_used => self.end_family(&stored).await,
            _ => Ok(refresh_token_invalid()),
        }
    }

    async fn end_family(&self, stored: &Stored) -> Result<ApiError, ApiError> {
        self.refresh_tokens.end_family(&stored.family).await?;
        tracing::warn!(
            user_id = stored.user.id,
            family = stored.family,
            "a refresh token came back after it was used: someone else may hold it, so its session was ended"
        );
        self.events().after(stored.user.event("user.refresh_reused"));
        Ok(refresh_token_invalid())
    }

    /// Ends every session of the caller's user at once: access and refresh tokens alike.
    pub async fn logout(&self, caller: &Caller) -> Result<MessageAnswer, ApiError> {
        let mut batch = BatchWriter::default();
        users::raise_epoch(&mut batch, &caller.user_id);
        refresh::delete_all(&mut batch, &caller.user_id);
        let own = batch.len();
        let event = super::AccountEvent {
            name: "user.logout",
            user_id: caller.user_id.clone(),
            email: caller.email.clone(),
            role: caller.role,
        };
        self.events().before(&event, &mut batch).await?;
        let applied = self.users.sql().apply(batch).await.map_err(|error| refused_by_hook(error, own))?;
        self.cache.raise(&caller.user_id, returned_epoch(&applied));
        self.events().after(event);
        Ok(MessageAnswer { message: "signed out everywhere" })
    }

    fn answer(&self, user: &User, new: NewToken, admin_created: bool) -> LoginAnswer {
        LoginAnswer {
            access_token: self.tokens.mint(&user.id, &user.email, user.role.is_admin(), user.epoch),
            refresh_token: new.token,
            token_type: "bearer",
            user_id: user.id.clone(),
            email: user.email.clone(),
            is_admin: user.role.is_admin(),
            admin_created,
        }
    }
}

fn credentials_invalid() -> ApiError {
    ApiError::unauthorized("credentials_invalid", "the email or the password is wrong")
}

fn refresh_token_invalid() -> ApiError {
    ApiError::unauthorized("refresh_token_invalid", "the refresh token is not valid any more; sign in again")
}
