//! `collections import`: records from a file into a collection, which is made where it does not exist. Every record is
//! validated; records are written in chunks, each of them whole or not at all. Events are not told of them.

use std::{collections::HashMap, path::Path, sync::Arc};

use tinybase_plugin_api::{
    Error, Result,
    command::{Arguments, Console},
    database::{Batch, Expect, ValueRef},
};
use uuid::Uuid;

use super::{
    infer::{Inference, field_names},
    source::{Format, Item, Source},
};
use crate::{
    catalog::Collection,
    collections::{Definition, convert, make},
    error, json::Json,
    plugin::Collections,
    schema, validate,
};

/// Records that are written together.
const CHUNK_RECORDS: usize = 2_000;
/// Bytes of records that are written together.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// Faults that are printed one by one.
const FAULTS_PRINTED_MAX: u64 = 20;

/// Runs the command; answers its exit code.
pub async fn import(plugin: Arc<Collections>, arguments: Arguments, console: Console) -> Result<u32> {
    let name = arguments.required("name")?;
    let path = Path::new(arguments.required("file")?);
    let format = Format::of(None, Some(path))?;
    plugin.catalog.reload().await?;
    let known = plugin.catalog.current().await?.get(name).cloned();
    let mut total = 0;
    let collection = match known {
        Some(collection) => collection,
        None => {
            let schema = match arguments.text("schema") {
                Some(file) => read_schema(Path::new(file))?,
                None => {
                    let (schema, records) = infer(path, format, &console)?;
                    total = records;
                    schema
                }
            };
            let collection = create(&plugin, name, arguments.text("label").unwrap_or(name), &schema).await?;
            console.line(format!("made the collection {name} with the schema {}", collection.schema.text()));
            collection
        }
    };
    let skip = arguments.text("on-error") == Some("skip");
    let mut run = Run { plugin: &plugin, collection, console, format, skip, total, ..Run::new(&plugin, &console) };
    let outcome = run.all(path).await;
    run.report();
    outcome.map(|()| u32::from(run.faults > 0 && !skip))
}

fn read_schema(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|fault| Error::bad_request("file_unreadable", format!("{}: {fault}", path.display())))
}

/// Reads the file once to learn what it holds, and how much.
fn infer(path: &Path, format: Format, console: &Console) -> Result<(String, u64)> {
    let mut source = Source::open(path, format)?;
    let mut inference = Inference::new(format == Format::Csv);
    while let Some(item) = source.next()? {
        let record = parse(&item)?;
        inference.see(data_of(&record));
        const STEP: u64 = 50_000;
        if inference.records() % STEP == 0 {
            console.progress(inference.records(), 0, "records read");
        }
    }
    let schema = inference.schema().map_err(|faults| error::schema(&faults))?;
    Ok((schema, inference.records()))
}

async fn create(plugin: &Collections, name: &str, label: &str, schema: &str) -> Result<Arc<Collection>> {
    let named = |fault: crate::fault::Fault| Error::bad_request("invalid_name", fault.to_string());
    schema::check_collection_name(name).map_err(named)?;
    schema::check_label(label).map_err(named)?;
    let schema = Json::parse(schema)
        .map_err(|fault| Error::bad_request("invalid_schema", format!("the schema is no JSON: {fault}")))?;
    make(plugin, &Definition::parse(name, label, &schema, &Json::Null)?).await
}

fn parse(item: &Item) -> Result<Json<'_>> {
    Json::parse(&item.text)
        .map_err(|fault| Error::bad_request("file_malformed", format!("line {}: no JSON: {fault}", item.line)))
}

/// Whether a line is a whole record, as `export --whole` writes it.
fn is_whole(record: &Json<'_>) -> bool {
    let id = record.get("id").and_then(Json::as_text).is_some_and(validate::is_record_id);
    id && record.get("collection_id").is_some() && record.get("data").is_some_and(|data| data.as_object().is_some())
}

fn data_of<'a, 'json>(record: &'a Json<'json>) -> &'a Json<'json> {
    match record.get("data") {
        Some(data) if is_whole(record) => data,
        _ => record,
    }
}

/// A record that is ready to be written.
struct Row {
    line: u64,
    id: String,
    owner_id: Option<String>,
    data: String,
}

struct Run<'a> {
    plugin: &'a Collections,
    collection: Arc<Collection>,
    console: Console,
    format: Format,
    skip: bool,
    total: u64,
    written: u64,
    faults: u64,
    rows: Vec<Row>,
    bytes: usize,
    names: HashMap<String, String>,
}
