//! Checks installed extensions against their files and the registries: `tinybase extensions verify` and `audit` over
//! HTTP. It never changes anything.

use axum::extract::{RawQuery, State};
use http::StatusCode;
use serde_json::json;

use super::{Answer, Extensions};
use crate::{
    http::{extract::json_response, query::Query},
    registry,
};

/// The longest name of an extension, in characters.
const NAME_CHARS_MAX: usize = 100;

pub(super) async fn verify(State(extensions): State<Extensions>, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref(), &["name"]);
    let name = query.text("name", NAME_CHARS_MAX);
    query.finish()?;
    let Extensions { plugins, config } = &extensions;
    let verdicts = registry::verify(config, plugins, name.as_deref()).await?;
    Ok(json_response(StatusCode::OK, &json!({"extensions": verdicts})))
}

pub(super) async fn audit(State(extensions): State<Extensions>, RawQuery(query): RawQuery) -> Answer {
    Query::parse(query.as_deref(), &[]).finish()?;
    let registry_set = registry::open(&extensions.config).await;
    let installed = extensions.plugins.store().all().await?;
    let failures: Vec<String> = registry_set.failures.iter().map(ToString::to_string).collect();
    let body = json!({"findings": registry::audit(&registry_set, &installed), "failures": failures});
    Ok(json_response(StatusCode::OK, &body))
}
