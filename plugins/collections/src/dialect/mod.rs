//! What SQL differs in between the engines: names, tables and their parts, places of a record, comparisons, orders,
//! aggregates, catalogs. The rest of the crate names no engine. It builds text, and never runs it.

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

/// A function of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// How many values there are.
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
    /// Every one with its name, in the order of an answer.
    pub const ALL: [(Function, &'static str); 5] = [
        (Function::Count, "count"),
        (Function::Sum, "sum"),
        (Function::Avg, "avg"),
        (Function::Min, "min"),
        (Function::Max, "max"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Function::ALL[self as usize].1
    }
}

/// A table that reference fields lead to, and the field that does.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The table of the records with the field.
    pub table: &'a str,
    /// That table's number.
    pub number: i64,
    /// The field.
    pub field: &'a Field,
    /// What it says of the reference.
    pub reference: &'a Reference,
    /// The table referred to.
    pub target: &'a str,
}

/// A reference by which records are deleted together: those of a table with the field, and those that it leads to.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'a> {
    /// The number of the collection with the field.
    pub number: i64,
    /// Its table.
    pub table: &'a str,
    /// The field.
    pub field: &'a str,
    /// The number of the collection referred to.
    pub target: i64,
}

/// A place as SQL: as a number, as text, or as whichever it is when it runs. One that is not of such a type is null there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its value as a number.
    pub number: Option<String>,
    /// Its value as text; in a dialect of untyped values, its value.
    pub text: Option<String>,
}

impl Seen {
    /// The columns that tell the value: the first of them that is not null.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.number.iter().chain(&self.text).map(String::as_str)
    }

    /// The condition that it is null.
    pub fn is_null(&self) -> String {
        let parts: Vec<String> = self.columns().map(|column| format!("{column} IS NULL")).collect();
        parts.join(" AND ")
    }

    /// The condition that it is not null.
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

/// Names, tables and what stands on them.
impl Dialect {
    /// The dialect of an engine.
    pub fn of(engine: Engine) -> Dialect {
        match engine {
            Engine::Sqlite => Dialect::Sqlite,
            Engine::Postgres => Dialect::Postgres,
        }
    }

    /// The name of the column of a field, as catalogs and errors tell it.
    pub fn column_name(self, field: &str) -> String {
        choose!(self, column_name(field))
    }

    /// The name of the column of a field, as SQL says it.
    pub fn column(self, field: &str) -> String {
        choose!(self, quoted(&self.column_name(field)))
    }

    /// The start of the statement that makes a table of records: to its columns, generated ones aside.
    pub(crate) fn table_head(self, table: &str) -> String {
        choose!(self, table_head(table))
    }

    /// The generated column of a field that has one; `link` where it is a reference.
    pub(crate) fn generated(self, field: &Field, link: Option<Link<'_>>) -> Column {
        choose!(self, generated(field, link))
    }

    /// The statements that add generated columns to a table.
    pub(crate) fn add_columns(self, table: &str, columns: &[&Column]) -> Vec<String> {
        choose!(self, add_columns(table, columns))
    }

    /// The statements that take generated columns from a table.
    pub(crate) fn drop_columns(self, table: &str, columns: &[&Column]) -> Vec<String> {
        choose!(self, drop_columns(table, columns))
    }

    /// The index of a field that has a column.
    pub(crate) fn index(self, table: &str, number: i64, field: &Field) -> Named {
        choose!(self, index(table, number, field))
    }

    /// The index of the records' owners.
    pub(crate) fn owner_index(self, table: &str, number: i64) -> Named {
        choose!(self, owner_index(table, number))
    }

    /// The foreign key of a reference, where its column does not declare it.
    pub(crate) fn foreign_key(self, link: Link<'_>) -> Option<Named> {
        choose!(self, foreign_key(link))
    }

    /// The triggers that keep the count of a table's rows.
    pub(crate) fn count_triggers(self, table: &str, number: i64) -> Vec<Named> {
        choose!(self, count_triggers(table, number))
    }

    /// The trigger that makes a reference null when what it leads to is deleted.
    pub(crate) fn set_null_trigger(self, link: Link<'_>) -> Named {
        choose!(self, set_null_trigger(link))
    }

    /// The statement that makes a reference null in every record that holds it. `id` is SQL.
    pub(crate) fn set_null(self, table: &str, field: &str, id: &str) -> String {
        choose!(self, set_null(table, field, id))
    }

    /// The statement that makes a reference to `?3` null in the record with the seq `?1` and the id `?2`, which is about to be
    /// deleted.
    pub(crate) fn unlink(self, table: &str, field: &str) -> String {
        choose!(self, unlink(table, field))
    }

    /// The statement that tells which records are deleted with the one whose id is `?1`, up to `?2` references between them:
    /// number, id and seq of each, the position of the edge that was followed, and the number and id of the one referred to.
    pub(crate) fn dependents(self, root: (i64, &str), edges: &[Edge<'_>]) -> String {
        choose!(self, dependents(root, edges))
    }

    /// The statement that deletes the records of `?1`, a JSON array of arrays: seq, id and, for each of the columns, what it must
    /// still hold, or null where that does not matter.
    pub(crate) fn delete_some(self, table: &str, columns: &[&str]) -> String {
        choose!(self, delete_some(table, columns))
    }

    /// The statement that keeps writers from a table until the transaction ends, where a transaction alone does not.
    pub(crate) fn lock(self, table: &str) -> Option<String> {
        choose!(self, lock(table))
    }

    /// How many records a collection has, as SQL.
    pub(crate) fn count_of(self, number: i64) -> String {
        choose!(self, count_of(number))
    }

    /// The condition that an id is among those of `?1`, a JSON array.
    pub(crate) fn among_ids(self) -> String {
        self.among("id")
    }

    /// The condition that a column holds one of the texts of `?1`, a JSON array.
    pub(crate) fn among(self, column: &str) -> String {
        choose!(self, among(column))
    }

    /// The statement that tells indexes, constraints and triggers by name and SQL: of the table `?1`, and triggers whose
    /// names are like `?2`.
    pub(crate) fn made(self) -> &'static str {
        choose!(self, made())
    }

    /// The statement that tells the names of a table's columns.
    pub(crate) fn columns_of(self, table: &str) -> String {
        choose!(self, columns_of(table))
    }

    /// The statement that counts references of a table that lead nowhere, of these columns to these tables.
    pub(crate) fn dangling(self, table: &str, links: &[(String, String)]) -> String {
        choose!(self, dangling(table, links))
    }
}

/// Queries.
impl Dialect {
    /// The end of a statement that answers a page, its parameters bound by `bind`.
    pub(crate) fn window(self, limit: u64, offset: u64, bind: impl FnMut(u64) -> String) -> String {
        choose!(self, window(limit, offset, bind))
    }

    /// A condition that always or never holds.
    pub(crate) fn constant(self, holds: bool) -> &'static str {
        choose!(self, constant(holds))
    }

    /// Appends a comparison; `mixed` where a side's type is only known when it runs.
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

    /// Appends the condition that a side equals one of others; `of_any_type` where a type among those is only known
    /// when it runs.
    pub(crate) fn is_in(
        self,
        out: &mut SqlWriter,
        tested: &Side<'_>,
        entries: &[Side<'_>],
        of_any_type: bool,
    ) {
        choose!(self, is_in(out, tested, entries, of_any_type));
    }

    /// Appends the condition that a side is text that fits a pattern.
    pub(crate) fn like(self, out: &mut SqlWriter, tested: &Side<'_>, pattern: &str) {
        choose!(self, like(out, tested, pattern));
    }

    /// Appends the condition that a side is null or not there.
    pub(crate) fn is_null(self, out: &mut SqlWriter, tested: &Side<'_>) {
        choose!(self, is_null(out, tested));
    }

    /// Appends the condition that an entry of the array or object at `place` equals `wanted`.
    pub(crate) fn has(self, out: &mut SqlWriter, place: &Place, wanted: &Side<'_>) {
        choose!(self, has(out, place, wanted));
    }

    /// How a place is read where values of it are ordered.
    pub(crate) fn seen(self, out: &mut SqlWriter, place: &Place) -> Seen {
        choose!(self, seen(out, place))
    }

    /// Appends a key of an order, null before every value, with a comma behind it.
    pub(crate) fn order(self, out: &mut SqlWriter, seen: &Seen, descending: bool, nullable: bool) {
        choose!(self, order(out, seen, descending, nullable));
    }

    /// A key of an order by the position of a column.
    pub(crate) fn order_by_position(self, position: usize, descending: bool) -> String {
        choose!(self, order_by_position(position, descending))
    }

    /// The condition that a place comes before or behind a value that is not null.
    pub(crate) fn beside(
        self,
        out: &mut SqlWriter,
        seen: &Seen,
        compare: Compare,
        value: &SqlValue,
    ) -> String {
        choose!(self, beside(out, seen, compare, value))
    }

    /// The condition that a place holds the very value, null included.
    pub(crate) fn same(self, out: &mut SqlWriter, seen: &Seen, value: &SqlValue) -> String {
        choose!(self, same(out, seen, value))
    }

    /// A field of one value, to group by.
    pub(crate) fn group(self, out: &mut SqlWriter, place: &Place) -> String {
        choose!(self, group(out, place))
    }

    /// A function of a field of one value.
    pub(crate) fn aggregate(self, out: &mut SqlWriter, function: Function, place: &Place) -> String {
        choose!(self, aggregate(out, function, place))
    }
}
