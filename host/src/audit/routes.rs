//! The routes of the audit log: `/api/admin/audit-log` and its export. It only moves values between HTTP and the log.

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value as Json, json};

use super::{AuditLog, export, filter, log::TOTAL_COUNTED_MAX};
use crate::{
    db::DbError,
    error::ApiError,
    http::{Access, OwnRoutes, extract::json_response},
};

/// The scope that an application token needs to read the log.
const READ: &str = "admin:audit:read";

/// Adds the routes of the audit log.
pub fn routes(own: &mut OwnRoutes, log: AuditLog) {
    own.with(log)
        .route(Method::GET, "/api/admin/audit-log", Access::viewer(READ), page, page_operation())
        .route(Method::GET, "/api/admin/audit-log/export", Access::viewer(READ), file, export_operation());
}

async fn page(State(log): State<AuditLog>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let asked = filter::read_page(&query.unwrap_or_default())?;
    let page = log.page(&asked).await.map_err(|error| match error {
        DbError::TooLarge { .. } => ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "answer_too_large",
            "the entries of this page are too large together: ask for a smaller limit",
        ),
        error => error.into(),
    })?;
    Ok(json_response(StatusCode::OK, &page))
}

async fn file(State(log): State<AuditLog>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let (filter, format) = filter::read_export(&query.unwrap_or_default())?;
    let mut response = Response::new(export::body(log, filter, format).await?);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static(format.disposition()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn parameter(name: &str, description: &str, schema: &Json) -> Json {
    json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema})
}

fn filters() -> Vec<Json> {
    let text = json!({"type": "string", "maxLength": 512});
    let time = json!({"type": "string", "format": "date-time"});
    vec![
        parameter("action", "An action, or the beginning of actions with * behind it: user.*", &text),
        parameter("actor_id", "The id of the user or application token who did it", &text),
        parameter("target_kind", "What kind of thing it was done to", &text),
        parameter("target_id", "Which thing it was done to", &text),
        parameter("from", "Entries of this time and later", &time),
        parameter("to", "Entries before this time", &time),
    ]
}

fn entry_schema() -> Json {
    let text = json!({"type": "string"});
    let optional = json!({"type": ["string", "null"]});
    let kinds = ["user", "token", "command", "extension", "system", "nobody"];
    json!({
        "type": "object",
        "required": ["id", "at", "actor_kind", "actor_id", "actor_name", "address", "request_id", "action", "target_kind",
            "target_id", "change"],
        "properties": {
            "id": {"type": "integer"},
            "at": {"type": "string", "format": "date-time"},
            "actor_kind": {"type": "string", "enum": kinds},
            "actor_id": optional,
            "actor_name": text,
            "address": optional,
            "request_id": optional,
            "action": text,
            "target_kind": text,
            "target_id": text,
            "change": {"type": "object"},
        },
    })
}

fn page_operation() -> Json {
    let limit = json!({"type": "integer", "minimum": 1, "maximum": filter::LIMIT_MAX, "default": 100});
    let offset = json!({"type": "integer", "minimum": 0, "default": 0});
    let mut parameters = filters();
    parameters.extend([
        parameter("limit", "The most entries of the page", &limit),
        parameter("offset", "How many entries to leave out", &offset),
        parameter(
            "cursor",
            "Empty at first, then the next_cursor of the answer before",
            &json!({"type": "string"}),
        ),
    ]);
    let total = format!("How many there are, counted up to {TOTAL_COUNTED_MAX}; null with a cursor");
    let schema = json!({
        "type": "object",
        "required": ["entries", "total", "total_is_exact", "limit", "offset", "next_cursor"],
        "properties": {
            "entries": {"type": "array", "items": entry_schema()},
            "total": {"type": ["integer", "null"], "description": total},
            "total_is_exact": {"type": "boolean"},
            "limit": {"type": "integer"},
            "offset": {"type": "integer"},
            "next_cursor": {"type": ["string", "null"]},
        },
    });
    json!({
        "operationId": "listAuditLog",
        "summary": "Who did what to which thing, newest first",
        "tags": ["administration"],
        "parameters": parameters,
        "responses": {
            "200": {"description": "A page of the log.", "content": {"application/json": {"schema": schema}}},
            "413": {"description": "The entries of the page are too large together: answer_too_large."},
        },
    })
}

fn export_operation() -> Json {
    let mut parameters = filters();
    let formats = json!({"type": "string", "enum": ["ndjson", "csv"], "default": "ndjson"});
    parameters.push(parameter("format", "A JSON object a line, or comma-separated values", &formats));
    let text = json!({"schema": {"type": "string"}});
    json!({
        "operationId": "exportAuditLog",
        "summary": "The log as a file, oldest first",
        "tags": ["administration"],
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "The entries that the filters leave.",
                "content": {"application/x-ndjson": text, "text/csv": text},
            },
        },
    })
}
