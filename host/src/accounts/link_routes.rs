//! The routes of mailed links: `/api/auth/password-reset/…` and `/api/auth/login-link/…`. It only moves values between
//! HTTP and the service.

use std::sync::Arc;

use axum::extract::State;
use http::{Method, StatusCode};
use serde_json::{Map, Value as Json, json};

use super::{
    Accounts, Client, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN, mfa,
    requests::{read_email, read_new_password},
    routes::{Answer, secret},
};
use crate::{
    audit::Actor,
    http::{
        Access, OwnRoutes,
        extract::{ApiJson, Fields, Input, json_response},
    },
};

/// Adds the routes of mailed links.
pub(super) fn add(own: &mut OwnRoutes, accounts: Arc<Accounts>) {
    own.with(accounts)
        .route(
            Method::POST,
            "/api/auth/password-reset/request",
            Access::OPEN,
            request_password_reset,
            operation("requestPasswordReset", "Have a link to set a new password mailed", &["email"]),
        )
        .route(
            Method::POST,
            "/api/auth/password-reset/confirm",
            Access::OPEN,
            reset_password,
            operation("confirmPasswordReset", "Set a new password by a mailed token", &["token", "password"]),
        )
        .route(
            Method::POST,
            "/api/auth/login-link/request",
            Access::OPEN,
            request_login_link,
            operation("requestLoginLink", "Have a link to sign in mailed", &["email"]),
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

fn sign_in_operation() -> Json {
    let mut operation = operation("confirmLoginLink", "Sign in by a mailed token", &["token"]);
    operation["responses"]["200"] = mfa::login_operation()["responses"]["200"].clone();
    operation
}

/// An operation that takes these fields, all of them text, and answers words.
fn operation(id: &str, summary: &str, fields: &[&str]) -> Json {
    let property = |field: &&str| {
        let schema = match **field == *"password" {
            true => {
                json!({"type": "string", "minLength": PASSWORD_CHARS_MIN, "maxLength": PASSWORD_CHARS_MAX})
            }
            false => json!({"type": "string"}),
        };
        ((*field).to_owned(), schema)
    };
    let properties = fields.iter().map(property).collect::<Map<_, _>>();
    let body = json!({"type": "object", "required": fields, "properties": properties});
    let answer =
        json!({"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}});
    let mut responses = json!({"200": {
        "description": "What happens",
        "content": {"application/json": {"schema": answer}},
    }});
    if fields.contains(&"token") {
        responses["400"] = json!({"description": "The token does not work any more"});
    }
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["accounts"],
        "requestBody": {"required": true, "content": {"application/json": {"schema": body}}},
        "responses": responses,
    })
}
