//! Orders, pages and aggregates with SQLite's semantics: null before numbers, numbers before text, and sums equal to
//! SQLite's to the last digit.

use super::{
    super::{Function, Seen},
    filter::compared,
    place::{Class, class, seen, seen_value},
};
use crate::{
    filter::{Compare, Place, SqlWriter},
    sql_value::SqlValue,
};

pub(in super::super) fn order(out: &mut SqlWriter, seen: &Seen, descending: bool, nullable: bool) {
    let direction = match (descending, nullable) {
        (false, true) => " NULLS FIRST,",
        (true, true) => " DESC NULLS LAST,",
        (false, false) => ",",
        (true, false) => " DESC,",
    };
    // A value that is not text is a number or null, and both come before text.
    for sql in seen.text.iter().chain(&seen.number) {
        out.push(sql);
        out.push(direction);
    }
}

pub(in super::super) fn order_by_position(position: usize, descending: bool) -> String {
    format!("{position} {}", if descending { "DESC NULLS LAST" } else { "NULLS FIRST" })
}

pub(in super::super) fn beside(
    out: &mut SqlWriter,
    seen: &Seen,
    compare: Compare,
    value: &SqlValue,
) -> String {
    let value = seen_value(out, value);
    compared(seen, compare, &value)
}

pub(in super::super) fn same(out: &mut SqlWriter, seen: &Seen, value: &SqlValue) -> String {
    if *value == SqlValue::Null { seen.is_null() } else { beside(out, seen, Compare::Equal, value) }
}

/// Returns the value of a place that has only one type.
fn single(out: &mut SqlWriter, place: &Place) -> String {
    let Seen { number, text } = seen(out, place);
    number.or(text).expect("a place is of some type")
}

pub(in super::super) fn group(out: &mut SqlWriter, place: &Place) -> String {
    single(out, place)
}

pub(in super::super) fn aggregate(out: &mut SqlWriter, function: Function, place: &Place) -> String {
    let value = single(out, place);
    match (function, class(place)) {
        (Function::Count | Function::Min | Function::Max, _) => format!("{}({value})", function.name()),
        (Function::Sum, Class::Number) => format!(
            "CASE WHEN bool_or(scale({value})>0) THEN collections_sum({value})::text::numeric+0.0 \
             ELSE sum({value})::bigint::numeric END"
        ),
        (Function::Avg, Class::Number) => format!(
            "CASE WHEN bool_or(scale({value})>0) THEN collections_sum({value}) ELSE sum({value})::float8 END/count({value})"
        ),
        // On overflow of 64 bits the conversion fails, as SQLite's sum does.
        (Function::Sum, _) => format!("sum({value})::bigint"),
        (Function::Avg, _) => format!("sum({value})::float8/count({value})"),
    }
}
