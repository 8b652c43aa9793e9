//! A user in the administration API. It never includes a password.

use serde::{Serialize, Serializer};

use crate::{
    accounts::Role,
    http::etag,
    sql::{Row, integer, optional_text, text},
};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserAnswer {
    /// The id: a UUID of version 7.
    pub id: String,
    /// The normalized email.
    pub email: String,
    /// Whether the role is `admin`.
    pub is_admin: bool,
    /// The role: `user`, `viewer`, `editor` or `admin`.
    #[serde(serialize_with = "name")]
    pub role: Role,
    /// Whether the user may sign in.
    pub is_active: bool,
    /// Whether the user has a second factor.
    pub mfa_enabled: bool,
    /// When the user last signed in, RFC 3339 UTC.
    pub last_login_at: Option<String>,
    /// When the user was created, RFC 3339 UTC.
    pub created_at: String,
    /// When the user was last changed, RFC 3339 UTC.
    pub updated_at: String,
}

/// A page of users.
#[derive(Debug, Clone, Serialize)]
pub struct UsersAnswer {
    /// The users on the page.
    pub users: Vec<UserAnswer>,
    /// The total number of matching users.
    pub total: i64,
    /// The maximum number of users on the page.
    pub limit: u64,
    /// The number of users skipped before the page.
    pub offset: u64,
}

fn name<S: Serializer>(role: &Role, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(role.name())
}

impl UserAnswer {
    /// Returns the ETag of the changeable fields. A sign-in does not change it.
    pub fn tag(&self) -> String {
        let flags = [self.is_active, self.mfa_enabled].map(|flag| if flag { "1" } else { "0" });
        etag::tag(&[&self.id, &self.email, self.role.name(), flags[0], flags[1], &self.updated_at])
    }

    /// Reads the columns of the statements in `statements.rs`.
    pub(super) fn from_row(row: &Row) -> UserAnswer {
        let role = Role::from_name(&text(row, 2)).unwrap_or_default();
        UserAnswer {
            id: text(row, 0),
            email: text(row, 1),
            is_admin: role.is_admin(),
            role,
            is_active: integer(row, 3) != 0,
            mfa_enabled: integer(row, 7) != 0,
            last_login_at: optional_text(row, 4),
            created_at: text(row, 5),
            updated_at: text(row, 6),
        }
    }
}
