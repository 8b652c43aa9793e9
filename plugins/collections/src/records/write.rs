//! The routes that change one record, and how a change is applied: hooks, one batch, retries after conflicts with other
//! writers.

use std::sync::Arc;

use serde_json::json;
use tinybase_plugin_api::{
    Error, Request, Response, Result,
    database::{Applied, Batch, Expect},
    log,
};
use uuid::Uuid;

use super::{
    answer::Answer,
    cascade, load,
    prepare::{Change, Conditions, PreparedWrite, RequestContext, WriteOp, prepare},
    references, retry_on_schema_change,
};
use crate::{
    budget::{Budget, Room},
    error, etag, heavy, http, limits,
    plugin::Collections,
    validate::is_record_id,
};

/// The members of a body.
const BODY: [&str; 1] = ["data"];

/// `POST {name}/records`: creates a record under the rule `create`.
pub async fn create(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let _room = Room::for_body(&plugin, request.body()).await?;
    let turn = heavy::turn(request.body().len()).await;
    let body = http::object_of(&request, &BODY, 1)?;
    drop(turn);
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = Uuid::now_v7().hyphenated().encode_lower(&mut id);
    change(&plugin, &request, id, WriteOp::Create(http::data(&body)?)).await
}

/// `PATCH {name}/records/{id}`: merges fields into a record under the rule `update`.
pub async fn update(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let _room = Room::for_body(&plugin, request.body()).await?;
    let turn = heavy::turn(request.body().len()).await;
    let body = http::object_of(&request, &BODY, 1)?;
    drop(turn);
    change(&plugin, &request, request.param(1), WriteOp::Merge(http::data(&body)?)).await
}

/// `PUT {name}/records/{id}`: replaces a record's data, or creates a record with this id.
pub async fn replace(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let _room = Room::for_body(&plugin, request.body()).await?;
    let turn = heavy::turn(request.body().len()).await;
    let body = http::object_of(&request, &BODY, 1)?;
    drop(turn);
    let data = http::data(&body)?;
    let id = request.param(1);
    if !is_record_id(id) {
        let message = "must be a UUID in lower case";
        let detail = json!([{"loc": ["path", "id"], "msg": message, "type": "uuid"}]);
        return Err(Error::unprocessable("invalid_id", format!("the id {message}")).with_details(detail));
    }
    change(&plugin, &request, id, WriteOp::Replace(data)).await
}

/// `DELETE {name}/records/{id}`: deletes a record under the rule `delete`.
pub async fn delete(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    change(&plugin, &request, request.param(1), WriteOp::Delete).await
}

async fn change(plugin: &Collections, request: &Request, id: &str, op: WriteOp<'_>) -> Result<Response> {
    http::check_query(request, &[])?;
    retry_on_schema_change(plugin, || try_change(plugin, request, id, op)).await
}

async fn try_change(plugin: &Collections, request: &Request, id: &str, op: WriteOp<'_>) -> Result<Response> {
    let context = RequestContext::of(request);
    let conditions =
        Conditions { if_match: request.header("if-match"), if_none_match: request.header("if-none-match") };
    let mut collection = plugin.catalog.collection(request.param(0)).await?;
    for _ in 0..limits::WRITE_ATTEMPTS_MAX {
        let stored = match op {
            WriteOp::Create(_) => None,
            _ => load::record(plugin.database, &collection, id).await?,
        };
        let turn =
            heavy::turn(request.body().len() + stored.as_ref().map_or(0, |stored| stored.data.len())).await;
        let mut prepared = prepare(&collection, id, stored, op, conditions, &context)?;
        drop(turn);
        references::check(plugin, &prepared, op, &context, None).await?;
        let is_deep = prepared.change == Change::Delete
            && cascade::is_needed(plugin, cascade::Root::record(&collection, id)).await?;
        // A single statement that affects nothing does no harm and needs no savepoint.
        let alone = if is_deep { Expect::Exactly(1) } else { Expect::Any };
        let mut part = Part { batch: Batch::default(), deep: is_deep.then_some(0) };
        apply_hooks(plugin, &mut prepared, &context, &mut part.batch, alone).await?;
        // A committed change must be returned, so its size is checked before.
        Budget::of(plugin).take(answer_len_max(&prepared))?;
        let mut room = Room::of(plugin);
        // The host copies the data to be stored.
        room.grow(2 * part.batch.len_bytes() + answer_len_max(&prepared)).await?;
        match apply(plugin, vec![part], std::slice::from_ref(&prepared)).await.map_err(Refused::into_error)? {
            Some(times) => {
                emit_after(plugin, &prepared, &context);
                return Ok(answer(prepared, times.first().map_or("", String::as_str)));
            }
            // The record or the collection changed meanwhile: decide again on the current state.
            None => {
                plugin.catalog.reload().await?;
                collection = plugin.catalog.collection(request.param(0)).await?;
            }
        }
    }
    Err(error::contended())
}

/// Runs the hooks before a change and appends its statement, and theirs, to the batch. `alone` is the expected effect
/// of the change if no hook adds a statement.
pub(super) async fn apply_hooks(
    plugin: &Collections,
    prepared: &mut PreparedWrite,
    context: &RequestContext<'_>,
    batch: &mut Batch,
    alone: Expect,
) -> Result<()> {
    let passed = plugin.events.before(prepared, context).await?;
    if let Some(payload) = passed.payload
        && prepared.change != Change::Delete
    {
        prepared.alter(&payload["record"].to_string())?;
    }
    prepared.push(batch, if passed.statements.is_empty() { alone } else { Expect::Exactly(1) });
    batch.append(passed.statements)
}

/// The error of changes that were not applied, with the position of the change that caused it, if known.
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) at: Option<usize>,
}

impl Refused {
    fn into_error(self) -> Error {
        self.error
    }
}

/// Changes that are applied at once.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) batch: Batch,
    /// The position among all changes of the deletion that the part begins with, if that may delete chains of records.
    pub(super) deep: Option<usize>,
}

/// Applies changes together and returns the time at which each part was applied. Returns `None` if the data under one
/// of them changed meanwhile.
pub(super) async fn apply(
    plugin: &Collections,
    mut parts: Vec<Part>,
    changes: &[PreparedWrite],
) -> Result<Option<Vec<String>>, Refused> {
    let is_deep = parts.iter().any(|part| part.deep.is_some());
    let applied = if is_deep {
        apply_deep(plugin, parts, changes).await.map(Some)
    } else {
        // Only deletions of chains start further parts.
        let part = parts.pop().unwrap_or_default();
        plugin.database.apply(part.batch).await.map(first)
    };
    match applied {
        Ok(times) => Ok(times),
        Err(fault) if fault.code() == "db_condition" => Ok(None),
        Err(fault) if fault.code() == "db_foreign_key" => Err(references::refused(plugin, changes).await),
        // Two creates with one id: on the retry, the later one finds the record.
        Err(fault) if is_id_taken(&fault) => Ok(None),
        Err(fault) => {
            let error = error::not_stored(fault, changes.iter().map(|prepared| &*prepared.collection));
            let at = references::holder_of_taken(plugin, changes, &error).await.unwrap_or(None);
            Err(Refused { error, at })
        }
    }
}

/// Returns the time of the single part, unless it changed nothing.
fn first(applied: Applied) -> Option<Vec<String>> {
    let missed = applied.statements.first().is_none_or(|statement| statement.affected == 0);
    if missed { None } else { Some(vec![applied.now]) }
}

/// Applies parts in one transaction. Before each part it deletes the records that depend on the part's deletion.
async fn apply_deep(
    plugin: &Collections,
    parts: Vec<Part>,
    changes: &[PreparedWrite],
) -> Result<Vec<String>> {
    let mut transaction = plugin.database.begin(limits::CASCADE_TIME_MAX).await?;
    let mut times = Vec::with_capacity(parts.len());
    for part in parts {
        if let Some(PreparedWrite { collection, record, .. }) = part.deep.and_then(|at| changes.get(at)) {
            cascade::delete_dependents(
                plugin,
                &mut transaction,
                cascade::Root::record(collection, &record.id),
            )
            .await?;
        }
        times.push(transaction.apply(part.batch).await?.now);
    }
    transaction.commit().await?;
    Ok(times)
}

/// Returns the maximum size in bytes of a change's record in a response.
pub(super) fn answer_len_max(prepared: &PreparedWrite) -> usize {
    if prepared.change == Change::Delete { 0 } else { answered(prepared, "").len_max() }
}

fn is_id_taken(fault: &Error) -> bool {
    fault.code() == "db_unique" && fault.details().is_some_and(|details| details["columns"] == json!(["id"]))
}

/// Notifies listeners. The change is committed: an error is logged and not returned to the client.
pub(super) fn emit_after(plugin: &Collections, prepared: &PreparedWrite, context: &RequestContext<'_>) {
    if let Err(fault) = plugin.events.after(prepared, context) {
        log::error(format!("no event of a change of {} was emitted: {fault}", prepared.collection.name));
    }
}

fn answer(prepared: PreparedWrite, now: &str) -> Response {
    let status = prepared.status();
    if prepared.change == Change::Delete {
        return Response::empty(status);
    }
    let tag = etag::of_record(prepared.record.version, prepared.record.created_at.as_deref().unwrap_or(now));
    Response::json_bytes(record_json(&prepared, now)).with_status(status).with_header("etag", &tag)
}

/// Returns the record of a change that was applied at `now`, as JSON.
pub(super) fn record_json(prepared: &PreparedWrite, now: &str) -> String {
    answered(prepared, now).to_json()
}

/// Returns the record of a change that was applied at `now`.
pub(super) fn answered<'a>(prepared: &'a PreparedWrite, now: &'a str) -> Answer<'a> {
    let record = &prepared.record;
    Answer {
        collection_id: &prepared.collection.id,
        id: &record.id,
        owner_id: record.owner_id.as_deref(),
        data: &record.data,
        created_at: record.created_at.as_deref().unwrap_or(now),
        updated_at: record.updated_at.as_deref().unwrap_or(now),
    }
}
