//! Request and response bodies of the account routes, and their validation. It never touches the database.

use serde::Serialize;

use super::{email, password_rules::password_fault};
use crate::{
    http::extract::{Fields, Input},
    secrets::Secret,
};

/// A normalized email, and a password as typed.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginRequest {
    pub(super) email: String,
    pub(super) password: String,
    /// The setup token from the startup log, needed while there are no users.
    pub(super) setup_token: Option<String>,
}

/// A normalized email, and a password that meets the rules for new ones.
#[derive(Clone, PartialEq, Eq)]
pub struct RegisterRequest {
    pub(super) email: String,
    pub(super) password: String,
}

/// A user's changes of their own account.
#[derive(Clone, PartialEq, Eq)]
pub struct ChangeMeRequest {
    pub(super) email: Option<String>,
    pub(super) password: Option<String>,
    pub(super) current_password: String,
}

impl std::fmt::Debug for ChangeMeRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ChangeMeRequest({:?})", self.email)
    }
}

macro_rules! hide_password {
    ($($Request:ident)*) => {$(
        impl std::fmt::Debug for $Request {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, concat!(stringify!($Request), "({})"), self.email)
            }
        }
    )*};
}
hide_password!(LoginRequest RegisterRequest);

/// Reads the field `email` and normalizes it.
pub(super) fn read_email(fields: &mut Fields) -> Option<String> {
    let email = email::normalize(&fields.text("email")?);
    if email.is_none() {
        fields.fault(
            "email",
            "this is not an email address; it must look like name@example.org",
            "value_error",
        );
    }
    email
}

/// Reads the field `password` and checks the rules for new ones.
pub(super) fn read_new_password(fields: &mut Fields) -> Option<String> {
    let password = fields.text("password")?;
    match password_fault(&password) {
        Some((msg, kind)) => {
            fields.fault("password", msg, kind);
            None
        }
        None => Some(password),
    }
}

impl Input for ChangeMeRequest {
    fn read(fields: &mut Fields) -> Option<ChangeMeRequest> {
        let email = if fields.has("email") { read_email(fields).map(Some) } else { Some(None) };
        let password = if fields.has("password") { read_new_password(fields).map(Some) } else { Some(None) };
        let current_password = fields.text("current_password");
        Some(ChangeMeRequest { email: email?, password: password?, current_password: current_password? })
    }
}

impl Input for LoginRequest {
    fn read(fields: &mut Fields) -> Option<LoginRequest> {
        let (email, password) = (read_email(fields), fields.text("password"));
        let setup_token = fields.optional_text("setup_token");
        Some(LoginRequest { email: email?, password: password?, setup_token: setup_token? })
    }
}

impl Input for RegisterRequest {
    fn read(fields: &mut Fields) -> Option<RegisterRequest> {
        let (email, password) = (read_email(fields), read_new_password(fields));
        Some(RegisterRequest { email: email?, password: password? })
    }
}

/// A session's tokens and its user.
#[derive(Debug, Clone, Serialize)]
pub struct LoginAnswer {
    /// The access token, a JWT.
    pub access_token: Secret,
    /// The refresh token; it works once.
    pub refresh_token: Secret,
    /// Always `bearer`.
    pub token_type: &'static str,
    /// The user's id.
    pub user_id: String,
    /// The user's email.
    pub email: String,
    /// Whether the user is an admin.
    pub is_admin: bool,
    /// Whether this login created the first user.
    pub admin_created: bool,
}

/// A new user.
#[derive(Debug, Clone, Serialize)]
pub struct RegisterAnswer {
    /// The user's id.
    pub id: String,
    /// The user's normalized email.
    pub email: String,
    /// A message for people.
    pub message: &'static str,
}

/// The caller.
#[derive(Debug, Clone, Serialize)]
pub struct MeAnswer {
    /// The user's id.
    pub id: String,
    /// The user's email.
    pub email: String,
    /// Whether the user is an admin.
    pub is_admin: bool,
    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    pub role: &'static str,
    /// When the user was created, RFC 3339 UTC.
    pub created_at: String,
}

/// A message for people.
#[derive(Debug, Clone, Serialize)]
pub struct MessageAnswer {
    /// One sentence.
    pub message: &'static str,
}

/// The public information about this instance.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceInfo {
    /// Its name.
    pub instance_name: String,
}

/// Whether the first login is still to come.
#[derive(Debug, Clone, Serialize)]
pub struct SetupStatus {
    /// True while there is no user.
    pub needs_setup: bool,
    /// Whether the first login needs the setup token if it comes from the client of this request.
    pub setup_token_required: bool,
}
