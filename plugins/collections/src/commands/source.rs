//! Reads records from a file or standard input, one at a time: a JSON array, one JSON object per line, or delimited
//! text. It keeps one record in memory, never the file.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek},
    path::Path,
};

use tinybase_plugin_api::{Error, Result};

use super::delimited::{self, Cell};

/// The formats of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// An array of objects.
    Json,
    /// One object per line.
    Ndjson,
    /// A header line, then one record per line. The cells are separated by this delimiter, or by the one found in the
    /// header.
    Delimited(Option<u8>),
}

impl Format {
    /// Returns the format with this name, or the one of the file extension; `None` if neither is known.
    pub(super) fn of(
        name: Option<&str>,
        path: Option<&Path>,
        delimiter: Option<&str>,
    ) -> Result<Option<Format>> {
        let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
        let Some(word) = name.or(ending) else {
            return delimiter.map(|name| Format::Delimited(None).separated_by(Some(name))).transpose();
        };
        let format = match word.to_ascii_lowercase().as_str() {
            "json" => Format::Json,
            "ndjson" | "jsonl" => Format::Ndjson,
            "csv" => Format::Delimited(None),
            "tsv" | "tab" => Format::Delimited(Some(b'\t')),
            other => {
                let message = format!(
                    "{other} is no known form of file: there are json, jsonl, csv and tsv; --format says which it is"
                );
                return Err(Error::bad_request("unknown_format", message));
            }
        };
        format.separated_by(delimiter).map(Some)
    }

    fn separated_by(self, delimiter: Option<&str>) -> Result<Format> {
        let Some(name) = delimiter else { return Ok(self) };
        if !matches!(self, Format::Delimited(_)) {
            return Err(Error::bad_request("unknown_format", "--delimiter is for csv and tsv alone"));
        }
        match delimited::delimiter_named(name) {
            Some(byte) => Ok(Format::Delimited(Some(byte))),
            None => {
                let message =
                    "--delimiter must be one character such as ; or one of comma, semicolon, tab, pipe";
                Err(Error::bad_request("unknown_format", message))
            }
        }
    }
}

/// One record of a file.
pub(super) struct Item {
    /// The line where it begins, from 1.
    pub(super) line: u64,
    /// The JSON text, or the error of the line. Delimited text becomes an object whose values are strings and null;
    /// absent ones are left out.
    pub(super) text: std::result::Result<String, String>,
}

/// The maximum size of a record in bytes. A larger one means that the file has another format.
const ITEM_BYTES_MAX: usize = delimited::ROW_BYTES_MAX;

/// The input: a file that can be read twice.
pub(super) struct Input {
    file: File,
    name: String,
}

impl Input {
    /// Opens a file, or standard input for `-`. Input that cannot be read twice, such as a pipe, is copied to a
    /// temporary file.
    pub(super) fn open(path: &str) -> Result<Input> {
        let unreadable = |fault: io::Error| Error::bad_request("file_unreadable", format!("{path}: {fault}"));
        let spool = |from: &mut dyn Read| -> io::Result<File> {
            let mut file = tempfile::tempfile()?;
            io::copy(from, &mut file)?;
            Ok(file)
        };
        let file = if path == "-" {
            spool(&mut io::stdin().lock()).map_err(unreadable)?
        } else {
            let mut file = File::open(path).map_err(unreadable)?;
            let is_file = file.metadata().map_err(unreadable)?.is_file();
            if is_file { file } else { spool(&mut file).map_err(unreadable)? }
        };
        Ok(Input { file, name: path.to_owned() })
    }

    /// Returns a reader from the start, after any byte order mark.
    fn reader(&self) -> Result<BufReader<File>> {
        const BUFFER_BYTES: usize = 256 * 1024;
        const MARK: &[u8] = "\u{feff}".as_bytes();
        let unreadable =
            |fault: io::Error| Error::bad_request("file_unreadable", format!("{}: {fault}", self.name));
        let mut file = self.file.try_clone().map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        if reader.fill_buf().map_err(unreadable)?.starts_with(MARK) {
            reader.consume(MARK.len());
        }
        Ok(reader)
    }

    /// Guesses the format from the first character, if none is given.
    pub(super) fn guess(&self) -> Result<Format> {
        Ok(match first_byte(&mut self.reader()?)? {
            Some(b'[') => Format::Json,
            Some(b'{') => Format::Ndjson,
            _ => Format::Delimited(None),
        })
    }
}

/// Reads records one at a time.
pub(super) enum Source {
    Json(Array<BufReader<File>>),
    Ndjson { reader: BufReader<File>, line: u64 },
    Delimited { reader: delimited::Reader<BufReader<File>>, names: Vec<String> },
}

impl Source {
    /// Starts reading.
    pub(super) fn open(input: &Input, format: Format) -> Result<Source> {
        // All readers of an input share its position, so look ahead before creating the last reader.
        let first = first_byte(&mut input.reader()?)?;
        let delimiter = match format {
            Format::Delimited(Some(delimiter)) => delimiter,
            Format::Delimited(None) => {
                let mut line = Vec::new();
                let read = input.reader()?.take(ITEM_BYTES_MAX as u64).read_until(b'\n', &mut line);
                read.map_err(|fault| broken(1, fault))?;
                delimited::delimiter_of(&line)
            }
            Format::Json | Format::Ndjson => b',',
        };
        if first.is_none() {
            return Err(Error::bad_request(
                "file_malformed",
                format!("{}: there is nothing in it", input.name),
            ));
        }
        let reader = input.reader()?;
        match format {
            // One object per line is often named .json as well: check the first character.
            Format::Json if first == Some(b'{') => Ok(Source::Ndjson { reader, line: 0 }),
            Format::Json => Ok(Source::Json(Array { reader, line: 1, state: State::Before })),
            Format::Ndjson => Ok(Source::Ndjson { reader, line: 0 }),
            Format::Delimited(_) => {
                let mut reader = delimited::Reader::new(reader, delimiter);
                let names = names(&mut reader)?;
                Ok(Source::Delimited { reader, names })
            }
        }
    }

    /// Returns the next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        match self {
            Source::Json(array) => array.next(),
            Source::Ndjson { reader, line } => next_line(reader, line),
            Source::Delimited { reader, names } => next_row(reader, names),
        }
    }

    /// Returns the names of the columns, if there are columns.
    pub(super) fn names(&self) -> &[String] {
        match self {
            Source::Delimited { names, .. } => names,
            _ => &[],
        }
    }
}

/// Reads the header line.
fn names(reader: &mut delimited::Reader<BufReader<File>>) -> Result<Vec<String>> {
    let row = reader.next().map_err(|fault| broken(1, fault))?;
    let cells = match row.map(|row| row.cells) {
        Some(Ok(cells)) if !cells.is_empty() => cells,
        Some(Err(problem)) => return Err(broken(1, problem)),
        _ => return Err(broken(1, "the first line must hold the names of the columns")),
    };
    let mut names: Vec<String> = Vec::with_capacity(cells.len());
    let mut seen = HashSet::with_capacity(cells.len());
    for cell in cells {
        let name = match cell {
            Cell::Text(name) => name,
            Cell::Absent | Cell::Null => String::new(),
        };
        if name.contains(['\r', '\n']) {
            return Err(broken(
                1,
                "the name of a column goes over several lines: is every line ended by a line feed?",
            ));
        }
        if !seen.insert(name.clone()) {
            return Err(broken(1, format!("two columns are named {}", crate::fault::shorten(&name))));
        }
        names.push(name);
    }
    Ok(names)
}

fn next_row(reader: &mut delimited::Reader<BufReader<File>>, names: &[String]) -> Result<Option<Item>> {
    loop {
        let row = reader.next();
        let Some(row) = row.map_err(|fault| broken(reader.begun(), fault))? else { return Ok(None) };
        let line = row.line;
        let text = match row.cells {
            Err(problem) => Err(problem),
            // With one column, an empty line is a record without a value.
            Ok(cells) if cells.is_empty() && names.len() > 1 => continue,
            Ok(cells) if !cells.is_empty() && cells.len() != names.len() => {
                Err(format!("there are {} columns, and {} in the first line", cells.len(), names.len()))
            }
            Ok(cells) => Ok(delimited::object(names, &cells)),
        };
        return Ok(Some(Item { line, text }));
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
        let mut bytes = Vec::new();
        *line += 1;
        let read = reader.by_ref().take(ITEM_BYTES_MAX as u64 + 1).read_until(b'\n', &mut bytes);
        if read.map_err(|fault| broken(*line, fault))? == 0 {
            return Ok(None);
        }
        if bytes.len() > ITEM_BYTES_MAX {
            return Err(broken(*line, "the line is too long for a record"));
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) => Ok(text.trim().to_owned()),
            Err(_) => Err("the line is not UTF-8".to_owned()),
        };
        return Ok(Some(Item { line: *line, text }));
    }
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

/// Splits a JSON array into the texts of its entries.
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

    /// Returns the next byte that is not whitespace.
    fn significant(&mut self) -> Result<Option<u8>> {
        loop {
            match self.byte()? {
                // A byte order mark may precede the array.
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

    /// Reads the rest of an object after its opening brace.
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
        let text = String::from_utf8(text).map_err(|_| "the object is not UTF-8".to_owned());
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
            items.push((item.line, item.text.unwrap()));
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
