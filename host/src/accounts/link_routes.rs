//! The routes of mailed links: `/api/auth/password-reset/…` and `/api/auth/login-link/…`. It only moves values between
//! HTTP and the service.

use std::sync::Arc;

use axum::extract::State;
use http::{Method, StatusCode};
use serde_json::Value as Json;

use super::{
    Accounts, Client, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, mfa,
    requests::{read_email, read_new_password},
    routes::{Answer, secret},
};
use crate::{
    audit::Actor,
    http::{
        Access, HostRoutes,
        extract::{ApiJson, Fields, Input, json_response},
        operation::{operation, schema},
    },
};

/// Adds the routes of mailed links.
pub(super) fn add(own: &mut HostRoutes, accounts: Arc<Accounts>) {
    own.with(accounts)
        .route(
            Method::POST,
            "/api/auth/password-reset/request",
            Access::OPEN,
            request_password_reset,
            mail_operation("requestPasswordReset", "Have a link to set a new password mailed"),
        )
        .route(
            Method::POST,
            "/api/auth/password-reset/confirm",
            Access::OPEN,
            reset_password,
            reset_operation(),
        )
        .route(
            Method::POST,
            "/api/auth/login-link/request",
            Access::OPEN,
            request_login_link,
            mail_operation("requestLoginLink", "Have a link to sign in mailed"),
        )
        .route(
            Method::POST,
            "/api/auth/login-link/confirm",
            Access::OPEN,
            login_by_link,
            sign_in_operation(),
        );
}

struct EmailOnly(String);

impl Input for EmailOnly {
    fn read(fields: &mut Fields) -> Option<EmailOnly> {
        read_email(fields).map(EmailOnly)
    }
}

struct TokenOnly(String);

impl Input for TokenOnly {
    fn read(fields: &mut Fields) -> Option<TokenOnly> {
        fields.text("token").map(TokenOnly)
    }
}

struct NewPassword {
    token: String,
    password: String,
}

impl Input for NewPassword {
    fn read(fields: &mut Fields) -> Option<NewPassword> {
        let (token, password) = (fields.text("token"), read_new_password(fields));
        Some(NewPassword { token: token?, password: password? })
    }
}

async fn request_password_reset(
    State(accounts): State<Arc<Accounts>>,
    actor: Actor,
    ApiJson(EmailOnly(email)): ApiJson<EmailOnly>,
) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.request_password_reset(email, actor)?))
}

async fn reset_password(
    State(accounts): State<Arc<Accounts>>,
    actor: Actor,
    ApiJson(NewPassword { token, password }): ApiJson<NewPassword>,
) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.reset_password(&token, password, &actor).await?))
}

async fn request_login_link(
    State(accounts): State<Arc<Accounts>>,
    actor: Actor,
    ApiJson(EmailOnly(email)): ApiJson<EmailOnly>,
) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.request_login_link(email, actor)?))
}

async fn login_by_link(
    State(accounts): State<Arc<Accounts>>,
    client: Client,
    ApiJson(TokenOnly(token)): ApiJson<TokenOnly>,
) -> Answer {
    accounts.login_by_link(&token, &client).await.map(|answer| secret(&answer))
}

/// Describes a request for a mail. The response is the same whether or not there is an account.
fn mail_operation(id: &str, summary: &str) -> Json {
    let body = schema::input(&["email"], &[("email", schema::email())]);
    operation(id, "accounts", summary).body(body).answers(200, "What happens", message()).into()
}

fn reset_operation() -> Json {
    let password = schema::text_of(PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX);
    let body = schema::input(&["token", "password"], &[("token", schema::text()), ("password", password)]);
    operation("confirmPasswordReset", "accounts", "Set a new password by a mailed token")
        .describe("Ends every session of the user.")
        .body(body)
        .answers(200, "The password was changed", message())
        .refuses(400, "The token does not work any more")
        .into()
}

fn sign_in_operation() -> Json {
    let mut operation: Json = operation("confirmLoginLink", "accounts", "Sign in by a mailed token")
        .body(schema::input(&["token"], &[("token", schema::text())]))
        .refuses(400, "The token does not work any more")
        .into();
    operation["responses"]["200"] = mfa::login_operation()["responses"]["200"].clone();
    operation
}

fn message() -> Json {
    schema::object(&[("message", schema::text())])
}
