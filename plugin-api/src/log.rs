//! The log, from anywhere in an extension. Lines carry the request's id by themselves.

use std::sync::OnceLock;

use serde_json::{Map, Value as Json};
use tinybase_abi::interfaces::log::Client;

static CLIENT: OnceLock<Client> = OnceLock::new();

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Something failed that somebody should look at.
    Error = 1,
    /// Something is wrong and was dealt with.
    Warn = 2,
    /// What an operator wants to know.
    Info = 3,
    /// What an author wants to know.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

pub(crate) fn connect(client: Option<Client>) {
    if let Some(client) = client {
        // A library has one host: a second instance brings the same log.
        let _ = CLIENT.set(client);
    }
}

/// Whether lines of this level are written.
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
