//! The method `may_read` of `records@1`: whether a caller may receive the record of an event. It returns yes or no for
//! each record, and never a record.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use tinybase_plugin_api::{
    Error, Result,
    caller::{CallerPayload, required_nullable},
    database::Rows,
    task::Pace,
};

use super::{
    read::{parsed, seen},
    service::{METHOD, answer, caller, check_ids, of_ids},
};
use crate::{
    access::{Action, Caller, Verdict},
    catalog::Collection,
    filter::{Context, Record},
    http,
    plugin::Collections,
    scopes,
};

/// Both rules must allow it: an event delivers a record that the caller did not look up (`list`), and shows it
/// completely (`read`).
const ACTIONS: [Action; 2] = [Action::List, Action::Read];

/// The payload of a call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MayRead {
    collection: String,
    #[serde(deserialize_with = "required_nullable")]
    collection_id: Option<String>,
    #[serde(deserialize_with = "required_nullable")]
    caller: Option<CallerPayload>,
    records: Vec<Snapshot>,
}

/// A record at some point in time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    id: String,
    #[serde(deserialize_with = "required_nullable")]
    owner_id: Option<String>,
    created_at: String,
    updated_at: String,
    data: serde_json::Map<String, JsonValue>,
}

/// Returns `{"allowed": [bool, …]}`, in the order of the request.
pub(super) async fn may_read(plugin: &Collections, asked: &MayRead) -> Result<JsonValue> {
    let ids: Vec<String> = asked.records.iter().map(|record| record.id.clone()).collect();
    check_ids(&ids)?;
    let collection = plugin.catalog.collection(&asked.collection).await?;
    if asked.collection_id.as_ref().is_some_and(|id| *id != collection.id) {
        // The name now belongs to another collection, whose rules do not apply to these records.
        let message = format!("the collection {} is another one by now", asked.collection);
        return Err(Error::not_found("collection_not_found", message));
    }
    let caller = caller(asked.caller.as_ref());
    let has_scope = scopes::check_told(asked.caller.as_ref(), &collection.name).is_ok();
    let verdicts = ACTIONS.map(|action| collection.options.rules.of(action).verdict(action, &caller));
    if !has_scope || verdicts.contains(&Verdict::Deny) {
        return Ok(json!({"allowed": vec![false; ids.len()]}));
    }
    if verdicts == [Verdict::Allow; 2] {
        return Ok(json!({"allowed": vec![true; ids.len()]}));
    }
    let rows = of_ids(plugin, &collection, &ids).await?;
    let judge = Judge { collection: &collection, caller: &caller, now: http::now() };
    let stored = judge.stored(&rows).await?;
    let (mut allowed, mut pace) = (Vec::with_capacity(ids.len()), Pace::default());
    for record in &asked.records {
        let text = serde_json::to_string(&record.data).expect("a JSON object is JSON");
        let data = parsed(&text)?;
        let snapshot = Record {
            id: &record.id,
            owner_id: record.owner_id.as_deref(),
            created_at: &record.created_at,
            updated_at: &record.updated_at,
            data: &data,
        };
        // If the caller may not read the record as it is now, earlier states are closed too.
        let is_open_now = stored.get(record.id.as_str()).copied().unwrap_or(true);
        allowed.push(is_open_now && judge.allows(&snapshot));
        pace.worked(text.len()).await;
    }
    Ok(json!({"allowed": allowed}))
}

/// Evaluates the rules of a collection for a caller.
struct Judge<'a> {
    collection: &'a Collection,
    caller: &'a Caller<'a>,
    now: String,
}

impl Judge<'_> {
    fn allows(&self, record: &Record<'_>) -> bool {
        ACTIONS.into_iter().all(|action| {
            let action_name = action.name();
            let context = Context {
                caller: self.caller,
                now: &self.now,
                method: METHOD,
                action: action_name,
                data: None,
            };
            self.collection.options.rules.of(action).allows(action, record, &context)
        })
    }

    /// Returns for each stored record, by id, whether the rules allow the caller to read it.
    async fn stored(&self, rows: &Rows) -> Result<HashMap<String, bool>> {
        let (mut found, mut pace) = (HashMap::with_capacity(rows.len()), Pace::default());
        for row in rows {
            let record = answer(self.collection, &row)?;
            let data = parsed(record.data)?;
            found.insert(record.id.to_owned(), self.allows(&seen(&record, &data)));
            pace.worked(record.data.len()).await;
        }
        Ok(found)
    }
}
