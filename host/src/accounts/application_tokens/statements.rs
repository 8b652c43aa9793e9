//! The table of application tokens: every statement that reads or writes it. It never sees a token, only its hash.

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{NewToken, TokenAnswer};
use crate::{accounts::users, sql::HostSql};

/// The columns of a [`TokenAnswer`].
macro_rules! columns {
    () => {
        "SELECT t.id, t.name, t.description, t.scopes, t.user_id, u.email, t.created_at, t.last_used_at, t.expires_at, \
         t.is_active, u.is_active, t.parent_id FROM tb_application_tokens t JOIN tb_users u ON u.id = t.user_id"
    };
}

/// Selects a token by id.
pub(super) const BY_ID: &str = concat!(columns!(), " WHERE t.id = ?1");

/// Selects a page, newest first.
pub(super) const PAGE: &str =
    concat!(columns!(), " ORDER BY t.created_at DESC, t.id DESC LIMIT ?1 OFFSET ?2");

/// Counts the tokens.
pub(super) const COUNT: &str = "SELECT count(*) FROM tb_application_tokens";

/// Selects the user of a token. The index compares byte by byte, but on hashes: timing reveals nothing useful to anyone
/// who does not already have the token.
pub(super) const USER_OF: &str = "SELECT user_id FROM tb_application_tokens WHERE token_hash = ?1";

/// Selects what authentication with a token needs (its id, scopes, expiry and state), followed by its user.
pub(super) const BY_HASH: &str = concat!(
    "SELECT t.id, t.scopes, t.expires_at, t.is_active, ",
    users::columns!(),
    " FROM tb_application_tokens t JOIN tb_users u ON u.id = t.user_id WHERE t.token_hash = ?1"
);

/// Selects the tokens that a token created directly.
pub(super) const CHILDREN: &str = concat!(columns!(), " WHERE t.parent_id = ?1 ORDER BY t.id");

/// Locks the user whose tokens must not change in number or state until a batch is done.
const USER: &str = "SELECT id FROM tb_users WHERE id = ?1";

const INSERT: &str = "INSERT INTO tb_application_tokens \
     (id, token_hash, user_id, name, description, scopes, created_at, expires_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
// The parent may have changed or ended since the caller was authenticated.
const INSERT_CHILD: &str = "INSERT INTO tb_application_tokens \
     (id, token_hash, user_id, name, description, scopes, created_at, expires_at, parent_id) \
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, p.id FROM tb_application_tokens p \
     WHERE p.id = ?9 AND p.user_id = ?3 AND p.is_active = 1 AND p.scopes = ?10 \
     AND (p.expires_at IS NULL OR p.expires_at > ?7)";
/// Disabling a token also disables its descendants; none of them can be enabled before it is. The common table
/// expression needs the host's prefix, because SQLite's authorizer names it like an extension's view.
const SWITCH_OFF_BELOW: &str = "UPDATE tb_application_tokens SET is_active = 0 WHERE id IN ( \
     WITH RECURSIVE tb_below (id) AS (SELECT id FROM tb_application_tokens WHERE parent_id = ?1 \
     UNION SELECT t.id FROM tb_application_tokens t JOIN tb_below ON t.parent_id = tb_below.id) SELECT id FROM tb_below)";
const PARENT_IS_ACTIVE: &str =
    "UPDATE tb_application_tokens SET is_active = 1 WHERE id = ?1 AND is_active = 1";
const HAS_CHILDREN: &str = "UPDATE tb_application_tokens SET name = name WHERE id = ?1 \
     AND ?2 = (SELECT count(*) FROM tb_application_tokens c WHERE c.parent_id = ?1)";
const NARROW: &str = "UPDATE tb_application_tokens SET scopes = ?2 WHERE id = ?1 AND scopes = ?3";
const UPDATE: &str = "UPDATE tb_application_tokens SET name = ?2, description = ?3, is_active = ?4, \
     scopes = ?5 WHERE id = ?1 AND name = ?6 AND description IS NOT DISTINCT FROM ?7 AND is_active = ?8 AND scopes = ?9";
const USED: &str = "UPDATE tb_application_tokens SET last_used_at = ?2 WHERE id = ?1";
const DELETE: &str = "DELETE FROM tb_application_tokens WHERE id = ?1 AND name = ?2 \
     AND description IS NOT DISTINCT FROM ?3 AND is_active = ?4 AND scopes = ?5";

fn or_null(text: Option<&str>) -> ValueRef<'_> {
    text.map_or(ValueRef::Null, ValueRef::Text)
}

/// A token to store.
pub(super) struct Insert<'a> {
    pub(super) id: &'a str,
    pub(super) hash: &'a [u8],
    pub(super) user_id: &'a str,
    pub(super) new: &'a NewToken,
    pub(super) expires_at: Option<&'a str>,
    /// The token that creates it, as it was read.
    pub(super) parent: Option<&'a TokenAnswer>,
}

/// Adds a lock to a batch: until it is done, no other batch creates or changes tokens of this user.
pub(super) fn hold(sql: &HostSql, batch: &mut BatchWriter, user_id: &str) {
    sql.hold(batch, USER, &[ValueRef::Text(user_id)]);
}

/// Adds a new token to a batch. The batch fails with a condition if the parent has changed or ended by then.
pub(super) fn insert(batch: &mut BatchWriter, insert: &Insert<'_>) {
    let new = insert.new;
    let params = [
        ValueRef::Text(insert.id),
        ValueRef::Blob(insert.hash),
        ValueRef::Text(insert.user_id),
        ValueRef::Text(&new.name),
        or_null(new.description.as_deref()),
        ValueRef::Text(new.scopes.as_str()),
        ValueRef::Now,
        or_null(insert.expires_at),
    ];
    let Some(parent) = insert.parent else { return batch.push(INSERT, params, Expect::Exactly(1)) };
    let scopes = parent.scopes.join(" ");
    let params = params.into_iter().chain([ValueRef::Text(&parent.id), ValueRef::Text(&scopes)]);
    batch.push(INSERT_CHILD, params, Expect::Exactly(1));
}

/// Adds statements to a batch which disable all descendants of a token.
pub(super) fn switch_off_below(batch: &mut BatchWriter, id: &str) {
    batch.push(SWITCH_OFF_BELOW, [ValueRef::Text(id)], Expect::Any);
}

/// Adds a check to a batch: it fails with a condition unless the token is enabled.
pub(super) fn expect_active(batch: &mut BatchWriter, id: &str) {
    batch.push(PARENT_IS_ACTIVE, [ValueRef::Text(id)], Expect::Exactly(1));
}

/// Adds a check to a batch: it fails with a condition unless the token has exactly `count` children.
pub(super) fn expect_children(batch: &mut BatchWriter, id: &str, count: usize) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    batch.push(HAS_CHILDREN, [ValueRef::Text(id), ValueRef::Integer(count)], Expect::Exactly(1));
}

/// Adds narrower scopes of a token to a batch. The batch fails with a condition if the scopes have changed by then.
pub(super) fn narrow(batch: &mut BatchWriter, before: &TokenAnswer, scopes: &str) {
    let scopes_before = before.scopes.join(" ");
    let params = [ValueRef::Text(&before.id), ValueRef::Text(scopes), ValueRef::Text(&scopes_before)];
    batch.push(NARROW, params, Expect::Exactly(1));
}

/// Adds a change to a batch. The batch fails with a condition if the token has changed by then.
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

/// Records in a batch that the token was used now.
pub(super) fn used(batch: &mut BatchWriter, id: &str) {
    batch.push(USED, [ValueRef::Text(id), ValueRef::Now], Expect::Any);
}

/// Adds the deletion of a token to a batch. The batch fails with a condition if the token is gone or has changed by
/// then.
pub(super) fn delete(batch: &mut BatchWriter, before: &TokenAnswer) {
    let scopes = before.scopes.join(" ");
    let params = [
        ValueRef::Text(&before.id),
        ValueRef::Text(&before.name),
        or_null(before.description.as_deref()),
        ValueRef::Integer(before.is_active.into()),
        ValueRef::Text(&scopes),
    ];
    batch.push(DELETE, params, Expect::Exactly(1));
}
