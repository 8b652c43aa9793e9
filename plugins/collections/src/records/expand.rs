//! Following references: the records that a page's references lead to, each under the `read` rule of its own
//! collection. One statement a reference and level; what the caller may not see is null.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use tinybase_plugin_api::{
    Request, Result,
    database::{Cost, Value},
};

use super::{
    answer::Answer,
    read::{parsed, seen},
};
use crate::{
    access::{Action, Verdict},
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

/// For each record's data, `{"<field>": <record or null>, …}` as JSON; nothing where no reference is followed.
pub(super) fn of_records<'a>(
    plugin: &'a Collections,
    catalog: &'a Catalog,
    request: &'a Request,
    collection: &'a Arc<Collection>,
    nodes: &'a [ExpandNode],
    data: &'a [&'a str],
) -> Pending<'a, Vec<String>> {
    Box::pin(async move {
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let mut out = vec![String::from("{"); data.len()];
        for (position, node) in nodes.iter().enumerate() {
            let target = target(catalog, collection, node)?;
            let ids = data.iter().map(|data| reference(data, &node.field)).collect::<Result<Vec<_>>>()?;
            let found = fetch(plugin, catalog, request, target, node, &ids).await?;
            for (out, id) in out.iter_mut().zip(&ids) {
                if position > 0 {
                    out.push(',');
                }
                write_text(out, &node.field);
                out.push(':');
                let record = id.as_ref().and_then(|id| found.get(id));
                out.push_str(record.map_or("null", String::as_str));
            }
        }
        out.iter_mut().for_each(|out| out.push('}'));
        Ok(out)
    })
}

fn target<'a>(
    catalog: &'a Catalog,
    collection: &Collection,
    node: &ExpandNode,
) -> Result<&'a Arc<Collection>, QueryFault> {
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
        Some(target) => Ok(target),
        None => fault(format!("{} leads to {}, which is gone", node.field, reference.collection)),
    }
}

fn reference(data: &str, field: &str) -> Result<Option<String>> {
    Ok(parsed(data)?.get(field).and_then(|value| value.as_text()).map(str::to_owned))
}

/// The records of these ids that the caller may read, as JSON.
async fn fetch(
    plugin: &Collections,
    catalog: &Catalog,
    request: &Request,
    target: &Arc<Collection>,
    node: &ExpandNode,
    ids: &[Option<String>],
) -> Result<HashMap<String, String>> {
    let caller = http::caller(request);
    let rule = target.options.rules.of(Action::Read);
    let verdict = rule.verdict(Action::Read, &caller);
    let wanted: Vec<&String> = ids.iter().flatten().collect();
    if verdict == Verdict::Deny || wanted.is_empty() || !scopes::may_read(request, &target.name) {
        return Ok(HashMap::new());
    }
    let list = serde_json::to_string(&wanted).expect("a list of texts is JSON");
    let sql = format!(
        "SELECT id,owner_id,created_at,updated_at,data FROM {} WHERE {}",
        target.table,
        target.dialect.among_ids()
    );
    let short = wanted.len() as u64 <= limits::SHORT_ROWS_MAX;
    let cost = if short { Cost::Short } else { Cost::Unknown };
    let rows = plugin.database.query(cost, &sql, &[Value::Text(list)]).await.map_err(error::too_large)?;
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
        let record = Answer {
            collection_id: &target.id,
            id: row.text(0)?,
            owner_id: row.text_or_null(1)?,
            created_at: row.text(2)?,
            updated_at: row.text(3)?,
            data: row.text(4)?,
            expand: None,
        };
        let visible = verdict == Verdict::Allow
            || rule.allows(Action::Read, &seen(&record, &parsed(record.data)?), &context);
        if visible {
            records.push(record);
        }
    }
    let data: Vec<&str> = records.iter().map(|record| record.data).collect();
    let below = of_records(plugin, catalog, request, target, &node.below, &data).await?;
    let answers = records.iter().enumerate().map(|(at, record)| {
        let record = Answer { expand: below.get(at).map(String::as_str), ..*record };
        (record.id.to_owned(), record.to_json())
    });
    Ok(answers.collect())
}
