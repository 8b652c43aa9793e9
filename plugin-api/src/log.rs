//! The log, available anywhere in an extension. Lines include the request's id automatically.

use std::sync::OnceLock;

use serde_json::{Map, Value as Json};
use tinybase_abi::interfaces::log::Client;

static CLIENT: OnceLock<Client> = OnceLock::new();

/// The severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// A failure that needs attention.
    Error = 1,
    /// A problem that was handled.
    Warn = 2,
    /// Information for the operator.
    Info = 3,
    /// Information for the author.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

pub(crate) fn connect(client: Option<Client>) {
    if let Some(client) = client {
        // A library has one host. A second instance receives the same log.
        let _ = CLIENT.set(client);
    }
}

/// Returns whether lines of this level are written.
pub fn enabled(level: Level) -> bool {
    CLIENT.get().is_some_and(|client| client.enabled(level as u8))
}

/// Writes a line with fields.
pub fn write(level: Level, message: &str, fields: Map<String, Json>) {
    let Some(client) = CLIENT.get() else { return };
    if !client.enabled(level as u8) {
        return;
    }
    let fields = if fields.is_empty() { Vec::new() } else { Json::Object(fields).to_string().into_bytes() };
    client.write(level as u8, message, &fields);
}

macro_rules! level_functions {
    ($($(#[$meta:meta])* $name:ident => $level:ident;)*) => {$(
        $(#[$meta])*
        pub fn $name(message: impl AsRef<str>) {
            write(Level::$level, message.as_ref(), Map::new());
        }
    )*};
}
level_functions! {
    /// Writes an error line.
    error => Error;
    /// Writes a warning.
    warn => Warn;
    /// Writes an information line.
    info => Info;
    /// Writes a debug line.
    debug => Debug;
}
