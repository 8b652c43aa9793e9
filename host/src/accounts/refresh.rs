//! Refresh tokens: stored as hashes, replaced at every use. A session's first token is random. Each further one is
//! derived from its predecessor with a key of the host, so that sending one twice within a short time returns the same
//! successor. It never creates an access token, and never decides the consequences of a reuse.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::users::{User, columns};
use crate::{
    db::DbError,
    secrets::Secret,
    sql::{HostSql, optional_text, text, time_from_now},
};

/// The prefix of every refresh token, so that it is not mistaken for an access token.
const PREFIX: &str = "tbr_";

/// A stored refresh token with its user.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) session_id: String,
    /// When it was replaced by its successor, by the database's clock.
    pub(super) used_at: Option<String>,
    pub(super) is_expired: bool,
    pub(super) user: User,
}

/// A new refresh token: the client's value and the stored columns.
pub(super) struct NewToken {
    /// The token; returned to the client once.
    pub(super) token: String,
    hash: [u8; 32],
    expires_at: String,
}

const FIND: &str = concat!(
    "SELECT t.session_id, t.used_at, t.expires_at, ",
    columns!(),
    " FROM tb_refresh_tokens t JOIN tb_sessions s ON s.id = t.session_id JOIN tb_users u ON u.id = s.user_id \
     WHERE t.token_hash = ?1"
);
const USE: &str =
    "UPDATE tb_refresh_tokens SET used_at = ?2 WHERE token_hash = ?1 AND used_at IS NULL AND expires_at > ?2";
const INSERT: &str = "INSERT INTO tb_refresh_tokens (token_hash, session_id, created_at, expires_at) \
     VALUES (?1, ?2, ?3, ?4)";
const DELETE_EXPIRED: &str = "DELETE FROM tb_refresh_tokens WHERE expires_at <= ?2 \
     AND session_id IN (SELECT id FROM tb_sessions WHERE user_id = ?1)";

/// The table of refresh tokens.
#[derive(Debug)]
pub(super) struct RefreshTokens {
    sql: HostSql,
    ttl_seconds: i64,
    reuse_interval_seconds: i64,
    /// The key that derives successors; useless without a token.
    key: Secret,
}

impl RefreshTokens {
    /// Creates the table's interface. `key` must be the same on every node.
    pub(super) fn new(
        sql: HostSql,
        ttl_seconds: i64,
        reuse_interval_seconds: u32,
        key: [u8; 32],
    ) -> RefreshTokens {
        let key = URL_SAFE_NO_PAD.encode(key).into();
        RefreshTokens { sql, ttl_seconds, reuse_interval_seconds: reuse_interval_seconds.into(), key }
    }

    /// Returns whether `token` has the format of a refresh token.
    pub(super) fn has_form(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// Generates a session's first token.
    pub(super) fn make(&self) -> NewToken {
        self.with(rand::random())
    }

    /// Returns the token that replaces `token`. It is always the same one, and cannot be computed without the host's
    /// key.
    pub(super) fn successor(&self, token: &str) -> NewToken {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.reveal().as_bytes());
        let mut mac = mac.expect("a key of any length will do");
        mac.update(token.as_bytes());
        self.with(mac.finalize().into_bytes().into())
    }

    fn with(&self, random: [u8; 32]) -> NewToken {
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        NewToken { hash: hash(&token), token, expires_at: time_from_now(self.ttl_seconds) }
    }

    /// Returns whether a token used at `used_at` may be used once more, for the same successor.
    pub(super) fn may_repeat(&self, used_at: &str) -> bool {
        self.reuse_interval_seconds > 0 && *used_at > *self.sql.time_from_now(-self.reuse_interval_seconds)
    }

    /// Returns the current time by the database's clock, in its stored form.
    pub(super) fn now(&self) -> String {
        self.sql.time_from_now(0)
    }

    pub(super) async fn find(&self, token: &str) -> Result<Option<Stored>, DbError> {
        let row = self.sql.row(FIND, &[ValueRef::Blob(&hash(token))]).await?;
        Ok(row.map(|row| Stored {
            session_id: text(&row, 0),
            used_at: optional_text(&row, 1),
            is_expired: text(&row, 2) <= time_from_now(0),
            user: User::from_row(&row, 3),
        }))
    }
}

/// Adds the use of `token` at `now` to a batch. The batch fails with a condition if the token was already used, has
/// expired or has ended.
pub(super) fn mark_used(batch: &mut BatchWriter, token: &str, now: &str) {
    batch.push(USE, [ValueRef::Blob(&hash(token)), ValueRef::Text(now)], Expect::Exactly(1));
}

/// Adds the new token of a session to a batch.
pub(super) fn insert(batch: &mut BatchWriter, new: &NewToken, session_id: &str) {
    let params = [
        ValueRef::Blob(&new.hash),
        ValueRef::Text(session_id),
        ValueRef::Now,
        ValueRef::Text(&new.expires_at),
    ];
    batch.push(INSERT, params, Expect::Exactly(1));
}

/// Adds the deletion of the user's expired tokens to a batch.
pub(super) fn delete_expired(batch: &mut BatchWriter, user_id: &str) {
    batch.push(DELETE_EXPIRED, [ValueRef::Text(user_id), ValueRef::Now], Expect::Any);
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
