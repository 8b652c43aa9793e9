//! The routes of the audit log: `/api/admin/audit-log` and its export. It only moves values between HTTP and the log.

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value as Json, json};

use super::{AuditLog, export, filter};
use crate::{
    error::ApiError,
    http::{
        Access, HostRoutes,
        extract::json_response,
        operation::{Operation, operation, schema},
    },
    log_query,
};

/// The scope that an application token needs to read the log.
const READ: &str = "admin:audit:read";

const TAG: &str = "administration";

/// Adds the routes of the audit log.
pub fn routes(own: &mut HostRoutes, log: AuditLog) {
    own.with(log)
        .route(Method::GET, "/api/admin/audit-log", Access::viewer(READ), page, page_operation().into())
        .route(Method::GET, "/api/admin/audit-log/export", Access::viewer(READ), file, export_operation());
}

async fn page(State(log): State<AuditLog>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let asked = filter::read_page(&query.unwrap_or_default())?;
    let page = log.page(&asked).await.map_err(log_query::too_large)?;
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

fn with_filters(operation: Operation) -> Operation {
    let text = json!({"type": "string", "maxLength": log_query::TEXT_BYTES_MAX});
    operation
        .query("action", text.clone(), "An action, or the beginning of actions with * behind it: user.*")
        .query("actor_id", text.clone(), "The id of the user or application token who did it.")
        .query("target_kind", text.clone(), "What kind of thing it was done to.")
        .query("target_id", text, "Which thing it was done to.")
        .query("from", schema::time(), "Entries of this time and later.")
        .query("to", schema::time(), "Entries before this time.")
}

fn entry_schema() -> Json {
    let optional = || schema::nullable(schema::text());
    let kinds = ["user", "token", "command", "extension", "system", "nobody"];
    let entry = schema::object(&[
        ("id", schema::integer(1)),
        ("at", schema::time()),
        ("actor_kind", schema::one_of(&kinds)),
        ("actor_id", optional()),
        ("actor_name", schema::text()),
        ("address", optional()),
        ("request_id", optional()),
        ("action", schema::text()),
        ("target_kind", schema::text()),
        ("target_id", schema::text()),
        ("change", json!({"type": "object"})),
    ]);
    schema::named("AuditEntry", entry)
}

fn page_operation() -> Operation {
    let listed = operation("listAuditLog", TAG, "Who did what to which thing, newest first");
    log_query::paged_operation(with_filters(listed), "entries", entry_schema())
}

fn export_operation() -> Json {
    let mut built: Json = with_filters(operation("exportAuditLog", TAG, "The log as a file, oldest first"))
        .query(
            "format",
            schema::one_of(&["ndjson", "csv"]),
            "A JSON object a line, which it is where left out, or CSV.",
        )
        .answers_as(200, "The entries that the filters leave.", "application/x-ndjson", schema::text())
        .into();
    built["responses"]["200"]["content"]["text/csv"] = json!({"schema": schema::text()});
    built
}
