//! Mailed tokens that work once: to set a new password, or to sign in. They are random and stored as hashes. It never
//! mails one, and it takes the time from its caller. A database trigger on the table ends them when their user changes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::users::{User, columns};
use crate::{
    db::DbError,
    sql::{HostSql, stored_time},
};

/// The prefix of every such token, so that it is not mistaken for another kind.
const PREFIX: &str = "tbo_";

/// The maximum number of open tokens per user and purpose, so that nobody can flood another user's mailbox.
pub(super) const OPEN_TOKENS_MAX: i64 = 5;

/// The purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To set a new password.
    PasswordReset,
    /// To sign in.
    LoginLink,
}

impl Purpose {
    /// Returns the stored name, which is also the name of the mail template.
    pub(super) fn name(self) -> &'static str {
        match self {
            Purpose::PasswordReset => "password_reset",
            Purpose::LoginLink => "login_link",
        }
    }

    /// Returns how long its tokens are valid, in minutes.
    pub(super) fn ttl_minutes(self) -> i64 {
        match self {
            Purpose::PasswordReset => 60,
            Purpose::LoginLink => 15,
        }
    }
}

const FIND: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM tb_one_time_tokens t JOIN tb_users u ON u.id = t.user_id \
     WHERE t.token_hash = ?1 AND t.purpose = ?2 AND t.expires_at > ?3 AND u.is_active = 1"
);
const INSERT: &str = "INSERT INTO tb_one_time_tokens (token_hash, user_id, purpose, created_at, expires_at) \
     SELECT ?1, id, ?3, ?4, ?5 FROM tb_users WHERE id = ?2 AND email = ?6 AND is_active = 1 AND ?7 > \
     (SELECT count(*) FROM tb_one_time_tokens WHERE user_id = ?2 AND purpose = ?3)";
// Waits for a change of the user in progress: that change must not miss a token.
const USER: &str = "SELECT id FROM tb_users WHERE id = ?1";
const USE: &str = "DELETE FROM tb_one_time_tokens WHERE token_hash = ?1 AND purpose = ?2 AND expires_at > ?3";
const DELETE: &str = "DELETE FROM tb_one_time_tokens WHERE token_hash = ?1";
const DELETE_EXPIRED: &str = "DELETE FROM tb_one_time_tokens WHERE expires_at <= ?1";

/// Generates a new token, to be mailed once.
pub(super) fn make() -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
}

/// Returns the user of `token` if it can still be used for `purpose`.
pub(super) async fn user_of(
    sql: &HostSql,
    token: &str,
    purpose: Purpose,
    now: Timestamp,
) -> Result<Option<User>, DbError> {
    if !token.starts_with(PREFIX) {
        return Ok(None);
    }
    let (hash, now) = (hash(token), stored_time(now));
    let params = [ValueRef::Blob(&hash), ValueRef::Text(purpose.name()), ValueRef::Text(&now)];
    Ok(sql.row(FIND, &params).await?.map(|row| User::from_row(&row, 0)))
}

/// Adds the token to a batch. The batch fails with a condition if the user has changed or already has
/// [`OPEN_TOKENS_MAX`]. First removes all expired tokens, of any user.
pub(super) fn insert(
    sql: &HostSql,
    batch: &mut BatchWriter,
    token: &str,
    user: &User,
    purpose: Purpose,
    now: Timestamp,
) {
    sql.hold(batch, USER, &[ValueRef::Text(&user.id)]);
    let expires_at = now.saturating_add(SignedDuration::from_mins(purpose.ttl_minutes()));
    let expires_at = stored_time(expires_at.expect("the sum of two times saturates"));
    let now = stored_time(now);
    batch.push(DELETE_EXPIRED, [ValueRef::Text(&now)], Expect::Any);
    let params = [
        ValueRef::Blob(&hash(token)),
        ValueRef::Text(&user.id),
        ValueRef::Text(purpose.name()),
        ValueRef::Text(&now),
        ValueRef::Text(&expires_at),
        ValueRef::Text(&user.email),
        ValueRef::Integer(OPEN_TOKENS_MAX),
    ];
    batch.push(INSERT, params, Expect::Exactly(1));
}

/// Adds the use of the token to a batch. The batch fails with a condition if the token was used or has ended by then.
pub(super) fn take(batch: &mut BatchWriter, token: &str, purpose: Purpose, now: Timestamp) {
    let (hash, now) = (hash(token), stored_time(now));
    let params = [ValueRef::Blob(&hash), ValueRef::Text(purpose.name()), ValueRef::Text(&now)];
    batch.push(USE, params, Expect::Exactly(1));
}

/// Adds the deletion of the token to a batch, as if it had never existed.
pub(super) fn forget(batch: &mut BatchWriter, token: &str) {
    batch.push(DELETE, [ValueRef::Blob(&hash(token))], Expect::Any);
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        accounts::{Role, users},
        db::{
            migrations::Migrator,
            sqlite::{Sqlite, SqliteOptions},
        },
    };

    struct Tokens {
        sql: HostSql,
        user: User,
        _folder: tempfile::TempDir,
    }

    impl Tokens {
        async fn new() -> Tokens {
            let folder = tempfile::tempdir().unwrap();
            let db = Sqlite::open(&SqliteOptions::new(folder.path().join("t.db"))).unwrap();
            Migrator::of_host(&*db).upgrade(None).await.unwrap();
            let sql = HostSql::new(Arc::clone(&db) as _);
            let user = User::new("ada@example.org".into(), "hash".into(), Role::User);
            let mut batch = BatchWriter::default();
            users::insert(&mut batch, &user);
            sql.apply(batch).await.unwrap();
            Tokens { sql, user, _folder: folder }
        }

        async fn add(&self, purpose: Purpose, now: Timestamp) -> Option<String> {
            let (token, mut batch) = (make(), BatchWriter::default());
            insert(&self.sql, &mut batch, &token, &self.user, purpose, now);
            self.sql.apply(batch).await.ok().map(|_| token)
        }

        /// Returns whether the token works. The lookup and the use itself must agree.
        async fn works(&self, token: &str, purpose: Purpose, now: Timestamp) -> bool {
            let found = user_of(&self.sql, token, purpose, now).await.unwrap();
            let mut batch = BatchWriter::default();
            take(&mut batch, token, purpose, now);
            let taken = self.sql.apply(batch).await.is_ok();
            assert_eq!(found.is_some(), taken);
            taken
        }

        async fn run(&self, sql: &'static str) {
            let mut batch = BatchWriter::default();
            batch.push(sql, [], Expect::Any);
            self.sql.apply(batch).await.unwrap();
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minutes * 60).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_works_once_for_its_purpose_and_within_its_time() {
        let tokens = Tokens::new().await;
        for (purpose, other, minutes) in [
            (Purpose::PasswordReset, Purpose::LoginLink, 60),
            (Purpose::LoginLink, Purpose::PasswordReset, 15),
        ] {
            let token = tokens.add(purpose, at(0)).await.unwrap();
            assert!(!tokens.works(&token, purpose, at(minutes)).await);
            assert!(!tokens.works(&token, other, at(0)).await);
            assert!(!tokens.works("tbo_nonsense", purpose, at(0)).await);
            assert!(tokens.works(&token, purpose, at(minutes - 1)).await);
            assert!(!tokens.works(&token, purpose, at(minutes - 1)).await);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_user_has_a_few_at_once_and_expired_ones_make_room() {
        let tokens = Tokens::new().await;
        for _ in 0..OPEN_TOKENS_MAX {
            tokens.add(Purpose::LoginLink, at(0)).await.unwrap();
        }
        assert_eq!(tokens.add(Purpose::LoginLink, at(14)).await, None);
        tokens.add(Purpose::PasswordReset, at(14)).await.unwrap();
        tokens.add(Purpose::LoginLink, at(15)).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_of_the_user_ends_them_and_a_sign_in_does_not() {
        let tokens = Tokens::new().await;
        let (purpose, now) = (Purpose::PasswordReset, at(0));
        let token = tokens.add(purpose, now).await.unwrap();
        tokens.run("UPDATE tb_users SET last_login_at = 'x', password_hash = password_hash").await;
        assert!(tokens.works(&token, purpose, now).await);
        for change in [
            "UPDATE tb_users SET password_hash = 'other'",
            "UPDATE tb_users SET token_epoch = token_epoch + 1",
            "UPDATE tb_users SET is_active = 0",
            "UPDATE tb_users SET is_active = 1, email = 'eve@example.org'",
        ] {
            tokens.run("UPDATE tb_users SET email = 'ada@example.org', is_active = 1").await;
            let token = tokens.add(purpose, now).await.unwrap();
            tokens.run(change).await;
            assert!(!tokens.works(&token, purpose, now).await, "{change}");
        }
    }
}
