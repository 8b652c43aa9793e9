//! `collections export`: a collection's records as a JSON array, one JSON object a line, or CSV, in the order of their
//! creation. It holds one page in memory.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
};

use tinybase_plugin_api::{
    Error, Result,
    command::{Arguments, Console},
    database::{Cost, Value},
};

use super::source::Format;
use crate::{
    catalog::Collection,
    json::Json,
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

fn unwritable(fault: impl std::fmt::Display) -> Error {
    Error::bad_request("file_unwritable", format!("the file cannot be written: {fault}"))
}

/// Runs the command; answers its exit code.
pub async fn export(plugin: Arc<Collections>, arguments: Arguments, console: Console) -> Result<u32> {
    plugin.catalog.reload().await?;
    let collection = plugin.catalog.collection(arguments.required("name")?).await?;
    let path = arguments.text("file").map(Path::new);
    let format = Format::of(arguments.text("format"), path)?;
    let whole = arguments.flag("whole");
    if whole && format == Format::Csv {
        return Err(Error::bad_request("unknown_format", "whole records are written as JSON, not as CSV"));
    }
    let sink = match path {
        None => Sink::Console(console),
        Some(path) => Sink::File(BufWriter::new(File::create(path).map_err(unwritable)?)),
    };
    let written =
        Run { plugin: &plugin, collection: &collection, console, format, whole, sink }.all().await?;
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
            Format::Csv => self.sink.line(&self.csv_names()?)?,
            Format::Json => self.sink.line("[")?,
            Format::Ndjson => {}
        }
        let (mut last, mut written) = (i64::MIN, 0_u64);
        loop {
            let sizes = self.plugin.database.query(Cost::Unknown, &sizes, &[Value::Integer(last)]).await?;
            let Some(end) = paging::end(&sizes)? else { break };
            let window = [Value::Integer(last), Value::Integer(end)];
            let rows = self.plugin.database.query(Cost::Unknown, &sql, &window).await?;
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
        if self.format == Format::Csv {
            return self.csv_line(record.data);
        }
        let text = if self.whole { record.to_json() } else { record.data.to_owned() };
        Ok(if self.format == Format::Json && !first { format!(",{text}") } else { text })
    }

    fn csv_names(&self) -> Result<String> {
        csv_text(self.collection.schema.fields().iter().map(|field| field.name.as_str()))
    }

    fn csv_line(&self, data: &str) -> Result<String> {
        let data = parsed(data)?;
        let values: Vec<String> = self
            .collection
            .schema
            .fields()
            .iter()
            .map(|field| match data.get(&field.name) {
                None | Some(Json::Null) => String::new(),
                Some(Json::Text(text)) => text.to_string(),
                Some(other) => other.to_text(),
            })
            .collect();
        csv_text(values.iter().map(String::as_str))
    }
}

fn csv_text<'a>(values: impl Iterator<Item = &'a str>) -> Result<String> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.write_record(values).map_err(unwritable)?;
    let bytes = writer.into_inner().map_err(unwritable)?;
    let text = String::from_utf8(bytes).map_err(unwritable)?;
    Ok(text.trim_end_matches('\n').to_owned())
}
