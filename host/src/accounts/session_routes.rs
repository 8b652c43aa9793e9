//! The routes by which users look after their own sessions. It only moves values between HTTP and the service.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::Accounts;
use crate::{
    audit::Actor,
    error::ApiError,
    http::{Access, OwnRoutes, SignedIn, extract::json_response},
};

/// Adds the routes of sessions.
pub(super) fn add(own: &mut OwnRoutes, accounts: Arc<Accounts>) {
    own.with(accounts)
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

async fn list(State(accounts): State<Arc<Accounts>>, SignedIn(caller): SignedIn) -> Answer {
    Ok(json_response(StatusCode::OK, &accounts.own_sessions(&caller).await?))
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
    let answer = json!({
        "type": "object",
        "required": ["sessions", "total"],
        "properties": {"sessions": {"type": "array", "items": session}, "total": {"type": "integer"}},
    });
    json!({
        "operationId": "listSessions",
        "summary": "The caller's sessions, the one used last first",
        "tags": ["accounts"],
        "responses": {"200": {
            "description": "Every session that has not ended",
            "content": {"application/json": {"schema": answer}},
        }},
    })
}

fn end_operation(id: &str, summary: &str) -> Json {
    json!({
        "operationId": id,
        "summary": summary,
        "tags": ["accounts"],
        "responses": {"204": {"description": "Ended, with all of its tokens"}},
    })
}
