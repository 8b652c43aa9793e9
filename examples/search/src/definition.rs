//! The definition of an index: its fields, their weights, and the language. It parses and validates, and stores
//! nothing.

use serde::{Deserialize, Serialize};
use tinybase_plugin_api::{database::Engine, prelude::*};

use crate::limits;

/// An indexed field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The weight of a word in this field, relative to the other fields.
    pub weight: f64,
}

/// How words are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// As they are, ignoring case.
    #[default]
    Simple,
    /// By their English stems: `running` finds `run`.
    English,
}

impl Language {
    /// Returns the name used in responses and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Language::Simple => "simple",
            Language::English => "english",
        }
    }

    /// Returns the language with a stored name.
    pub fn of(name: &str) -> Language {
        if name == "english" { Language::English } else { Language::Simple }
    }

    /// Returns the engine's text analyzer: FTS5's tokenizer, or PostgreSQL's configuration.
    pub fn of_engine(self, engine: Engine) -> &'static str {
        match (engine, self) {
            (Engine::Sqlite, Language::Simple) => "unicode61 remove_diacritics 2",
            (Engine::Sqlite, Language::English) => "porter unicode61 remove_diacritics 2",
            (Engine::Postgres, language) => language.name(),
        }
    }
}

/// The definition of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The fields, in the order of the index.
    pub fields: Vec<Field>,
    /// How words are compared.
    pub language: Language,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    fields: Vec<Given>,
    #[serde(default)]
    language: Language,
}

/// A field's name, or its name and weight.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Name(String),
    Weighed(Weighed),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighed {
    name: String,
    #[serde(default = "one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

impl Definition {
    /// Parses the body of a request. `known` are the fields of the collection.
    ///
    /// # Errors
    /// 422 `invalid_body`, `invalid_index`.
    pub fn parse(request: &Request, known: &[String]) -> Result<Definition> {
        let body: Body = request.json()?;
        let fields = body.fields.into_iter().map(|given| match given {
            Given::Name(name) => Field { name, weight: 1.0 },
            Given::Weighed(Weighed { name, weight }) => Field { name, weight },
        });
        let definition = Definition { fields: fields.collect(), language: body.language };
        definition.check(known)?;
        Ok(definition)
    }

    fn check(&self, known: &[String]) -> Result<()> {
        if !(1..=limits::FIELDS_MAX).contains(&self.fields.len()) {
            return Err(fault("fields", format!("must have 1 to {} entries", limits::FIELDS_MAX)));
        }
        for (at, field) in self.fields.iter().enumerate() {
            let name = shorten(&field.name);
            if !known.contains(&field.name) {
                let fields = known.join(", ");
                return Err(fault(
                    "fields",
                    format!("{name} is no field of the collection; there are: {fields}"),
                ));
            }
            if self.fields[..at].iter().any(|other| other.name == field.name) {
                return Err(fault("fields", format!("{name} stands there twice")));
            }
            if !(limits::WEIGHT_MIN..=limits::WEIGHT_MAX).contains(&field.weight) {
                let (min, max) = (limits::WEIGHT_MIN, limits::WEIGHT_MAX);
                return Err(fault(
                    "fields",
                    format!("the weight of {name} must be a number of {min} to {max}"),
                ));
            }
        }
        if self.weights().len() > limits::WEIGHTS_MAX {
            return Err(fault("fields", format!("may have {} different weights", limits::WEIGHTS_MAX)));
        }
        Ok(())
    }

    /// Returns the distinct weights in ascending order.
    pub fn weights(&self) -> Vec<f64> {
        let mut weights: Vec<f64> = self.fields.iter().map(|field| field.weight).collect();
        weights.sort_by(f64::total_cmp);
        weights.dedup();
        weights
    }

    /// Returns the fields as stored and as shown in responses.
    pub fn fields_json(&self) -> Json {
        json!(self.fields)
    }

    /// Parses a stored definition.
    ///
    /// # Errors
    /// 500 `stored_index`.
    pub fn stored(fields: &str, language: &str) -> Result<Definition> {
        let broken = || Error::internal("stored_index", "a stored index cannot be read: define it again");
        let stored: Vec<Weighed> = fields
            .parse::<Json>()
            .ok()
            .and_then(|fields| Vec::deserialize(&fields).ok())
            .ok_or_else(broken)?;
        let fields = stored.into_iter().map(|Weighed { name, weight }| Field { name, weight }).collect();
        Ok(Definition { fields, language: Language::of(language) })
    }
}

fn fault(member: &str, message: impl Into<String>) -> Error {
    let message = message.into();
    let detail = json!([{"loc": ["body", member], "msg": message, "type": "value_error"}]);
    Error::unprocessable("invalid_index", format!("{member}: {message}")).with_details(detail)
}

/// Shortens a client's input to be shown in a response.
pub fn shorten(word: &str) -> String {
    const CHARS_MAX: usize = 100;
    match word.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}
