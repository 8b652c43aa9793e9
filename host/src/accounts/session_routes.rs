//! The routes for a user's own sessions and credentials. It only moves values between HTTP and the service.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::{Accounts, ChangeMeRequest, Client};
use crate::{
    audit::Actor,
    error::ApiError,
    http::{
        Access, HostRoutes, SignedIn,
        extract::{ApiJson, json_response},
        operation::{operation, schema},
        query::Query,
    },
};

/// Adds these routes.
pub(super) fn add(own: &mut HostRoutes, accounts: Arc<Accounts>) {
    own.with(accounts)
        .route(Method::PATCH, "/api/auth/me", Access::SESSION, change_me, change_operation())
        .route(Method::GET, "/api/auth/sessions", Access::SESSION, list, list_operation())
        .route(
            Method::DELETE,
            "/api/auth/sessions",
            Access::SESSION,
            end_others,
            end_operation("endOtherSessions", "End every session of the caller but the one that asks"),
        )
        .route(
            Method::DELETE,
            "/api/auth/sessions/{id}",
            Access::SESSION,
            end,
            end_operation("endSession", "End one session of the caller, which may be the one that asks"),
        );
}

type Answer = Result<Response, ApiError>;

async fn change_me(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    client: Client,
    ApiJson(request): ApiJson<ChangeMeRequest>,
) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.change_me(&caller, request, &client).await?))
}

async fn list(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    RawQuery(query): RawQuery,
) -> Answer {
    let mut query = Query::parse(query.as_deref(), &["limit", "offset"]);
    let page = query.page();
    query.finish()?;
    Ok(json_response(StatusCode::OK, &accounts.own_sessions(&caller, page).await?))
}

async fn end(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    actor: Actor,
    Path(id): Path<String>,
) -> Answer {
    accounts.end_own_session(&caller, &id, &actor).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn end_others(
    State(accounts): State<Arc<Accounts>>,
    SignedIn(caller): SignedIn,
    actor: Actor,
) -> Answer {
    accounts.end_other_sessions(&caller, &actor).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn change_operation() -> Json {
    let (text, email) = (json!({"type": "string"}), json!({"type": "string", "format": "email"}));
    let body = json!({
        "type": "object",
        "required": ["current_password"],
        "properties": {
            "email": {"type": ["string", "null"]},
            "password": {"type": ["string", "null"], "minLength": 8, "maxLength": 256},
            "current_password": text,
        },
    });
    let answer = json!({
        "type": "object",
        "required": ["id", "email", "is_admin", "role", "created_at"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "email": email,
            "is_admin": {"type": "boolean"},
            "role": {"type": "string", "enum": ["user", "viewer", "editor", "admin"]},
            "created_at": {"type": "string", "format": "date-time"},
        },
    });
    json!({
        "operationId": "updateMe",
        "summary": "Change the caller's email or password, and end the caller's other sessions",
        "tags": ["accounts"],
        "requestBody": {"required": true, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {
            "description": "The account as it is now",
            "content": {"application/json": {"schema": answer}},
        }},
    })
}

fn list_operation() -> Json {
    let time = json!({"type": "string", "format": "date-time"});
    let maybe = json!({"type": ["string", "null"]});
    let session = json!({
        "type": "object",
        "required": ["id", "method", "address", "user_agent", "created_at", "last_used_at", "expires_at", "current"],
        "properties": {
            "id": {"type": "string", "format": "uuid"},
            "method": {"type": "string"},
            "address": maybe,
            "user_agent": maybe,
            "created_at": time,
            "last_used_at": time,
            "expires_at": time,
            "current": {"type": "boolean"},
        },
    });
    operation("listSessions", "accounts", "The caller's sessions, the one used last first")
        .paged()
        .answers(200, "A page of the sessions that have not ended.", schema::page("sessions", session))
        .into()
}

fn end_operation(id: &str, summary: &str) -> Json {
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["accounts"],
        "responses": {"204": {"description": "Ended, with all of its tokens"}},
    })
}
