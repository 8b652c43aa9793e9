//! `collections import`: records from a file into a collection, which is made where it does not exist. Every record is
//! validated; records are written in chunks, each of them whole or not at all. Events are not told of them.

use std::{borrow::Cow, collections::HashMap, path::Path, sync::Arc};

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
    error,
    json::Json,
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
    let known = plugin.catalog.reload().await?.get(name).cloned();
    let mut read = Read::default();
    let collection = match known {
        Some(collection) => collection,
        None => {
            match arguments.text("schema") {
                Some(file) => read.schema = read_schema(Path::new(file))?,
                None => read = infer(path, format, &console)?,
            }
            let label = arguments.text("label").unwrap_or(name);
            let collection = create(&plugin, name, label, &read.schema).await?;
            console.line(format!("made the collection {name} with the schema {}", collection.schema.text()));
            collection
        }
    };
    let skip = arguments.text("on-error") == Some("skip");
    let mut run = Run {
        plugin: &plugin,
        collection,
        console,
        skip,
        total: read.records,
        names: read.names,
        written: 0,
        faults: 0,
        rows: Vec::new(),
        bytes: 0,
    };
    let outcome = run.all(path, format).await;
    run.report();
    match outcome {
        Ok(()) => Ok(0),
        Err(Stop::Reported) => Ok(1),
        Err(Stop::Failed(fault)) => Err(fault),
    }
}

fn read_schema(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|fault| Error::bad_request("file_unreadable", format!("{}: {fault}", path.display())))
}

/// What the first reading of a file taught.
#[derive(Default)]
struct Read {
    schema: String,
    records: u64,
    /// The fields' names by those in the file.
    names: HashMap<String, String>,
}

/// Reads the file once to learn what it holds, and how much.
fn infer(path: &Path, format: Format, console: &Console) -> Result<Read> {
    const STEP: u64 = 50_000;
    let mut source = Source::open(path, format)?;
    let mut inference = Inference::new(format == Format::Csv);
    while let Some(item) = source.next()? {
        let record = parse(&item)?;
        inference.see(data_of(&record));
        if inference.records().is_multiple_of(STEP) {
            console.progress(inference.records(), 0, "records read");
        }
    }
    let schema = inference.schema().map_err(|faults| error::schema(&faults))?;
    Ok(Read { schema, records: inference.records(), names: inference.names() })
}

async fn create(plugin: &Collections, name: &str, label: &str, schema: &str) -> Result<Arc<Collection>> {
    let named = |fault: crate::fault::Fault| Error::bad_request("invalid_name", fault.to_string());
    schema::check_collection_name(name).map_err(named)?;
    schema::check_label(label).map_err(named)?;
    let schema = Json::parse(schema)
        .map_err(|fault| Error::bad_request("invalid_schema", format!("the schema is no JSON: {fault}")))?;
    make(plugin, &Definition::parse(name, label, &schema, &Json::Null)?, None).await
}

fn parse(item: &Item) -> Result<Json<'_>> {
    Json::parse(&item.text).map_err(|fault| {
        Error::bad_request("file_malformed", format!("line {}: no JSON: {fault}", item.line))
    })
}

/// Whether a line is a whole record, as `export --whole` writes it.
fn is_whole(record: &Json<'_>) -> bool {
    let id = record.get("id").and_then(Json::as_text).is_some_and(validate::is_record_id);
    id && record.get("collection_id").is_some()
        && record.get("data").is_some_and(|data| data.as_object().is_some())
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

/// Why a run ends early.
enum Stop {
    /// A record did not fit, which was printed.
    Reported,
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(fault: Error) -> Stop {
        Stop::Failed(fault)
    }
}

struct Run<'a> {
    plugin: &'a Collections,
    collection: Arc<Collection>,
    console: Console,
    skip: bool,
    total: u64,
    names: HashMap<String, String>,
    written: u64,
    faults: u64,
    rows: Vec<Row>,
    bytes: usize,
}

impl Run<'_> {
    async fn all(&mut self, path: &Path, format: Format) -> Result<(), Stop> {
        let mut source = Source::open(path, format)?;
        while let Some(item) = source.next()? {
            match self.row(&item) {
                Ok(row) => {
                    self.bytes += row.data.len();
                    self.rows.push(row);
                }
                Err(problem) => self.fault(item.line, &problem).await?,
            }
            if self.rows.len() == CHUNK_RECORDS || self.bytes > CHUNK_BYTES {
                self.flush().await?;
                self.console.progress(self.written, self.total, "records");
            }
        }
        self.flush().await
    }

    /// A record as it will be stored, or what is wrong with it.
    fn row(&mut self, item: &Item) -> Result<Row, String> {
        let record = Json::parse(&item.text).map_err(|fault| format!("no JSON: {fault}"))?;
        let data = data_of(&record);
        let Some(members) = data.as_object() else {
            return Err(format!("must be an object, is {}", data.kind()));
        };
        let mut fitted = Vec::with_capacity(members.len());
        for (name, value) in members {
            let name = self.field_name(name);
            let value = match self.collection.schema.field(&name) {
                Some(field) => convert(value, field.kind),
                None => value.clone(),
            };
            fitted.push((Cow::Owned(name), value));
        }
        let collection = &self.collection;
        let data =
            validate::data(&collection.schema, collection.options.unknown_fields, &Json::Object(fitted))
                .map_err(|faults| faults.to_string())?;
        let whole = |name: &str| record.get(name).filter(|_| is_whole(&record)).and_then(Json::as_text);
        Ok(Row {
            line: item.line,
            id: whole("id").map_or_else(|| Uuid::now_v7().to_string(), str::to_owned),
            owner_id: whole("owner_id").map(str::to_owned),
            data,
        })
    }

    /// The field that a name in the file means: the one of that name, or of the name that inference would make of it.
    fn field_name(&mut self, name: &str) -> String {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let schema = &self.collection.schema;
        let made = field_names(&[name.to_owned()]).remove(0);
        let field = if schema.field(name).is_none() && schema.field(&made).is_some() {
            made
        } else {
            name.to_owned()
        };
        self.names.insert(name.to_owned(), field.clone());
        field
    }

    /// Prints a fault. To stop at it, what came before is written first.
    async fn fault(&mut self, line: u64, problem: &str) -> Result<(), Stop> {
        if !self.skip {
            self.flush().await?;
        }
        self.print(line, problem)
    }

    fn print(&mut self, line: u64, problem: &str) -> Result<(), Stop> {
        self.faults += 1;
        if self.faults <= FAULTS_PRINTED_MAX {
            self.console.error_line(format!("line {line}: {problem}"));
        }
        if self.skip { Ok(()) } else { Err(Stop::Reported) }
    }

    /// Writes what has been gathered. Where the database refuses a chunk, it is halved until the record is found.
    async fn flush(&mut self) -> Result<(), Stop> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut chunks = vec![rows.as_slice()];
        while let Some(chunk) = chunks.pop() {
            match (self.apply(chunk).await, chunk) {
                (Ok(()), _) => self.written += chunk.len() as u64,
                (Err(fault), _) if fault.is_retryable() || fault.status() >= 500 => return Err(fault.into()),
                (Err(fault), [row]) => self.print(row.line, fault.message())?,
                (Err(_), _) => {
                    let (first, second) = chunk.split_at(chunk.len() / 2);
                    chunks.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    async fn apply(&self, rows: &[Row]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for row in rows {
            let owner = row.owner_id.as_deref().map_or(ValueRef::Null, ValueRef::Text);
            let values = [ValueRef::Text(&row.id), owner, ValueRef::Now, ValueRef::Text(&row.data)];
            batch.push_refs(Expect::Exactly(1), &self.collection.sql.insert, values);
        }
        match self.plugin.database.apply(batch).await {
            Ok(_) => Ok(()),
            Err(fault) if fault.code() == "db_foreign_key" => {
                Err(Error::conflict("reference_violation", "a reference leads to no record"))
            }
            Err(fault) => Err(error::not_stored(fault, std::iter::once(&*self.collection))),
        }
    }

    fn report(&self) {
        let name = &self.collection.name;
        self.console.line(format!("{} records were imported into {name}", self.written));
        if self.faults > FAULTS_PRINTED_MAX {
            self.console.error_line(format!("… and {} more", self.faults - FAULTS_PRINTED_MAX));
        }
        if self.faults > 0 {
            let what =
                if self.skip { "were left out" } else { "stopped the import; --on-error skip goes on" };
            self.console.error_line(format!("{} records that do not fit {what}", self.faults));
        }
    }
}
