//! `POST /api/collections/batch`: many changes together or not at all, each under its own rule.
//!
//! `{"operations": [{"op": "create", "collection", "data", "id"?}, {"op": "update", "collection", "id", "data",
//! "if_match"?}, {"op": "replace", …}, {"op": "delete", "collection", "id"}]}`. A later operation sees what an earlier
//! one did. Answers `{"results": [{"op", "status", "record"?}]}` in their order.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value, json};
use tinybase_plugin_api::{
    Error, Request, Response, Result,
    database::{Batch, Expect},
};
use uuid::Uuid;

use super::{
    current,
    load::{self, Stored},
    prepare::{Asker, Change, Conditions, Prepared, Wish, prepare},
    write,
};
use crate::{error, http, json::Json, limits, plugin::Collections, scopes, validate::is_record_id};

/// Applies a batch.
pub async fn batch(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    current(&plugin, || apply(&plugin, &request)).await
}

async fn apply(plugin: &Collections, request: &Request) -> Result<Response> {
    let body = http::object(request)?;
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
    let asker = Asker::of(request);
    if operations.is_empty() {
        return Ok(Response::json_bytes("{\"results\":[]}".to_owned()));
    }
    for _ in 0..limits::WRITE_ATTEMPTS_MAX {
        let mut work = Work {
            plugin,
            request,
            asker,
            changes: Vec::new(),
            seen: HashMap::new(),
            batch: Batch::default(),
        };
        for (at, operation) in operations.iter().enumerate() {
            work.add(operation).await.map_err(|fault| placed(&fault, at))?;
        }
        if let Some(applied) = write::apply(plugin, work.batch, &work.changes).await? {
            for change in &work.changes {
                write::told(plugin, change, &asker);
            }
            return Ok(Response::json_bytes(results(&work.changes, &applied.now)));
        }
        plugin.catalog.reload().await?;
    }
    Err(error::contended())
}

/// The same error, with the operation that it is about.
fn placed(fault: &Error, at: usize) -> Error {
    let message = format!("operations[{at}]: {}", fault.message());
    let mut details = fault.details().cloned().unwrap_or_else(|| json!({}));
    match &mut details {
        Value::Object(members) => {
            members.insert("operation".to_owned(), at.into());
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

struct Work<'a> {
    plugin: &'a Collections,
    request: &'a Request,
    asker: Asker<'a>,
    changes: Vec<Prepared>,
    /// Records as the operations so far leave them.
    seen: HashMap<(i64, String), Option<Stored>>,
    batch: Batch,
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
        let wish = wish(operation)?;
        let name = http::text(operation, "collection")?;
        scopes::check_write(self.request, name)?;
        let collection = self.plugin.catalog.collection(name).await?;
        let id = match (wish, operation.get("id")) {
            (Wish::Create(_), None) => Uuid::now_v7().to_string(),
            _ => http::text(operation, "id")?.to_owned(),
        };
        if matches!(wish, Wish::Create(_) | Wish::Replace(_)) && !is_record_id(&id) {
            return Err(error::body(&["id"], "uuid", "must be a UUID in lower case"));
        }
        let key = (collection.number, id.clone());
        let stored = match self.seen.get(&key) {
            Some(stored) => stored.clone(),
            None => load::record(self.plugin.database, &collection, &id).await?,
        };
        if stored.is_some() && matches!(wish, Wish::Create(_)) {
            return Err(Error::conflict(
                "record_exists",
                format!("there is a record {id} in {} already", collection.name),
            ));
        }
        let conditions =
            Conditions { if_match: operation.get("if_match").and_then(Json::as_text), if_none_match: None };
        let mut prepared = prepare(&collection, &id, stored, wish, conditions, &self.asker)?;
        write::apply_hooks(self.plugin, &mut prepared, &self.asker, &mut self.batch, Expect::Exactly(1))
            .await?;
        let left = (prepared.change != Change::Delete).then(|| prepared.record.clone());
        self.seen.insert(key, left);
        self.changes.push(prepared);
        Ok(())
    }
}

fn wish<'a>(operation: &'a Json<'a>) -> Result<Wish<'a>> {
    Ok(match http::text(operation, "op")? {
        "create" => Wish::Create(http::data(operation)?),
        "update" => Wish::Merge(http::data(operation)?),
        "replace" => Wish::Replace(http::data(operation)?),
        "delete" => Wish::Delete,
        _ => {
            return Err(error::body(
                &["op"],
                "value_error",
                "must be one of create, update, replace, delete",
            ));
        }
    })
}

fn results(changes: &[Prepared], now: &str) -> String {
    let mut out = String::from("{\"results\":[");
    for (at, change) in changes.iter().enumerate() {
        let op = match change.change {
            Change::Create => "create",
            Change::Update => "update",
            Change::Delete => "delete",
        };
        out.push_str(if at > 0 { "," } else { "" });
        out.push_str(&format!("{{\"op\":\"{op}\",\"status\":{}", change.status()));
        if change.change != Change::Delete {
            out.push_str(",\"record\":");
            out.push_str(&write::record_json(change, now));
        }
        out.push('}');
    }
    out.push_str("]}");
    out
}
