//! `POST /api/collections/batch`: applies many changes together or none of them, each under its own rule.
//!
//! `{"operations": [{"op": "create", "collection", "data", "id"?}, {"op": "update", "collection", "id", "data",
//! "if_match"?}, {"op": "replace", …}, {"op": "delete", "collection", "id"}]}`. A later operation sees the effects of
//! earlier ones. Returns `{"results": [{"op", "status", "record"?}]}` in their order.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value, json};
use tinybase_plugin_api::{
    Error, Request, Response, Result,
    database::{Batch, Expect},
    task::Pace,
};
use uuid::Uuid;

use super::{
    cascade,
    load::{self, Stored},
    prepare::{Change, Conditions, PreparedWrite, RequestContext, WriteOp, prepare},
    references::{self, Before},
    retry_on_schema_change,
    write::{self, Part},
};
use crate::{
    budget::{Budget, Room},
    error, heavy, http,
    json::Json,
    limits,
    plugin::Collections,
    scopes,
    validate::is_record_id,
};

/// Applies a batch.
pub async fn batch(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    retry_on_schema_change(&plugin, || apply(&plugin, &request)).await
}

async fn apply(plugin: &Collections, request: &Request) -> Result<Response> {
    http::check_query(request, &[])?;
    let _room = Room::for_body(plugin, request.body()).await?;
    let turn = heavy::turn(request.body().len()).await;
    let body = http::object_of(request, &["operations"], 1)?;
    drop(turn);
    let operations = match http::member(&body, "operations")? {
        Json::Array(operations) => operations,
        other => {
            let message = format!("must be an array, is {}", other.kind());
            return Err(error::body(&["operations"], "list_type", message));
        }
    };
    if operations.len() > limits::BATCH_OPERATIONS_MAX {
        let message = format!("must have at most {} entries", limits::BATCH_OPERATIONS_MAX);
        return Err(error::body(&["operations"], "too_long", message));
    }
    let context = RequestContext::of(request);
    if operations.is_empty() {
        return Ok(Response::json_bytes("{\"results\":[]}".to_owned()));
    }
    for _ in 0..limits::WRITE_ATTEMPTS_MAX {
        let mut work = Work {
            plugin,
            request,
            context,
            changes: Vec::new(),
            seen: HashMap::new(),
            parts: vec![Part::default()],
            starts: vec![0],
            answer: Budget::of(plugin),
            memory: Budget::of_memory(plugin),
            room: Room::of(plugin),
            pace: Pace::default(),
        };
        work.answer.take(RESULTS_BYTES)?;
        for (at, operation) in operations.iter().enumerate() {
            let id = operation.get("id").and_then(Json::as_text);
            work.add(operation).await.map_err(|fault| placed(&fault, at, id))?;
        }
        let Work { changes, parts, starts, mut pace, room: _room, .. } = work;
        let applied = write::apply(plugin, parts, &changes).await.map_err(|refused| match refused.at {
            Some(at) => placed(&refused.error, at, Some(&changes[at].record.id)),
            None => refused.error,
        })?;
        if let Some(times) = applied {
            // A change without its data had no listener when it was prepared.
            for change in
                changes.iter().filter(|change| change.previous.is_some() || change.change == Change::Create)
            {
                write::emit_after(plugin, change, &context);
                pace.worked(change.record.data.len()).await;
            }
            return Ok(Response::json_bytes(results(&changes, &starts, &times, &mut pace).await));
        }
        plugin.catalog.reload().await?;
    }
    Err(error::contended())
}

/// Returns the same error, with the operation that caused it.
fn placed(fault: &Error, at: usize, id: Option<&str>) -> Error {
    let message = format!("operations[{at}]: {}", fault.message());
    let mut details = fault.details().cloned().unwrap_or_else(|| json!({}));
    match &mut details {
        Value::Object(members) => {
            members.insert("operation".to_owned(), at.into());
            if let Some(id) = id {
                members.insert("id".to_owned(), crate::fault::shorten(id).into());
            }
        }
        Value::Array(faults) => {
            for loc in faults.iter_mut().filter_map(|fault| fault["loc"].as_array_mut()) {
                loc.splice(1..1, [json!("operations"), json!(at)]);
            }
        }
        _ => {}
    }
    Error::new(fault.status(), fault.code().to_owned(), message).with_details(details)
}

/// Bytes of the response without its results, and of one result without its record.
const RESULTS_BYTES: usize = 32;
const RESULT_BYTES: usize = 64;

struct Work<'a> {
    plugin: &'a Collections,
    request: &'a Request,
    context: RequestContext<'a>,
    changes: Vec<PreparedWrite>,
    /// The position of the last change of each record so far.
    seen: HashMap<(i64, String), usize>,
    parts: Vec<Part>,
    /// The position of the first change of each part.
    starts: Vec<usize>,
    /// The rest of the response budget.
    answer: Budget,
    /// The rest of the memory budget until the batch is applied.
    memory: Budget,
    /// The memory reservation for everything.
    room: Room<'a>,
    pace: Pace,
}

impl<'a> Work<'a> {
    async fn add(&mut self, operation: &'a Json<'a>) -> Result<()> {
        if operation.as_object().is_none() {
            return Err(error::body(
                &[],
                "object_type",
                format!("must be an object, is {}", operation.kind()),
            ));
        }
        http::check_members(operation, &["op", "collection", "id", "data", "if_match"], 2)?;
        let op = op(operation)?;
        let name = http::text(operation, "collection")?;
        scopes::check_write(self.request, name)?;
        let collection = self.plugin.catalog.collection(name).await?;
        let id = match (op, operation.get("id")) {
            (WriteOp::Create(_), None) => Uuid::now_v7().to_string(),
            _ => http::text(operation, "id")?.to_owned(),
        };
        if matches!(op, WriteOp::Create(_) | WriteOp::Replace(_)) && !is_record_id(&id) {
            return Err(error::body(&["id"], "uuid", "must be a UUID in lower case"));
        }
        let key = (collection.number, id.clone());
        let stored = match self.seen.get(&key) {
            Some(at) => self.left(*at),
            None => load::record(self.plugin.database, &collection, &id).await?,
        };
        let is_create = matches!(op, WriteOp::Create(_));
        let (taken, stored) = if is_create { (stored, None) } else { (None, stored) };
        let conditions = Conditions { if_match: if_match(operation)?, if_none_match: None };
        // In a small body, no operation has much data.
        let is_small = self.request.body().len() <= limits::LIGHT_BYTES_MAX;
        let given = op.data().filter(|_| !is_small).map_or(0, Json::size);
        let turn = heavy::turn(given + stored.as_ref().map_or(0, |stored| stored.data.len())).await;
        let mut prepared = prepare(&collection, &id, stored, op, conditions, &self.context)?;
        drop(turn);
        let before = Before { seen: &self.seen, changes: &self.changes };
        references::check(self.plugin, &prepared, op, &self.context, Some(before)).await?;
        // Only callers who may create a record learn that its id is taken.
        if taken.is_some() {
            let message = format!("there is a record {id} in {} already", collection.name);
            return Err(Error::conflict("record_exists", message));
        }
        if prepared.change == Change::Delete
            && cascade::is_needed(self.plugin, cascade::Root::record(&collection, &prepared.record.id))
                .await?
        {
            self.begin_part();
        }
        let batch = &mut self.parts.last_mut().expect("a batch begins with a part").batch;
        let before = batch.len_bytes();
        write::apply_hooks(self.plugin, &mut prepared, &self.context, batch, Expect::Exactly(1)).await?;
        let stored = batch.len_bytes() - before;
        let worked = prepared.record.data.len() + prepared.previous.as_ref().map_or(0, String::len);
        if !self.plugin.events.are_heard(prepared.change) {
            prepared.forget_data();
        }
        let kept = prepared.record.data.len() + prepared.previous.as_ref().map_or(0, String::len);
        self.memory.take(stored + kept)?;
        let answered = RESULT_BYTES + write::answer_len_max(&prepared);
        self.answer.take(answered)?;
        // The host copies the data to be stored.
        self.room.grow(2 * stored + kept + answered).await?;
        self.seen.insert(key, self.changes.len());
        self.changes.push(prepared);
        self.pace.worked(worked).await;
        Ok(())
    }

    /// Returns the record after a change.
    fn left(&self, at: usize) -> Option<Stored> {
        let change = &self.changes[at];
        (change.change != Change::Delete).then(|| change.record.clone())
    }

    /// Starts a part with a deletion that may delete chains of other records.
    fn begin_part(&mut self) {
        let at = self.changes.len();
        if at == 0 {
            self.parts.clear();
            self.starts.clear();
        }
        self.parts.push(Part { batch: Batch::default(), deep: Some(at) });
        self.starts.push(at);
    }
}

/// Returns the entity tag that the record must have.
fn if_match<'a>(operation: &'a Json<'_>) -> Result<Option<&'a str>> {
    match operation.get("if_match") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(tag)) => Ok(Some(tag)),
        Some(other) => {
            let message = format!("must be a string, is {}", other.kind());
            Err(error::body(&["if_match"], "string_type", message))
        }
    }
}

fn op<'a>(operation: &'a Json<'a>) -> Result<WriteOp<'a>> {
    Ok(match http::text(operation, "op")? {
        "create" => WriteOp::Create(http::data(operation)?),
        "update" => WriteOp::Merge(http::data(operation)?),
        "replace" => WriteOp::Replace(http::data(operation)?),
        "delete" => WriteOp::Delete,
        _ => {
            return Err(error::body(
                &["op"],
                "value_error",
                "must be one of create, update, replace, delete",
            ));
        }
    })
}

async fn results(changes: &[PreparedWrite], starts: &[usize], times: &[String], pace: &mut Pace) -> String {
    let bytes = changes.iter().map(|change| RESULT_BYTES + write::answer_len_max(change)).sum::<usize>();
    let mut out = String::with_capacity(RESULTS_BYTES + bytes);
    out.push_str("{\"results\":[");
    for (at, change) in changes.iter().enumerate() {
        let op = match change.change {
            Change::Create => "create",
            Change::Update => "update",
            Change::Delete => "delete",
        };
        out.push_str(if at > 0 { "," } else { "" });
        out.push_str(&format!("{{\"op\":\"{op}\",\"status\":{}", change.status()));
        if change.change != Change::Delete {
            let part = starts.partition_point(|start| *start <= at).saturating_sub(1);
            let now = times.get(part).map_or("", String::as_str);
            out.push_str(",\"record\":");
            write::answered(change, now).write(&mut out);
            pace.worked(change.record.data.len()).await;
        }
        out.push('}');
    }
    out.push_str("]}");
    out
}
