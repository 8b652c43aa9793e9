//! The options of a collection. It reads them, and applies none.

use crate::{
    access::Rules,
    fault::{Faults, did_you_mean},
    json::Json,
    limits,
    schema::{Schema, UnknownFields},
};

/// A collection's options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Who may do what.
    pub rules: Rules,
    /// What becomes of fields that the schema does not know.
    pub unknown_fields: UnknownFields,
    text: String,
}

const KEYS: [&str; 2] = ["access", "unknown_fields"];

impl Options {
    /// Reads options; null is none. What is wrong with them goes to `faults`.
    pub fn parse(options: &Json<'_>, schema: &Schema, faults: &mut Faults) -> Options {
        let mut read = Options { text: "{}".to_owned(), ..Options::default() };
        let Some(members) = options.as_object() else {
            if *options != Json::Null {
                faults.push("options", format!("must be an object, is {}", options.kind()));
            }
            return read;
        };
        for (name, value) in members {
            match (&**name, value) {
                (_, Json::Null) if KEYS.contains(&&**name) => {}
                ("access", access) => read.rules = Rules::parse(access, schema, faults),
                ("unknown_fields", Json::Text(text)) if text == "reject" => {}
                ("unknown_fields", Json::Text(text)) if text == "drop" => {
                    read.unknown_fields = UnknownFields::Drop
                }
                ("unknown_fields", _) => faults.push("options.unknown_fields", "must be reject or drop"),
                (name, _) => {
                    let hint = did_you_mean(name, KEYS.into_iter());
                    let message = format!("is not an option; there are access and unknown_fields{hint}");
                    faults.push_unknown("options", name, message);
                }
            }
        }
        read.text = options.to_text();
        if read.text.len() > limits::OPTIONS_BYTES_MAX {
            faults.push("options", format!("must have at most {} bytes as JSON", limits::OPTIONS_BYTES_MAX));
        }
        read
    }

    /// The options as they are stored and answered: what the client wrote.
    pub fn text(&self) -> &str {
        &self.text
    }
}
