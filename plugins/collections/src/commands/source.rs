//! Records out of a file, one at a time: a JSON array, one JSON object a line, or CSV. It holds one record in memory,
//! never the file.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use tinybase_plugin_api::{Error, Result};

use crate::json::write_text;

/// The forms of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// An array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// A line of names, then a line a record.
    Csv,
}

impl Format {
    /// The form of this name, or that the file's ending says.
    pub(super) fn of(name: Option<&str>, path: Option<&Path>) -> Result<Format> {
        let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
        match name.or(ending).unwrap_or("ndjson").to_ascii_lowercase().as_str() {
            "json" => Ok(Format::Json),
            "ndjson" | "jsonl" => Ok(Format::Ndjson),
            "csv" => Ok(Format::Csv),
            other => {
                let message =
                    format!("{other} is no known form of file: there are .json, .ndjson, .jsonl and .csv");
                Err(Error::bad_request("unknown_format", message))
            }
        }
    }
}

/// One record of a file.
pub(super) struct Item {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// JSON. Of CSV, an object whose values are all strings; empty ones are left out.
    pub(super) text: String,
}

/// The bytes that a record may have; more is no record but a file of another form.
const ITEM_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads records one after another.
pub(super) enum Source {
    Json(Array<BufReader<File>>),
    Ndjson { reader: BufReader<File>, line: u64 },
    Csv { reader: Box<csv::Reader<BufReader<File>>>, names: Vec<String>, row: csv::StringRecord },
}

impl Source {
    /// Opens a file.
    pub(super) fn open(path: &Path, format: Format) -> Result<Source> {
        let file = File::open(path)
            .map_err(|fault| Error::bad_request("file_unreadable", format!("{}: {fault}", path.display())))?;
        const BUFFER_BYTES: usize = 256 * 1024;
        let reader = BufReader::with_capacity(BUFFER_BYTES, file);
        match format {
            // One object a line is often named .json as well: the first character tells.
            Format::Json => {
                let mut reader = reader;
                if first_byte(&mut reader)? == Some(b'{') {
                    return Ok(Source::Ndjson { reader, line: 0 });
                }
                Ok(Source::Json(Array { reader, line: 1, state: State::Before }))
            }
            Format::Ndjson => Ok(Source::Ndjson { reader, line: 0 }),
            Format::Csv => {
                let mut reader = Box::new(csv::Reader::from_reader(reader));
                let names = reader.headers().map_err(|fault| broken(1, fault))?;
                let names = names.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
                Ok(Source::Csv { reader, names, row: csv::StringRecord::new() })
            }
        }
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        match self {
            Source::Json(array) => array.next(),
            Source::Ndjson { reader, line } => next_line(reader, line),
            Source::Csv { reader, names, row } => {
                let at = reader.position().line();
                if !reader.read_record(row).map_err(|fault| broken(at, fault))? {
                    return Ok(None);
                }
                Ok(Some(Item {
                    line: row.position().map_or(at, csv::Position::line),
                    text: csv_object(names, row),
                }))
            }
        }
    }
}

fn first_byte(reader: &mut impl BufRead) -> Result<Option<u8>> {
    loop {
        let bytes = reader.fill_buf().map_err(|fault| broken(1, fault))?;
        let Some(first) = bytes.first().copied() else { return Ok(None) };
        let blank = first.is_ascii_whitespace();
        if !blank {
            return Ok(Some(first));
        }
        reader.consume(1);
    }
}

fn next_line(reader: &mut impl BufRead, line: &mut u64) -> Result<Option<Item>> {
    loop {
        let mut text = String::new();
        *line += 1;
        let read = reader.by_ref().take(ITEM_BYTES_MAX as u64 + 1).read_line(&mut text);
        if read.map_err(|fault| broken(*line, fault))? == 0 {
            return Ok(None);
        }
        if text.len() > ITEM_BYTES_MAX {
            return Err(broken(*line, "the line is too long for a record"));
        }
        let trimmed = text.trim_start_matches('\u{feff}').trim();
        if !trimmed.is_empty() {
            return Ok(Some(Item { line: *line, text: trimmed.to_owned() }));
        }
    }
}

fn csv_object(names: &[String], row: &csv::StringRecord) -> String {
    let mut text = String::from("{");
    for (name, value) in names.iter().zip(row).filter(|(_, value)| !value.is_empty()) {
        if text.len() > 1 {
            text.push(',');
        }
        write_text(&mut text, name);
        text.push(':');
        write_text(&mut text, value);
    }
    text.push('}');
    text
}

fn broken(line: u64, fault: impl std::fmt::Display) -> Error {
    Error::bad_request("file_malformed", format!("line {line}: {fault}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Within,
    Behind,
}

/// Cuts a JSON array into the texts of its entries.
pub(super) struct Array<R> {
    reader: R,
    line: u64,
    state: State,
}

impl<R: BufRead> Array<R> {
    fn byte(&mut self) -> Result<Option<u8>> {
        let bytes = self.reader.fill_buf().map_err(|fault| broken(self.line, fault))?;
        let Some(byte) = bytes.first().copied() else { return Ok(None) };
        self.reader.consume(1);
        if byte == b'\n' {
            self.line += 1;
        }
        Ok(Some(byte))
    }

    /// The next byte that is not blank.
    fn significant(&mut self) -> Result<Option<u8>> {
        loop {
            match self.byte()? {
                // A byte order mark may stand before the array.
                Some(byte) if byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf) => {}
                other => return Ok(other),
            }
        }
    }

    fn next(&mut self) -> Result<Option<Item>> {
        let mut byte = self.significant()?;
        if self.state == State::Before {
            if byte != Some(b'[') {
                return Err(broken(self.line, "expected an array of objects, or one object a line"));
            }
            self.state = State::Within;
            byte = self.significant()?;
            if byte == Some(b']') {
                self.state = State::Behind;
                byte = self.significant()?;
            }
        } else if self.state == State::Within {
            byte = match byte {
                Some(b',') => self.significant()?,
                Some(b']') => {
                    self.state = State::Behind;
                    self.significant()?
                }
                _ => return Err(broken(self.line, "expected , or ] behind an entry of the array")),
            };
        }
        match (self.state, byte) {
            (State::Behind, None) => Ok(None),
            (State::Behind, Some(_)) => Err(broken(self.line, "something follows the array")),
            (_, Some(b'{')) => self.object().map(Some),
            (_, None) => Err(broken(self.line, "the file ends within the array")),
            _ => Err(broken(self.line, "every entry of the array must be an object")),
        }
    }

    /// The rest of an object whose brace was read.
    fn object(&mut self) -> Result<Item> {
        let line = self.line;
        let mut text = vec![b'{'];
        let (mut depth, mut in_text, mut escaped) = (1_usize, false, false);
        while depth > 0 {
            let Some(byte) = self.byte()? else {
                return Err(broken(line, "the file ends within this object"));
            };
            text.push(byte);
            if text.len() > ITEM_BYTES_MAX {
                return Err(broken(line, "the object is too large for a record"));
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                b'{' | b'[' if !in_text => depth += 1,
                b'}' | b']' if !in_text => depth -= 1,
                _ => {}
            }
        }
        let text = String::from_utf8(text).map_err(|_| broken(line, "the object is not UTF-8"))?;
        Ok(Item { line, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> std::result::Result<Vec<(u64, String)>, String> {
        let mut array = Array { reader: text.as_bytes(), line: 1, state: State::Before };
        let mut items = Vec::new();
        while let Some(item) = array.next().map_err(|fault| fault.message().to_owned())? {
            items.push((item.line, item.text));
        }
        Ok(items)
    }

    #[test]
    fn arrays_are_cut_into_objects() {
        let text = "\u{feff}[ {\"a\":\"}]\\\"\"},\n\n {\"b\":[{\"c\":{}}]}\n]\n";
        let expected = vec![(1, "{\"a\":\"}]\\\"\"}".to_owned()), (3, "{\"b\":[{\"c\":{}}]}".to_owned())];
        assert_eq!(items(text), Ok(expected));
        assert_eq!(items("[]"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_array_of_objects_says_on_which_line() {
        for (text, message) in [
            ("", "line 1: expected an array"),
            ("5", "line 1: expected an array"),
            ("[\n5]", "line 2: every entry"),
            ("[{}\n{}]", "line 2: expected , or ]"),
            ("[{},\n", "line 2: the file ends within the array"),
            ("[\n{\"a\":1", "line 2: the file ends within this object"),
            ("[{}] {}", "line 1: something follows"),
        ] {
            let fault = items(text).unwrap_err();
            assert!(fault.starts_with(message), "{text}: {fault}");
        }
    }
}
