//! Parses the definition of one field in a schema. It never looks at the other fields.

use std::sync::Arc;

use super::{Bound, Field, Item, Kind, OnDelete, Pattern, Reference, date, parse::is_identifier};
use crate::{
    fault::{Faults, did_you_mean},
    json::Json,
    limits,
};

const KEYS: [&str; 15] = [
    "name",
    "type",
    "required",
    "unique",
    "index",
    "default",
    "min",
    "max",
    "min_length",
    "max_length",
    "pattern",
    "description",
    "collection",
    "on_delete",
    "renamed_from",
];

/// Parses the definition at `path`; errors go to `faults`.
pub(super) fn field(definition: &Json<'_>, path: &str, faults: &mut Faults) -> Option<Field> {
    let Some(members) = definition.as_object() else {
        faults.push(path, format!("must be an object, is {}", definition.kind()));
        return None;
    };
    for (key, _) in members {
        if !KEYS.contains(&&**key) {
            let hint = did_you_mean(key, KEYS.into_iter());
            faults.push_unknown(path, key, format!("is not an option of a field{hint}"));
        }
    }
    let mut reader = Reader { definition, path, faults };
    let name = reader.identifier("name");
    let kind = reader.kind();
    let (name, kind) = (name?, kind?);
    Some(Field {
        required: reader.flag("required"),
        unique: reader.column_flag("unique", kind),
        index: reader.column_flag("index", kind),
        default: None,
        min: reader.bound("min", kind),
        max: reader.bound("max", kind),
        min_length: reader.length("min_length", kind),
        max_length: reader.length("max_length", kind),
        pattern: reader.pattern(kind),
        reference: reader.reference(kind),
        renamed_from: reader.optional_identifier("renamed_from"),
        name,
        kind,
    })
    .inspect(|field| reader.cross_check(field))
}

struct Reader<'a, 'json> {
    definition: &'a Json<'json>,
    path: &'a str,
    faults: &'a mut Faults,
}

impl<'a, 'json> Reader<'a, 'json> {
    /// Returns a member that is present and not null.
    fn get(&self, key: &str) -> Option<&'a Json<'json>> {
        self.definition.get(key).filter(|value| !matches!(value, Json::Null))
    }

    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(format!("{}.{key}", self.path), message);
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(Json::Bool(flag)) => *flag,
            Some(other) => {
                self.fault(key, format!("must be true or false, is {}", other.kind()));
                false
            }
        }
    }

    fn column_flag(&mut self, key: &str, kind: Kind) -> bool {
        let flag = self.flag(key);
        if flag && !kind.is_scalar() {
            self.fault(key, format!("cannot apply to a field of type {}", kind.name()));
        }
        flag
    }

    fn text(&mut self, key: &str, chars_max: usize) -> Option<&'a str> {
        match self.get(key)? {
            Json::Text(text) if text.chars().count() <= chars_max => Some(text),
            Json::Text(_) => {
                self.fault(key, format!("must have at most {chars_max} characters"));
                None
            }
            other => {
                self.fault(key, format!("must be a string, is {}", other.kind()));
                None
            }
        }
    }

    fn identifier(&mut self, key: &str) -> Option<String> {
        if self.get(key).is_none() {
            self.fault(key, "is required");
        }
        self.optional_identifier(key)
    }

    fn optional_identifier(&mut self, key: &str) -> Option<String> {
        let name = match self.get(key)? {
            Json::Text(name) => name,
            other => {
                self.fault(key, format!("must be a string, is {}", other.kind()));
                return None;
            }
        };
        if is_identifier(name) {
            return Some(name.to_string());
        }
        let max = limits::NAME_BYTES_MAX;
        self.fault(
            key,
            format!(
                "must begin with a letter or _, hold letters, digits and _ alone, and have at most {max}"
            ),
        );
        None
    }

    fn kind(&mut self) -> Option<Kind> {
        const NAMES: [&str; 8] =
            ["string", "integer", "number", "boolean", "array", "object", "date", "reference"];
        if self.get("type").is_none() {
            self.fault("type", format!("is required: one of {}", NAMES.join(", ")));
        }
        let name = self.text("type", limits::NAME_BYTES_MAX)?;
        let kind = kind_of_name(name);
        if kind.is_none() {
            let hint = did_you_mean(name, NAMES.into_iter());
            self.fault(
                "type",
                format!("must be one of {}, or list[string] and its kin{hint}", NAMES.join(", ")),
            );
        }
        kind
    }

    fn bound(&mut self, key: &str, kind: Kind) -> Option<Bound> {
        let value = self.get(key)?;
        match (kind, value) {
            (Kind::Integer | Kind::Number, Json::Int(number)) => Some(Bound::Int(*number)),
            (Kind::Integer | Kind::Number, Json::Uint(_)) => {
                self.fault(key, "must fit 64 bits with a sign");
                None
            }
            (Kind::Integer | Kind::Number, Json::Float(number)) => Some(Bound::Float(*number)),
            (Kind::Integer | Kind::Number, other) => {
                self.fault(key, format!("must be a number, is {}", other.kind()));
                None
            }
            (Kind::Date, Json::Text(text)) => {
                let normal = date::normalise(text);
                if normal.is_none() {
                    self.fault(key, "must be an RFC 3339 date or date-time");
                }
                normal.map(Bound::Date)
            }
            (Kind::Date, other) => {
                self.fault(key, format!("must be a date, is {}", other.kind()));
                None
            }
            _ => {
                self.fault(key, format!("applies to integer, number and date, not to {}", kind.name()));
                None
            }
        }
    }

    fn length(&mut self, key: &str, kind: Kind) -> Option<usize> {
        let value = self.get(key)?;
        if !matches!(kind, Kind::Text | Kind::Array(_)) {
            self.fault(key, format!("applies to string and array, not to {}", kind.name()));
            return None;
        }
        let length = match value {
            Json::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        if length.is_none() {
            self.fault(key, "must be an integer of 0 or more");
        }
        length
    }

    fn pattern(&mut self, kind: Kind) -> Option<Arc<Pattern>> {
        self.get("pattern")?;
        if kind != Kind::Text {
            self.fault("pattern", format!("applies to string, not to {}", kind.name()));
            return None;
        }
        let text = self.text("pattern", limits::PATTERN_BYTES_MAX)?;
        match Pattern::new(text) {
            Ok(pattern) => Some(Arc::new(pattern)),
            Err(error) => {
                self.fault("pattern", format!("is not a regular expression: {error}"));
                None
            }
        }
    }

    fn reference(&mut self, kind: Kind) -> Option<Reference> {
        if kind != Kind::Reference {
            for key in ["collection", "on_delete"] {
                if self.get(key).is_some() {
                    self.fault(key, format!("applies to reference, not to {}", kind.name()));
                }
            }
            return None;
        }
        let on_delete = self.on_delete();
        let collection = self.text("collection", limits::NAME_BYTES_MAX);
        if self.get("collection").is_none() {
            self.fault("collection", "is required: the name of the collection that is referred to, or users");
        }
        Some(Reference { collection: collection?.to_owned(), on_delete })
    }

    fn on_delete(&mut self) -> OnDelete {
        match self.text("on_delete", limits::NAME_BYTES_MAX) {
            None | Some("restrict") => OnDelete::Restrict,
            Some("cascade") => OnDelete::Cascade,
            Some("set_null") => OnDelete::SetNull,
            Some(_) => {
                self.fault("on_delete", "must be one of restrict, cascade, set_null");
                OnDelete::Restrict
            }
        }
    }

    fn cross_check(&mut self, field: &Field) {
        self.text("description", limits::DESCRIPTION_CHARS_MAX);
        if let (Some(min), Some(max)) = (field.min_length, field.max_length)
            && min > max
        {
            self.fault("min_length", "must not be larger than max_length");
        }
        let crossed = match (&field.min, &field.max) {
            (Some(Bound::Date(min)), Some(Bound::Date(max))) => min > max,
            (Some(min), Some(max)) => min.as_f64() > max.as_f64(),
            _ => false,
        };
        if crossed {
            self.fault("min", "must not be larger than max");
        }
        let nulled =
            field.reference.as_ref().is_some_and(|reference| reference.on_delete == OnDelete::SetNull);
        if nulled && field.required {
            self.fault("on_delete", "cannot be set_null where the field is required");
        }
    }
}

impl Bound {
    /// Returns the bound of a number as a float; the bound of a date is not a number.
    fn as_f64(&self) -> f64 {
        match self {
            Bound::Int(number) => *number as f64,
            Bound::Float(number) => *number,
            Bound::Date(_) => f64::NAN,
        }
    }
}

fn kind_of_name(name: &str) -> Option<Kind> {
    Some(match name {
        "string" => Kind::Text,
        "integer" | "int" => Kind::Integer,
        "number" | "float" => Kind::Number,
        "boolean" | "bool" => Kind::Boolean,
        "array" | "list" => Kind::Array(None),
        "object" | "dict" => Kind::Object,
        "date" => Kind::Date,
        "reference" => Kind::Reference,
        _ => {
            let item =
                name.strip_prefix("list[").or_else(|| name.strip_prefix("array["))?.strip_suffix(']')?;
            Kind::Array(Some(match kind_of_name(item)? {
                Kind::Text => Item::Text,
                Kind::Integer => Item::Integer,
                Kind::Number => Item::Number,
                Kind::Boolean => Item::Boolean,
                _ => return None,
            }))
        }
    })
}
