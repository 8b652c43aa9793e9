//! References of changed records: which of them a caller may set, and which one the database refused. It changes
//! nothing.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde_json::{Value as JsonValue, json};
use tinybase_plugin_api::{
    Error, Result,
    database::{ReadHint, Value},
};

use super::{
    load::{self, Stored},
    prepare::{Change, PreparedWrite, RequestContext, WriteOp},
    read::parsed,
    write::Refused,
};
use crate::{
    access::{Action, Verdict},
    catalog::{Catalog, Collection},
    error,
    filter::{Context, Datum, Record},
    http, limits,
    plugin::Collections,
    schema::{Field, OnDelete, USERS},
    scopes,
    storage::table_name,
};

/// The earlier changes of the same batch, and the position of the last change of each record.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub(super) seen: &'a HashMap<(i64, String), usize>,
    pub(super) changes: &'a [PreparedWrite],
}

impl Before<'_> {
    /// Returns the record after these changes; the outer `None` means that no change is about it.
    fn left(&self, number: i64, id: &str) -> Option<Option<Stored>> {
        let change = &self.changes[*self.seen.get(&(number, id.to_owned()))?];
        Some((change.change != Change::Delete).then(|| change.record.clone()))
    }
}

/// Refuses a reference to a record or user that the caller may not read, with the same message as for a missing one.
/// Otherwise the caller would learn that it exists, and `restrict` would keep its owner from deleting it.
pub(super) async fn check(
    plugin: &Collections,
    prepared: &PreparedWrite,
    op: WriteOp<'_>,
    context: &RequestContext<'_>,
    before: Option<Before<'_>>,
) -> Result<()> {
    let mut fields = prepared.collection.schema.fields().iter().filter(|field| field.reference.is_some());
    let (Some(first), Some(data)) = (fields.next(), op.data()) else { return Ok(()) };
    if context.caller.is_admin {
        return Ok(());
    }
    let previous = prepared.previous.as_deref().map(parsed).transpose()?;
    let catalog = plugin.catalog.current().await?;
    for field in std::iter::once(first).chain(fields) {
        let of = |data: &crate::json::Json<'_>| data.get(&field.name)?.as_text().map(str::to_owned);
        let Some(id) = of(data).filter(|id| previous.as_ref().and_then(of).as_ref() != Some(id)) else {
            continue;
        };
        if !is_readable(plugin, &catalog, field, &id, prepared, context, before).await? {
            let target = field.reference.as_ref().map_or("", |reference| &reference.collection);
            return Err(error::reference_missing(&field.name, &id, target));
        }
    }
    Ok(())
}

/// Returns whether the caller may read the record that a field is set to. If the rule allows every record, the database
/// checks that the record exists.
async fn is_readable(
    plugin: &Collections,
    catalog: &Catalog,
    field: &Field,
    id: &str,
    prepared: &PreparedWrite,
    context: &RequestContext<'_>,
    before: Option<Before<'_>>,
) -> Result<bool> {
    let Some(reference) = &field.reference else { return Ok(true) };
    if reference.collection == USERS {
        // Users have no rules: a caller who may not list them only knows about themselves.
        return Ok(context.caller.id == Some(id) || scopes::may_list_users(context.request));
    }
    let Some(target) = catalog.get(&reference.collection) else { return Ok(true) };
    if !scopes::may_read(context.request, &target.name) {
        return Ok(false);
    }
    let rule = target.options.rules.of(Action::Read);
    match rule.verdict(Action::Read, &context.caller) {
        Verdict::Allow => return Ok(true),
        Verdict::Deny => return Ok(false),
        Verdict::Depends => {}
    }
    let is_itself = target.number == prepared.collection.number && id == prepared.record.id;
    let stored = match before.and_then(|before| before.left(target.number, id)) {
        _ if is_itself => Some(prepared.record.clone()),
        Some(left) => left,
        None => load::record(plugin.database, target, id).await?,
    };
    let Some(stored) = stored else { return Ok(false) };
    let (now, data) = (http::now(), parsed(&stored.data)?);
    let (method, action) = ("GET", Action::Read.name());
    let context = Context { caller: &context.caller, now: &now, method, action, data: None };
    let record = Record {
        id,
        owner_id: stored.owner_id.as_deref(),
        created_at: stored.created_at.as_deref().unwrap_or(&now),
        updated_at: stored.updated_at.as_deref().unwrap_or(&now),
        data: &data,
    };
    Ok(rule.allows(Action::Read, &record, &context))
}

/// Finds the reference that the database refused: the database does not say which one it was.
pub(super) async fn refused(plugin: &Collections, changes: &[PreparedWrite]) -> Refused {
    for (at, prepared) in changes.iter().enumerate() {
        let found = match prepared.change {
            Change::Delete => who_refers(plugin, prepared).await,
            Change::Create | Change::Update => dangling(plugin, prepared).await,
        };
        match found {
            Ok(Some(error)) => return Refused { error, at: Some(at) },
            Ok(None) => {}
            Err(error) => return Refused { error, at: None },
        }
    }
    let message = "a reference leads to no record, or a record is still referred to";
    Refused { error: Error::conflict("reference_violation", message), at: None }
}

/// Returns which of the changes has the duplicate value of a unique field that the database refused.
pub(super) async fn holder_of_taken(
    plugin: &Collections,
    changes: &[PreparedWrite],
    error: &Error,
) -> Result<Option<usize>> {
    let Some(name) = error.details().and_then(|details| details["field"].as_str()) else { return Ok(None) };
    if changes.len() < 2 {
        return Ok(None);
    }
    let mut given: HashSet<(i64, String)> = HashSet::new();
    for (at, prepared) in changes.iter().enumerate().filter(|(_, change)| change.change != Change::Delete) {
        let collection = &prepared.collection;
        let data = parsed(&prepared.record.data)?;
        let Some(value) =
            data.get(name).filter(|_| collection.schema.field(name).is_some_and(|of| of.unique))
        else {
            continue;
        };
        let sql_value = Datum::of_json(value).into_sql();
        if sql_value == Value::Null {
            continue;
        }
        let column = collection.dialect.column(name);
        let sql = format!("SELECT id FROM {} WHERE {column}=?1 AND id<>?2", collection.table);
        let params = [sql_value, Value::Text(prepared.record.id.clone())];
        let is_taken = !plugin.database.query(ReadHint::Indexed, &sql, &params).await?.is_empty();
        if is_taken || !given.insert((collection.number, value.to_text())) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

async fn exists(plugin: &Collections, table: &str, id: &str) -> Result<bool> {
    let sql = format!("SELECT 1 FROM {table} WHERE id=?1 LIMIT 1");
    let rows = plugin.database.query(ReadHint::Indexed, &sql, &[Value::Text(id.to_owned())]).await?;
    Ok(!rows.is_empty())
}

/// Finds a dangling reference of a written record.
async fn dangling(plugin: &Collections, prepared: &PreparedWrite) -> Result<Option<Error>> {
    let catalog = plugin.catalog.current().await?;
    let data = parsed(&prepared.record.data)?;
    for field in prepared.collection.schema.fields() {
        let (Some(reference), Some(id)) =
            (&field.reference, data.get(&field.name).and_then(|value| value.as_text()))
        else {
            continue;
        };
        let table: Cow<'_, str> = match catalog.get(&reference.collection) {
            _ if reference.collection == USERS => "tb_users".into(),
            Some(target) => table_name(target.number).into(),
            None => continue,
        };
        if !exists(plugin, &table, id).await? {
            return Ok(Some(error::reference_missing(&field.name, id, &reference.collection)));
        }
    }
    Ok(None)
}

/// Finds a remaining reference to a record that was to be deleted, or to one that would be deleted with it. References
/// that cascade do not prevent the deletion.
async fn who_refers(plugin: &Collections, prepared: &PreparedWrite) -> Result<Option<Error>> {
    let catalog = plugin.catalog.current().await?;
    let first = (prepared.collection.number, prepared.record.id.clone());
    let mut gone: HashSet<(i64, String)> = HashSet::from([first.clone()]);
    let mut levels = vec![vec![first]];
    // The records to be deleted, level by level.
    while let Some(level) = levels.last().filter(|level| !level.is_empty()) {
        let mut next = cascading(plugin, &catalog, level).await?;
        next.retain(|key| gone.len() < limits::REFERRERS_FOLLOWED_MAX && gone.insert(key.clone()));
        levels.push(next);
    }
    for (collection, ids) in levels.iter().flat_map(|level| by_collection(&catalog, level)) {
        for referrer in catalog.referrers(&collection.name).filter(|of| of.on_delete == OnDelete::Restrict) {
            let found = referring(plugin, referrer.collection, referrer.field, &ids).await?;
            if found.into_iter().any(|id| !gone.contains(&(referrer.collection.number, id))) {
                let direct =
                    collection.number == prepared.collection.number && ids.contains(&prepared.record.id);
                return Ok(Some(still_referred(&referrer.collection.name, referrer.field, direct)));
            }
        }
    }
    Ok(None)
}

/// Returns the records that are deleted with these by their `cascade` references.
async fn cascading(
    plugin: &Collections,
    catalog: &Catalog,
    level: &[(i64, String)],
) -> Result<Vec<(i64, String)>> {
    let mut next = Vec::new();
    for (collection, ids) in by_collection(catalog, level) {
        for referrer in catalog.referrers(&collection.name).filter(|of| of.on_delete == OnDelete::Cascade) {
            let found = referring(plugin, referrer.collection, referrer.field, &ids).await?;
            next.extend(found.into_iter().map(|id| (referrer.collection.number, id)));
        }
    }
    Ok(next)
}

fn still_referred(name: &str, field: &str, direct: bool) -> Error {
    let what = if direct { "the record" } else { "a record that would be deleted with it" };
    let message = format!("{name}.{field} still refers to {what}: change or delete that first");
    let details = json!({"field": field, "collection": name});
    Error::conflict("record_referenced", message).with_details(details)
}

fn by_collection<'a>(catalog: &'a Catalog, keys: &[(i64, String)]) -> Vec<(&'a Collection, Vec<String>)> {
    let mut groups: Vec<(&Collection, Vec<String>)> = Vec::new();
    for (number, id) in keys {
        let Some(collection) = catalog.all().iter().find(|collection| collection.number == *number) else {
            continue;
        };
        match groups.iter_mut().find(|(other, _)| other.number == *number) {
            Some((_, ids)) => ids.push(id.clone()),
            None => groups.push((collection, vec![id.clone()])),
        }
    }
    groups
}

/// Returns the records whose field references one of these ids.
async fn referring(
    plugin: &Collections,
    collection: &Collection,
    field: &str,
    ids: &[String],
) -> Result<Vec<String>> {
    let (dialect, list) = (collection.dialect, JsonValue::from(ids).to_string());
    let condition = dialect.among(&dialect.column(field));
    let max = limits::REFERRERS_FOLLOWED_MAX;
    let sql = format!("SELECT id FROM {} WHERE {condition} LIMIT {max}", collection.table);
    let rows = plugin.database.query(ReadHint::Scan, &sql, &[Value::Text(list)]).await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
