//! The table of sessions: every statement that reads or writes it. It never creates a token and decides nothing.

use serde::Serialize;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{
    Client,
    users::{User, columns},
};
use crate::{
    db::DbError,
    sql::{HostSql, Row, is_null, text, time_from_now},
};

/// The maximum length of a sign-in method's name in characters; longer ones are cut.
const METHOD_CHARS_MAX: usize = 40;

const INSERT: &str = "INSERT INTO tb_sessions \
     (id, user_id, method, address, user_agent, created_at, last_used_at, expires_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)";
// The user's epoch and state are compared with what the caller read: a user who was signed out or locked meanwhile
// renews nothing.
const RENEW: &str = "UPDATE tb_sessions SET last_used_at = ?3, expires_at = ?4 WHERE id = ?1 AND EXISTS ( \
     SELECT 1 FROM tb_users u WHERE u.id = tb_sessions.user_id AND u.token_epoch = ?2 AND u.is_active = 1)";
const DELETE: &str = "DELETE FROM tb_sessions WHERE id = ?1 AND user_id = ?2";
const DELETE_EXPIRED: &str = "DELETE FROM tb_sessions WHERE user_id = ?1 AND expires_at <= ?2";
const DELETE_ALL: &str = "DELETE FROM tb_sessions WHERE user_id = ?1";
const DELETE_OTHERS: &str = "DELETE FROM tb_sessions WHERE user_id = ?1 AND id <> ?2";
const DELETE_BEYOND: &str = "DELETE FROM tb_sessions WHERE id IN ( \
     SELECT id FROM tb_sessions WHERE user_id = ?1 AND id <> ?2 \
     ORDER BY last_used_at DESC, id DESC LIMIT 1000000 OFFSET ?3)";
const USER_OF: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tb_sessions s JOIN tb_users u ON u.id = s.user_id WHERE s.id = ?1 AND s.user_id = ?2"
);
const OF_USER: &str = "SELECT id, method, address, user_agent, created_at, last_used_at, expires_at \
     FROM tb_sessions WHERE user_id = ?1 AND expires_at > ?2 ORDER BY last_used_at DESC, id DESC";
const ADDRESSES_OF: &str = "SELECT DISTINCT s.address FROM tb_sessions s JOIN tb_users u ON u.id = s.user_id \
     WHERE u.email = ?1 AND s.address IS NOT NULL";

/// A session as shown to its user.
#[derive(Debug, Clone, Serialize)]
pub struct SessionAnswer {
    /// The id.
    pub id: String,
    /// How the user signed in: `password`, `login_link` and so on.
    pub method: String,
    /// The address of the sign-in, if known.
    pub address: Option<String>,
    /// The client's user agent.
    pub user_agent: Option<String>,
    /// When it began, RFC 3339 UTC.
    pub created_at: String,
    /// When its tokens were last renewed.
    pub last_used_at: String,
    /// When it expires.
    pub expires_at: String,
    /// Whether it is the session of the current request.
    pub current: bool,
}

/// A session that is about to begin.
#[derive(Debug)]
pub(super) struct NewSession<'a> {
    pub(super) id: &'a str,
    pub(super) user_id: &'a str,
    pub(super) method: &'a str,
    pub(super) client: &'a Client,
    pub(super) expires_at: &'a str,
}

/// The table of sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    sql: HostSql,
    ttl_seconds: i64,
    per_user_max: u32,
}

impl Sessions {
    /// Creates the table's interface. A session lives for `ttl_seconds` after its tokens were last renewed.
    pub(super) fn new(sql: HostSql, ttl_seconds: i64, per_user_max: u32) -> Sessions {
        Sessions { sql, ttl_seconds, per_user_max }
    }

    /// Returns when a session expires that begins or is renewed now.
    pub(super) fn expires_at(&self) -> String {
        time_from_now(self.ttl_seconds)
    }

    /// Returns the user of a session that has not ended.
    pub(super) async fn user_of(&self, id: &str, user_id: &str) -> Result<Option<User>, DbError> {
        let row = self.sql.row(USER_OF, &[ValueRef::Text(id), ValueRef::Text(user_id)]).await?;
        Ok(row.map(|row| User::from_row(&row, 0)))
    }

    /// Returns the user's sessions, most recently used first; `current` is the id of the current one.
    pub(super) async fn of_user(
        &self,
        user_id: &str,
        current: Option<&str>,
    ) -> Result<Vec<SessionAnswer>, DbError> {
        let rows = self.sql.rows(OF_USER, &[ValueRef::Text(user_id), ValueRef::Now]).await?;
        Ok(rows.iter().map(|row| from_row(row, current)).collect())
    }

    /// Returns the addresses from which sessions of the account with this email began.
    pub(super) async fn addresses_of(&self, email: &str) -> Result<Vec<String>, DbError> {
        let rows = self.sql.rows(ADDRESSES_OF, &[ValueRef::Text(email)]).await?;
        Ok(rows.iter().map(|row| text(row, 0)).collect())
    }

    /// Adds the deletion of the user's sessions beyond the limit to a batch, least recently used first; `kept` is never
    /// deleted.
    pub(super) fn delete_beyond_limit(&self, batch: &mut BatchWriter, user_id: &str, kept: &str) {
        let others_max = i64::from(self.per_user_max.saturating_sub(1));
        let params = [ValueRef::Text(user_id), ValueRef::Text(kept), ValueRef::Integer(others_max)];
        batch.push(DELETE_BEYOND, params, Expect::Any);
    }
}

fn from_row(row: &Row, current: Option<&str>) -> SessionAnswer {
    let or_none = |column| (!is_null(row, column)).then(|| text(row, column));
    let id = text(row, 0);
    SessionAnswer {
        current: current == Some(id.as_str()),
        id,
        method: text(row, 1),
        address: or_none(2),
        user_agent: or_none(3),
        created_at: text(row, 4),
        last_used_at: text(row, 5),
        expires_at: text(row, 6),
    }
}

/// Adds a new session to a batch.
pub(super) fn insert(batch: &mut BatchWriter, new: &NewSession<'_>) {
    fn or_null(text: &Option<String>) -> ValueRef<'_> {
        text.as_deref().map_or(ValueRef::Null, ValueRef::Text)
    }
    let method_end = new.method.char_indices().nth(METHOD_CHARS_MAX).map_or(new.method.len(), |(end, _)| end);
    let params = [
        ValueRef::Text(new.id),
        ValueRef::Text(new.user_id),
        ValueRef::Text(&new.method[..method_end]),
        or_null(&new.client.actor.address),
        or_null(&new.client.user_agent),
        ValueRef::Now,
        ValueRef::Text(new.expires_at),
    ];
    batch.push(INSERT, params, Expect::Exactly(1));
}

/// Adds the renewal of a session to a batch. The batch fails with a condition if the session has ended or its user's
/// epoch has changed.
pub(super) fn renew(batch: &mut BatchWriter, id: &str, epoch: i64, expires_at: &str) {
    let params = [ValueRef::Text(id), ValueRef::Integer(epoch), ValueRef::Now, ValueRef::Text(expires_at)];
    batch.push(RENEW, params, Expect::Exactly(1));
}

/// Adds the deletion of one of the user's sessions, and of its refresh tokens, to a batch.
pub(super) fn delete(batch: &mut BatchWriter, id: &str, user_id: &str, expect: Expect) {
    batch.push(DELETE, [ValueRef::Text(id), ValueRef::Text(user_id)], expect);
}

/// Adds the deletion of the user's expired sessions to a batch.
pub(super) fn delete_expired(batch: &mut BatchWriter, user_id: &str) {
    batch.push(DELETE_EXPIRED, [ValueRef::Text(user_id), ValueRef::Now], Expect::Any);
}

/// Adds the deletion of all of the user's sessions, except `except`, to a batch.
pub(super) fn delete_all(batch: &mut BatchWriter, user_id: &str, except: Option<&str>) {
    match except {
        Some(kept) => batch.push(DELETE_OTHERS, [ValueRef::Text(user_id), ValueRef::Text(kept)], Expect::Any),
        None => batch.push(DELETE_ALL, [ValueRef::Text(user_id)], Expect::Any),
    }
}
