//! The service `records@1`: read access to records for other extensions. `read` returns only what a caller may see;
//! `list` returns everything, on behalf of the calling extension itself. It changes nothing.
//! `docs/extensions/records.md` is its documentation.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};
use tinybase_plugin_api::{
    Error, Result,
    caller::{CallerPayload, required_nullable},
    database::{ReadHint, Row, Rows, Value},
    task::Pace,
};

use super::{
    answer::Answer,
    may_read::may_read,
    read::{parsed, seen},
    retry_on_schema_change,
};
use crate::{
    access::{Action, Caller, Verdict},
    budget::parsed_bytes,
    catalog::Collection,
    error,
    filter::Context,
    http, limits, paging,
    plugin::Collections,
    scopes,
};

/// The columns of a record, in the order in which this module reads them.
const COLUMNS: &str = "id,owner_id,created_at,updated_at,data,version,seq";

/// The request method for rules: a call of the service is a read.
pub(super) const METHOD: &str = "GET";

/// Handles a call.
pub async fn call(plugin: Arc<Collections>, method: String, payload: Json) -> Result<Json> {
    match method.as_str() {
        "read" => {
            let asked = shape(payload)?;
            retry_on_schema_change(&plugin, || read(&plugin, &asked)).await
        }
        "list" => {
            let asked = shape(payload)?;
            retry_on_schema_change(&plugin, || list(&plugin, &asked)).await
        }
        "may_read" => {
            let asked = shape(payload)?;
            retry_on_schema_change(&plugin, || may_read(&plugin, &asked)).await
        }
        "collections" => collections(&plugin, &shape(payload)?).await,
        _ => {
            let message =
                format!("records@1 has no method {method}; there are read, list, may_read and collections");
            Err(Error::not_found("method_unknown", message))
        }
    }
}

fn shape<T: DeserializeOwned>(payload: Json) -> Result<T> {
    serde_json::from_value(payload).map_err(|fault| invalid(fault.to_string()))
}

/// Converts the caller in a payload to the form that rules use.
pub(super) fn caller(told: Option<&CallerPayload>) -> Caller<'_> {
    told.map_or_else(Caller::default, |told| Caller {
        id: Some(&told.user_id),
        email: Some(&told.email),
        is_admin: told.is_admin(),
    })
}

fn invalid(problem: String) -> Error {
    Error::unprocessable("invalid_payload", problem)
}

pub(super) fn check_ids(ids: &[String]) -> Result<()> {
    if ids.len() > limits::SERVICE_IDS_MAX {
        return Err(invalid(format!("ids: {} at most are read at once", limits::SERVICE_IDS_MAX)));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    collection: String,
    ids: Vec<String>,
    #[serde(deserialize_with = "required_nullable")]
    caller: Option<CallerPayload>,
    #[serde(default)]
    rule: ReadRule,
}

/// The rule that decides what the caller may see.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum ReadRule {
    #[default]
    List,
    Read,
}

impl ReadRule {
    fn action(self) -> Action {
        match self {
            ReadRule::List => Action::List,
            ReadRule::Read => Action::Read,
        }
    }
}

/// Returns the records with these ids that the caller may see, in the requested order.
async fn read(plugin: &Collections, asked: &Read) -> Result<Json> {
    check_ids(&asked.ids)?;
    let collection = plugin.catalog.collection(&asked.collection).await?;
    scopes::check_told(asked.caller.as_ref(), &collection.name)?;
    let caller = caller(asked.caller.as_ref());
    let action = asked.rule.action();
    let rule = collection.options.rules.of(action);
    let verdict = rule.verdict(action, &caller);
    if verdict == Verdict::Deny {
        return Err(error::refused(action, &caller, &collection));
    }
    let now = http::now();
    let context = Context { caller: &caller, now: &now, method: METHOD, action: action.name(), data: None };
    let rows = of_ids(plugin, &collection, &asked.ids).await?;
    let mut found = HashMap::with_capacity(rows.len());
    let (mut memory, mut pace) = (0, Pace::default());
    for row in &rows {
        let record = answer(&collection, &row)?;
        let visible =
            verdict == Verdict::Allow || rule.allows(action, &seen(&record, &parsed(record.data)?), &context);
        if visible {
            memory += parsed_bytes(record.data.as_bytes());
            if memory > limits::SERVICE_PAGE_MEMORY_BYTES && !found.is_empty() {
                return Err(error::answer_too_large(limits::SERVICE_PAGE_MEMORY_BYTES));
            }
            found.insert(record.id, told_record(&record, &row)?);
        }
        pace.worked(record.data.len()).await;
    }
    let records: Vec<Json> = asked.ids.iter().filter_map(|id| found.remove(id.as_str())).collect();
    Ok(json!({"records": records, "sees_all": verdict == Verdict::Allow}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    collection: String,
    ids: Option<Vec<String>>,
    after: Option<String>,
    limit: Option<u64>,
}

/// Returns records on behalf of the calling extension, regardless of the rules: those with the given ids, or a page of
/// all.
async fn list(plugin: &Collections, asked: &List) -> Result<Json> {
    let collection = plugin.catalog.collection(&asked.collection).await?;
    let (rows, mut more) = match &asked.ids {
        Some(_) if asked.after.is_some() || asked.limit.is_some() => {
            return Err(invalid("ids: must not be given beside after or limit".to_owned()));
        }
        Some(ids) => {
            check_ids(ids)?;
            (of_ids(plugin, &collection, ids).await?, false)
        }
        None => {
            let limit = asked.limit.unwrap_or(limits::SERVICE_PAGE_DEFAULT);
            page(plugin, &collection, asked.after.as_deref(), limit).await?
        }
    };
    let mut records = Vec::with_capacity(rows.len());
    let (mut last, mut memory, mut pace) = (None, 0, Pace::default());
    for row in &rows {
        let record = answer(&collection, &row)?;
        memory += parsed_bytes(record.data.as_bytes());
        if memory > limits::SERVICE_PAGE_MEMORY_BYTES && last.is_some() {
            if asked.ids.is_some() {
                return Err(error::answer_too_large(limits::SERVICE_PAGE_MEMORY_BYTES));
            }
            more = true;
            break;
        }
        records.push(told_record(&record, &row)?);
        last = Some(row.integer(6)?);
        pace.worked(record.data.len()).await;
    }
    let next = last.filter(|_| more).map(|seq| seq.to_string());
    Ok(json!({
        "collection_id": collection.id,
        "revision": collection.revision,
        "records": records,
        "next": next,
    }))
}

/// Returns a page of all records, which is shorter if the records are large, and whether there may be more.
async fn page(
    plugin: &Collections,
    collection: &Collection,
    after: Option<&str>,
    limit: u64,
) -> Result<(Rows, bool)> {
    if !(1..=limits::SERVICE_PAGE_MAX).contains(&limit) {
        return Err(invalid(format!("limit: must be an integer of 1 to {}", limits::SERVICE_PAGE_MAX)));
    }
    let after: i64 = match after {
        None => i64::MIN,
        Some(text) => {
            text.parse().map_err(|_| invalid("after: must be the `next` of the page before".to_owned()))?
        }
    };
    let sizes = paging::sizes(&collection.table, limit);
    let sizes = plugin.database.query(ReadHint::Scan, &sizes, &[after.into()]).await?;
    let end = paging::end(&sizes)?.unwrap_or(after);
    let is_full = sizes.len() as u64 == limit;
    let behind = sizes.iter().last().map_or(Ok(after), |row| row.integer(0))?;
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE seq>?1 AND seq<=?2 ORDER BY seq", collection.table);
    let rows = plugin.database.query(ReadHint::Scan, &sql, &[after.into(), end.into()]).await?;
    Ok((rows, is_full || end < behind))
}

pub(super) async fn of_ids(plugin: &Collections, collection: &Collection, ids: &[String]) -> Result<Rows> {
    let list = serde_json::to_string(ids).expect("a list of texts is JSON");
    let among = collection.dialect.among_ids();
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE {among}", collection.table);
    plugin.database.query(ReadHint::Indexed, &sql, &[Value::Text(list)]).await.map_err(error::of_read(plugin))
}

pub(super) fn answer<'a>(collection: &'a Collection, row: &Row<'a>) -> Result<Answer<'a>> {
    Ok(Answer {
        collection_id: &collection.id,
        id: row.text(0)?,
        owner_id: row.text_or_null(1)?,
        created_at: row.text(2)?,
        updated_at: row.text(3)?,
        data: row.text(4)?,
    })
}

/// Returns a record as in the routes' responses, and its version.
fn told_record(record: &Answer<'_>, row: &Row<'_>) -> Result<Json> {
    let data: Json = serde_json::from_str(record.data)
        .map_err(|fault| Error::internal("stored_data", format!("a record's data is no JSON: {fault}")))?;
    Ok(json!({
        "id": record.id,
        "collection_id": record.collection_id,
        "owner_id": record.owner_id,
        "data": data,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "version": row.integer(5)?,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Collected {
    name: Option<String>,
}

/// The approximate memory of a field's name and type in a response.
const FIELD_BYTES: usize = 256;

/// Returns all collections, or the one that is named.
async fn collections(plugin: &Collections, asked: &Collected) -> Result<Json> {
    let one = match &asked.name {
        Some(name) => Some(plugin.catalog.collection(name).await?),
        None => None,
    };
    let catalog = plugin.catalog.current().await?;
    let counts = "SELECT number,sum(count) FROM collections_counts GROUP BY number";
    let rows = plugin.database.query(ReadHint::Indexed, counts, &[]).await?;
    let counts: HashMap<i64, i64> =
        rows.iter().map(|row| Ok((row.integer(0)?, row.integer(1)?))).collect::<Result<_>>()?;
    let wanted = one.as_ref().map_or_else(|| catalog.all(), std::slice::from_ref);
    let fields: usize = wanted.iter().map(|collection| collection.schema.fields().len() + 1).sum();
    if fields * FIELD_BYTES > limits::SERVICE_PAGE_MEMORY_BYTES && one.is_none() {
        return Err(error::answer_too_large(limits::SERVICE_PAGE_MEMORY_BYTES));
    }
    let told: Vec<Json> = wanted
        .iter()
        .map(|collection| {
            let fields = collection.schema.fields().iter();
            let fields: Vec<Json> =
                fields.map(|field| json!({"name": field.name, "type": field.kind.name()})).collect();
            json!({
                "id": collection.id,
                "name": collection.name,
                "revision": collection.revision,
                "records": counts.get(&collection.number).copied().unwrap_or(0),
                "fields": fields,
            })
        })
        .collect();
    Ok(json!({"collections": told}))
}
