//! The monitoring routes `/metrics` and `/ready`. It never decides what is counted.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value as Json, json};

use super::{
    Readiness,
    exposition::{self, Moment},
    process,
};
use crate::{
    config::Config,
    error::ApiError,
    http::{
        Access, HostRoutes, Networks,
        extract::json_response,
        operation::{operation, schema},
    },
    nodes::Nodes,
    sql::{HostSql, integer},
};

/// The scope that an application token needs to read the metrics.
const READ: &str = "admin:metrics:read";

const TAG: &str = "system";

/// The maximum number of outbox events that are counted.
const BACKLOG_COUNTED_MAX: u32 = 100_000;

/// The state that the monitoring routes report.
#[derive(Clone)]
pub struct Observed {
    sql: HostSql,
    ready: Arc<Readiness>,
    nodes: Arc<Nodes>,
    safe_mode: bool,
}

impl Observed {
    /// Creates the state of a server with this database, one of its `nodes`. In safe mode extensions are not loaded.
    /// The process start time is now.
    pub fn new(sql: HostSql, nodes: Arc<Nodes>, safe_mode: bool) -> Observed {
        process::note_start();
        let ready = Arc::new(Readiness::new(sql.clone()));
        Observed { sql, ready, nodes, safe_mode }
    }

    /// Returns the readiness of the server.
    pub fn ready(&self) -> &Arc<Readiness> {
        &self.ready
    }
}

/// Adds `/metrics` and `/ready`.
pub fn routes(own: &mut HostRoutes, config: &Config, observed: &Observed) {
    own.with(observed.clone())
        .route(Method::GET, "/ready", Access::OPEN, ready, ready_operation())
        .route(Method::GET, "/metrics", Access::viewer(READ), metrics, metrics_operation())
        .open_to(Networks::new(&config.metrics.allow));
}

async fn ready(State(observed): State<Observed>) -> Result<Response, ApiError> {
    observed.ready.check().await?;
    let mut answer = json!({"status": "ready"});
    if observed.safe_mode {
        answer["safe_mode"] = true.into();
    }
    Ok(json_response(StatusCode::OK, &answer))
}

async fn metrics(State(observed): State<Observed>) -> Result<Response, ApiError> {
    let moment = Moment {
        outbox_backlog: backlog(&observed.sql).await,
        nodes: observed.nodes.alive().get(),
        process: process::read(),
    };
    let text = exposition::write(moment)
        .map_err(|error| ApiError::internal_logged("the figures could not be written", &error))?;
    let kind = HeaderValue::from_static(exposition::CONTENT_TYPE);
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Returns the number of events waiting in the outbox. Returns `None` if the database fails, because the other metrics
/// matter most then.
async fn backlog(sql: &HostSql) -> Option<u64> {
    let counted =
        format!("SELECT count(*) FROM (SELECT 1 FROM tb_outbox LIMIT {BACKLOG_COUNTED_MAX}) AS counted");
    let rows = sql.scan(&counted, &[]).await.ok()?;
    rows.first().and_then(|row| integer(row, 0).try_into().ok())
}

fn ready_operation() -> Json {
    let mut ready = schema::object(&[("status", schema::one_of(&["ready"]))]);
    ready["properties"]["safe_mode"] = schema::flag();
    operation("getReadiness", TAG, "Whether the server can do its work")
        .answers(200, "It can.", ready)
        .refuses(503, "It cannot: `shutting_down`, `database_not_ready`, `writer_not_ready`, `disk_full` or `database_file_replaced`.")
        .into()
}

fn metrics_operation() -> Json {
    operation("getPrometheusMetrics", TAG, "Figures for Prometheus")
        .describe("Also open without a token to the networks of `metrics.allow`.")
        .answers_as(200, "The figures as OpenMetrics text.", "application/openmetrics-text", schema::text())
        .into()
}
