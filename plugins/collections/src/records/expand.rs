//! Follows references: loads the records that a page references, each under the `read` rule of its own collection. It
//! runs one statement per reference and level. A record that the caller may not read is null.
//!
//! A record is loaded once per reference and level, and written once per reference to it. Both count against the
//! budget.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use tinybase_plugin_api::{
    Request, Result,
    database::{ReadHint, Row, Value},
    task::Pace,
};

use super::{
    answer::Answer,
    read::{parsed, seen},
};
use crate::{
    access::{Action, Verdict},
    budget::{Budget, Room},
    catalog::{Catalog, Collection},
    error,
    fault::did_you_mean,
    filter::Context,
    http,
    json::write_text,
    limits,
    plugin::Collections,
    query::{ExpandNode, QueryFault},
    schema::USERS,
    scopes,
};

type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The request for which references are followed, and its remaining budget.
pub(super) struct Loading<'a> {
    pub(super) plugin: &'a Collections,
    pub(super) catalog: &'a Catalog,
    pub(super) request: &'a Request,
    pub(super) budget: Budget,
    pub(super) room: Room<'a>,
    pub(super) pace: Pace,
}

/// The records that one reference field of a page points to.
pub(super) struct ExpandedField {
    field: String,
    target: Arc<Collection>,
    records: Vec<Found>,
    /// For each record of the page, the position of the record it references.
    leads: Vec<Option<usize>>,
    below: Vec<ExpandedField>,
}

/// A loaded record.
struct Found {
    id: String,
    owner_id: Option<String>,
    created_at: String,
    updated_at: String,
    data: String,
}

impl Found {
    fn of(record: &Answer<'_>) -> Found {
        Found {
            id: record.id.to_owned(),
            owner_id: record.owner_id.map(str::to_owned),
            created_at: record.created_at.to_owned(),
            updated_at: record.updated_at.to_owned(),
            data: record.data.to_owned(),
        }
    }

    fn answer<'a>(&'a self, target: &'a Collection) -> Answer<'a> {
        Answer {
            collection_id: &target.id,
            id: &self.id,
            owner_id: self.owner_id.as_deref(),
            data: &self.data,
            created_at: &self.created_at,
            updated_at: &self.updated_at,
        }
    }
}

/// Loads the records that a page references; `data` is the data of each record of the page.
pub(super) fn load<'a>(
    loading: &'a mut Loading<'_>,
    collection: &'a Arc<Collection>,
    nodes: &'a [ExpandNode],
    data: Vec<&'a str>,
) -> Pending<'a, Vec<ExpandedField>> {
    Box::pin(async move {
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let targets = nodes.iter().map(|node| target(loading.catalog, collection, node));
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let mut ids = vec![Vec::with_capacity(data.len()); nodes.len()];
        for data in &data {
            let record = parsed(data)?;
            for (ids, node) in ids.iter_mut().zip(nodes) {
                ids.push(record.get(&node.field).and_then(|value| value.as_text()).map(str::to_owned));
            }
            loading.pace.worked(data.len()).await;
        }
        let mut all = Vec::with_capacity(nodes.len());
        for ((node, target), ids) in nodes.iter().zip(targets).zip(ids) {
            let records = fetch(loading, &target, &ids).await?;
            let below = {
                let data = records.iter().map(|record| record.data.as_str()).collect();
                load(loading, &target, &node.below, data).await?
            };
            let places: HashMap<&str, usize> =
                records.iter().enumerate().map(|(at, record)| (record.id.as_str(), at)).collect();
            let lead = |id: Option<String>| id.and_then(|id| places.get(id.as_str()).copied());
            let leads = ids.into_iter().map(lead).collect();
            all.push(ExpandedField { field: node.field.clone(), target, records, leads, below });
        }
        Ok(all)
    })
}

fn target(
    catalog: &Catalog,
    collection: &Collection,
    node: &ExpandNode,
) -> Result<Arc<Collection>, QueryFault> {
    let fault = |message| Err(QueryFault::new("expand", "invalid_expand", message));
    let field = collection.schema.field(&node.field);
    let Some(reference) = field.and_then(|field| field.reference.as_ref()) else {
        let references = collection.schema.fields().iter().filter(|field| field.reference.is_some());
        let hint = did_you_mean(&node.field, references.map(|field| field.name.as_str()));
        return fault(format!("{} has no reference field {}{hint}", collection.name, node.field));
    };
    if reference.collection == USERS {
        return fault(format!("{} leads to users, which are not answered here", node.field));
    }
    match catalog.get(&reference.collection) {
        Some(target) => Ok(Arc::clone(target)),
        None => fault(format!("{} leads to {}, which is gone", node.field, reference.collection)),
    }
}

/// Returns the records with these ids that the caller may read.
async fn fetch(loading: &mut Loading<'_>, target: &Collection, ids: &[Option<String>]) -> Result<Vec<Found>> {
    let Loading { plugin, request, .. } = *loading;
    let caller = http::caller(request);
    let rule = target.options.rules.of(Action::Read);
    let verdict = rule.verdict(Action::Read, &caller);
    let mut wanted: Vec<&String> = ids.iter().flatten().collect();
    wanted.sort_unstable();
    wanted.dedup();
    if verdict == Verdict::Deny || wanted.is_empty() || !scopes::may_read(request, &target.name) {
        return Ok(Vec::new());
    }
    let list = serde_json::to_string(&wanted).expect("a list of texts is JSON");
    let sql = format!(
        "SELECT id,owner_id,created_at,updated_at,data FROM {} WHERE {}",
        target.table,
        target.dialect.among_ids()
    );
    let short = wanted.len() as u64 <= limits::SHORT_ROWS_MAX;
    let cost = if short { ReadHint::Indexed } else { ReadHint::Scan };
    let rows = plugin.database.query(cost, &sql, &[Value::Text(list)]).await;
    let rows = rows.map_err(error::of_read(plugin))?;
    loading.budget.take(rows.len_bytes())?;
    loading.room.grow(rows.len_bytes()).await?;
    let now = http::now();
    let context = Context {
        caller: &caller,
        now: &now,
        method: request.method(),
        action: Action::Read.name(),
        data: None,
    };
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        let record = answer(target, &row)?;
        let visible = verdict == Verdict::Allow
            || rule.allows(Action::Read, &seen(&record, &parsed(record.data)?), &context);
        if visible {
            records.push(Found::of(&record));
        }
        loading.pace.worked(record.data.len()).await;
    }
    Ok(records)
}

fn answer<'a>(target: &'a Collection, row: &Row<'a>) -> Result<Answer<'a>> {
    Ok(Answer {
        collection_id: &target.id,
        id: row.text(0)?,
        owner_id: row.text_or_null(1)?,
        created_at: row.text(2)?,
        updated_at: row.text(3)?,
        data: row.text(4)?,
    })
}

/// Takes the maximum size that [`write`] appends for a record from the budget.
pub(super) fn measure(
    record: &Answer<'_>,
    all: &[ExpandedField],
    at: usize,
    budget: &mut Budget,
) -> Result<()> {
    budget.take(record.len_max())?;
    if all.is_empty() {
        return Ok(());
    }
    budget.take(",\"expand\":{}".len())?;
    for followed in all {
        budget.take(followed.field.len() + "\"\":null,".len())?;
        if let Some(place) = followed.leads[at] {
            let record = followed.records[place].answer(&followed.target);
            measure(&record, &followed.below, place, budget)?;
        }
    }
    Ok(())
}

/// Appends a record as JSON, with the records it references. `all` belongs to the record's page, in which it has
/// position `at`.
pub(super) fn write(record: &Answer<'_>, all: &[ExpandedField], at: usize, out: &mut String) {
    record.write_open(out);
    if !all.is_empty() {
        out.push_str(",\"expand\":{");
        for (position, followed) in all.iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            write_text(out, &followed.field);
            out.push(':');
            match followed.leads[at] {
                None => out.push_str("null"),
                Some(place) => {
                    let record = followed.records[place].answer(&followed.target);
                    write(&record, &followed.below, place, out);
                }
            }
        }
        out.push('}');
    }
    out.push('}');
}
