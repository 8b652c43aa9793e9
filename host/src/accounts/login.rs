//! Begins sessions: verifies email and password, then writes the session and everything it depends on in one batch. The
//! batch's conditions fail if another request came first.

use tinybase_abi::codec::BatchWriter;

use super::{
    AccountEvent, Accounts, Client, LoginAnswer, LoginRequest, Role, SignInAnswer,
    password_rules::password_fault,
    refresh::{self, NewToken},
    service::refused_by_hook,
    sessions::{self, NewSession},
    users::{self, User},
};
use crate::{audit, db::DbError, error::ApiError};

/// How often a sign-in is retried after a concurrent change of the user.
const SIGN_IN_ATTEMPTS_MAX: usize = 8;

/// The sign-in method for passwords.
const METHOD_PASSWORD: &str = "password";

impl Accounts {
    /// Signs in with email and password. While there are no users, this creates the first one, an admin.
    ///
    /// # Errors
    /// - 401 `credentials_invalid`, with the same message and timing for an unknown email and a wrong password.
    /// - 403 `setup_token_required` or `setup_token_invalid` if the first login must prove to be the owner's.
    /// - 422 if the first user's password is not good enough.
    /// - 429 `login_backoff` after too many wrong passwords.
    /// - 503 while too many passwords are being verified.
    pub async fn login(&self, request: LoginRequest, client: &Client) -> Result<SignInAnswer, ApiError> {
        let mut user = self.users.by_email(&request.email).await?;
        if user.is_none() && self.users.none_yet().await? {
            if let Some(answer) = self.first_login(&request, client).await? {
                return Ok(SignInAnswer::Session(answer));
            }
            user = self.users.by_email(&request.email).await?;
        }
        let proved = self.prove_password(&request.email, user, request.password, client).await?;
        let user = proved.ok_or_else(credentials_invalid)?;
        self.sign_in(user, METHOD_PASSWORD, client).await
    }

    /// Signs in an authenticated user by `method`, a word shown in the user's list of sessions. A second factor is
    /// requested if the user has one.
    ///
    /// # Errors
    /// 401 `credentials_invalid` if the user was locked or got another password meanwhile.
    pub(super) async fn sign_in(
        &self,
        mut user: User,
        method: &str,
        client: &Client,
    ) -> Result<SignInAnswer, ApiError> {
        if let Some(asked) = self.second_factor_of(&user, method).await? {
            return Ok(SignInAnswer::SecondFactor(asked));
        }
        for _ in 0..SIGN_IN_ATTEMPTS_MAX {
            if let Some(answer) = self.begin_session(&user, method, client, BatchWriter::default()).await? {
                return Ok(SignInAnswer::Session(answer));
            }
            // The user was signed out or changed concurrently. The verified password must still be valid.
            let now = self.users.by_id(&user.id).await?;
            let same = now.filter(|now| now.is_active && now.password_hash == user.password_hash);
            user = same.ok_or_else(credentials_invalid)?;
        }
        Err(ApiError::unavailable("login_contended", "this user is changing all the time; try again shortly"))
    }

    /// Creates the first user. Returns `None` if another request was first.
    async fn first_login(
        &self,
        request: &LoginRequest,
        client: &Client,
    ) -> Result<Option<LoginAnswer>, ApiError> {
        self.check_claim(request.setup_token.as_deref(), client)?;
        if let Some((msg, kind)) = password_fault(&request.password) {
            return Err(ApiError::unprocessable_at(["body", "password"], msg, kind));
        }
        let password_hash = self.passwords.hash(request.password.clone()).await?;
        let user = User::new(request.email.clone(), password_hash, Role::Admin);
        let mut batch = BatchWriter::default();
        users::insert_first(self.users.sql(), &mut batch, &user);
        audit::push(&mut batch, &client.actor, &user.created_entry());
        let beginning = Beginning { created: Some(user.event("user.create")), batch };
        let answer = self.begin(&user, METHOD_PASSWORD, client, beginning).await?;
        if answer.is_some() {
            tracing::info!(email = user.email, "the first login created the first admin");
        }
        Ok(answer)
    }

    /// Begins a session, together with `batch`: what it depends on, such as a one-time token that it uses up. Returns
    /// `None`, and writes nothing, if a condition of `batch` fails or the stored user differs from `user`.
    pub(super) async fn begin_session(
        &self,
        user: &User,
        method: &str,
        client: &Client,
        batch: BatchWriter,
    ) -> Result<Option<LoginAnswer>, ApiError> {
        self.begin(user, method, client, Beginning { created: None, batch }).await
    }

    async fn begin(
        &self,
        user: &User,
        method: &str,
        client: &Client,
        Beginning { created, mut batch }: Beginning,
    ) -> Result<Option<LoginAnswer>, ApiError> {
        let (id, new) = (uuid::Uuid::now_v7().to_string(), self.refresh_tokens.make());
        let trimmed = self.push_session(
            &mut batch,
            user,
            &NewSession {
                id: &id,
                user_id: &user.id,
                method,
                client,
                expires_at: &self.sessions.expires_at(),
            },
        );
        refresh::insert(&mut batch, &new, &id);
        let own = batch.len();
        let is_first = created.is_some();
        let events = created.into_iter().chain([user.event("user.login")]).collect::<Vec<_>>();
        for event in &events {
            self.events().before(event, &mut batch).await?;
        }
        match self.users.sql().apply(batch).await {
            Ok(applied) if applied.affected.get(trimmed) != Some(&0) => self.user_changed(&user.id),
            Ok(_) => {}
            Err(DbError::Condition { statement, .. }) if statement < own => return Ok(None),
            // Of two first logins with one email, the second conflicts with the row of the first.
            Err(DbError::Unique { ref table, .. }) if is_first && table == "tb_users" => return Ok(None),
            Err(other) => return Err(refused_by_hook(other, own)),
        }
        for event in events {
            self.events().after(event);
        }
        Ok(Some(self.answer(user, &id, new, is_first)))
    }

    /// Adds a session, and then the end of those it displaces, to a batch. Returns the position of the latter
    /// statement.
    fn push_session(&self, batch: &mut BatchWriter, user: &User, new: &NewSession<'_>) -> usize {
        users::sign_in(batch, user);
        sessions::delete_expired(batch, &user.id);
        refresh::delete_expired(batch, &user.id);
        sessions::insert(batch, new);
        let position = batch.len();
        self.sessions.delete_beyond_limit(batch, &user.id, new.id);
        position
    }

    /// Builds the response for a session that has begun.
    fn answer(&self, user: &User, session_id: &str, new: NewToken, admin_created: bool) -> LoginAnswer {
        self.answer_with(user, self.tokens.mint(user, session_id), new, admin_created)
    }

    /// Builds the response with an access token that already exists.
    pub(super) fn answer_with(
        &self,
        user: &User,
        access_token: String,
        new: NewToken,
        admin_created: bool,
    ) -> LoginAnswer {
        LoginAnswer {
            access_token: access_token.into(),
            refresh_token: new.token.into(),
            token_type: "bearer",
            user_id: user.id.clone(),
            email: user.email.clone(),
            is_admin: user.role.is_admin(),
            admin_created,
        }
    }
}

/// What is written together with a session.
struct Beginning {
    /// The event of the user that is created with it.
    created: Option<AccountEvent>,
    batch: BatchWriter,
}

fn credentials_invalid() -> ApiError {
    ApiError::unauthorized("credentials_invalid", "the email or the password is wrong")
}
