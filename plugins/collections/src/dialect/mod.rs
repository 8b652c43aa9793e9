//! The differences between the SQL of the engines: names, tables and their parts, access to a record's values,
//! comparisons, orders, aggregates, catalogs. The rest of the crate names no engine. This module builds text, and never
//! runs it.

mod postgres;
mod sqlite;

use tinybase_plugin_api::database::Engine;

use crate::{
    filter::{Compare, Place, Side, SqlWriter},
    schema::{Field, Reference},
    sql_value::SqlValue,
    storage::{Column, Named},
};

/// The SQL of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite's.
    Sqlite,
    /// PostgreSQL's.
    Postgres,
}

/// An aggregate function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// The number of values.
    Count,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

impl Function {
    /// Every function with its name, in the order of a response.
    pub const ALL: [(Function, &'static str); 5] = [
        (Function::Count, "count"),
        (Function::Sum, "sum"),
        (Function::Avg, "avg"),
        (Function::Min, "min"),
        (Function::Max, "max"),
    ];

    /// Returns its name.
    pub fn name(self) -> &'static str {
        Function::ALL[self as usize].1
    }
}

/// A reference field, with the table it is in and the table it references.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The table of the records with the field.
    pub table: &'a str,
    /// That table's number.
    pub number: i64,
    /// The field.
    pub field: &'a Field,
    /// The options of the reference.
    pub reference: &'a Reference,
    /// The referenced table.
    pub target: &'a str,
}

/// A `cascade` reference: it connects records of the table with the field to the records they reference.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'a> {
    /// The number of the collection with the field.
    pub number: i64,
    /// Its table.
    pub table: &'a str,
    /// The field.
    pub field: &'a str,
    /// The number of the referenced collection.
    pub target: i64,
}

/// A place as SQL: as a number, as text, or as either one at run time. A value of another type is null there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its value as a number.
    pub number: Option<String>,
    /// Its value as text; in a dialect of untyped values, its value.
    pub text: Option<String>,
}

impl Seen {
    /// Returns the columns with the value: the first one that is not null has it.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.number.iter().chain(&self.text).map(String::as_str)
    }

    /// Returns the condition that it is null.
    pub fn is_null(&self) -> String {
        let parts: Vec<String> = self.columns().map(|column| format!("{column} IS NULL")).collect();
        parts.join(" AND ")
    }

    /// Returns the condition that it is not null.
    pub fn is_not_null(&self) -> String {
        let parts: Vec<String> = self.columns().map(|column| format!("{column} IS NOT NULL")).collect();
        parts.join(" OR ")
    }
}

macro_rules! choose {
    ($dialect:expr, $name:ident($($argument:expr),*)) => {
        match $dialect {
            Dialect::Sqlite => sqlite::$name($($argument),*),
            Dialect::Postgres => postgres::$name($($argument),*),
        }
    };
}

/// Names, tables and their parts.
impl Dialect {
    /// Returns the dialect of an engine.
    pub fn of(engine: Engine) -> Dialect {
        match engine {
            Engine::Sqlite => Dialect::Sqlite,
            Engine::Postgres => Dialect::Postgres,
        }
    }

    /// Returns the column name of a field as it appears in catalogs and errors.
    pub fn column_name(self, field: &str) -> String {
        choose!(self, column_name(field))
    }

    /// Returns the column name of a field as it is written in SQL.
    pub fn column(self, field: &str) -> String {
        choose!(self, quoted(&self.column_name(field)))
    }

    /// Returns the start of the statement that creates a table of records, up to and without its generated columns.
    pub(crate) fn table_head(self, table: &str) -> String {
        choose!(self, table_head(table))
    }

    /// Returns the generated column of a field that has one; `link` is set for a reference.
    pub(crate) fn generated(self, field: &Field, link: Option<Link<'_>>) -> Column {
        choose!(self, generated(field, link))
    }

    /// Returns the statements that add generated columns to a table.
    pub(crate) fn add_columns(self, table: &str, columns: &[&Column]) -> Vec<String> {
        choose!(self, add_columns(table, columns))
    }

    /// Returns the statements that drop generated columns from a table.
    pub(crate) fn drop_columns(self, table: &str, columns: &[&Column]) -> Vec<String> {
        choose!(self, drop_columns(table, columns))
    }

    /// Returns the index of a field that has a column.
    pub(crate) fn index(self, table: &str, number: i64, field: &Field) -> Named {
        choose!(self, index(table, number, field))
    }

    /// Returns the index on the records' owners.
    pub(crate) fn owner_index(self, table: &str, number: i64) -> Named {
        choose!(self, owner_index(table, number))
    }

    /// Returns the foreign key of a reference, unless its column already declares it.
    pub(crate) fn foreign_key(self, link: Link<'_>) -> Option<Named> {
        choose!(self, foreign_key(link))
    }

    /// Returns the triggers that maintain the row count of a table.
    pub(crate) fn count_triggers(self, table: &str, number: i64) -> Vec<Named> {
        choose!(self, count_triggers(table, number))
    }

    /// Returns the trigger that sets a reference to null when the referenced record is deleted.
    pub(crate) fn set_null_trigger(self, link: Link<'_>) -> Named {
        choose!(self, set_null_trigger(link))
    }

    /// Returns the statement that sets all references to one record to null. `id` is SQL.
    pub(crate) fn set_null(self, table: &str, field: &str, id: &str) -> String {
        choose!(self, set_null(table, field, id))
    }

    /// Returns the statement that sets a reference to `?3` to null in the record with the seq `?1` and the id `?2`,
    /// which is about to be deleted.
    pub(crate) fn unlink(self, table: &str, field: &str) -> String {
        choose!(self, unlink(table, field))
    }

    /// Returns the query for the records that are deleted with the record `?1`, limited to `?2` references between
    /// them. Columns: number, id and seq of each, the position of the followed edge, and the number and id of the
    /// referenced record.
    pub(crate) fn dependents(self, root: (i64, &str), edges: &[Edge<'_>]) -> String {
        choose!(self, dependents(root, edges))
    }

    /// Returns the statement that deletes the records in `?1`, a JSON array of arrays: seq, id and, for each of the
    /// columns, the value it must still have, or null for any value.
    pub(crate) fn delete_some(self, table: &str, columns: &[&str]) -> String {
        choose!(self, delete_some(table, columns))
    }

    /// Returns the statement that locks a table against writers until the transaction ends, if a transaction alone does
    /// not.
    pub(crate) fn lock(self, table: &str) -> Option<String> {
        choose!(self, lock(table))
    }

    /// Returns the number of a collection's records as SQL.
    pub(crate) fn count_of(self, number: i64) -> String {
        choose!(self, count_of(number))
    }

    /// Returns the condition that an id is in `?1`, a JSON array.
    pub(crate) fn among_ids(self) -> String {
        self.among("id")
    }

    /// Returns the condition that a column's value is one of the texts in `?1`, a JSON array.
    pub(crate) fn among(self, column: &str) -> String {
        choose!(self, among(column))
    }

    /// Returns the query for indexes, constraints and triggers by name and SQL: those of the table `?1`, and triggers
    /// whose names are like `?2`.
    pub(crate) fn made(self) -> &'static str {
        choose!(self, made())
    }

    /// Returns the query for the names of a table's columns.
    pub(crate) fn columns_of(self, table: &str) -> String {
        choose!(self, columns_of(table))
    }

    /// Returns the statement that counts dangling references of a table, from these columns to these tables.
    pub(crate) fn dangling(self, table: &str, links: &[(String, String)]) -> String {
        choose!(self, dangling(table, links))
    }
}

/// Queries.
impl Dialect {
    /// Returns the end of a statement for one page, its parameters bound by `bind`.
    pub(crate) fn window(self, limit: u64, offset: u64, bind: impl FnMut(u64) -> String) -> String {
        choose!(self, window(limit, offset, bind))
    }

    /// Returns a condition that is always true or always false.
    pub(crate) fn constant(self, holds: bool) -> &'static str {
        choose!(self, constant(holds))
    }

    /// Appends a comparison. `mixed` means that the type of a side is only known at run time.
    pub(crate) fn compare(
        self,
        out: &mut SqlWriter,
        left: &Side<'_>,
        compare: Compare,
        right: &Side<'_>,
        mixed: bool,
    ) {
        choose!(self, compare(out, left, compare, right, mixed));
    }

    /// Appends the condition that a side equals one of the others. `of_any_type` means that the type of one of these is
    /// only known at run time.
    pub(crate) fn is_in(
        self,
        out: &mut SqlWriter,
        tested: &Side<'_>,
        entries: &[Side<'_>],
        of_any_type: bool,
    ) {
        choose!(self, is_in(out, tested, entries, of_any_type));
    }

    /// Appends the condition that a side is text that matches a pattern.
    pub(crate) fn like(self, out: &mut SqlWriter, tested: &Side<'_>, pattern: &str) {
        choose!(self, like(out, tested, pattern));
    }

    /// Appends the condition that a side is null or absent.
    pub(crate) fn is_null(self, out: &mut SqlWriter, tested: &Side<'_>) {
        choose!(self, is_null(out, tested));
    }

    /// Appends the condition that an entry of the array or object at `place` equals `wanted`.
    pub(crate) fn has(self, out: &mut SqlWriter, place: &Place, wanted: &Side<'_>) {
        choose!(self, has(out, place, wanted));
    }

    /// Returns how to read a place in order to sort by its values.
    pub(crate) fn seen(self, out: &mut SqlWriter, place: &Place) -> Seen {
        choose!(self, seen(out, place))
    }

    /// Appends a sort key, null before every value, followed by a comma.
    pub(crate) fn order(self, out: &mut SqlWriter, seen: &Seen, descending: bool, nullable: bool) {
        choose!(self, order(out, seen, descending, nullable));
    }

    /// Returns a sort key by the position of a column.
    pub(crate) fn order_by_position(self, position: usize, descending: bool) -> String {
        choose!(self, order_by_position(position, descending))
    }

    /// Returns the condition that a place comes before or after a value that is not null.
    pub(crate) fn beside(
        self,
        out: &mut SqlWriter,
        seen: &Seen,
        compare: Compare,
        value: &SqlValue,
    ) -> String {
        choose!(self, beside(out, seen, compare, value))
    }

    /// Returns the condition that a place has exactly this value, including null.
    pub(crate) fn same(self, out: &mut SqlWriter, seen: &Seen, value: &SqlValue) -> String {
        choose!(self, same(out, seen, value))
    }

    /// Returns a scalar field to group by.
    pub(crate) fn group(self, out: &mut SqlWriter, place: &Place) -> String {
        choose!(self, group(out, place))
    }

    /// Returns an aggregate function of a scalar field.
    pub(crate) fn aggregate(self, out: &mut SqlWriter, function: Function, place: &Place) -> String {
        choose!(self, aggregate(out, function, place))
    }
}
