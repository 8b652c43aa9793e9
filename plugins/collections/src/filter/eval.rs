//! Evaluates a checked filter for one record in memory, with SQLite's results: three-valued logic, and values of
//! different types ordered as number before text.

use std::{borrow::Cow, cmp::Ordering};

use tinybase_like::Like;

use super::{
    Context,
    ast::{Compare, Expr, Operand, Place, RecordColumn, Step, Variable},
};
use crate::{json::Json, sql_value::SqlValue};

/// A record for a filter.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Its id.
    pub id: &'a str,
    /// The user who created it.
    pub owner_id: Option<&'a str>,
    /// When it was created.
    pub created_at: &'a str,
    /// When it was last changed.
    pub updated_at: &'a str,
    /// Its data.
    pub data: &'a Json<'a>,
}

/// One value, as SQLite would extract it from JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum<'a> {
    /// Null or absent.
    Null,
    /// An integer or a boolean.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// A text, or an array or object as JSON.
    Text(Cow<'a, str>),
}

impl<'a> Datum<'a> {
    /// Converts a JSON value as SQLite's `json_extract` does.
    pub fn of_json(value: &'a Json<'_>) -> Datum<'a> {
        match value {
            Json::Null => Datum::Null,
            Json::Bool(flag) => Datum::Integer((*flag).into()),
            Json::Int(number) => Datum::Integer(*number),
            Json::Uint(number) => Datum::Real(*number as f64),
            Json::Float(number) => Datum::Real(*number),
            Json::Text(text) => Datum::Text(Cow::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => Datum::Text(Cow::Owned(value.to_text())),
        }
    }

    fn of_sql(value: &'a SqlValue) -> Datum<'a> {
        match value {
            SqlValue::Integer(number) => Datum::Integer(*number),
            SqlValue::Real(number) => Datum::Real(*number),
            SqlValue::Text(text) => Datum::Text(Cow::Borrowed(text)),
            _ => Datum::Null,
        }
    }

    /// Converts the value to one that can be bound.
    pub fn into_sql(self) -> SqlValue {
        match self {
            Datum::Null => SqlValue::Null,
            Datum::Integer(number) => SqlValue::Integer(number),
            Datum::Real(number) => SqlValue::Real(number),
            Datum::Text(text) => SqlValue::Text(text.into_owned()),
        }
    }

    fn of_text(text: Option<&'a str>) -> Datum<'a> {
        text.map_or(Datum::Null, |text| Datum::Text(Cow::Borrowed(text)))
    }

    /// Compares two values in SQLite's order; a comparison with null returns `None`.
    pub(super) fn compare(&self, other: &Datum<'_>) -> Option<Ordering> {
        match (self, other) {
            (Datum::Null, _) | (_, Datum::Null) => None,
            (Datum::Integer(left), Datum::Integer(right)) => Some(left.cmp(right)),
            (Datum::Real(left), Datum::Real(right)) => left.partial_cmp(right),
            (Datum::Integer(left), Datum::Real(right)) => Some(compare_mixed(*left, *right)),
            (Datum::Real(left), Datum::Integer(right)) => Some(compare_mixed(*right, *left).reverse()),
            (Datum::Text(left), Datum::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            (Datum::Text(_), _) => Some(Ordering::Greater),
            (_, Datum::Text(_)) => Some(Ordering::Less),
        }
    }
}

/// Compares an integer with a float without rounding the integer.
fn compare_mixed(integer: i64, real: f64) -> Ordering {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if real >= TWO_TO_63 {
        return Ordering::Less;
    }
    if real < -TWO_TO_63 {
        return Ordering::Greater;
    }
    let whole = real.trunc();
    integer.cmp(&(whole as i64)).then(if real > whole {
        Ordering::Less
    } else if real < whole {
        Ordering::Greater
    } else {
        Ordering::Equal
    })
}

/// Returns the value of a variable.
pub(super) fn variable<'a>(variable: &Variable, context: &Context<'a>) -> Datum<'a> {
    match variable {
        Variable::MyId => Datum::of_text(context.caller.id),
        Variable::MyEmail => Datum::of_text(context.caller.email),
        Variable::IsAdmin => Datum::Integer(context.caller.is_admin.into()),
        Variable::Now => Datum::of_text(Some(context.now)),
        Variable::Method => Datum::of_text(Some(context.method)),
        Variable::Action => Datum::of_text(Some(context.action)),
        Variable::Data(steps) => {
            context.data.and_then(|data| walk(data, steps)).map_or(Datum::Null, Datum::of_json)
        }
    }
}

fn walk<'a, 'json>(mut value: &'a Json<'json>, steps: &[Step]) -> Option<&'a Json<'json>> {
    for step in steps {
        value = match (step, value) {
            (Step::Name(name), Json::Object(_)) => value.get(name)?,
            (Step::Index(index), Json::Array(entries)) => entries.get(*index as usize)?,
            _ => return None,
        };
    }
    Some(value)
}

fn json_at<'a>(place: &Place, record: &Record<'a>) -> Option<&'a Json<'a>> {
    match place {
        Place::Field { name, below, .. } => walk(record.data.get(name)?, below),
        Place::Record(_) => None,
    }
}

fn operand<'a>(operand: &'a Operand, record: &Record<'a>, context: &Context<'a>) -> Datum<'a> {
    match operand {
        Operand::Value(value) => Datum::of_sql(value),
        Operand::Variable(name) => variable(name, context),
        Operand::Place(place) => at_place(place, record),
    }
}

/// Returns the value at a place of a record.
pub(super) fn at_place<'a>(place: &Place, record: &Record<'a>) -> Datum<'a> {
    let Place::Record(column) = place else {
        return json_at(place, record).map_or(Datum::Null, Datum::of_json);
    };
    Datum::of_text(match column {
        RecordColumn::Id => Some(record.id),
        RecordColumn::OwnerId => record.owner_id,
        RecordColumn::CreatedAt => Some(record.created_at),
        RecordColumn::UpdatedAt => Some(record.updated_at),
    })
}

pub(super) fn expr(node: &Expr, record: &Record<'_>, context: &Context<'_>) -> Option<bool> {
    match node {
        Expr::And(nodes) => all(nodes.iter().map(|node| expr(node, record, context))),
        Expr::Or(nodes) => {
            all(nodes.iter().map(|node| expr(node, record, context).map(|held| !held))).map(|held| !held)
        }
        Expr::Not(node) => expr(node, record, context).map(|held| !held),
        Expr::Constant(flag) => Some(*flag),
        Expr::Compare { left, compare, right, .. } => {
            let ordering = operand(left, record, context).compare(&operand(right, record, context))?;
            Some(holds(*compare, ordering))
        }
        Expr::In(tested, entries) => {
            let tested = operand(tested, record, context);
            let none = entries.iter().map(|entry| {
                tested.compare(&operand(entry, record, context)).map(|ordering| ordering != Ordering::Equal)
            });
            all(none).map(|held| !held)
        }
        Expr::Like { operand: tested, pattern } => match operand(tested, record, context) {
            Datum::Text(text) => Some(Like::new(pattern, Some('\\')).matches(&text)),
            _ => None,
        },
        Expr::IsNull(tested) => Some(operand(tested, record, context) == Datum::Null),
        Expr::Has(place, wanted) => {
            let wanted = operand(wanted, record, context);
            let equal = |value: &Json<'_>| Datum::of_json(value).compare(&wanted) == Some(Ordering::Equal);
            Some(match json_at(place, record) {
                None => false,
                Some(Json::Array(entries)) => entries.iter().any(equal),
                Some(Json::Object(members)) => members.iter().any(|(_, value)| equal(value)),
                Some(value) => equal(value),
            })
        }
    }
}

/// Returns whether all are true: one false part makes the result false; otherwise one unknown part makes it unknown.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut answer = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            None => answer = None,
            Some(true) => {}
        }
    }
    answer
}

fn holds(compare: Compare, ordering: Ordering) -> bool {
    match compare {
        Compare::Equal => ordering == Ordering::Equal,
        Compare::NotEqual => ordering != Ordering::Equal,
        Compare::Less => ordering == Ordering::Less,
        Compare::LessOrEqual => ordering != Ordering::Greater,
        Compare::Greater => ordering == Ordering::Greater,
        Compare::GreaterOrEqual => ordering != Ordering::Less,
    }
}
