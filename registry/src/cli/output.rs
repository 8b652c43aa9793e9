//! What is printed: lines for a person, JSON for a program, one line on stderr for a fault.

use std::io::Write;

use serde::Serialize;

/// A line on stdout. Whoever closed it does not want more.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// A value as JSON on stdout.
pub(super) fn json(value: &impl Serialize) {
    line(&serde_json::to_string_pretty(value).expect("what is listed is JSON"));
}

/// A line on stderr.
pub(super) fn fault(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tinybase-registry: {text}");
}
