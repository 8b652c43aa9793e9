//! The schema of a collection: the fields of its records and their allowed values. It never sees a record.

mod date;
mod definition;
mod parse;
mod pattern;

use std::{collections::HashMap, sync::Arc};

pub use date::normalise as normalise_date;
pub use parse::{check_collection_name, check_field_names, check_label, is_identifier};
pub use pattern::{Fit, Pattern};

use crate::{fault::Faults, json::Json, limits};

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `string`
    Text,
    /// `integer`, `int`
    Integer,
    /// `number`, `float`
    Number,
    /// `boolean`, `bool`
    Boolean,
    /// `array`, `list`, with the type of its entries if it is typed: `list[int]`
    Array(Option<Item>),
    /// `object`, `dict`
    Object,
    /// `date`
    Date,
    /// `reference`
    Reference,
}

/// The entry type of a typed array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// Strings.
    Text,
    /// 64-bit integers.
    Integer,
    /// Numbers.
    Number,
    /// Booleans.
    Boolean,
}

impl Kind {
    /// Returns the type's primary name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Array(None) => "array",
            Kind::Array(Some(Item::Text)) => "list[string]",
            Kind::Array(Some(Item::Integer)) => "list[int]",
            Kind::Array(Some(Item::Number)) => "list[float]",
            Kind::Array(Some(Item::Boolean)) => "list[bool]",
            Kind::Object => "object",
            Kind::Date => "date",
            Kind::Reference => "reference",
        }
    }

    /// Returns whether its values are single SQL values, which can be indexed, sorted and grouped by.
    pub fn is_scalar(self) -> bool {
        !matches!(self, Kind::Array(_) | Kind::Object)
    }
}

/// The minimum or maximum value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// For an integer or number.
    Int(i64),
    /// For an integer or number.
    Float(f64),
    /// For a date, normalized.
    Date(String),
}

/// What happens to a record when the record it references is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// The referenced record cannot be deleted.
    #[default]
    Restrict,
    /// The record is deleted as well.
    Cascade,
    /// The reference is set to null.
    SetNull,
}

/// The target of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// A collection's name, or [`USERS`].
    pub collection: String,
    /// What happens on delete.
    pub on_delete: OnDelete,
}

/// The target name for references to the host's users.
pub const USERS: &str = "users";

/// One field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name, an identifier.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// Whether it is required and not nullable.
    pub required: bool,
    /// Whether values must be unique; null values never conflict.
    pub unique: bool,
    /// Whether it has its own index.
    pub index: bool,
    /// Its default as JSON text, normalized.
    pub default: Option<String>,
    /// The minimum value.
    pub min: Option<Bound>,
    /// The maximum value.
    pub max: Option<Bound>,
    /// The minimum number of characters or entries.
    pub min_length: Option<usize>,
    /// The maximum number of characters or entries.
    pub max_length: Option<usize>,
    /// The pattern that some part of a string must match.
    pub pattern: Option<Arc<Pattern>>,
    /// The target of a reference.
    pub reference: Option<Reference>,
    /// In a schema change: its previous name.
    pub renamed_from: Option<String>,
}

impl Field {
    /// Returns whether it has its own column: it is indexed, unique or a reference.
    pub fn has_column(&self) -> bool {
        self.index || self.unique || self.reference.is_some()
    }
}

/// A valid schema.
#[derive(Debug, Clone)]
pub struct Schema {
    fields: Vec<Field>,
    positions: HashMap<String, usize>,
    text: String,
}

impl Schema {
    /// Parses `{"fields": […]}`; returns every fault with its path.
    pub fn parse(schema: &Json<'_>) -> Result<Schema, Faults> {
        parse::schema(schema)
    }

    /// Parses the schema of a collection that is created or changed, which must not exceed the maximum size.
    pub fn parse_new(schema: &Json<'_>) -> Result<Schema, Faults> {
        let schema = parse::schema(schema)?;
        if schema.text.len() > limits::SCHEMA_BYTES_MAX {
            let mut faults = Faults::default();
            let message = format!("must have at most {} bytes as JSON", limits::SCHEMA_BYTES_MAX);
            faults.push("schema", message);
            return Err(faults);
        }
        Ok(schema)
    }

    fn new(fields: Vec<Field>, text: String) -> Schema {
        let positions = fields.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
        Schema { fields, positions, text }
    }

    /// Returns the fields in the order of the schema.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Returns the field with this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.fields[at])
    }

    /// Returns the position of the field with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// Returns the schema as it is stored and returned: the client's text, without `renamed_from`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What happens to data that is not in the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// An unknown field is a fault.
    #[default]
    Reject,
    /// An unknown field is left out.
    Drop,
}
