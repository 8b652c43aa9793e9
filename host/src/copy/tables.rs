//! Lists the tables of a database from its catalog: columns, keys and references. It reads none of their rows.

use std::collections::{BTreeMap, BTreeSet};

use super::side::Side;
use crate::{
    db::{DbError, Engine},
    sql::{Row, integer, text},
};

/// Returns the name, whether its rows have a hidden row number, and whether it is a special table.
const SQLITE_TABLES: &str = "SELECT name, type = 'table' AND wr = 0, type <> 'table' FROM pragma_table_list \
     WHERE schema = 'main' AND type <> 'view' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name";

const SQLITE_COLUMNS: &str = "SELECT t.name, x.name, x.pk, x.\"notnull\", upper(x.type) = 'INTEGER' FROM pragma_table_list t \
     JOIN pragma_table_xinfo(t.name) x WHERE t.schema = 'main' AND t.type = 'table' AND x.hidden = 0 ORDER BY t.name, x.cid";

const SQLITE_REFERENCES: &str = "SELECT t.name, f.\"table\" FROM pragma_table_list t \
     JOIN pragma_foreign_key_list(t.name) f WHERE t.schema = 'main' AND t.type = 'table'";

/// Unlogged and temporary tables are left out: their rows are not permanent.
const POSTGRES_TABLES: &str = "SELECT c.relname, 1, 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' \
     ORDER BY c.relname COLLATE \"C\"";

const POSTGRES_COLUMNS: &str = "SELECT c.relname, a.attname, coalesce((SELECT k.place FROM pg_index i, \
     unnest(i.indkey) WITH ORDINALITY AS k (attnum, place) WHERE i.indrelid = c.oid AND i.indisprimary \
     AND k.attnum = a.attnum), 0), 1, 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_attribute a ON a.attrelid = c.oid WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') \
     AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY c.relname COLLATE \"C\", a.attnum";

const POSTGRES_REFERENCES: &str = "SELECT c.relname, r.relname FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid \
     JOIN pg_class r ON r.oid = f.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE f.contype = 'f' AND n.nspname = current_schema()";

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// The name of the table.
    pub name: String,
    /// The columns that are written, in order, without generated columns.
    pub columns: Vec<String>,
    /// The columns of its primary key, in order; empty if it has no primary key without nulls.
    pub key: Vec<String>,
    /// The tables that its foreign keys refer to.
    pub references: BTreeSet<String>,
    /// Whether its rows have a hidden row number.
    has_row_number: bool,
    /// Whether it is a special table, such as one of full-text search.
    pub is_special: bool,
}

impl Table {
    /// Returns the SQL of the key that identifies its rows and orders its pages.
    pub fn key_sql(&self, engine: Engine) -> Vec<KeyPart> {
        if !self.key.is_empty() {
            return self.key.iter().map(|column| KeyPart::column(column)).collect();
        }
        match engine {
            Engine::Sqlite if self.has_row_number => vec![KeyPart::new("rowid", "rowid", "")],
            Engine::Postgres => vec![KeyPart::new("ctid::text", "ctid", "::text::tid")],
            Engine::Sqlite => Vec::new(),
        }
    }

    /// Whether it has the columns of `other`, in any order.
    pub fn has_columns_of(&self, other: &Table) -> bool {
        let names = |table: &Table| table.columns.iter().cloned().collect::<BTreeSet<_>>();
        names(self) == names(other)
    }
}

/// One part of a key as SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// The selected expression.
    pub select: String,
    /// The expression to order by and to compare.
    pub order: String,
    /// The cast after the parameter that it is compared with.
    pub cast: &'static str,
}

impl KeyPart {
    fn new(select: &str, order: &str, cast: &'static str) -> KeyPart {
        KeyPart { select: select.to_owned(), order: order.to_owned(), cast }
    }

    fn column(name: &str) -> KeyPart {
        let name = super::side::quoted(name);
        KeyPart { select: name.clone(), order: name, cast: "" }
    }
}

/// Returns all tables of a database, by name.
///
/// # Errors
/// Those of its queries.
pub async fn list(side: &Side) -> Result<BTreeMap<String, Table>, DbError> {
    let (tables, columns, references) = match side.engine() {
        Engine::Sqlite => (SQLITE_TABLES, SQLITE_COLUMNS, SQLITE_REFERENCES),
        Engine::Postgres => (POSTGRES_TABLES, POSTGRES_COLUMNS, POSTGRES_REFERENCES),
    };
    let mut found: BTreeMap<String, Table> = BTreeMap::new();
    for row in side.rows(tables, &[]).await? {
        let (has_row_number, is_special) = (integer(&row, 1) != 0, integer(&row, 2) != 0);
        let table = Table { name: text(&row, 0), has_row_number, is_special, ..Table::default() };
        found.insert(table.name.clone(), table);
    }
    let mut keys: BTreeMap<String, Vec<KeyColumn>> = BTreeMap::new();
    for row in side.rows(columns, &[]).await? {
        let Some(table) = found.get_mut(&text(&row, 0)) else { continue };
        table.columns.push(text(&row, 1));
        if integer(&row, 2) > 0 {
            keys.entry(table.name.clone()).or_default().push(KeyColumn::of(&row));
        }
    }
    for row in side.rows(references, &[]).await? {
        if let Some(table) = found.get_mut(&text(&row, 0)) {
            table.references.insert(text(&row, 1));
        }
    }
    for (name, mut key) in keys {
        key.sort_by_key(|column| column.place);
        let Some(table) = found.get_mut(&name) else { continue };
        // SQLite allows nulls in a primary key without NOT NULL, unless it is the row number. Paging after a null is
        // not possible, since no comparison with it is true.
        let is_row_number = key.len() == 1 && key[0].is_integer;
        if is_row_number || !table.has_row_number || key.iter().all(|column| column.is_required) {
            table.key = key.into_iter().map(|column| column.name).collect();
        }
    }
    Ok(found)
}

struct KeyColumn {
    name: String,
    place: i64,
    is_required: bool,
    is_integer: bool,
}

impl KeyColumn {
    fn of(row: &Row) -> KeyColumn {
        KeyColumn {
            name: text(row, 1),
            place: integer(row, 2),
            is_required: integer(row, 3) != 0,
            is_integer: integer(row, 4) != 0,
        }
    }
}

/// Whether a table exists.
///
/// # Errors
/// Those of its query.
pub async fn exists(side: &Side, name: &str) -> Result<bool, DbError> {
    let sql = match side.engine() {
        Engine::Sqlite => "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1",
        Engine::Postgres => {
            "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = current_schema() AND c.relname = ?1::text"
        }
    };
    Ok(!side.rows(sql, &[name.into()]).await?.is_empty())
}

/// Sorts the tables so that each comes after those that it refers to. For a table that refers to itself, the order of
/// its keys decides.
///
/// # Errors
/// The names of the tables that refer to each other in a cycle.
pub fn in_order<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Result<Vec<String>, Vec<String>> {
    let mut left: BTreeMap<&str, &Table> =
        tables.into_iter().map(|table| (table.name.as_str(), table)).collect();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let is_free = |table: &Table| {
            let mut others = table.references.iter().filter(|other| **other != table.name);
            !others.any(|other| left.contains_key(other.as_str()))
        };
        let free: Vec<&str> =
            left.iter().filter(|(_, table)| is_free(table)).map(|(name, _)| *name).collect();
        if free.is_empty() {
            return Err(left.keys().map(|name| (*name).to_owned()).collect());
        }
        for name in free {
            left.remove(name);
            order.push(name.to_owned());
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, references: &[&str]) -> Table {
        let references = references.iter().map(|name| (*name).to_owned()).collect();
        Table { name: name.to_owned(), references, ..Table::default() }
    }

    #[test]
    fn tables_come_behind_those_that_they_refer_to() {
        let tables = [
            table("a", &["c", "a"]),
            table("b", &[]),
            table("c", &["b", "elsewhere"]),
            table("d", &["a", "b"]),
        ];
        assert_eq!(in_order(&tables), Ok(["b", "c", "a", "d"].map(str::to_owned).to_vec()));
        let circle = [table("a", &["b"]), table("b", &["a"]), table("c", &[])];
        assert_eq!(in_order(&circle), Err(vec!["a".to_owned(), "b".to_owned()]));
    }
}
