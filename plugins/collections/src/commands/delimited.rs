//! Delimited text: CSV and its kin. Each cell tells whether it was quoted, so that an empty text is distinguished from nothing and the
//! text `\N` from null, which no CSV library that we found shows. It knows no records.

use std::io::BufRead;

use crate::json::{Json, write_text};

/// What stands for null where it is not quoted.
const NULL: &str = "\\N";
/// Bytes that one row may have.
pub(super) const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What may separate cells, the most usual first.
const USUAL: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A cell of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    /// Nothing between two delimiters.
    Absent,
    /// `\N`
    Null,
    /// Text, empty where it is quoted.
    Text(String),
}

/// A row, or what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Its cells; none of an empty line.
    pub(super) cells: Result<Vec<Cell>, String>,
}

/// Reads rows one after another.
pub(super) struct Reader<R> {
    reader: R,
    delimiter: u8,
    line: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads rows whose cells are separated by `delimiter`.
    pub(super) fn new(reader: R, delimiter: u8) -> Reader<R> {
        Reader { reader, delimiter, line: 0 }
    }

    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Row>> {
        let mut bytes = Vec::new();
        if !self.more(&mut bytes)? {
            return Ok(None);
        }
        let line = self.line;
        let cells = loop {
            if bytes.len() > ROW_BYTES_MAX {
                // What follows could not be distinguished from rows.
                return Err(std::io::Error::other(format!("the row has more than {ROW_BYTES_MAX} bytes")));
            }
            match cells_of(&bytes, self.delimiter) {
                Split::Done(cells) => break Ok(cells),
                Split::Fault(problem) => break Err(problem),
                Split::Open => {
                    if !self.more(&mut bytes)? {
                        break Err("a quote begins here and has no end".to_owned());
                    }
                }
            }
        };
        Ok(Some(Row { line, cells }))
    }

    /// Appends the next line.
    fn more(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<bool> {
        let max = (ROW_BYTES_MAX + 2) as u64;
        let read = std::io::Read::take(&mut self.reader, max).read_until(b'\n', bytes)?;
        self.line += u64::from(read > 0);
        Ok(read > 0)
    }
}

enum Split {
    Done(Vec<Cell>),
    /// A quote is not closed yet.
    Open,
    Fault(String),
}

/// Cuts a row into its cells.
fn cells_of(row: &[u8], delimiter: u8) -> Split {
    let row = row.strip_suffix(b"\n").map_or(row, |row| row.strip_suffix(b"\r").unwrap_or(row));
    if row.is_empty() {
        return Split::Done(Vec::new());
    }
    let (mut cells, mut rest) = (Vec::new(), row);
    loop {
        let (cell, length) = match rest.first() {
            Some(b'"') => match quoted(&rest[1..]) {
                Some((text, length)) => (String::from_utf8(text).map(Cell::Text), length + 1),
                None => return Split::Open,
            },
            _ => {
                let length = rest.iter().position(|byte| *byte == delimiter).unwrap_or(rest.len());
                (String::from_utf8(rest[..length].to_vec()).map(unquoted), length)
            }
        };
        match cell {
            Ok(cell) => cells.push(cell),
            Err(_) => return Split::Fault(format!("column {} is not UTF-8", cells.len() + 1)),
        }
        match rest.get(length) {
            None => return Split::Done(cells),
            Some(byte) if *byte == delimiter => rest = &rest[length + 1..],
            Some(_) => {
                return Split::Fault(format!(
                    "something follows the closing quote of column {}",
                    cells.len()
                ));
            }
        }
    }
}

fn unquoted(text: String) -> Cell {
    match text.as_str() {
        "" => Cell::Absent,
        NULL => Cell::Null,
        _ => Cell::Text(text),
    }
}

/// The text to the closing quote, and the bytes to behind it.
fn quoted(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut text, mut at) = (Vec::new(), 0);
    loop {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'"')?;
        text.extend_from_slice(&bytes[at..end]);
        if bytes.get(end + 1) != Some(&b'"') {
            return Some((text, end + 1));
        }
        text.push(b'"');
        at = end + 2;
    }
}

/// What separates the cells of a line of names: the usual delimiter that stands in it outside of quotes, the first in
/// order where there are several.
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

/// The delimiter that somebody names.
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

/// A row as JSON: an object whose values are texts and null. Absent cells are left out.
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

/// Appends a cell that holds this value, quoted where it must be to be read as what it is.
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
