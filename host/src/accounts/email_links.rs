//! Links sent by mail: how they are requested, and what they do, which is to set a new password or to sign in. A
//! request gets the same response in the same time whether or not the account exists: all work happens afterwards.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use serde_json::json;
use tinybase_abi::codec::BatchWriter;
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};

use super::{
    Accounts, Client, Mail, MessageAnswer, SignInAnswer,
    mail::NoMailLog,
    one_time_tokens::{self, Purpose},
    service::refused_by_hook,
    users::{self, User},
};
use crate::{
    audit::{self, Actor, Entry},
    config,
    db::DbError,
    error::ApiError,
    logging,
};

/// The maximum number of link requests in progress; further ones are refused, for any client.
const LINK_REQUESTS_MAX: usize = 64;

/// The sign-in method for mailed links, as the list of sessions shows it.
const METHOD_LOGIN_LINK: &str = "login_link";

/// The state for mailing links, other than the tables.
#[derive(Debug)]
pub(super) struct EmailLinks {
    permits: Arc<Semaphore>,
    no_mail: NoMailLog,
    password_reset_url: String,
    login_link_url: String,
}

impl EmailLinks {
    pub(super) fn new(config: &config::Auth) -> EmailLinks {
        EmailLinks {
            permits: Arc::new(Semaphore::new(LINK_REQUESTS_MAX)),
            no_mail: NoMailLog::default(),
            password_reset_url: config.password_reset_url.clone(),
            login_link_url: config.login_link_url.clone(),
        }
    }

    /// Returns the URL for the mail, if the operator configured one. It is never taken from the request: an attacker
    /// could otherwise make another user's mail link to the attacker's site.
    fn url(&self, purpose: Purpose, token: &str) -> Option<String> {
        let pattern = match purpose {
            Purpose::PasswordReset => &self.password_reset_url,
            Purpose::LoginLink => &self.login_link_url,
        };
        (!pattern.is_empty()).then(|| pattern.replace(config::TOKEN_MARK, token))
    }
}

impl Accounts {
    /// Mails a link to set a new password to this address, if an account has it. The mail is sent in the background.
    ///
    /// # Errors
    /// 503 `mail_busy` while too many others are being sent.
    pub fn request_password_reset(
        self: &Arc<Accounts>,
        email: String,
        actor: Actor,
    ) -> Result<MessageAnswer, ApiError> {
        self.request_link(Purpose::PasswordReset, email, actor)?;
        let message =
            "if an account has this email, a mail that tells how to set a new password is on its way";
        Ok(MessageAnswer { message })
    }

    /// Mails a link to sign in to this address, if an account has it. The mail is sent in the background.
    ///
    /// # Errors
    /// 503 `mail_busy` while too many others are being sent.
    pub fn request_login_link(
        self: &Arc<Accounts>,
        email: String,
        actor: Actor,
    ) -> Result<MessageAnswer, ApiError> {
        self.request_link(Purpose::LoginLink, email, actor)?;
        let message = "if an account has this email, a mail with a link to sign in is on its way";
        Ok(MessageAnswer { message })
    }

    fn request_link(
        self: &Arc<Accounts>,
        purpose: Purpose,
        email: String,
        actor: Actor,
    ) -> Result<(), ApiError> {
        let Ok(permit) = Arc::clone(&self.email_links.permits).try_acquire_owned() else {
            let detail = "too many mails are being sent; try again shortly";
            return Err(ApiError::unavailable("mail_busy", detail));
        };
        let accounts = Arc::clone(self);
        // Log lines of the task belong to the request; the request's trace has ended by then.
        let span = actor.request_id.as_deref().map_or_else(Span::none, logging::request_span);
        let work = async move {
            let _permit = permit;
            if let Err(error) = accounts.mail_link(purpose, &email, &actor).await {
                tracing::warn!(template = purpose.name(), code = %error.code, "a mail could not be sent");
            }
        };
        tokio::spawn(work.instrument(span));
        Ok(())
    }

    async fn mail_link(&self, purpose: Purpose, email: &str, actor: &Actor) -> Result<(), ApiError> {
        if !self.mailer().is_there() {
            self.email_links.no_mail.say(Instant::now());
            return Ok(());
        }
        let user = self.users.by_email(email).await?.filter(|user| user.is_active);
        let Some(user) = user else { return Ok(()) };
        let token = one_time_tokens::make();
        if !self.keep_token(&token, &user, purpose, actor).await? {
            tracing::info!(
                user_id = user.id,
                template = purpose.name(),
                "a mail was asked for and not sent: the user changed meanwhile, or has as many open links as one may"
            );
            return Ok(());
        }
        let data = json!({
            "token": token,
            "email": user.email,
            "instance_name": self.settings.current().await?.instance_name(),
            "expires_minutes": purpose.ttl_minutes(),
            "url": self.email_links.url(purpose, &token),
        });
        let mail = Mail { to: user.email, template: purpose.name(), data };
        if let Err(code) = self.mailer().send(mail).await {
            // Nobody received the token, so it must not count against the user.
            let mut batch = BatchWriter::default();
            one_time_tokens::forget(&mut batch, &token);
            self.users.sql().apply(batch).await?;
            return Err(ApiError::unavailable(code, "the extension that sends mail failed"));
        }
        Ok(())
    }

    /// Stores a token. Returns false if the user may have none.
    async fn keep_token(
        &self,
        token: &str,
        user: &User,
        purpose: Purpose,
        actor: &Actor,
    ) -> Result<bool, DbError> {
        let mut batch = BatchWriter::default();
        one_time_tokens::insert(self.users.sql(), &mut batch, token, user, purpose, Timestamp::now());
        let action = match purpose {
            Purpose::PasswordReset => "user.password_reset_request",
            Purpose::LoginLink => "user.login_link_request",
        };
        audit::push(&mut batch, actor, &about(&user.id, action));
        match self.users.sql().apply(batch).await {
            Ok(_) => Ok(true),
            Err(DbError::Condition { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Sets a new password with a mailed token, and ends every session of the user.
    ///
    /// # Errors
    /// 400 `link_invalid` if the token is unknown, used, expired or superseded by another change.
    pub async fn reset_password(
        &self,
        token: &str,
        password: String,
        actor: &Actor,
    ) -> Result<MessageAnswer, ApiError> {
        let purpose = Purpose::PasswordReset;
        let user = one_time_tokens::user_of(self.users.sql(), token, purpose, Timestamp::now()).await?;
        let user = user.ok_or_else(link_invalid)?;
        let password_hash = self.passwords.hash(password).await?;
        let mut batch = BatchWriter::default();
        // This comes before the password change, which deletes the user's other tokens.
        one_time_tokens::take(&mut batch, token, purpose, Timestamp::now());
        users::set_password(&mut batch, &user.id, &password_hash);
        Accounts::end_sessions(&mut batch, &user.id, None);
        audit::push(&mut batch, actor, &about(&user.id, "user.password_reset"));
        let own = batch.len();
        let event = user.event("user.update");
        self.events().before(&event, &mut batch).await?;
        match self.users.sql().apply(batch).await {
            Ok(_) => self.user_changed(&user.id),
            Err(DbError::Condition { statement, .. }) if statement < own => return Err(link_invalid()),
            Err(other) => return Err(refused_by_hook(other, own)),
        }
        self.events().after(event);
        Ok(MessageAnswer { message: "the password was changed; sign in with the new one" })
    }

    /// Signs in with a mailed token. If the user has a second factor, it is requested, and the token is used up.
    ///
    /// # Errors
    /// 400 `link_invalid` if the token is unknown, used, expired or superseded by another change.
    pub async fn login_by_link(&self, token: &str, client: &Client) -> Result<SignInAnswer, ApiError> {
        let (purpose, now) = (Purpose::LoginLink, Timestamp::now());
        let user = one_time_tokens::user_of(self.users.sql(), token, purpose, now).await?;
        let user = user.ok_or_else(link_invalid)?;
        let mut batch = BatchWriter::default();
        one_time_tokens::take(&mut batch, token, purpose, now);
        audit::push(&mut batch, &client.actor, &about(&user.id, "user.login_link"));
        if let Some(asked) = self.second_factor_of(&user, METHOD_LOGIN_LINK).await? {
            return match self.users.sql().apply(batch).await {
                Ok(_) => Ok(SignInAnswer::SecondFactor(asked)),
                Err(DbError::Condition { .. }) => Err(link_invalid()),
                Err(other) => Err(other.into()),
            };
        }
        let begun = self.begin_session(&user, METHOD_LOGIN_LINK, client, batch).await?;
        begun.map(SignInAnswer::Session).ok_or_else(link_invalid)
    }
}

fn about<'a>(user_id: &'a str, action: &'a str) -> Entry<'a> {
    Entry { action, target_kind: "user", target_id: user_id, change: json!({}) }
}

fn link_invalid() -> ApiError {
    let detail = "this link does not work any more: it was used, it has expired, or the account has changed since; ask \
                  for a new one";
    ApiError::bad_request("link_invalid", detail)
}
