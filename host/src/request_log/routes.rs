//! The route of the request log: `/api/admin/requests`. It only moves values between HTTP and the log.

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::{Recorder, filter};
use crate::{
    error::ApiError,
    http::{
        Access, HostRoutes,
        extract::json_response,
        operation::{Operation, operation, schema},
    },
    log_query::{self, Paging, TimeLog},
    sql::{HostSql, Row, integer, optional_text, text},
};

/// The scope that an application token needs to read the log.
const READ: &str = "admin:requests:read";

const TAG: &str = "administration";

const COLUMNS: &str =
    "id, at, method, route, path, status, duration_us, user_id, token_id, address, request_id, bytes_out";

#[derive(Clone)]
struct RequestLog {
    log: TimeLog,
    recorder: Option<Recorder>,
}

/// Adds the route of the request log; `recorder` is set if the log is enabled.
pub fn routes(own: &mut HostRoutes, sql: HostSql, recorder: Option<Recorder>) {
    let log = TimeLog::new(sql, "tb_request_log", COLUMNS);
    own.with(RequestLog { log, recorder }).route(
        Method::GET,
        "/api/admin/requests",
        Access::viewer(READ),
        page,
        page_operation().into(),
    );
}

/// A row in a response.
#[derive(Debug, Serialize)]
struct Logged {
    id: i64,
    at: String,
    method: String,
    route: Option<String>,
    path: String,
    status: i64,
    duration_us: i64,
    user_id: Option<String>,
    token_id: Option<String>,
    address: String,
    request_id: String,
    bytes_out: i64,
}

impl Logged {
    fn from_row(row: &Row) -> Logged {
        Logged {
            id: integer(row, 0),
            at: text(row, 1),
            method: text(row, 2),
            route: optional_text(row, 3),
            path: text(row, 4),
            status: integer(row, 5),
            duration_us: integer(row, 6),
            user_id: optional_text(row, 7),
            token_id: optional_text(row, 8),
            address: text(row, 9),
            request_id: text(row, 10),
            bytes_out: integer(row, 11),
        }
    }
}

#[derive(Debug, Serialize)]
struct Page {
    requests: Vec<Logged>,
    #[serde(flatten)]
    paging: Paging,
}

async fn page(State(state): State<RequestLog>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let asked = filter::read_page(&query.unwrap_or_default())?;
    if let Some(recorder) = &state.recorder {
        // The latest rows are the ones most often looked for.
        recorder.flush().await;
    }
    let (rows, paging) = state.log.page(&asked).await.map_err(log_query::too_large)?;
    let page = Page { requests: rows.iter().map(Logged::from_row).collect(), paging };
    Ok(json_response(StatusCode::OK, &page))
}

fn row_schema() -> Json {
    let optional = || schema::nullable(schema::text());
    let row = schema::object(&[
        ("id", schema::integer(1)),
        ("at", schema::time()),
        ("method", schema::text()),
        ("route", optional()),
        ("path", schema::text()),
        ("status", schema::integer(100)),
        ("duration_us", schema::integer(0)),
        ("user_id", optional()),
        ("token_id", optional()),
        ("address", schema::text()),
        ("request_id", schema::text()),
        ("bytes_out", schema::integer(0)),
    ]);
    schema::named("LoggedRequest", row)
}

fn page_operation() -> Operation {
    let text = json!({"type": "string", "maxLength": log_query::TEXT_BYTES_MAX});
    let status = json!({"type": "string", "pattern": "^([1-5][0-9][0-9]|[1-5]xx)?$"});
    let duration = json!({"type": "integer", "minimum": 0, "maximum": filter::DURATION_MS_MAX});
    let listed = operation("listRequests", TAG, "Which requests were answered how, newest first")
        .query("method", text.clone(), "The method, in capitals.")
        .query("status", status, "A status, or a class of them: 5xx.")
        .query("route", text.clone(), "The pattern of a route: /api/collections/{name}/records.")
        .query("path", text.clone(), "What the path begins with.")
        .query("user_id", text.clone(), "Whose token was sent.")
        .query("request_id", text, "The X-Request-Id of the answer.")
        .query("min_duration_ms", duration, "Requests that took as long or longer.")
        .query("from", schema::time(), "Requests of this time and later.")
        .query("to", schema::time(), "Requests before this time.");
    log_query::paged_operation(listed, "requests", row_schema())
}
