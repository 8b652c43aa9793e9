//! The order of a list: fields, record columns and paths into JSON, each ascending or descending. Null comes before
//! every value in ascending order and after every value in descending order. Otherwise equal records are in the order
//! of their creation. This module builds `ORDER BY` and nothing else.

use super::QueryFault;
use crate::{
    filter::{self, Place, RecordColumn, SqlWriter},
    limits,
    schema::Schema,
};

/// One key of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct SortKey {
    /// The compared place.
    pub place: Place,
    /// Whether the largest comes first.
    pub descending: bool,
    /// Whether the value may be null.
    pub nullable: bool,
}

/// An order in which no two records are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Sort {
    /// The keys, the most significant first.
    pub keys: Vec<SortKey>,
    /// The final key: whether the record created last comes first.
    pub newest_first: bool,
}

impl Default for Sort {
    /// The newest first.
    fn default() -> Sort {
        Sort { keys: Vec::new(), newest_first: true }
    }
}

impl Sort {
    /// Parses `-year,title`.
    pub fn parse(text: &str, schema: &Schema) -> Result<Sort, QueryFault> {
        let mut sort = Sort { keys: Vec::new(), newest_first: false };
        for part in text.split(',') {
            let part = part.trim();
            let (path, descending) = match part.strip_prefix('-') {
                Some(path) => (path, true),
                None => (part.strip_prefix('+').unwrap_or(part), false),
            };
            if sort.keys.len() == limits::SORT_KEYS_MAX {
                return Err(fault("sort", format!("has more than {} keys", limits::SORT_KEYS_MAX)));
            }
            sort.newest_first = descending;
            match key("sort", path, descending, schema)? {
                Some(key) => sort.keys.push(key),
                // The order of creation is total: later keys have no effect.
                None => break,
            }
        }
        Ok(sort)
    }

    /// Parses the contract's `sort_by` and `sort_order`.
    pub fn of_contract(by: Option<&str>, order: Option<&str>, schema: &Schema) -> Result<Sort, QueryFault> {
        let descending = match order {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(fault("sort_order", "must be asc or desc")),
        };
        let keys = match by {
            Some(by) => key("sort_by", by, descending, schema)?.into_iter().collect(),
            None => Vec::new(),
        };
        Ok(Sort { keys, newest_first: descending })
    }

    /// Appends ` ORDER BY …`.
    pub fn write_sql(&self, out: &mut SqlWriter) {
        out.push(" ORDER BY ");
        let dialect = out.dialect;
        for key in &self.keys {
            let seen = dialect.seen(out, &key.place);
            // The database does not know that a required field is never null.
            let nullable = key.nullable || matches!(key.place, Place::Field { .. });
            dialect.order(out, &seen, key.descending, nullable);
        }
        out.push(if self.newest_first { "seq DESC" } else { "seq" });
    }
}

fn fault(param: &str, message: impl Into<String>) -> QueryFault {
    QueryFault::new(param, "invalid_sort", message)
}

/// Parses one key; `None` is the order of creation, which is the order of `seq`.
fn key(param: &str, path: &str, descending: bool, schema: &Schema) -> Result<Option<SortKey>, QueryFault> {
    let place = filter::place(path, schema).map_err(|error| fault(param, error.message))?;
    let nullable = match &place {
        Place::Record(RecordColumn::CreatedAt) => return Ok(None),
        Place::Record(column) => *column == RecordColumn::OwnerId,
        Place::Field { name, below, .. } => {
            let field = schema.field(name).expect("a place that was resolved is of a field");
            if below.is_empty() && !field.kind.is_scalar() {
                let message = format!("{name} is of type {} and has no order", field.kind.name());
                return Err(fault(param, message));
            }
            !(below.is_empty() && field.required)
        }
    };
    Ok(Some(SortKey { place, descending, nullable }))
}
