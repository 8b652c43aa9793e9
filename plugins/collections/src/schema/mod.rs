//! The schema of a collection: which fields its records have and what each may hold. It never sees a record.

mod date;
mod definition;
mod parse;
mod pattern;

use std::{collections::HashMap, sync::Arc};

pub use date::normalise as normalise_date;
pub use parse::{check_collection_name, check_field_names, check_label, is_identifier};
pub use pattern::{Fit, Pattern};

use crate::{fault::Faults, json::Json, limits};

/// What a field holds.
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
    /// `array`, `list`, with what its entries are where it is typed: `list[int]`
    Array(Option<Item>),
    /// `object`, `dict`
    Object,
    /// `date`
    Date,
    /// `reference`
    Reference,
}

/// What the entries of a typed array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// Strings.
    Text,
    /// Integers of 64 bits.
    Integer,
    /// Numbers.
    Number,
    /// Booleans.
    Boolean,
}

impl Kind {
    /// The type's first name in a schema.
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

    /// Whether a value of it is one SQL value, which can be indexed, sorted and grouped by.
    pub fn is_scalar(self) -> bool {
        !matches!(self, Kind::Array(_) | Kind::Object)
    }
}

/// The smallest or largest value that a field takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// Of an integer or number.
    Int(i64),
    /// Of an integer or number.
    Float(f64),
    /// Of a date, normalised.
    Date(String),
}

/// What becomes of a record when the one that it refers to is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// The other one cannot be deleted.
    #[default]
    Restrict,
    /// It is deleted as well.
    Cascade,
    /// Its field becomes null.
    SetNull,
}

/// Where a reference leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// A collection's name, or [`USERS`].
    pub collection: String,
    /// What happens on delete.
    pub on_delete: OnDelete,
}

/// What a reference names to lead to the host's users.
pub const USERS: &str = "users";

/// One field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name, an identifier.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be given and not be null.
    pub required: bool,
    /// Whether no two records may hold the same value; null is never the same.
    pub unique: bool,
    /// Whether it has an index of its own.
    pub index: bool,
    /// What it becomes where it is not given: JSON text, normalised.
    pub default: Option<String>,
    /// The smallest value.
    pub min: Option<Bound>,
    /// The largest value.
    pub max: Option<Bound>,
    /// The least number of characters or entries.
    pub min_length: Option<usize>,
    /// The largest number of characters or entries.
    pub max_length: Option<usize>,
    /// What a string must match somewhere.
    pub pattern: Option<Arc<Pattern>>,
    /// Where a reference leads.
    pub reference: Option<Reference>,
    /// In a change of the schema: the name that it had before.
    pub renamed_from: Option<String>,
}

impl Field {
    /// Whether it has a column of its own: it is indexed, unique or a reference.
    pub fn has_column(&self) -> bool {
        self.index || self.unique || self.reference.is_some()
    }
}

/// A schema that holds.
#[derive(Debug, Clone)]
pub struct Schema {
    fields: Vec<Field>,
    positions: HashMap<String, usize>,
    text: String,
}

impl Schema {
    /// Reads `{"fields": […]}`; answers every fault with its path.
    pub fn parse(schema: &Json<'_>) -> Result<Schema, Faults> {
        parse::schema(schema)
    }

    /// Reads the schema of a collection that is made or changed, which must not be larger than a schema may be.
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

    /// The fields in the order of the schema.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|at| &self.fields[at])
    }

    /// The position of the field of this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// The schema as it is stored and answered: what the client wrote, without `renamed_from`.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What a record's data may hold beyond the fields of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// An unknown field is a fault.
    #[default]
    Reject,
    /// An unknown field is left out.
    Drop,
}
