//! Ends sessions at their user's request, and lists them. It never begins or renews one.

use serde::Serialize;
use serde_json::json;
use tinybase_abi::codec::{BatchWriter, Expect};

use super::{
    AccountEvent, Accounts, Caller, MessageAnswer, service::refused_by_hook, sessions,
    sessions::SessionAnswer, users,
};
use crate::{
    audit::{self, Actor, Entry},
    db::DbError,
    error::ApiError,
    http::query::Page,
};

/// The caller's sessions.
#[derive(Debug, Clone, Serialize)]
pub struct SessionsAnswer {
    /// The sessions on the page, most recently used first.
    pub sessions: Vec<SessionAnswer>,
    /// The total number of sessions.
    pub total: usize,
    /// The maximum number of sessions on the page.
    pub limit: u64,
    /// The number of sessions skipped before the page.
    pub offset: u64,
}

impl Accounts {
    /// Adds the deletion of all of the user's sessions, except `except`, to a batch. A session's access and refresh
    /// tokens end with it. Call [`Accounts::user_changed`] once the batch is committed.
    pub fn end_sessions(batch: &mut BatchWriter, user_id: &str, except: Option<&str>) {
        sessions::delete_all(batch, user_id, except);
    }

    /// Drops what this process has cached about the user's tokens, so that the database is read again. Call this after
    /// every committed change of a user, a session or a token.
    pub fn user_changed(&self, user_id: &str) {
        self.cache.changed(user_id);
    }

    /// Returns a page of the caller's sessions, which never exceed `auth.sessions_per_user_max`.
    ///
    /// # Errors
    /// Database errors.
    pub async fn own_sessions(&self, caller: &Caller, page: Page) -> Result<SessionsAnswer, ApiError> {
        let sessions = self.sessions.of_user(&caller.user_id, caller.session_id.as_deref()).await?;
        let (limit, offset, total) = (page.limit, page.offset, sessions.len());
        let part = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let sessions = sessions.into_iter().skip(part(offset)).take(part(limit)).collect();
        Ok(SessionsAnswer { sessions, total, limit, offset })
    }

    /// Ends one of the caller's sessions, possibly the current one.
    ///
    /// # Errors
    /// 404 `session_not_found` if the caller has no such session.
    pub async fn end_own_session(&self, caller: &Caller, id: &str, actor: &Actor) -> Result<(), ApiError> {
        let mut batch = BatchWriter::default();
        sessions::delete(&mut batch, id, &caller.user_id, Expect::Exactly(1));
        audit::push(
            &mut batch,
            actor,
            &Entry {
                action: "session.end",
                target_kind: "session",
                target_id: id,
                change: json!({"user_id": caller.user_id}),
            },
        );
        match self.users.sql().apply(batch).await {
            Ok(_) => self.user_changed(&caller.user_id),
            Err(DbError::Condition { .. }) => {
                let detail = "you have no such session; it may have ended already";
                return Err(ApiError::not_found("session_not_found", detail));
            }
            Err(other) => return Err(other.into()),
        }
        Ok(())
    }

    /// Ends all of the caller's sessions except the current one.
    ///
    /// # Errors
    /// Database errors.
    pub async fn end_other_sessions(&self, caller: &Caller, actor: &Actor) -> Result<(), ApiError> {
        let mut batch = BatchWriter::default();
        Accounts::end_sessions(&mut batch, &caller.user_id, caller.session_id.as_deref());
        audit::push(
            &mut batch,
            actor,
            &Entry {
                action: "session.end_others",
                target_kind: "user",
                target_id: &caller.user_id,
                change: json!({}),
            },
        );
        self.users.sql().apply(batch).await?;
        self.user_changed(&caller.user_id);
        Ok(())
    }

    /// Ends all sessions of the caller's user at once, with their access and refresh tokens.
    ///
    /// # Errors
    /// Refusals by hooks, and database errors.
    pub async fn logout(&self, caller: &Caller, actor: &Actor) -> Result<MessageAnswer, ApiError> {
        let mut batch = BatchWriter::default();
        users::raise_epoch(&mut batch, &caller.user_id);
        Accounts::end_sessions(&mut batch, &caller.user_id, None);
        audit::push(
            &mut batch,
            actor,
            &Entry {
                action: "user.logout",
                target_kind: "user",
                target_id: &caller.user_id,
                change: json!({}),
            },
        );
        let own = batch.len();
        let event = AccountEvent {
            name: "user.logout",
            user_id: caller.user_id.clone(),
            email: caller.email.clone(),
            role: caller.role,
        };
        self.events().before(&event, &mut batch).await?;
        self.users.sql().apply(batch).await.map_err(|error| refused_by_hook(error, own))?;
        self.user_changed(&caller.user_id);
        self.events().after(event);
        Ok(MessageAnswer { message: "signed out everywhere" })
    }
}
