//! `/api/admin/metrics`: metrics of extensions, such as the number of records of a collection. They are collected on
//! request if the last ones are older than the setting allows. It never knows how an extension counts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::State, response::Response};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use tokio::sync::Mutex;

use crate::{
    error::ApiError,
    http::{
        Access, HostRoutes,
        extract::json_response,
        operation::{Operation, operation, schema},
    },
    plugins::{Contribution, Plugins},
    settings::{METRICS_INTERVAL, Settings},
    sql::time_from_now,
};

const READ: Access = Access::viewer("admin:metrics:read");

/// The topic on which extensions are asked for metrics. Each gets both lists empty, and returns them filled with its
/// own.
const TOPIC: &str = "metrics.collect";

/// The maximum time for an extension; slower ones are left out.
const COLLECT_TIME_MAX: Duration = Duration::from_secs(5);

/// The maximum number of entries per list and extension.
const ENTRIES_MAX: usize = 10_000;

/// The collected metrics.
#[derive(Debug, Clone, Serialize)]
struct Collected {
    collection_sizes: Vec<Json>,
    function_stats: Vec<Json>,
    collected_at: String,
}

/// Collects the metrics, and caches them until they are too old.
pub(super) struct Metrics {
    plugins: Arc<Plugins>,
    settings: Arc<Settings>,
    /// Locked during collection, so that of concurrent requests only one collects.
    latest: Mutex<Option<(Instant, Arc<Collected>)>>,
}

impl Metrics {
    async fn current(&self) -> Result<Arc<Collected>, ApiError> {
        let age_max = self.age_max().await?;
        let mut latest = self.latest.lock().await;
        if let Some((since, collected)) = &*latest
            && since.elapsed() < age_max
        {
            return Ok(Arc::clone(collected));
        }
        let parts = self.plugins.fan_out(TOPIC, &empty(), COLLECT_TIME_MAX).await;
        let collected = Arc::new(put_together(&parts, time_from_now(0)));
        *latest = Some((Instant::now(), Arc::clone(&collected)));
        Ok(collected)
    }

    async fn age_max(&self) -> Result<Duration, ApiError> {
        let minutes = self.settings.current().await?.value(METRICS_INTERVAL).as_u64().unwrap_or(1);
        Ok(Duration::from_secs(minutes.saturating_mul(60)))
    }
}

fn empty() -> Json {
    json!({"collection_sizes": [], "function_stats": []})
}

fn put_together(parts: &[Contribution], collected_at: String) -> Collected {
    Collected {
        collection_sizes: parts.iter().flat_map(|part| entries(part, "collection_sizes", is_size)).collect(),
        function_stats: parts.iter().flat_map(|part| entries(part, "function_stats", is_stat)).collect(),
        collected_at,
    }
}

/// Returns the entries of one list of a part, without malformed ones.
fn entries(part: &Contribution, list: &str, fits: fn(&Map<String, Json>) -> bool) -> Vec<Json> {
    let given = part.payload.get(list).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let kept: Vec<Json> =
        given.iter().filter(|entry| entry.as_object().is_some_and(fits)).take(ENTRIES_MAX).cloned().collect();
    if kept.len() < given.len() {
        let left_out = given.len() - kept.len();
        tracing::warn!(
            plugin = part.plugin,
            left_out,
            "entries of {list} were left out: their form is another, or there are more than {ENTRIES_MAX}"
        );
    }
    kept
}

fn is_size(entry: &Map<String, Json>) -> bool {
    let has = |name: &str, fits: fn(&Json) -> bool| entry.get(name).is_some_and(fits);
    has("collection_name", Json::is_string) && has("record_count", Json::is_u64)
}

fn is_stat(entry: &Map<String, Json>) -> bool {
    let has = |name: &str, fits: fn(&Json) -> bool| entry.get(name).is_some_and(fits);
    has("function_name", Json::is_string)
        && has("avg_runtime_ms", |value| value.is_number() || value.is_null())
        && has("error_rate", Json::is_number)
        && has("total_calls", Json::is_u64)
}

/// Adds the route.
pub(super) fn routes(own: &mut HostRoutes, settings: Arc<Settings>, plugins: Arc<Plugins>) {
    let metrics = Arc::new(Metrics { plugins, settings, latest: Mutex::default() });
    own.with(metrics).route(Method::GET, "/api/admin/metrics", READ, read, read_operation().into());
}

async fn read(State(metrics): State<Arc<Metrics>>) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &*metrics.current().await?))
}

fn read_operation() -> Operation {
    let size = [("collection_name", schema::text()), ("record_count", schema::integer(0))];
    let stat = [
        ("function_name", schema::text()),
        ("avg_runtime_ms", schema::nullable(schema::number())),
        ("error_rate", schema::number()),
        ("total_calls", schema::integer(0)),
    ];
    let answer = [
        ("collection_sizes", schema::list(schema::object(&size))),
        ("function_stats", schema::list(schema::object(&stat))),
        ("collected_at", schema::time()),
    ];
    operation("getMetrics", "metrics", "Sizes of collections and figures of functions")
        .describe("As old as `metrics_collection_interval` at most.")
        .answers(200, "The metrics.", schema::object(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(payload: Json) -> Contribution {
        Contribution { plugin: "x".into(), payload }
    }

    #[test]
    fn parts_are_put_together_without_what_has_another_form() {
        let stat = json!({"function_name": "f", "avg_runtime_ms": null, "error_rate": 0.5, "total_calls": 2});
        let parts = [
            part(json!({"collection_sizes": [
                {"collection_name": "a", "record_count": 1}, {"collection_name": "b"}, 7,
                {"collection_name": "c", "record_count": -1},
            ]})),
            part(json!([])),
            part(json!({"collection_sizes": "x", "function_stats": [stat]})),
        ];
        let collected = put_together(&parts, String::new());
        assert_eq!(collected.collection_sizes, [json!({"collection_name": "a", "record_count": 1})]);
        assert_eq!(collected.function_stats, [stat]);
    }

    #[test]
    fn one_extension_adds_no_more_than_it_may() {
        let size = json!({"collection_name": "a", "record_count": 1});
        let many = part(json!({"collection_sizes": vec![size; ENTRIES_MAX + 1]}));
        assert_eq!(put_together(&[many], String::new()).collection_sizes.len(), ENTRIES_MAX);
    }
}
