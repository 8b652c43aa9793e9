//! The output of commands on stdout: lines for people, JSON for programs. A closed stdout is not a failure.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;

/// Prints one line.
pub(super) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    done(writeln!(io::stdout(), "{}", text.as_ref()))
}

/// Prints `value` as indented JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(serde_json::to_string_pretty(value)?)
}

/// Prints rows in aligned columns; nothing if there are no rows.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> Result<(), Failure> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn done(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("the answer cannot be written: {cause}")))
        }
        _ => Ok(()),
    }
}
