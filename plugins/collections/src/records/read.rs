//! `GET {name}/records/{id}`: returns one record under the rule `read`.

use std::sync::Arc;

use tinybase_plugin_api::{
    Error, Request, Response, Result,
    database::{ReadHint, Value},
    task::Pace,
};

use super::{
    answer::Answer,
    expand::{self, Loading},
    prepare::{RequestContext, absent},
    retry_on_schema_change,
};
use crate::{
    access::{Action, Verdict},
    budget::{Budget, Room},
    catalog::Collection,
    error, etag,
    filter::{Context, Record},
    http,
    json::Json,
    plugin::Collections,
    query::{Pick, parse_expand},
};

/// Handles a request for one record.
pub async fn read(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    retry_on_schema_change(&plugin, || record(&plugin, &request)).await
}

async fn record(plugin: &Collections, request: &Request) -> Result<Response> {
    http::check_query(request, &["fields", "expand"])?;
    let collection = plugin.catalog.collection(request.param(0)).await?;
    let (id, caller) = (request.param(1), http::caller(request));
    let rule = collection.options.rules.of(Action::Read);
    let verdict = rule.verdict(Action::Read, &caller);
    if verdict == Verdict::Deny {
        return Err(error::refused(Action::Read, &caller, &collection));
    }
    let rows = plugin
        .database
        .query(ReadHint::PointLookup, &collection.sql.read, &[Value::Text(id.to_owned())])
        .await;
    let rows = rows.map_err(error::of_read(plugin))?;
    let Some(row) = rows.first() else {
        let context = RequestContext::of(request);
        return Err(absent(&collection, Action::Read, id, &context, None));
    };
    let record = Answer {
        collection_id: &collection.id,
        id: row.text(0)?,
        owner_id: row.text_or_null(1)?,
        data: row.text(4)?,
        created_at: row.text(2)?,
        updated_at: row.text(3)?,
    };
    if verdict == Verdict::Depends {
        let now = http::now();
        let context = Context {
            caller: &caller,
            now: &now,
            method: request.method(),
            action: Action::Read.name(),
            data: None,
        };
        if !rule.allows(Action::Read, &seen(&record, &parsed(record.data)?), &context) {
            return Err(error::refused(Action::Read, &caller, &collection));
        }
    }
    let tag = etag::of_record(row.integer(5)?, record.created_at);
    if request.header("if-none-match").is_some_and(|header| etag::matches(header, &tag, true)) {
        return Ok(Response::empty(304).with_header("etag", &tag));
    }
    let json = if request.query().is_empty() {
        Budget::of(plugin).take(record.len_max())?;
        let mut room = Room::of(plugin);
        room.grow(record.len_max()).await?;
        record.to_json()
    } else {
        shaped(plugin, request, &collection, record).await?
    };
    Ok(Response::json_bytes(json).with_header("etag", &tag))
}

/// Returns the record with `fields` and `expand` applied.
async fn shaped(
    plugin: &Collections,
    request: &Request,
    collection: &Arc<Collection>,
    record: Answer<'_>,
) -> Result<String> {
    let value = |name| request.query_value(name).filter(|text| !text.trim().is_empty());
    let picked = match value("fields") {
        Some(fields) => Some(pick(&Pick::parse(&fields, &collection.schema)?, record.data)?),
        None => None,
    };
    let nodes = value("expand").map(|text| parse_expand(&text)).transpose()?.unwrap_or_default();
    let catalog = plugin.catalog.current().await?;
    let mut budget = Budget::of(plugin);
    let (room, pace) = (Room::of(plugin), Pace::default());
    let mut loading = Loading { plugin, catalog: &catalog, request, budget, room, pace };
    let followed = expand::load(&mut loading, collection, &nodes, vec![record.data]).await?;
    let record = Answer { data: picked.as_deref().unwrap_or(record.data), ..record };
    let before = budget.left();
    expand::measure(&record, &followed, 0, &mut budget)?;
    let bytes = before - budget.left();
    loading.room.grow(bytes).await?;
    let mut out = String::with_capacity(bytes);
    expand::write(&record, &followed, 0, &mut out);
    Ok(out)
}

/// Applies a field selection to stored data.
pub(super) fn pick(pick: &Pick, data: &str) -> Result<String> {
    pick.apply(data).map_err(stored_is_json)
}

/// Parses stored data.
pub(crate) fn parsed(data: &str) -> Result<Json<'_>> {
    Json::parse(data).map_err(stored_is_json)
}

fn stored_is_json(fault: serde_json::Error) -> Error {
    Error::internal("stored_data", format!("a record's stored data is no JSON: {fault}"))
}

/// Returns a record in the form that rules evaluate.
pub(super) fn seen<'a>(record: &Answer<'a>, data: &'a Json<'a>) -> Record<'a> {
    Record {
        id: record.id,
        owner_id: record.owner_id,
        created_at: record.created_at,
        updated_at: record.updated_at,
        data,
    }
}
