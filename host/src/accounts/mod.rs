//! Accounts: who a user is, how users prove it, and when that ends. It never knows what a user may do with records.

mod application_tokens;
mod backoff;
mod claim;
mod cleanup;
mod client;
mod email;
mod email_links;
mod events;
mod external_sign_in;
mod keys;
mod link_routes;
mod login;
mod login_page;
mod login_throttle;
mod lookup;
mod mail;
mod mfa;
mod one_time_tokens;
mod operations;
mod password_check;
mod password_rules;
mod password_threads;
mod passwords;
mod profile;
mod refresh;
mod requests;
mod role;
mod routes;
mod scopes;
mod service;
mod session_revocation;
mod session_routes;
mod sessions;
mod shared_backoff;
mod token_cache;
mod token_refresh;
mod tokens;
mod user_management;
mod users;

use std::sync::{Arc, OnceLock};

pub use application_tokens::{
    DESCRIPTION_CHARS_MAX, EXPIRES_DAYS_MAX, NAME_CHARS_MAX, NewToken, SCOPES_DEFAULT, TokenAnswer,
    TokenChange, TokenCreated, TokensAnswer,
};
pub use cleanup::Cleanup;
pub use client::{Client, USER_AGENT_CHARS_MAX};
pub use events::{AccountEvent, AccountEvents, NoEvents};
pub use external_sign_in::{ExternalIdentity, Subject};
pub use keys::{Keys, KeysError};
pub use login_page::PortalConfig;
pub use mail::{Mail, Mailer, NoMailer};
pub use mfa::{Enrollment, MfaStatus, RecoveryCodes, SecondFactorAsked, SignInAnswer};
pub use password_rules::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN};
pub use requests::{
    ChangeMeRequest, InstanceInfo, LoginAnswer, LoginRequest, MeAnswer, MessageAnswer, RegisterAnswer,
    RegisterRequest, SetupStatus,
};
pub use role::Role;
pub use routes::{bearer, routes};
pub use scopes::{SCOPE_BYTES_MAX, SCOPES_MAX, Scopes};
pub use service::AdminAdded;
pub use session_revocation::SessionsAnswer;
pub use sessions::SessionAnswer;
pub use user_management::{NewUser, ROLES_SCOPE, UserAnswer, UserChange, UserSort, UsersAnswer, UsersAsked};

use crate::{
    clock::Clock, config, error::ApiError, metrics::stats::ACCOUNTS, settings::Settings, sql::HostSql,
};

const SECONDS_PER_DAY: i64 = 86_400;

/// The sender of a request: a signed-in user, or an application token on behalf of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id: a UUID of version 7.
    pub user_id: String,
    /// The user's normalized email.
    pub email: String,
    /// The user's role in the administration.
    pub role: Role,
    /// The user's epoch. It increases with every logout, which invalidates all tokens created before.
    pub epoch: i64,
    /// The session of the access token; `None` for an application token.
    pub session_id: Option<Arc<str>>,
    /// The application token's id; `None` for a person.
    pub token_id: Option<Arc<str>>,
    /// The scopes of an application token; `None` for a person, who may use every route that the role allows.
    pub scopes: Option<Scopes>,
}

#[cfg(test)]
impl Caller {
    /// Returns a signed-in user with the ordinary role.
    pub(crate) fn of_test(user_id: &str) -> Caller {
        Caller {
            user_id: user_id.to_owned(),
            email: format!("{user_id}@example.org"),
            role: Role::User,
            epoch: 0,
            session_id: None,
            token_id: None,
            scopes: None,
        }
    }
}

/// The accounts service.
#[derive(Debug)]
pub struct Accounts {
    users: users::Users,
    sessions: sessions::Sessions,
    refresh_tokens: refresh::RefreshTokens,
    passwords: passwords::Passwords,
    second_factors: mfa::SecondFactors,
    tokens: tokens::Tokens,
    cache: token_cache::TokenCache,
    token_usage: application_tokens::Usage,
    login_throttle: login_throttle::LoginThrottle,
    clock: Clock,
    settings: Arc<Settings>,
    events: OnceLock<Arc<dyn AccountEvents>>,
    mailer: OnceLock<Arc<dyn Mailer>>,
    email_links: email_links::EmailLinks,
}

impl Accounts {
    /// Creates accounts on the host's database.
    pub fn new(sql: HostSql, keys: Keys, settings: Arc<Settings>, config: &config::Auth) -> Accounts {
        let access_ttl_seconds = u64::from(config.access_token_ttl_minutes) * 60;
        let refresh_ttl_seconds = i64::from(config.refresh_token_ttl_days) * SECONDS_PER_DAY;
        let session_ttl_seconds = refresh_ttl_seconds.max(access_ttl_seconds.cast_signed());
        let clock = Clock::default();
        Accounts {
            users: users::Users::new(sql.clone()),
            sessions: sessions::Sessions::new(sql.clone(), session_ttl_seconds, config.sessions_per_user_max),
            refresh_tokens: refresh::RefreshTokens::new(
                sql.clone(),
                refresh_ttl_seconds,
                config.refresh_reuse_interval_seconds,
                settings.vault().derive("refresh tokens"),
            ),
            second_factors: mfa::SecondFactors::new(sql.clone(), settings.vault()),
            passwords: passwords::Passwords::new(config),
            tokens: tokens::Tokens::new(keys, access_ttl_seconds),
            cache: token_cache::TokenCache::new(config.token_cache_entries_max),
            token_usage: application_tokens::Usage::new(sql.clone()),
            login_throttle: login_throttle::LoginThrottle::new(
                config.login_backoff,
                sql.clone(),
                clock.clone(),
            ),
            clock,
            settings,
            events: OnceLock::new(),
            mailer: OnceLock::new(),
            email_links: email_links::EmailLinks::new(config),
        }
    }

    /// Returns the same accounts with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Accounts {
        self.login_throttle = self.login_throttle.with_clock(clock.clone());
        Accounts { clock, ..self }
    }

    /// Sets the receiver of account events. Call this once, before requests arrive; later calls have no effect.
    pub fn set_events(&self, events: Arc<dyn AccountEvents>) {
        let _ = self.events.set(events);
    }

    /// Sets the receiver of mails. Call this once; later calls have no effect.
    pub fn set_mailer(&self, mailer: Arc<dyn Mailer>) {
        let _ = self.mailer.set(mailer);
    }

    /// Returns the id of the key that signs access tokens. It is not secret.
    pub fn signing_key_id(&self) -> &str {
        &self.tokens.keys().id
    }

    /// Returns the JWK set with which anyone can verify the access tokens.
    pub fn jwk_set(&self) -> &serde_json::Value {
        self.tokens.keys().jwk_set()
    }

    /// Returns the owner of the access or application token `bearer`. A cached token costs one lookup and no database
    /// access; any other costs a signature check and a read by key.
    ///
    /// # Errors
    /// 401 `token_expired`, `token_revoked` or `token_invalid`.
    pub async fn authenticate(&self, bearer: &str) -> Result<Arc<Caller>, ApiError> {
        self.cache.note_foreign_changes(self.users.sql().database().external_change_count());
        let now_seconds = tokens::now_seconds();
        let caller = match self.cache.get(bearer, now_seconds) {
            Some(caller) => {
                ACCOUNTS.token_hits.add_one();
                caller
            }
            None => self.verify_anew(bearer).await?,
        };
        if let Some(token_id) = &caller.token_id {
            self.token_usage.note(token_id, now_seconds);
        }
        Ok(caller)
    }

    async fn verify_anew(&self, bearer: &str) -> Result<Arc<Caller>, ApiError> {
        ACCOUNTS.token_misses.add_one();
        if application_tokens::has_form(bearer) {
            return self.verify_application_token(bearer).await;
        }
        self.verify(bearer).await
    }

    async fn verify(&self, bearer: &str) -> Result<Arc<Caller>, ApiError> {
        let claims = self.tokens.verify(bearer).map_err(|fault| match fault {
            tokens::TokenFault::Expired => {
                ApiError::unauthorized("token_expired", "the token has expired; refresh it or sign in again")
            }
            tokens::TokenFault::Invalid => {
                ApiError::unauthorized("token_invalid", "the token is not valid; sign in again")
            }
        })?;
        let revoked = || ApiError::unauthorized("token_revoked", "the token was ended; sign in again");
        let session_id = claims.sid.as_deref().ok_or_else(revoked)?;
        let mark = self.cache.mark(&claims.sub);
        let user = self.sessions.user_of(session_id, &claims.sub).await?.ok_or_else(revoked)?;
        if user.epoch != claims.epoch || !user.is_active {
            return Err(revoked());
        }
        let caller = Arc::new(user.caller(session_id));
        self.cache.insert(bearer, Arc::clone(&caller), claims.exp, mark);
        Ok(caller)
    }

    fn mailer(&self) -> &dyn Mailer {
        self.mailer.get().map_or(&NoMailer, |mailer| mailer.as_ref())
    }

    fn events(&self) -> &dyn AccountEvents {
        self.events.get().map_or(&NoEvents, |events| events.as_ref())
    }
}
