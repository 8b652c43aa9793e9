//! `/api/admin/settings`. The settings module validates the values.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{Method, StatusCode};
use serde_json::{Map, Value as Json};

use crate::{
    audit::Actor,
    error::ApiError,
    http::{
        Access, HostRoutes,
        etag::{self, IfMatch},
        extract::{ApiJson, Fields, Input, json_response},
        operation::{Operation, operation, schema},
        query::Query,
    },
    settings::{FIELDS, Settings, Shown},
};

const READ: Access = Access::viewer("admin:settings:read");
const WRITE: Access = Access::admin("admin:settings:write");
const PATH: &str = "/api/admin/settings";

type Answer = Result<Response, ApiError>;

/// Adds the routes.
pub(super) fn routes(own: &mut HostRoutes, settings: Arc<Settings>) {
    own.with(settings)
        .route(Method::GET, PATH, READ, read, read_operation().into())
        .route(Method::PATCH, PATH, WRITE, update, update_operation().into())
        .route(Method::GET, "/api/admin/settings/history", READ, history, history_operation().into());
}

/// A change of settings, validated as a whole by the settings module.
struct SettingsPatch(Map<String, Json>);

impl Input for SettingsPatch {
    fn read(fields: &mut Fields) -> Option<SettingsPatch> {
        Some(SettingsPatch(fields.rest()))
    }
}

async fn read(State(settings): State<Arc<Settings>>) -> Answer {
    Ok(answer(&settings.shown().await?))
}

async fn update(
    State(settings): State<Arc<Settings>>,
    actor: Actor,
    if_match: IfMatch,
    ApiJson(SettingsPatch(patch)): ApiJson<SettingsPatch>,
) -> Answer {
    Ok(answer(&settings.change(&actor, &if_match, patch).await?))
}

/// Returns the settings with their ETag.
fn answer(shown: &Shown) -> Response {
    etag::tagged(json_response(StatusCode::OK, &shown.settings), &shown.tag)
}

async fn history(State(settings): State<Arc<Settings>>, RawQuery(query): RawQuery) -> Answer {
    let mut query = Query::parse(query.as_deref(), &["setting", "limit", "offset"]);
    let setting = query.word("setting", &names());
    let page = query.page();
    query.finish()?;
    Ok(json_response(StatusCode::OK, &settings.history(setting, page).await?))
}

fn names() -> Vec<&'static str> {
    FIELDS.iter().map(|field| field.name).collect()
}

fn named(id: &str, summary: &str) -> Operation {
    operation(id, "settings", summary)
}

/// Returns the schema of the settings in a response: secrets only show whether they are set.
fn settings() -> Json {
    let secrets =
        FIELDS.iter().filter(|field| field.is_secret()).map(|field| format!("{}_is_set", field.name));
    let secrets = secrets.collect::<Vec<_>>();
    let shown = FIELDS.iter().filter(|field| !field.is_secret()).map(|field| (field.name, field.schema()));
    let told = secrets.iter().map(|name| (name.as_str(), schema::flag()));
    let fields = shown.chain(told).chain([("updated_at", schema::time())]).collect::<Vec<_>>();
    schema::named("Settings", schema::object(&fields))
}

fn read_operation() -> Operation {
    named("getSettings", "The settings of this instance").answers_tagged(200, "The settings.", settings())
}

fn update_operation() -> Operation {
    let fields =
        FIELDS.iter().map(|field| (field.name, schema::nullable(field.schema()))).collect::<Vec<_>>();
    named("updateSettings", "Change settings")
        .describe("All of the body or nothing of it. Null goes back to the default. It holds at once.")
        .changes_tagged()
        .body(schema::input(&[], &fields))
        .answers_tagged(200, "The settings.", settings())
        .refuses(400, "An unknown time zone, an interval below 1, a redirect URL that is not absolute or leads into /admin, the portal without its redirect URLs.")
}

fn history_operation() -> Operation {
    let by = [("kind", schema::text()), ("id", schema::nullable(schema::text())), ("name", schema::text())];
    let any = serde_json::json!({});
    let entry = [
        ("id", schema::integer(1)),
        ("changed_at", schema::time()),
        ("changed_by", schema::object(&by)),
        ("setting", schema::text()),
        ("from", any.clone()),
        ("to", any),
    ];
    named("listSettingsHistory", "What was changed in the settings, by whom, the last change first")
        .query("setting", schema::one_of(&names()), "One setting alone.")
        .paged()
        .answers(200, "A page of changes.", schema::page("history", schema::object(&entry)))
}
