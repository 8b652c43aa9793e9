//! What the routes of accounts take and answer, and which shapes they refuse. It never touches the database.

use serde::Serialize;

use super::{
    email,
    passwords::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN},
};
use crate::http::extract::{Fields, Input};

/// An email in its one form, and a password as typed.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginRequest {
    pub(super) email: String,
    pub(super) password: String,
}

/// The same, with a password that is good enough to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct RegisterRequest {
    pub(super) email: String,
    pub(super) password: String,
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

fn read_email(fields: &mut Fields) -> Option<String> {
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

/// What is wrong with `password` as a new one: the words and the kind of the fault.
pub(super) fn password_fault(password: &str) -> Option<(String, &'static str)> {
    match password.chars().count() {
        ..PASSWORD_CHARS_MIN => {
            Some((format!("a password has at least {PASSWORD_CHARS_MIN} characters"), "string_too_short"))
        }
        PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX => None,
        _ => Some((format!("a password has at most {PASSWORD_CHARS_MAX} characters"), "string_too_long")),
    }
}

impl Input for LoginRequest {
    fn read(fields: &mut Fields) -> Option<LoginRequest> {
        let (email, password) = (read_email(fields), fields.text("password"));
        Some(LoginRequest { email: email?, password: password? })
    }
}

impl Input for RegisterRequest {
    fn read(fields: &mut Fields) -> Option<RegisterRequest> {
        let LoginRequest { email, password } = {
            let (email, password) = (read_email(fields), fields.text("password"));
            if let Some((msg, kind)) = password.as_deref().and_then(password_fault) {
                fields.fault("password", msg, kind);
            }
            LoginRequest { email: email?, password: password? }
        };
        Some(RegisterRequest { email, password })
    }
}

/// A session's tokens and whose it is.
#[derive(Debug, Clone, Serialize)]
pub struct LoginAnswer {
    /// The access token, a JWT.
    pub access_token: String,
    /// The refresh token; it works once.
    pub refresh_token: String,
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
    /// The user's email in its one form.
    pub email: String,
    /// What happened, for people.
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

/// What happened, for people.
#[derive(Debug, Clone, Serialize)]
pub struct MessageAnswer {
    /// One sentence.
    pub message: &'static str,
}

/// What anyone may know about this instance.
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
}
