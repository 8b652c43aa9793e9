//! Commands that the manifest declares: their arguments and the terminal.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use tinybase_abi::interfaces::console::Client;

use crate::{Error, Result};

/// The arguments of a command by their names in the manifest. An argument that was not given and has no default is
/// absent.
#[derive(Debug, Clone, Default)]
pub struct Arguments {
    values: Map<String, Json>,
}

impl Arguments {
    /// Creates arguments from a JSON object.
    pub fn new(values: Map<String, Json>) -> Arguments {
        Arguments { values }
    }

    /// Returns the text of an argument.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// Returns the text of an argument that the manifest requires.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.text(name)
            .ok_or_else(|| Error::bad_request("missing_argument", format!("the argument {name} is missing")))
    }

    /// Returns whether a flag was given.
    pub fn flag(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Json::Bool(true))
    }

    /// Parses all arguments into one value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(Json::Object(self.values.clone()))
            .map_err(|error| Error::bad_request("invalid_arguments", error.to_string()))
    }
}

/// The terminal of a running command.
#[derive(Clone, Copy)]
pub struct Console {
    client: Client,
}

impl Console {
    pub(crate) fn new(client: Client) -> Console {
        Console { client }
    }

    /// Returns whether the output goes to a terminal.
    pub fn is_terminal(&self) -> bool {
        self.client.is_terminal()
    }

    /// Prints a line to standard output.
    pub fn line(&self, text: impl AsRef<str>) {
        self.client.line(text.as_ref());
    }

    /// Prints a line to standard error.
    pub fn error_line(&self, text: impl AsRef<str>) {
        self.client.error_line(text.as_ref());
    }

    /// Shows the progress of long work: `done` of `total` (0 if unknown), counted in `unit`. Draws a bar on a
    /// terminal and prints a plain line now and then to a pipe.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        self.client.progress(done, total, unit);
    }
}
