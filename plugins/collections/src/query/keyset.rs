//! The condition that finds the records behind a position in an order. It stays right while records are inserted and
//! deleted, since it compares values and counts nothing.

use super::{cursor::Position, sort::Sort};
use crate::{filter::SqlWriter, sql_value::SqlValue};

/// Appends the condition that a record stands behind `position` in the order `sort`, in parentheses.
///
/// For keys `a, b` it reads `a > ?1 OR (a IS ?1 AND (b > ?2 OR (b IS ?2 AND seq > ?3)))`.
pub(super) fn write(out: &mut SqlWriter, sort: &Sort, position: &Position) {
    let places: Vec<String> = sort.keys.iter().map(|key| out.place(&key.place)).collect();
    out.push("(");
    write_bound(out, sort, position, &places);
    for (at, key) in sort.keys.iter().enumerate() {
        let (place, value) = (&places[at], &position.values[at]);
        match (value, key.descending) {
            // Ascending, null stands first: every value is behind it. Descending, nothing is.
            (SqlValue::Null, false) => out.push(&format!("{place} IS NOT NULL")),
            (SqlValue::Null, true) => out.push("0"),
            (value, descending) => {
                let bound = out.bind(value.clone());
                out.push(&format!("{place} {} {bound}", if descending { "<" } else { ">" }));
                if descending && key.nullable {
                    out.push(&format!(" OR {place} IS NULL"));
                }
            }
        }
        let bound = out.bind(value.clone());
        out.push(&format!(" OR ({place} IS {bound} AND ("));
    }
    let bound = out.bind(SqlValue::Integer(position.seq));
    out.push(&format!("seq {} {bound}", if sort.newest_first { "<" } else { ">" }));
    out.push(&"))".repeat(sort.keys.len()));
    out.push("))");
}

/// A bound on the first key alone, which lets the database begin at the position in that key's index.
fn write_bound(out: &mut SqlWriter, sort: &Sort, position: &Position, places: &[String]) {
    if let (Some(key), Some(value)) = (sort.keys.first(), position.values.first())
        && *value != SqlValue::Null
        && !(key.descending && key.nullable)
    {
        let bound = out.bind(value.clone());
        out.push(&format!("{} {} {bound} AND ", places[0], if key.descending { "<=" } else { ">=" }));
    }
    out.push("(");
}
