//! The health of collections: rows, indexes, constraints, and everything that does not match the schema. It repairs
//! nothing.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Value as Json, json};
use tinybase_plugin_api::{
    Request, Response, Result,
    database::{ReadHint, Value},
    task::Pace,
};

use super::{PAGE_BYTES, keep, window};
use crate::{
    budget::{Budget, Room},
    catalog::{Catalog, Collection},
    http, json, limits, paging,
    plugin::Collections,
    schema::{Field, USERS, UnknownFields},
    storage::{Named, Shape},
    validate,
};

/// `GET /api/admin/collections/status`: returns every collection, without checking each record, or a page of them if
/// `limit` or `offset` is given. `healthy` covers the collections in the response.
pub async fn status_all(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let window = window(&request)?;
    let catalog = plugin.catalog.reload().await?;
    let mut shown: Vec<&Arc<Collection>> = catalog.all().iter().collect();
    let total = shown.len();
    keep(&mut shown, window);
    let mut budget = Budget::of(&plugin);
    budget.take(PAGE_BYTES)?;
    let mut room = Room::of(&plugin);
    let (mut answer, mut healthy) = ("{\"collections\":[".to_owned(), true);
    for (at, collection) in shown.into_iter().enumerate() {
        let report = report(&plugin, &catalog, collection).await?;
        healthy &= report["healthy"] == true;
        let text = report.to_string();
        budget.take(text.len() + 1)?;
        room.grow(text.len() + 1).await?;
        answer.push_str(if at > 0 { "," } else { "" });
        answer.push_str(&text);
    }
    answer.push_str(&format!("],\"healthy\":{healthy}"));
    if let Some((limit, offset)) = window {
        answer.push_str(&format!(",\"total\":{total},\"limit\":{limit},\"offset\":{offset}"));
    }
    answer.push('}');
    Ok(Response::json_bytes(answer))
}

/// `GET /api/admin/collections/{name}/status`: returns one collection, with every record checked against its schema.
pub async fn status(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    http::check_query(&request, &[])?;
    let catalog = plugin.catalog.reload().await?;
    let collection = plugin.catalog.collection(request.param(0)).await?;
    let mut report = report(&plugin, &catalog, &collection).await?;
    let records = check_records(&plugin, &collection).await?;
    if records["failing"] != 0 {
        report["healthy"] = false.into();
    }
    report["records"] = records;
    Response::json(&report)
}

async fn report(plugin: &Collections, catalog: &Catalog, collection: &Collection) -> Result<Json> {
    let number_of = |name: &str| catalog.get(name).map(|target| target.number);
    let Collection { dialect, number, schema, options, .. } = collection;
    let shape = Shape::of(*dialect, *number, schema, options, &number_of);
    let mut problems = Vec::new();
    let made = made(plugin, collection).await?;
    let missing = |named: &&Named| made.get(&named.name) != Some(&named.sql);
    for named in shape.named().filter(missing) {
        problems.push(format!("{} is missing or not as the schema asks: {}", named.name, named.sql));
    }
    let columns = columns(plugin, collection).await?;
    for column in shape.columns.iter().filter(|column| !columns.contains(&column.name)) {
        problems.push(format!("the column {} is missing", column.name));
    }
    let table = &collection.table;
    let counted = count(plugin, &format!("SELECT count(*) FROM {table}")).await?;
    let kept = count(plugin, &dialect.count_of(*number)).await?;
    if counted != kept {
        problems.push(format!("there are {counted} records, and {kept} are counted"));
    }
    let dangling = count(plugin, &dialect.dangling(table, &links(catalog, collection))).await?;
    if dangling != 0 {
        problems.push(format!("{dangling} references lead nowhere"));
    }
    let constraints: Vec<Json> = collection
        .schema
        .fields()
        .iter()
        .filter(|field| field.unique || field.reference.is_some())
        .map(|field| match &field.reference {
            Some(reference) => json!({"field": field.name, "references": reference.collection}),
            None => json!({"field": field.name, "unique": true}),
        })
        .collect();
    let indexes: Vec<&str> = shape.indexes.iter().map(|index| index.name.as_str()).collect();
    Ok(json!({
        "name": collection.name, "table": table, "revision": collection.revision, "row_count": counted,
        "indexes": indexes, "constraints": constraints, "healthy": problems.is_empty(), "problems": problems,
    }))
}

async fn count(plugin: &Collections, sql: &str) -> Result<i64> {
    let rows = plugin.database.query(ReadHint::Scan, sql, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.integer(0))
}

/// Returns the columns of references, and the tables that they reference.
fn links(catalog: &Catalog, collection: &Collection) -> Vec<(String, String)> {
    let link = |field: &Field| {
        let target = match field.reference.as_ref()?.collection.as_str() {
            USERS => "tb_users".to_owned(),
            name => catalog.get(name)?.table.clone(),
        };
        Some((collection.dialect.column(&field.name), target))
    };
    collection.schema.fields().iter().filter_map(link).collect()
}

/// Returns the existing indexes, constraints and triggers, with the statements that created them.
async fn made(plugin: &Collections, collection: &Collection) -> Result<HashMap<String, String>> {
    let sql = collection.dialect.made();
    let params =
        [Value::from(&collection.table), format!("collections\\_n\\_{}\\_%", collection.number).into()];
    let rows = plugin.database.query(ReadHint::Indexed, sql, &params).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

async fn columns(plugin: &Collections, collection: &Collection) -> Result<Vec<String>> {
    let sql = collection.dialect.columns_of(&collection.table);
    let rows = plugin.database.query(ReadHint::Indexed, &sql, &[]).await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Validates every stored record.
async fn check_records(plugin: &Collections, collection: &Collection) -> Result<Json> {
    const LISTED_MAX: usize = 20;
    let table = &collection.table;
    let sizes = paging::sizes(table, limits::WORK_PAGE_ROWS);
    let sql = format!("SELECT id,data FROM {table} WHERE seq>?1 AND seq<=?2 ORDER BY seq");
    let (mut checked, mut failing, mut failures) = (0_u64, 0_u64, Vec::new());
    let (mut last, mut pace) = (i64::MIN, Pace::default());
    loop {
        let sizes = plugin.database.query(ReadHint::Scan, &sizes, &[Value::Integer(last)]).await?;
        let Some(end) = paging::end(&sizes)? else {
            return Ok(json!({"checked": checked, "failing": failing, "failures": failures}));
        };
        let window = [Value::Integer(last), Value::Integer(end)];
        let rows = plugin.database.query(ReadHint::Scan, &sql, &window).await?;
        last = end;
        for row in &rows {
            checked += 1;
            if let Some(problem) = fault_of(collection, row.text(1)?) {
                failing += 1;
                if failures.len() < LISTED_MAX {
                    failures.push(json!({"id": row.text(0)?, "problem": problem}));
                }
            }
            pace.worked(row.text(1)?.len()).await;
        }
    }
}

fn fault_of(collection: &Collection, data: &str) -> Option<String> {
    let stored = match json::Json::parse(data) {
        Ok(stored) if stored.as_object().is_some() => stored,
        _ => return Some("the data is no JSON object".to_owned()),
    };
    let nothing = json::Json::Object(Vec::new());
    match validate::merged(&collection.schema, UnknownFields::Reject, &stored, &nothing) {
        Ok(text) if text == data => None,
        Ok(_) => Some(
            "the data is not in its normal form, or holds fields that the schema does not know".to_owned(),
        ),
        Err(faults) => Some(faults.to_string()),
    }
}
