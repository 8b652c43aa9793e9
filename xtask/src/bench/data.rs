//! The records of both servers, the same in every run. It never sends a request to a server.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A prime that spreads `n` over the records, so that neighbors in the index are not neighbors on disk.
const SPREAD: u64 = 7_919;

/// The text of a record, about as long as a note.
const TEXT: &str =
    "The quick brown fox jumps over the lazy dog while the five boxing wizards watch from a hill.";

/// Returns record `number` of `count`: a title, a text and a unique number.
pub(crate) fn record(number: u32, count: u32) -> Value {
    let n = u64::from(number) * SPREAD % u64::from(count);
    json!({ "title": format!("Record {number}"), "body": TEXT, "n": n })
}

/// Writes `count` records of three fields as NDJSON.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write_records(path: &Path, count: u32) -> Result<()> {
    write(path, count, |number| record(number, count))
}

/// Writes `count` records of five fields as NDJSON.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write_wide_records(path: &Path, count: u32) -> Result<()> {
    write(path, count, |number| {
        let mut record = record(number, count);
        record["price"] = json!(f64::from(number % 10_000) + 0.25);
        record["active"] = json!(number % 3 == 0);
        record
    })
}

fn write(path: &Path, count: u32, record: impl Fn(u32) -> Value) -> Result<()> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut out = BufWriter::new(file);
    for number in 0..count {
        writeln!(out, "{}", record(number))?;
    }
    Ok(out.flush()?)
}
