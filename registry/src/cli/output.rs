//! The tool's output: lines for people, JSON for programs, one line on stderr for an error.

use std::io::Write;

use serde::Serialize;

/// Prints a line to stdout. Errors are ignored: the reader may have closed the pipe.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a value as JSON to stdout.
pub(super) fn json(value: &impl Serialize) {
    line(&serde_json::to_string_pretty(value).expect("what is listed is JSON"));
}

/// Prints an error line to stderr.
pub(super) fn fault(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tinybase-registry: {text}");
}
