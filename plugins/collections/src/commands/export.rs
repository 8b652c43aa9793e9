//! `collections export`: writes a collection's records as a JSON array, one JSON object per line, or delimited text, in
//! the order of their creation. It keeps one page in memory, and moves a file into place once it is complete.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use tinybase_plugin_api::{
    Error, Result,
    command::{Arguments, Console},
    database::{ReadHint, Value},
};

use super::{
    delimited::{write_cell, write_cell_text},
    source::Format,
};
use crate::{
    catalog::Collection,
    filter::RecordColumn,
    limits, paging,
    plugin::Collections,
    records::{Answer, parsed},
};

/// Where the lines go.
enum Sink {
    Console(Console),
    File(BufWriter<File>),
}

impl Sink {
    fn line(&mut self, text: &str) -> Result<()> {
        match self {
            Sink::Console(console) => {
                console.line(text);
                Ok(())
            }
            Sink::File(file) => writeln!(file, "{text}").map_err(unwritable),
        }
    }
}

/// The requested file, and the temporary file written first: a failed export leaves the old file in place.
struct Target {
    path: PathBuf,
    written: PathBuf,
}

impl Target {
    fn new(path: &Path) -> Result<Target> {
        let path = path.to_owned();
        // Devices and pipes are written directly.
        if path.metadata().is_ok_and(|found| !found.is_file()) {
            return Ok(Target { written: path.clone(), path });
        }
        let name = path.file_name().ok_or_else(|| unwritable("it has no name"))?;
        let name = format!("{}.partial-{}", name.to_string_lossy(), std::process::id());
        Ok(Target { written: path.with_file_name(name), path })
    }

    fn finish(mut self) -> Result<()> {
        if self.written != self.path {
            std::fs::rename(&self.written, &self.path).map_err(unwritable)?;
            // The finished file must not be removed on drop.
            self.written = self.path.clone();
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.written != self.path {
            let _ = std::fs::remove_file(&self.written);
        }
    }
}

fn unwritable(fault: impl std::fmt::Display) -> Error {
    Error::bad_request("file_unwritable", format!("the file cannot be written: {fault}"))
}

/// Runs the command; returns its exit code.
pub async fn export(plugin: Arc<Collections>, arguments: Arguments, console: Console) -> Result<u32> {
    plugin.catalog.reload().await?;
    let collection = plugin.catalog.collection(arguments.required("name")?).await?;
    let path = arguments.text("file").filter(|file| *file != "-").map(Path::new);
    let format =
        Format::of(arguments.text("format"), path, arguments.text("delimiter"))?.unwrap_or(Format::Ndjson);
    let whole = arguments.flag("whole");
    let is_text = matches!(format, Format::Delimited(_));
    let own = |name: &str| RecordColumn::ALL.iter().any(|own| own.name() == name);
    if let Some(field) = collection.schema.fields().iter().find(|field| whole && is_text && own(&field.name))
    {
        let message = format!(
            "the field {} is named like a column of every record: export whole records as json or jsonl",
            field.name
        );
        return Err(Error::bad_request("unknown_format", message));
    }
    let target = path.map(Target::new).transpose()?;
    let sink = match &target {
        None => Sink::Console(console),
        Some(target) => Sink::File(BufWriter::new(File::create(&target.written).map_err(unwritable)?)),
    };
    let written =
        Run { plugin: &plugin, collection: &collection, console, format, whole, sink }.all().await?;
    if let Some(target) = target {
        target.finish()?;
    }
    if let Some(path) = path {
        console.line(format!("{written} records of {} were written to {}", collection.name, path.display()));
    }
    Ok(0)
}

struct Run<'a> {
    plugin: &'a Collections,
    collection: &'a Collection,
    console: Console,
    format: Format,
    whole: bool,
    sink: Sink,
}

impl Run<'_> {
    async fn all(mut self) -> Result<u64> {
        let sizes = paging::sizes(&self.collection.table, limits::WORK_PAGE_ROWS);
        let sql = format!(
            "SELECT seq,id,owner_id,created_at,updated_at,data FROM {} WHERE seq>?1 AND seq<=?2 ORDER BY seq",
            self.collection.table
        );
        match self.format {
            Format::Delimited(delimiter) => self.sink.line(&self.names(delimiter.unwrap_or(b',')))?,
            Format::Json => self.sink.line("[")?,
            Format::Ndjson => {}
        }
        let (mut last, mut written) = (i64::MIN, 0_u64);
        loop {
            let sizes = self.plugin.database.query(ReadHint::Scan, &sizes, &[Value::Integer(last)]).await?;
            let Some(end) = paging::end(&sizes)? else { break };
            let window = [Value::Integer(last), Value::Integer(end)];
            let rows = self.plugin.database.query(ReadHint::Scan, &sql, &window).await?;
            last = end;
            for row in &rows {
                let record = Answer {
                    collection_id: &self.collection.id,
                    id: row.text(1)?,
                    owner_id: row.text_or_null(2)?,
                    created_at: row.text(3)?,
                    updated_at: row.text(4)?,
                    data: row.text(5)?,
                };
                let line = self.line(record, written == 0)?;
                self.sink.line(&line)?;
                written += 1;
            }
            if let Sink::File(_) = self.sink {
                self.console.progress(written, 0, "records");
            }
        }
        if self.format == Format::Json {
            self.sink.line("]")?;
        }
        if let Sink::File(file) = &mut self.sink {
            file.flush().map_err(unwritable)?;
        }
        Ok(written)
    }

    fn line(&self, record: Answer<'_>, first: bool) -> Result<String> {
        if let Format::Delimited(delimiter) = self.format {
            return self.row(record, delimiter.unwrap_or(b','));
        }
        let text = if self.whole { record.to_json() } else { record.data.to_owned() };
        Ok(if self.format == Format::Json && !first { format!(",{text}") } else { text })
    }

    fn names(&self, delimiter: u8) -> String {
        let own = RecordColumn::ALL.iter().map(|own| own.name()).filter(|_| self.whole);
        let fields = self.collection.schema.fields().iter().map(|field| field.name.as_str());
        let mut out = String::new();
        for (at, name) in own.chain(fields).enumerate() {
            separate(&mut out, delimiter, at);
            out.push_str(name);
        }
        out
    }

    fn row(&self, record: Answer<'_>, delimiter: u8) -> Result<String> {
        let data = parsed(record.data)?;
        let mut out = String::new();
        let mut at = 0;
        if self.whole {
            for own in [Some(record.id), record.owner_id, Some(record.created_at), Some(record.updated_at)] {
                separate(&mut out, delimiter, at);
                at += 1;
                if let Some(own) = own {
                    write_cell_text(&mut out, delimiter, own);
                }
            }
        }
        for field in self.collection.schema.fields() {
            separate(&mut out, delimiter, at);
            at += 1;
            write_cell(&mut out, delimiter, data.get(&field.name));
        }
        Ok(out)
    }
}

fn separate(out: &mut String, delimiter: u8, at: usize) {
    if at > 0 {
        out.push(char::from(delimiter));
    }
}
