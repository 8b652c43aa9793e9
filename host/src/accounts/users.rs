//! The table of users: every statement that reads or writes it. It never sees a password, only its hash.

use serde_json::json;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{AccountEvent, Caller, Role};
use crate::{
    audit::Entry,
    db::DbError,
    secrets::Secret,
    sql::{HostSql, Row, integer, text},
};

/// A stored user.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) password_hash: Secret,
    pub(super) role: Role,
    pub(super) is_active: bool,
    pub(super) epoch: i64,
    pub(super) created_at: String,
}

impl User {
    /// Creates a user that is not stored yet.
    pub(super) fn new(email: String, password_hash: String, role: Role) -> User {
        let id = uuid::Uuid::now_v7().to_string();
        let password_hash = password_hash.into();
        User { id, email, password_hash, role, is_active: true, epoch: 0, created_at: String::new() }
    }

    /// Returns the user as the caller of a request of this session.
    pub(super) fn caller(&self, session_id: &str) -> Caller {
        Caller {
            user_id: self.id.clone(),
            email: self.email.clone(),
            role: self.role,
            epoch: self.epoch,
            session_id: Some(session_id.into()),
            token_id: None,
            scopes: None,
        }
    }

    pub(super) fn event(&self, name: &'static str) -> AccountEvent {
        AccountEvent { name, user_id: self.id.clone(), email: self.email.clone(), role: self.role }
    }

    /// Returns the audit log entry for the creation of the user.
    pub(super) fn created_entry(&self) -> Entry<'_> {
        let change = json!({
            "email": {"from": null, "to": self.email},
            "role": {"from": null, "to": self.role.name()},
        });
        Entry { action: "user.create", target_kind: "user", target_id: &self.id, change }
    }

    /// Reads the columns of the macro `columns`, starting at index `first`.
    pub(super) fn from_row(row: &Row, first: usize) -> User {
        User {
            id: text(row, first),
            email: text(row, first + 1),
            password_hash: text(row, first + 2).into(),
            role: Role::from_name(&text(row, first + 3)).unwrap_or_default(),
            is_active: integer(row, first + 4) != 0,
            epoch: integer(row, first + 5),
            created_at: text(row, first + 6),
        }
    }

    fn params(&self) -> [ValueRef<'_>; 5] {
        [
            ValueRef::Text(&self.id),
            ValueRef::Text(&self.email),
            ValueRef::Text(self.password_hash.reveal()),
            ValueRef::Text(self.role.name()),
            ValueRef::Now,
        ]
    }
}

/// The columns of a user; the table has the alias `u`.
macro_rules! columns {
    () => {
        "u.id, u.email, u.password_hash, u.role, u.is_active, u.token_epoch, u.created_at"
    };
}
pub(super) use columns;

const BY_ID: &str = concat!("SELECT ", columns!(), " FROM tb_users u WHERE u.id = ?1");
const BY_EMAIL: &str = concat!("SELECT ", columns!(), " FROM tb_users u WHERE u.email = ?1");
const ANY: &str = "SELECT 1 FROM tb_users LIMIT 1";
const INSERT: &str = "INSERT INTO tb_users (id, email, password_hash, role, created_at, updated_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
const INSERT_FIRST: &str = "INSERT INTO tb_users (id, email, password_hash, role, created_at, updated_at) \
     SELECT ?1, ?2, ?3, ?4, ?5, ?5 WHERE NOT EXISTS (SELECT 1 FROM tb_users)";
// A user who was signed out, locked or changed since the caller read the row cannot sign in with it.
const SIGN_IN: &str = "UPDATE tb_users SET last_login_at = ?5 \
     WHERE id = ?1 AND token_epoch = ?2 AND password_hash = ?3 AND email = ?4 AND is_active = 1";
const CHANGE_CREDENTIALS: &str = "UPDATE tb_users SET email = ?3, password_hash = ?4, updated_at = ?6 \
     WHERE id = ?1 AND password_hash = ?2 AND token_epoch = ?5 AND is_active = 1";
const RAISE_EPOCH: &str = "UPDATE tb_users SET token_epoch = token_epoch + 1, updated_at = ?2 WHERE id = ?1";
const SET_PASSWORD: &str = "UPDATE tb_users SET password_hash = ?2, token_epoch = token_epoch + 1, updated_at = ?3 \
     WHERE id = ?1 AND is_active = 1";
const MAKE_ADMIN: &str = "UPDATE tb_users SET role = 'admin', password_hash = COALESCE(?2, password_hash), \
     token_epoch = token_epoch + 1, updated_at = ?3 WHERE id = ?1";

/// The table of users.
#[derive(Debug)]
pub(super) struct Users {
    sql: HostSql,
}

impl Users {
    pub(super) fn new(sql: HostSql) -> Users {
        Users { sql }
    }

    pub(super) fn sql(&self) -> &HostSql {
        &self.sql
    }

    pub(super) async fn by_id(&self, id: &str) -> Result<Option<User>, DbError> {
        Ok(self.sql.row(BY_ID, &[ValueRef::Text(id)]).await?.map(|row| User::from_row(&row, 0)))
    }

    pub(super) async fn by_email(&self, email: &str) -> Result<Option<User>, DbError> {
        Ok(self.sql.row(BY_EMAIL, &[ValueRef::Text(email)]).await?.map(|row| User::from_row(&row, 0)))
    }

    /// Returns whether there are no users.
    pub(super) async fn none_yet(&self) -> Result<bool, DbError> {
        Ok(self.sql.row(ANY, &[]).await?.is_none())
    }
}

/// Adds the creation of `user` to a batch.
pub(super) fn insert(batch: &mut BatchWriter, user: &User) {
    batch.push(INSERT, user.params(), Expect::Exactly(1));
}

/// Adds the creation of `user` to a batch. The batch fails with a condition if any user exists by then.
pub(super) fn insert_first(sql: &HostSql, batch: &mut BatchWriter, user: &User) {
    sql.hold_table(batch, "tb_users");
    batch.push(INSERT_FIRST, user.params(), Expect::Exactly(1));
}

/// Adds a sign-in of the user to a batch. The batch fails with a condition if the stored user differs from `user` by
/// then.
pub(super) fn sign_in(batch: &mut BatchWriter, user: &User) {
    let params = [
        ValueRef::Text(&user.id),
        ValueRef::Integer(user.epoch),
        ValueRef::Text(user.password_hash.reveal()),
        ValueRef::Text(&user.email),
        ValueRef::Now,
    ];
    batch.push(SIGN_IN, params, Expect::Exactly(1));
}

/// Adds a change of email and password to a batch. The batch fails with a condition if the stored user differs from
/// `before` by then.
pub(super) fn change_credentials(batch: &mut BatchWriter, before: &User, after: &User) {
    let params = [
        ValueRef::Text(&before.id),
        ValueRef::Text(before.password_hash.reveal()),
        ValueRef::Text(&after.email),
        ValueRef::Text(after.password_hash.reveal()),
        ValueRef::Integer(before.epoch),
        ValueRef::Now,
    ];
    batch.push(CHANGE_CREDENTIALS, params, Expect::Exactly(1));
}

/// Adds the invalidation of all of the user's access tokens to a batch.
pub(super) fn raise_epoch(batch: &mut BatchWriter, id: &str) {
    batch.push(RAISE_EPOCH, [ValueRef::Text(id), ValueRef::Now], Expect::Exactly(1));
}

/// Adds a new password to a batch. The batch fails with a condition if the user is locked by then. Invalidates all
/// access tokens.
pub(super) fn set_password(batch: &mut BatchWriter, id: &str, password_hash: &str) {
    let params = [ValueRef::Text(id), ValueRef::Text(password_hash), ValueRef::Now];
    batch.push(SET_PASSWORD, params, Expect::Exactly(1));
}

/// Adds a change to a batch which makes the user an admin, with a new password if one is given. Invalidates all access
/// tokens.
pub(super) fn make_admin(batch: &mut BatchWriter, id: &str, password_hash: Option<&str>) {
    let password_hash = password_hash.map_or(ValueRef::Null, ValueRef::Text);
    batch.push(MAKE_ADMIN, [ValueRef::Text(id), password_hash, ValueRef::Now], Expect::Exactly(1));
}
