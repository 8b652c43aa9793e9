//! `collections import`: imports records from a file or standard input into a collection, which is created if it does
//! not exist. Every record is validated. Records are written in chunks, each of them completely or not at all. The
//! import emits no events.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use tinybase_plugin_api::{
    Error, Result,
    command::{Arguments, Console},
    database::Engine,
    task::Pace,
};

use super::{
    chunk::{Chunk, UnderWay},
    infer::{Inference, field_names},
    links::{self, Sorted},
    order,
    row::{Reading, Row},
    source::{Format, Input, Item, Source},
    update::{Key, Written},
};
use crate::{
    catalog::Collection,
    collections::{Definition, make},
    error,
    json::Json,
    number,
    plugin::Collections,
    schema,
};

/// Records per chunk: enough that the cost of a commit does not matter. While a chunk is written the next one is read.
const CHUNK_RECORDS: usize = 10_000;
/// The same on PostgreSQL, where each record is a separate statement to a server that may be far away.
const CHUNK_RECORDS_ON_SERVER: usize = 2_000;
/// Records that are looked up and written together.
const CHUNK_RECORDS_BY_KEY: usize = 500;
/// Bytes of records that are written together.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of records that wait for the records they reference.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Faults that are printed one by one.
const FAULTS_PRINTED_MAX: u64 = 1_000;

/// Runs the command; returns its exit code.
pub async fn import(plugin: Arc<Collections>, arguments: Arguments, console: Console) -> Result<u32> {
    let name = arguments.required("name")?;
    let file = arguments.required("file")?;
    let path = Some(Path::new(file)).filter(|_| file != "-");
    let known = plugin.catalog.reload().await?.get(name).cloned();
    let format = Format::of(arguments.text("format"), path, arguments.text("delimiter"))?;
    let input = Input::open(file)?;
    let format = format.map_or_else(|| input.guess(), Ok)?;
    let whole = arguments.flag("whole");
    let skip = arguments.text("on-error") == Some("skip");
    let mut read = Read::default();
    let collection = match known {
        Some(collection) => collection,
        None => {
            match arguments.text("schema") {
                Some(file) => read.schema = read_schema(Path::new(file))?,
                None => read = infer(&input, format, whole, skip, &console)?,
            }
            let label = arguments.text("label").unwrap_or(name);
            let collection = create(&plugin, name, label, &read.schema).await?;
            console.line(format!("made the collection {name} with the schema {}", collection.schema.text()));
            collection
        }
    };
    let key = arguments.text("key").map(|key| Key::parse(key, &collection).map(Arc::new)).transpose()?;
    let is_text = matches!(format, Format::Delimited(_));
    let mut run = Run {
        plugin: Arc::clone(&plugin),
        reading: Reading {
            own_references: links::fields(&collection),
            collection: Arc::clone(&collection),
            names: read.names,
            is_text,
            whole,
        },
        collection,
        console,
        skip,
        total: read.records,
        key,
        written: Written::default(),
        faults: 0,
        rows: Vec::new(),
        waiting: Vec::new(),
        keys: HashSet::new(),
        bytes: 0,
        under_way: None,
    };
    let outcome = run.all(&input, format).await;
    let outcome = run.restore_order().await.and(outcome);
    run.report();
    match outcome {
        // If nothing in a file is valid, nothing was done.
        Ok(()) if run.faults > 0 && run.written.records == 0 => Ok(1),
        Ok(()) => Ok(0),
        Err(Stop::Reported) => Ok(1),
        Err(Stop::Failed(fault)) => Err(fault),
    }
}

fn read_schema(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|fault| Error::bad_request("file_unreadable", format!("{}: {fault}", path.display())))
}

/// The result of the first pass over a file.
#[derive(Default)]
struct Read {
    schema: String,
    records: u64,
    /// The fields' names by their names in the file.
    names: HashMap<String, String>,
}

/// Reads the file once to learn its fields and its size.
fn infer(input: &Input, format: Format, whole: bool, skip: bool, console: &Console) -> Result<Read> {
    const STEP: u64 = 50_000;
    let mut source = Source::open(input, format)?;
    let is_text = matches!(format, Format::Delimited(_));
    let mut inference = Inference::new(is_text);
    let fields: Vec<String> =
        source.names().iter().filter(|name| !(whole && super::row::is_own(name))).cloned().collect();
    inference.columns(&fields);
    while let Some(item) = source.next()? {
        let record = match parse(&item) {
            Ok(record) => record,
            // The second pass, which stores the records, reports it.
            Err(_) if skip => continue,
            Err(fault) => return Err(fault),
        };
        inference.see(&super::row::data_of(&record, is_text && whole), item.line);
        if inference.records().is_multiple_of(STEP) {
            console.progress(inference.records(), 0, "records read");
        }
    }
    if inference.records() == 0 {
        let message = "the file holds no records to read a schema off: give one with --schema";
        return Err(Error::bad_request("file_malformed", message));
    }
    let schema = inference.schema().map_err(|faults| error::schema(&faults))?;
    for note in inference.notes() {
        console.error_line(note);
    }
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
    let malformed =
        |problem: String| Error::bad_request("file_malformed", format!("line {}: {problem}", item.line));
    let text = item.text.as_ref().map_err(|problem| malformed(problem.clone()))?;
    let record = Json::parse(text).map_err(|fault| malformed(format!("no JSON: {fault}")))?;
    number::inexact(text.as_bytes())
        .map_or(Ok(record), |number| Err(malformed(number::inexact_words(&number))))
}

/// Why a run ends early.
enum Stop {
    /// A record was invalid; the fault is already printed.
    Reported,
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(fault: Error) -> Stop {
        Stop::Failed(fault)
    }
}

struct Run {
    plugin: Arc<Collections>,
    reading: Reading,
    collection: Arc<Collection>,
    console: Console,
    skip: bool,
    total: u64,
    key: Option<Arc<Key>>,
    written: Written,
    faults: u64,
    rows: Vec<Row>,
    /// Earlier rows that reference records not read yet.
    waiting: Vec<Row>,
    /// The keys of the rows.
    keys: HashSet<String>,
    bytes: usize,
    /// The chunk before the rows.
    under_way: Option<UnderWay>,
}

impl Run {
    async fn all(&mut self, input: &Input, format: Format) -> Result<(), Stop> {
        let rows_max = match (&self.key, self.plugin.database.engine()) {
            (Some(_), _) => CHUNK_RECORDS_BY_KEY,
            (None, Engine::Sqlite) => CHUNK_RECORDS,
            (None, Engine::Postgres) => CHUNK_RECORDS_ON_SERVER,
        };
        let (mut source, mut pace) = (Source::open(input, format)?, Pace::default());
        loop {
            let item = match source.next() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(fault) => {
                    self.finish().await?;
                    return Err(fault.into());
                }
            };
            pace.worked(item.text.as_ref().map_or(0, String::len)).await;
            match self.reading.row(&item, self.key.as_deref()) {
                Ok(row) => self.take(row).await?,
                Err(problem) => self.fault(item.line, &problem).await?,
            }
            if self.rows.len() >= rows_max || self.bytes > CHUNK_BYTES {
                self.flush(false).await?;
                self.console.progress(self.written.records, self.total, "records");
            }
        }
        self.finish().await
    }

    /// Restores the creation order if records with their own times were written, even if the import failed part way.
    async fn restore_order(&self) -> Result<(), Stop> {
        if self.written.with_times {
            order::restore(&self.plugin, &self.collection).await?;
        }
        Ok(())
    }

    async fn take(&mut self, row: Row) -> Result<(), Stop> {
        if let Some(key) = &row.key
            && self.keys.contains(key)
        {
            // The previous row with this key must be stored first, so that the lookup finds it.
            self.flush(true).await?;
        }
        self.keys.extend(row.key.clone());
        self.bytes += row.data.len();
        self.rows.push(row);
        Ok(())
    }

    /// Prints a fault. If the import stops at it, earlier records are written first, except those that reference later
    /// ones.
    async fn fault(&mut self, line: u64, problem: &str) -> Result<(), Stop> {
        if !self.skip {
            self.flush(false).await?;
            self.settle().await?;
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

    /// Starts writing the gathered records, after the previous chunk is written. Nothing after a record that stops the
    /// import is ever written. Records that reference a record not read yet wait for it, unless this is the last flush.
    async fn flush(&mut self, is_last: bool) -> Result<(), Stop> {
        self.settle().await?;
        let mut rows = std::mem::take(&mut self.waiting);
        rows.append(&mut self.rows);
        self.keys.clear();
        self.bytes = 0;
        let (plugin, collection) = (Arc::clone(&self.plugin), Arc::clone(&self.collection));
        let Sorted { ready, waiting, refused } =
            links::sort(&plugin, &collection, rows, is_last, !self.skip).await?;
        self.keys.extend(waiting.iter().filter_map(|row| row.key.clone()));
        if waiting.iter().map(|row| row.data.len()).sum::<usize>() > WAITING_BYTES_MAX {
            let message = format!(
                "more than {WAITING_BYTES_MAX} bytes of records refer to others that stand far behind them: put these first"
            );
            return Err(Error::bad_request("references_too_far", message).into());
        }
        self.waiting = waiting;
        if !ready.is_empty() {
            let chunk = Chunk { plugin, collection, key: self.key.clone(), rows: ready, skip: self.skip };
            self.under_way = Some(chunk.begin()?);
        }
        if !refused.is_empty() {
            // Earlier records come first.
            self.settle().await?;
        }
        for (line, problem) in refused {
            self.print(line, &problem)?;
        }
        Ok(())
    }

    /// Writes all gathered records.
    async fn finish(&mut self) -> Result<(), Stop> {
        self.flush(true).await?;
        self.settle().await
    }

    /// Waits for the chunk that is being written, and counts it.
    async fn settle(&mut self) -> Result<(), Stop> {
        let Some(under_way) = self.under_way.take() else { return Ok(()) };
        let stored = under_way.stored().await;
        self.written.add(&stored.written);
        for (line, problem) in stored.refused {
            self.print(line, &problem)?;
        }
        stored.failure.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn report(&mut self) {
        for row in std::mem::take(&mut self.waiting) {
            let (field, id) = row.refers.first().cloned().unwrap_or_default();
            let problem =
                format!("{field}: the import ended before a record {id} came, or another that it refers to");
            let _ = self.print(row.line, &problem);
        }
        let name = &self.collection.name;
        if self.key.is_some() {
            self.console.line(format!("{} of the records were there and were updated", self.written.updated));
        }
        self.console.line(format!("{} records were imported into {name}", self.written.records));
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

/// Returns the field for a name in the file: the field of that name, or of the name that inference would derive from
/// it.
pub(super) fn field_name(names: &mut HashMap<String, String>, schema: &schema::Schema, name: &str) -> String {
    if let Some(known) = names.get(name) {
        return known.clone();
    }
    let made = field_names(&[name.to_owned()]).remove(0);
    let field =
        if schema.field(name).is_none() && schema.field(&made).is_some() { made } else { name.to_owned() };
    names.insert(name.to_owned(), field.clone());
    field
}
