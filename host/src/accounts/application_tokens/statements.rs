//! The table of application tokens: every statement that reads or writes it. It never sees a token, only its hash.

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{NewToken, TokenAnswer};
use crate::accounts::users;

/// The columns of a [`TokenAnswer`].
macro_rules! columns {
    () => {
        "SELECT t.id, t.name, t.description, t.scopes, t.user_id, u.email, t.created_at, t.last_used_at, t.expires_at, \
         t.is_active, u.is_active FROM tb_application_tokens t JOIN tb_users u ON u.id = t.user_id"
    };
}

/// A token by id.
pub(super) const BY_ID: &str = concat!(columns!(), " WHERE t.id = ?1");

/// A page, those made last first.
pub(super) const PAGE: &str =
    concat!(columns!(), " ORDER BY t.created_at DESC, t.id DESC LIMIT ?1 OFFSET ?2");

/// How many there are.
pub(super) const COUNT: &str = "SELECT count(*) FROM tb_application_tokens";

/// Whose a token is. The index compares byte by byte, but hashes: what its time tells of one is of no use to whoever does
/// not hold the token already.
pub(super) const USER_OF: &str = "SELECT user_id FROM tb_application_tokens WHERE token_hash = ?1";

/// What a request with a token needs of it: which it is, what for, whether it works; and then its user.
pub(super) const BY_HASH: &str = concat!(
    "SELECT t.id, t.scopes, t.expires_at, t.is_active, ",
    users::columns!(),
    " FROM tb_application_tokens t JOIN tb_users u ON u.id = t.user_id WHERE t.token_hash = ?1"
);

const INSERT: &str = "INSERT INTO tb_application_tokens \
     (id, token_hash, user_id, name, description, scopes, created_at, expires_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const UPDATE: &str = "UPDATE tb_application_tokens SET name = ?2, description = ?3, is_active = ?4, \
     scopes = ?5 WHERE id = ?1 AND name = ?6 AND description IS NOT DISTINCT FROM ?7 AND is_active = ?8 AND scopes = ?9";
const USED: &str = "UPDATE tb_application_tokens SET last_used_at = ?2 WHERE id = ?1";
const DELETE: &str = "DELETE FROM tb_application_tokens WHERE id = ?1";

fn or_null(text: Option<&str>) -> ValueRef<'_> {
    text.map_or(ValueRef::Null, ValueRef::Text)
}

/// Adds a new token to a batch.
pub(super) fn insert(
    batch: &mut BatchWriter,
    id: &str,
    hash: &[u8],
    user_id: &str,
    new: &NewToken,
    expires_at: Option<&str>,
) {
    let params = [
        ValueRef::Text(id),
        ValueRef::Blob(hash),
        ValueRef::Text(user_id),
        ValueRef::Text(&new.name),
        or_null(new.description.as_deref()),
        ValueRef::Text(new.scopes.as_str()),
        ValueRef::Now,
        or_null(expires_at),
    ];
    batch.push(INSERT, params, Expect::Exactly(1));
}

/// Adds a change to a batch, which fails with a condition where the token is another by then.
pub(super) fn update(batch: &mut BatchWriter, before: &TokenAnswer, after: &TokenAnswer) {
    let (scopes_before, scopes_after) = (before.scopes.join(" "), after.scopes.join(" "));
    let params = [
        ValueRef::Text(&before.id),
        ValueRef::Text(&after.name),
        or_null(after.description.as_deref()),
        ValueRef::Integer(after.is_active.into()),
        ValueRef::Text(&scopes_after),
        ValueRef::Text(&before.name),
        or_null(before.description.as_deref()),
        ValueRef::Integer(before.is_active.into()),
        ValueRef::Text(&scopes_before),
    ];
    batch.push(UPDATE, params, Expect::Exactly(1));
}

/// Adds to a batch that the token was used now.
pub(super) fn used(batch: &mut BatchWriter, id: &str) {
    batch.push(USED, [ValueRef::Text(id), ValueRef::Now], Expect::Any);
}

/// Adds the end of a token to a batch, which fails with a condition where there is none.
pub(super) fn delete(batch: &mut BatchWriter, id: &str) {
    batch.push(DELETE, [ValueRef::Text(id)], Expect::Exactly(1));
}
