//! What an index is to be: which fields, how much each weighs, in which language. It reads and checks, and stores nothing.

use serde::{Deserialize, Serialize};
use tinybase_plugin_api::{database::Engine, prelude::*};

use crate::limits;

/// A field that is indexed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// How much a word in it counts beside one in another field.
    pub weight: f64,
}

/// How words are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// As they are, in upper or lower case.
    #[default]
    Simple,
    /// By their English stems: `running` finds `run`.
    English,
}

impl Language {
    /// Its name, as it is answered and stored.
    pub fn name(self) -> &'static str {
        match self {
            Language::Simple => "simple",
            Language::English => "english",
        }
    }

    /// The language of a stored name.
    pub fn of(name: &str) -> Language {
        if name == "english" { Language::English } else { Language::Simple }
    }

    /// What takes texts apart: FTS5's tokenizer, or PostgreSQL's configuration.
    pub fn of_engine(self, engine: Engine) -> &'static str {
        match (engine, self) {
            (Engine::Sqlite, Language::Simple) => "unicode61 remove_diacritics 2",
            (Engine::Sqlite, Language::English) => "porter unicode61 remove_diacritics 2",
            (Engine::Postgres, language) => language.name(),
        }
    }
}

/// What an index is to be.
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
    /// Reads the body of a request. `known` are the fields of the collection.
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

    /// The different weights, the smallest first.
    pub fn weights(&self) -> Vec<f64> {
        let mut weights: Vec<f64> = self.fields.iter().map(|field| field.weight).collect();
        weights.sort_by(f64::total_cmp);
        weights.dedup();
        weights
    }

    /// The fields as they are stored and answered.
    pub fn fields_json(&self) -> Json {
        json!(self.fields)
    }

    /// A stored definition.
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

/// A client's own word as it may stand in an answer.
pub fn shorten(word: &str) -> String {
    const CHARS_MAX: usize = 100;
    match word.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}
