//! Delimited text: CSV and its relatives. Each cell records whether it was quoted. This distinguishes an empty text
//! from an absent value, and the text `\N` from null; we found no CSV library that does. It knows nothing of records.

use std::io::BufRead;

use crate::json::{Json, write_text};

/// The null value, if it is not quoted.
const NULL: &str = "\\N";
/// The maximum size of one row, in bytes.
pub(super) const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The known delimiters, the most common first.
const USUAL: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A cell of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// Nothing between two delimiters.
    Absent,
    /// `\N`
    Null,
    /// A text; an empty one must be quoted.
    Text(String),
}

/// A row, or its error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The line where it begins, from 1.
    pub(super) line: u64,
    /// Its cells; none for an empty line.
    pub(super) cells: Result<Vec<Cell>, String>,
}

/// Reads rows one at a time.
pub(super) struct Reader<R> {
    reader: R,
    delimiter: u8,
    line: u64,
    begun: u64,
}

impl<R: BufRead> Reader<R> {
    /// Creates a reader of rows with this `delimiter`.
    pub(super) fn new(reader: R, delimiter: u8) -> Reader<R> {
        Reader { reader, delimiter, line: 0, begun: 0 }
    }

    /// Returns the line where the last row begins, even if that row cannot be read.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Returns the next row; `None` at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Row>> {
        self.begun = self.line + 1;
        let (mut split, mut line, mut length) = (Split::default(), Vec::new(), 0);
        while self.read_line(&mut line)? {
            length += line.len();
            if length > ROW_BYTES_MAX {
                // The text after it could not be distinguished from rows.
                return Err(std::io::Error::other(format!("the row has more than {ROW_BYTES_MAX} bytes")));
            }
            match split.take(&line, self.delimiter) {
                Ok(true) => return Ok(Some(Row { line: self.begun, cells: Ok(split.cells) })),
                Ok(false) => {}
                Err(problem) => return Ok(Some(Row { line: self.begun, cells: Err(problem) })),
            }
        }
        if length == 0 {
            return Ok(None);
        }
        let problem = "a quote begins here and has no end".to_owned();
        Ok(Some(Row { line: self.begun, cells: Err(problem) }))
    }

    fn read_line(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
        let max = (ROW_BYTES_MAX + 2) as u64;
        bytes.clear();
        let read = std::io::Read::take(&mut self.reader, max).read_until(b'\n', bytes)?;
        self.line += u64::from(read > 0);
        Ok(read > 0)
    }
}

/// A row being split into cells, line by line.
#[derive(Default)]
struct Split {
    cells: Vec<Cell>,
    /// The text so far of a cell with an open quote.
    open: Option<Vec<u8>>,
}

impl Split {
    /// Adds the next line of the row. Returns whether the row ends with it.
    fn take(&mut self, line: &[u8], delimiter: u8) -> Result<bool, String> {
        if self.open.is_none() && without_end(line).is_empty() {
            return Ok(true);
        }
        let mut rest = line;
        loop {
            if self.open.is_none() && rest.first() == Some(&b'"') {
                self.open = Some(Vec::new());
                rest = &rest[1..];
            }
            match self.open.take() {
                Some(mut text) => match quoted(rest, &mut text) {
                    Some(length) => {
                        self.push(text, Cell::Text)?;
                        rest = &rest[length..];
                    }
                    None => {
                        self.open = Some(text);
                        return Ok(false);
                    }
                },
                None => {
                    let cells = without_end(rest);
                    let length = cells.iter().position(|byte| *byte == delimiter).unwrap_or(cells.len());
                    self.push(cells[..length].to_vec(), unquoted)?;
                    rest = &rest[length..];
                }
            }
            match rest.first() {
                Some(byte) if *byte == delimiter => rest = &rest[1..],
                _ if without_end(rest).is_empty() => return Ok(true),
                _ => {
                    return Err(format!(
                        "something follows the closing quote of column {}",
                        self.cells.len()
                    ));
                }
            }
        }
    }

    fn push(&mut self, text: Vec<u8>, cell: fn(String) -> Cell) -> Result<(), String> {
        let text =
            String::from_utf8(text).map_err(|_| format!("column {} is not UTF-8", self.cells.len() + 1))?;
        self.cells.push(cell(text));
        Ok(())
    }
}

/// Returns a line without its line ending.
fn without_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn unquoted(text: String) -> Cell {
    match text.as_str() {
        "" => Cell::Absent,
        NULL => Cell::Null,
        _ => Cell::Text(text),
    }
}

/// Appends the text up to the closing quote. Returns the position after the quote, if there is one.
fn quoted(bytes: &[u8], text: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let Some(length) = bytes[at..].iter().position(|byte| *byte == b'"') else {
            text.extend_from_slice(&bytes[at..]);
            return None;
        };
        let end = at + length;
        text.extend_from_slice(&bytes[at..end]);
        if bytes.get(end + 1) != Some(&b'"') {
            return Some(end + 1);
        }
        text.push(b'"');
        at = end + 2;
    }
}

/// Returns the delimiter of a header line: a known delimiter outside of quotes; if there are several, the first in the
/// order of `USUAL`.
pub(super) fn delimiter_of(line: &[u8]) -> u8 {
    let mut in_quotes = false;
    let mut counts = [0_usize; USUAL.len()];
    for byte in line {
        in_quotes ^= *byte == b'"';
        if let Some(at) = USUAL.iter().position(|usual| usual == byte).filter(|_| !in_quotes) {
            counts[at] += 1;
        }
    }
    let found = counts.iter().position(|count| *count > 0);
    found.map_or(b',', |at| USUAL[at])
}

/// Returns the delimiter with this name.
pub(super) fn delimiter_named(name: &str) -> Option<u8> {
    match name {
        "tab" | "\\t" => Some(b'\t'),
        "comma" => Some(b','),
        "semicolon" => Some(b';'),
        "pipe" => Some(b'|'),
        _ => match name.as_bytes() {
            [byte]
                if byte.is_ascii()
                    && !matches!(byte, b'"' | b'\n' | b'\r')
                    && !byte.is_ascii_alphanumeric() =>
            {
                Some(*byte)
            }
            _ => None,
        },
    }
}

/// Formats a row as JSON: an object whose values are texts and null. Absent cells are left out.
pub(super) fn object(names: &[String], cells: &[Cell]) -> String {
    let mut text = String::from("{");
    for (name, cell) in names.iter().zip(cells).filter(|(_, cell)| **cell != Cell::Absent) {
        if text.len() > 1 {
            text.push(',');
        }
        write_text(&mut text, name);
        text.push(':');
        match cell {
            Cell::Text(value) => write_text(&mut text, value),
            Cell::Null | Cell::Absent => text.push_str("null"),
        }
    }
    text.push('}');
    text
}

/// Appends a cell with this value. It is quoted if it would otherwise be read back as something else.
pub(super) fn write_cell(out: &mut String, delimiter: u8, value: Option<&Json<'_>>) {
    match value {
        None => {}
        Some(Json::Null) => out.push_str(NULL),
        Some(Json::Text(text)) => write_cell_text(out, delimiter, text),
        Some(other) => write_cell_text(out, delimiter, &other.to_text()),
    }
}

/// Appends a cell with this text.
pub(super) fn write_cell_text(out: &mut String, delimiter: u8, text: &str) {
    let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    if text.is_empty() || text == NULL || text.bytes().any(special) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], delimiter: u8) -> Vec<(u64, Result<Vec<Cell>, String>)> {
        let mut reader = Reader::new(text, delimiter);
        std::iter::from_fn(|| reader.next().unwrap()).map(|row| (row.line, row.cells)).collect()
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn nothing_null_and_empty_text_are_three() {
        let read = rows(b"a,,\"\",\\N,\"\\N\"\r\n\n,\n\"x\"\"y\nz\",b", b',');
        let expected = vec![
            (1, Ok(vec![text("a"), Cell::Absent, text(""), Cell::Null, text("\\N")])),
            (2, Ok(vec![])),
            (3, Ok(vec![Cell::Absent, Cell::Absent])),
            (4, Ok(vec![text("x\"y\nz"), text("b")])),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_row_that_cannot_be_read_says_why_and_the_next_one_is_read() {
        let read = rows(b"\"a\" b;c\n\xff;d\ne;f\n\"open;\n", b';');
        assert_eq!(read[0], (1, Err("something follows the closing quote of column 1".to_owned())));
        assert_eq!(read[1], (2, Err("column 1 is not UTF-8".to_owned())));
        assert_eq!(read[2], (3, Ok(vec![text("e"), text("f")])));
        assert_eq!(read[3], (4, Err("a quote begins here and has no end".to_owned())));
    }

    /// The work grows linearly with the bytes, not with their square.
    #[test]
    fn a_cell_of_many_lines_is_read_once() {
        const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(3);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let value = "x\n".repeat(512 << 10);
            let file = format!("a,\"{value}\",\"b\"\"\nc\"\nd,e,f\n");
            let _ = sender.send((value, rows(file.as_bytes(), b',')));
        });
        let (value, read) = receiver.recv_timeout(TIME_MAX).expect("it takes too long");
        let lines = value.len() as u64 / 2 + 3;
        assert_eq!(read[0], (1, Ok(vec![text("a"), text(&value), text("b\"\nc")])));
        assert_eq!(read[1], (lines, Ok(vec![text("d"), text("e"), text("f")])));
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for value in ["", "\\N", "a", "a,b", "a\"b", "a\nb", "a\r\nb", " a ", "\u{feff}", "\"", "a\tb", "\\"]
        {
            for delimiter in [b',', b'\t', b';'] {
                let mut out = String::new();
                write_cell_text(&mut out, delimiter, value);
                assert_eq!(rows(out.as_bytes(), delimiter), [(1, Ok(vec![text(value)]))], "{out:?}");
            }
        }
    }

    #[test]
    fn delimiters_are_found_and_named() {
        for (line, expected) in
            [("a,b;c", b','), ("a;b", b';'), ("a\tb", b'\t'), ("\"a,b\"|c", b'|'), ("a", b',')]
        {
            assert_eq!(delimiter_of(line.as_bytes()), expected, "{line}");
        }
        for (name, expected) in [
            ("tab", Some(b'\t')),
            (";", Some(b';')),
            ("comma", Some(b',')),
            ("", None),
            ("ab", None),
            ("\"", None),
            ("a", None),
        ] {
            assert_eq!(delimiter_named(name), expected, "{name}");
        }
    }
}
