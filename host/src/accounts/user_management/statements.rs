//! The administration's statements about users. It never decides who may run them.

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::UserAnswer;
use crate::sql::HostSql;

/// The columns of a [`UserAnswer`]; the table has the alias `u`.
macro_rules! columns {
    () => {
        "u.id, u.email, u.role, u.is_active, u.last_login_at, u.created_at, u.updated_at, \
         EXISTS (SELECT 1 FROM tb_second_factors f WHERE f.user_id = u.id AND f.confirmed_at IS NOT NULL)"
    };
}
pub(super) use columns;

/// Selects a user by id.
pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM tb_users u WHERE u.id = ?1");

/// Selects any other active admin.
pub(super) const OTHER_ADMIN: &str =
    "SELECT 1 FROM tb_users WHERE role = 'admin' AND is_active = 1 AND id <> ?1 LIMIT 1";

/// Selects the active admins, of whom one must remain.
const ADMINS: &str = "SELECT id FROM tb_users WHERE role = 'admin' AND is_active = 1 ORDER BY id";

/// Updates a user on two conditions: the values read before (?2, ?3, ?4, ?11) are unchanged, and an admin remains.
const UPDATE: &str = "UPDATE tb_users SET email = ?5, role = ?6, is_active = ?7, \
     password_hash = COALESCE(?8, password_hash), token_epoch = token_epoch + ?9, updated_at = ?10 \
     WHERE id = ?1 AND email = ?2 AND role = ?3 AND is_active = ?4 AND updated_at = ?11 \
     AND (role <> 'admin' OR is_active = 0 OR (?6 = 'admin' AND ?7 = 1) OR EXISTS \
         (SELECT 1 FROM tb_users o WHERE o.role = 'admin' AND o.is_active = 1 AND o.id <> ?1))";
const DELETE: &str = "DELETE FROM tb_users WHERE id = ?1 AND role = ?2 AND is_active = ?3 AND updated_at = ?4 \
     AND (role <> 'admin' OR is_active = 0 OR EXISTS \
         (SELECT 1 FROM tb_users o WHERE o.role = 'admin' AND o.is_active = 1 AND o.id <> ?1))";
const DEACTIVATE: &str = "UPDATE tb_users SET is_active = 0 WHERE id = ?1";

/// Adds the change to a batch. The batch fails with a condition if the user has changed by then, or if no admin would
/// remain. A new role or a deactivation invalidates the user's access tokens.
pub(super) fn update(
    sql: &HostSql,
    batch: &mut BatchWriter,
    before: &UserAnswer,
    after: &UserAnswer,
    password_hash: Option<&str>,
) {
    hold_admins(sql, batch, before);
    let ends_tokens = before.role != after.role || !after.is_active;
    let params = [
        ValueRef::Text(&before.id),
        ValueRef::Text(&before.email),
        ValueRef::Text(before.role.name()),
        ValueRef::Integer(before.is_active.into()),
        ValueRef::Text(&after.email),
        ValueRef::Text(after.role.name()),
        ValueRef::Integer(after.is_active.into()),
        password_hash.map_or(ValueRef::Null, ValueRef::Text),
        ValueRef::Integer(ends_tokens.into()),
        ValueRef::Now,
        ValueRef::Text(&before.updated_at),
    ];
    batch.push(UPDATE, params, Expect::Exactly(1));
}

/// Adds the deletion to a batch. It fails with a condition as [`update`] does.
pub(super) fn delete(sql: &HostSql, batch: &mut BatchWriter, user: &UserAnswer) {
    hold_admins(sql, batch, user);
    let params = [
        ValueRef::Text(&user.id),
        ValueRef::Text(user.role.name()),
        ValueRef::Integer(user.is_active.into()),
        ValueRef::Text(&user.updated_at),
    ];
    batch.push(DELETE, params, Expect::Exactly(1));
}

/// Locks the admins: if two admins demote each other concurrently, the second must see the change by the first.
fn hold_admins(sql: &HostSql, batch: &mut BatchWriter, user: &UserAnswer) {
    if user.role.is_admin() && user.is_active {
        sql.hold(batch, ADMINS, &[]);
    }
}

/// Adds the deactivation of a user who was just created to a batch.
pub(super) fn deactivate(batch: &mut BatchWriter, id: &str) {
    batch.push(DEACTIVATE, [ValueRef::Text(id)], Expect::Exactly(1));
}
