//! The condition for the records after a position in an order (keyset pagination). It stays right while records are
//! inserted and deleted, since it compares values and counts nothing.

use super::{cursor::Position, sort::Sort};
use crate::{
    dialect::Seen,
    filter::{Compare, SqlWriter},
    sql_value::SqlValue,
};

/// Appends the condition that a record comes after `position` in the order `sort`, in parentheses.
///
/// For keys `a, b` it reads `a > ?1 OR (a IS ?1 AND (b > ?2 OR (b IS ?2 AND seq > ?3)))`.
pub(super) fn write(out: &mut SqlWriter, sort: &Sort, position: &Position) {
    let dialect = out.dialect;
    let places: Vec<Seen> = sort.keys.iter().map(|key| dialect.seen(out, &key.place)).collect();
    out.push("(");
    write_bound(out, sort, position, &places);
    for (at, key) in sort.keys.iter().enumerate() {
        let (place, value) = (&places[at], &position.values[at]);
        let behind = match (value, key.descending) {
            // Ascending, null comes first, so every value is after it. Descending, nothing is after it.
            (SqlValue::Null, false) => place.is_not_null(),
            (SqlValue::Null, true) => dialect.constant(false).to_owned(),
            (value, false) => dialect.beside(out, place, Compare::Greater, value),
            (value, true) => {
                let behind = dialect.beside(out, place, Compare::Less, value);
                if key.nullable { format!("{behind} OR {}", place.is_null()) } else { behind }
            }
        };
        let same = dialect.same(out, place, value);
        out.push(&format!("{behind} OR ({same} AND ("));
    }
    let bound = out.bind(SqlValue::Integer(position.seq));
    out.push(&format!("seq {} {bound}", if sort.newest_first { "<" } else { ">" }));
    out.push(&"))".repeat(sort.keys.len()));
    out.push("))");
}

/// Appends a bound on the first key alone, so that the database can start at this position of the key's index.
fn write_bound(out: &mut SqlWriter, sort: &Sort, position: &Position, places: &[Seen]) {
    let dialect = out.dialect;
    if let (Some(key), Some(value)) = (sort.keys.first(), position.values.first())
        && *value != SqlValue::Null
        && !(key.descending && key.nullable)
    {
        let compare = if key.descending { Compare::LessOrEqual } else { Compare::GreaterOrEqual };
        let bound = dialect.beside(out, &places[0], compare, value);
        out.push(&format!("{bound} AND "));
    }
    out.push("(");
}
