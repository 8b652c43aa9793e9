//! How to read a place of a record: a column, or a path into the JSON. A field returns the same values with and without
//! a column.

use super::super::Seen;
use crate::{
    filter::{Place, Side, SqlWriter, Step, json_path},
    schema::{Item, Kind},
    sql_value::SqlValue,
};

/// The bytes of a field's name that are kept in its column's name; the server truncates names at 63 bytes.
const NAME_KEPT_BYTES_MAX: usize = 40;

pub(in super::super) fn column_name(field: &str) -> String {
    format!("f_{}", shortened(field))
}

/// Shortens a field's name for use in a database name: a long one becomes its start plus a digest.
pub(super) fn shortened(field: &str) -> String {
    if field.len() <= NAME_KEPT_BYTES_MAX {
        return field.to_owned();
    }
    let digest = crate::query::fingerprint(&[field]);
    // An identifier is ASCII, so the slice is valid.
    format!("{}_{digest:016x}", &field[..NAME_KEPT_BYTES_MAX - 17])
}

/// Returns a name as the server shows it: in quotes if it has capitals.
pub(in super::super) fn quoted(name: &str) -> String {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { format!("\"{name}\"") } else { name.to_owned() }
}

/// The known type of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    Integer,
    Number,
    Boolean,
    Any,
}

/// Returns the class of a place.
pub(super) fn class(place: &Place) -> Class {
    let Place::Field { kind, below, .. } = place else { return Class::Text };
    match (kind, below.as_slice()) {
        (Kind::Text | Kind::Date | Kind::Reference, []) => Class::Text,
        (Kind::Integer, []) => Class::Integer,
        (Kind::Number, []) => Class::Number,
        (Kind::Boolean, []) => Class::Boolean,
        (Kind::Array(Some(item)), [Step::Index(_)]) => match item {
            Item::Text => Class::Text,
            Item::Integer => Class::Integer,
            Item::Number => Class::Number,
            Item::Boolean => Class::Boolean,
        },
        _ => Class::Any,
    }
}

/// A path into JSON. Its steps below the field are bound, since clients write them.
pub(super) struct Path {
    /// Each step as SQL: `'a'`, `?1::text`, `?2::int`.
    steps: Vec<String>,
    /// The same as a JSON path, if a step leads into an array.
    path: Option<String>,
}

impl Path {
    pub(super) fn new(out: &mut SqlWriter, place: &Place) -> Path {
        let Place::Field { name, below, .. } = place else {
            unreachable!("the columns of every record are no JSON");
        };
        let mut steps = vec![format!("'{name}'")];
        for step in below {
            steps.push(match step {
                Step::Name(name) => format!("{}::text", out.bind(SqlValue::Text(name.clone()))),
                // No array has more entries than an `int` can count.
                Step::Index(index) => {
                    format!("{}::int", out.bind(SqlValue::Integer(i64::from(*index).min(i32::MAX.into()))))
                }
            });
        }
        let has_index = below.iter().any(|step| matches!(step, Step::Index(_)));
        let path = format!("strict {}", json_path(name, below));
        Path { steps, path: has_index.then(|| out.bind(SqlValue::Text(path))) }
    }

    fn joined(&self, root: &str, last: &str) -> String {
        let (end, steps) = self.steps.split_last().expect("a path begins with its field");
        let mut text = root.to_owned();
        for step in steps {
            text.push_str("->");
            text.push_str(step);
        }
        format!("{text}{last}{end}")
    }

    /// Returns the value as JSONB.
    pub(super) fn value(&self) -> String {
        match &self.path {
            None => self.joined("doc", "->"),
            // An arrow finds a value that is not an array at its index 0.
            Some(path) => format!("jsonb_path_query_first(doc,{path}::text::jsonpath,'{{}}',true)"),
        }
    }

    /// Returns the value as text, without quotes if it is a string.
    pub(super) fn text(&self) -> String {
        match &self.path {
            None => self.joined("doc", "->>"),
            Some(_) => format!("{}#>>'{{}}'", self.value()),
        }
    }

    /// Returns the value as stored JSON. Useful if it is known to be an array or object.
    pub(super) fn stored(&self) -> String {
        self.joined("data::json", "->")
    }

    /// Returns the value as stored text.
    fn stored_text(&self) -> String {
        self.joined("data::json", "->>")
    }
}

/// Returns how to read a place.
pub(in super::super) fn seen(out: &mut SqlWriter, place: &Place) -> Seen {
    let number = |sql| Seen { number: Some(sql), text: None };
    let text = |sql| Seen { number: None, text: Some(sql) };
    let class = class(place);
    match place {
        Place::Record(column) => return text(column.name().to_owned()),
        Place::Field { name, has_column: true, below, .. } if below.is_empty() => {
            let column = quoted(&column_name(name));
            return if class == Class::Text { text(column) } else { number(column) };
        }
        Place::Field { .. } => {}
    }
    let path = Path::new(out, place);
    match class {
        Class::Text => text(format!("(({}) COLLATE \"C\")", path.text())),
        Class::Boolean => {
            number(format!("(CASE {} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END)", path.text()))
        }
        Class::Integer => number(format!("collections_numeric({})", path.value())),
        // Only the stored text distinguishes 1e16 from 10000000000000000.
        Class::Number => number(format!(
            "(CASE WHEN abs(collections_numeric({value}))>=1e16 THEN collections_number({}) \
             ELSE collections_numeric({value}) END)",
            path.stored_text(),
            value = path.value()
        )),
        Class::Any => Seen {
            number: Some(format!("collections_numeric({})", path.value())),
            text: Some(format!(
                "(CASE jsonb_typeof({}) WHEN 'string' THEN {} WHEN 'array' THEN {stored} WHEN 'object' THEN {stored} END \
                 COLLATE \"C\")",
                path.value(),
                path.text(),
                stored = path.stored_text()
            )),
        },
    }
}

/// Returns how to read a known value; null is neither a number nor text.
pub(super) fn seen_value(out: &mut SqlWriter, value: &SqlValue) -> Seen {
    match value {
        SqlValue::Integer(_) => {
            Seen { number: Some(format!("{}::bigint", out.bind(value.clone()))), text: None }
        }
        SqlValue::Real(number) => match whole(*number) {
            // An integer can use an index of integers; other numbers cannot.
            Some(integer) => seen_value(out, &SqlValue::Integer(integer)),
            None => Seen { number: Some(format!("{}::numeric", out.bind(value.clone()))), text: None },
        },
        SqlValue::Text(_) => {
            Seen { number: None, text: Some(format!("{}::text COLLATE \"C\"", out.bind(value.clone()))) }
        }
        _ => Seen { number: None, text: None },
    }
}

/// Converts a float to the equal integer, if there is one.
fn whole(number: f64) -> Option<i64> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    let fits = number.fract() == 0.0 && (-TWO_TO_63..TWO_TO_63).contains(&number);
    // Within these bounds the conversion is exact.
    fits.then_some(number as i64)
}

/// Returns how to read a side of a comparison.
pub(super) fn seen_side(out: &mut SqlWriter, side: &Side<'_>) -> Seen {
    match side {
        Side::Place(place) => seen(out, place),
        Side::Value(value) => seen_value(out, value),
    }
}
