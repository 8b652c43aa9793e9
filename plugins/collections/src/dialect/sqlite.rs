//! SQLite's SQL. Values carry their types, so a place is read in the same way whatever its type. This module never runs
//! SQL.

use super::{Edge, Function, Link, Seen};
use crate::{
    filter::{Compare, Place, Side, SqlWriter, json_path},
    schema::{Field, OnDelete},
    sql_value::SqlValue,
    storage::{Column, Named},
};

pub(super) fn column_name(field: &str) -> String {
    format!("f_{field}")
}

pub(super) fn quoted(name: &str) -> String {
    name.to_owned()
}

pub(super) fn table_head(table: &str) -> String {
    format!(
        "CREATE TABLE {table}(seq INTEGER PRIMARY KEY,id TEXT NOT NULL UNIQUE,owner_id TEXT,created_at TEXT NOT NULL,\
         updated_at TEXT NOT NULL,version INTEGER NOT NULL,data TEXT NOT NULL"
    )
}

pub(super) fn generated(field: &Field, link: Option<Link<'_>>) -> Column {
    let (name, column) = (&field.name, column_name(&field.name));
    let mut definition = format!("{column} GENERATED ALWAYS AS (json_extract(data,'$.{name}')) VIRTUAL");
    if let Some(link) = link {
        // `set_null` is done by a trigger, since a generated column cannot be set.
        let cascades = link.reference.on_delete == OnDelete::Cascade;
        let action = if cascades { " ON DELETE CASCADE" } else { "" };
        definition.push_str(&format!(" REFERENCES {}(id){action}", link.target));
    }
    Column { name: column, definition }
}

pub(super) fn add_columns(table: &str, columns: &[&Column]) -> Vec<String> {
    columns.iter().map(|column| format!("ALTER TABLE {table} ADD COLUMN {}", column.definition)).collect()
}

pub(super) fn drop_columns(table: &str, columns: &[&Column]) -> Vec<String> {
    columns.iter().map(|column| format!("ALTER TABLE {table} DROP COLUMN {}", column.name)).collect()
}

pub(super) fn index(table: &str, number: i64, field: &Field) -> Named {
    let (kind, unique) = if field.unique { ("u", "UNIQUE ") } else { ("i", "") };
    let (name, column) = (format!("collections_{kind}_{number}_{}", field.name), column_name(&field.name));
    let sql = format!("CREATE {unique}INDEX {name} ON {table}({column})");
    Named { drop: format!("DROP INDEX {name}"), name, setup: None, sql, column: Some(column) }
}

pub(super) fn owner_index(table: &str, number: i64) -> Named {
    let name = format!("collections_o_{number}");
    let sql = format!("CREATE INDEX {name} ON {table}(owner_id)");
    Named { drop: format!("DROP INDEX {name}"), name, setup: None, sql, column: None }
}

pub(super) fn foreign_key(_: Link<'_>) -> Option<Named> {
    None
}

fn trigger(name: String, sql: String, column: Option<String>) -> Named {
    Named { drop: format!("DROP TRIGGER {name}"), name, setup: None, sql, column }
}

pub(super) fn count_triggers(table: &str, number: i64) -> Vec<Named> {
    [("ci", "INSERT", "+"), ("cd", "DELETE", "-")]
        .into_iter()
        .map(|(kind, event, sign)| {
            let name = format!("collections_{kind}_{number}");
            let sql = format!(
                "CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN \
                 UPDATE collections_counts SET count=count{sign}1 WHERE number={number}; END"
            );
            trigger(name, sql, None)
        })
        .collect()
}

pub(super) fn set_null_trigger(link: Link<'_>) -> Named {
    let Link { table, number, field, target, .. } = link;
    let name = format!("collections_n_{number}_{}", field.name);
    let statement = set_null(table, &field.name, "OLD.id");
    let sql = format!("CREATE TRIGGER {name} BEFORE DELETE ON {target} BEGIN {statement}; END");
    trigger(name, sql, Some(column_name(&field.name)))
}

pub(super) fn set_null(table: &str, field: &str, id: &str) -> String {
    let column = column_name(field);
    format!(
        "UPDATE {table} SET data=json_set(data,'$.{field}',NULL),version=version+1,\
         updated_at=strftime('%Y-%m-%dT%H:%M:%f','now')||'000Z' WHERE {column}={id}"
    )
}

pub(super) fn unlink(table: &str, field: &str) -> String {
    let column = column_name(field);
    format!("UPDATE {table} SET data=json_set(data,'$.{field}',NULL) WHERE seq=?1 AND id=?2 AND {column}=?3")
}

pub(super) fn dependents((number, table): (i64, &str), edges: &[Edge<'_>]) -> String {
    let mut sql = format!(
        "WITH RECURSIVE gone(number,id,seq,edge,above,above_id) AS (\
         SELECT {number},id,seq,0,0,'' FROM {table} WHERE id=?1"
    );
    for (at, edge) in edges.iter().enumerate() {
        let Edge { number, table, field, target } = edge;
        let column = column_name(field);
        sql.push_str(&format!(
            " UNION SELECT {number},below.id,below.seq,{at},gone.number,gone.id \
             FROM gone JOIN {table} AS below ON below.{column}=gone.id WHERE gone.number={target}"
        ));
    }
    sql.push_str(") SELECT number,id,seq,edge,above,above_id FROM gone LIMIT ?2");
    sql
}

pub(super) fn delete_some(table: &str, columns: &[&str]) -> String {
    let given = |at: usize| format!("json_extract(given.value,'$[{at}]')");
    let held: Vec<String> = columns
        .iter()
        .zip(2..)
        .map(|(column, at)| format!(" AND ({0} IS NULL OR found.{column}={0})", given(at)))
        .collect();
    format!(
        "DELETE FROM {table} WHERE seq IN (SELECT found.seq FROM json_each(?1) AS given CROSS JOIN {table} AS found \
         WHERE found.seq={} AND found.id={}{})",
        given(0),
        given(1),
        held.concat()
    )
}

pub(super) fn lock(_: &str) -> Option<String> {
    // A transaction is the only writer.
    None
}

pub(super) fn count_of(number: i64) -> String {
    format!("SELECT count FROM collections_counts WHERE number={number}")
}

pub(super) fn window(limit: u64, offset: u64, mut bind: impl FnMut(u64) -> String) -> String {
    format!(" LIMIT {} OFFSET {}", bind(limit), bind(offset))
}

pub(super) fn among(column: &str) -> String {
    format!("{column} IN (SELECT value FROM json_each(?1))")
}

pub(super) fn made() -> &'static str {
    "SELECT name,sql FROM sqlite_master WHERE type IN ('index','trigger') AND sql IS NOT NULL \
     AND (tbl_name=?1 OR name LIKE ?2 ESCAPE '\\')"
}

pub(super) fn columns_of(table: &str) -> String {
    format!("SELECT name FROM pragma_table_xinfo('{table}')")
}

pub(super) fn dangling(table: &str, _: &[(String, String)]) -> String {
    format!("SELECT count(*) FROM pragma_foreign_key_check('{table}')")
}

pub(super) fn constant(holds: bool) -> &'static str {
    if holds { "(1)" } else { "(0)" }
}

/// Returns the SQL that reads a place.
fn place(out: &mut SqlWriter, place: &Place) -> String {
    match place {
        Place::Record(column) => column.name().to_owned(),
        Place::Field { name, has_column: true, below, .. } if below.is_empty() => column_name(name),
        Place::Field { name, below, .. } if below.is_empty() => format!("json_extract(data,'$.{name}')"),
        Place::Field { name, below, .. } => {
            let path = out.bind(SqlValue::Text(json_path(name, below)));
            format!("json_extract(data,{path})")
        }
    }
}

fn side(out: &mut SqlWriter, side: &Side<'_>) -> String {
    match side {
        Side::Place(found) => place(out, found),
        Side::Value(value) => out.bind(value.clone()),
    }
}

/// Returns a side that is compared with a side of any type: a column's own type must not convert the other side.
fn untyped(out: &mut SqlWriter, found: &Side<'_>) -> String {
    let sql = side(out, found);
    if matches!(found, Side::Place(Place::Record(_))) { format!("+{sql}") } else { sql }
}

pub(super) fn compare(out: &mut SqlWriter, left: &Side<'_>, compare: Compare, right: &Side<'_>, mixed: bool) {
    let (left, right) =
        if mixed { (untyped(out, left), untyped(out, right)) } else { (side(out, left), side(out, right)) };
    out.push(&format!("({left} {} {right})", compare.symbol()));
}

pub(super) fn is_in(out: &mut SqlWriter, tested: &Side<'_>, entries: &[Side<'_>], of_any_type: bool) {
    let tested = if of_any_type { untyped(out, tested) } else { side(out, tested) };
    let entries: Vec<String> = entries.iter().map(|entry| side(out, entry)).collect();
    out.push(&format!("({tested} IN ({}))", entries.join(",")));
}

pub(super) fn like(out: &mut SqlWriter, tested: &Side<'_>, pattern: &str) {
    let tested = side(out, tested);
    let pattern = out.bind(SqlValue::Text(pattern.to_owned()));
    // `LIKE` would compare the digits of a number.
    out.push(&format!("(CASE WHEN typeof({tested})='text' THEN {tested} END LIKE {pattern} ESCAPE '\\')"));
}

pub(super) fn is_null(out: &mut SqlWriter, tested: &Side<'_>) {
    let tested = side(out, tested);
    out.push(&format!("({tested} IS NULL)"));
}

pub(super) fn has(out: &mut SqlWriter, place: &Place, wanted: &Side<'_>) {
    let Place::Field { name, below, .. } = place else {
        unreachable!("the check lets fields alone have entries");
    };
    let path = out.bind(SqlValue::Text(json_path(name, below)));
    let wanted = side(out, wanted);
    out.push(&format!("(EXISTS(SELECT 1 FROM json_each(data,{path}) WHERE value={wanted}))"));
}

pub(super) fn seen(out: &mut SqlWriter, found: &Place) -> Seen {
    Seen { number: None, text: Some(place(out, found)) }
}

fn read(seen: &Seen) -> &str {
    seen.text.as_deref().expect("every place is read as its value")
}

pub(super) fn order(out: &mut SqlWriter, seen: &Seen, descending: bool, _nullable: bool) {
    out.push(read(seen));
    out.push(if descending { " DESC," } else { "," });
}

pub(super) fn order_by_position(position: usize, descending: bool) -> String {
    format!("{position}{}", if descending { " DESC" } else { "" })
}

pub(super) fn beside(out: &mut SqlWriter, seen: &Seen, compare: Compare, value: &SqlValue) -> String {
    let bound = out.bind(value.clone());
    format!("{} {} {bound}", read(seen), compare.symbol())
}

pub(super) fn same(out: &mut SqlWriter, seen: &Seen, value: &SqlValue) -> String {
    let bound = out.bind(value.clone());
    format!("{} IS {bound}", read(seen))
}

pub(super) fn group(out: &mut SqlWriter, found: &Place) -> String {
    place(out, found)
}

pub(super) fn aggregate(out: &mut SqlWriter, function: Function, found: &Place) -> String {
    let place = place(out, found);
    format!("{}({place})", function.name())
}
