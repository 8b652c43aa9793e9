//! The shape of a collection's table, derived from its schema and rules; two shapes make the SQL of a change.

use super::table_name;
use crate::{
    access::{Action, Rule},
    catalog::Options,
    filter::{Expr, Operand, Place, RecordColumn},
    schema::{Field, OnDelete, Schema, USERS},
};

/// A generated column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its definition, as in `CREATE TABLE`.
    pub definition: String,
}

/// An index or trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The statement that makes it.
    pub sql: String,
    /// The generated column that it stands on: it goes when that one changes.
    pub column: Option<String>,
}

/// What a table consists of beyond the columns that every collection has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The generated columns.
    pub columns: Vec<Column>,
    /// The indexes.
    pub indexes: Vec<Named>,
    /// The triggers; those of `set_null` stand on the table referred to.
    pub triggers: Vec<Named>,
}

impl Shape {
    /// The shape that a schema asks for. `number_of` knows the numbers of the collections that it refers to.
    pub fn of(
        number: i64,
        schema: &Schema,
        options: &Options,
        number_of: &dyn Fn(&str) -> Option<i64>,
    ) -> Shape {
        let mut shape = Shape { triggers: count_triggers(number), ..Shape::default() };
        for field in schema.fields().iter().filter(|field| field.has_column()) {
            shape.add(number, field, number_of);
        }
        if lists_by_owner(options) {
            let table = table_name(number);
            let name = format!("collections_o_{number}");
            let sql = format!("CREATE INDEX {name} ON {table}(owner_id)");
            shape.indexes.push(Named { name, sql, column: None });
        }
        shape
    }

    fn add(&mut self, number: i64, field: &Field, number_of: &dyn Fn(&str) -> Option<i64>) {
        let (table, column, name) = (table_name(number), field.column(), &field.name);
        let mut definition = format!("{column} GENERATED ALWAYS AS (json_extract(data,'$.{name}')) VIRTUAL");
        if let Some(reference) = &field.reference {
            let target = if reference.collection == USERS {
                Some("tb_users".to_owned())
            } else {
                number_of(&reference.collection).map(table_name)
            };
            let target = target.expect("a reference was checked to lead to a collection");
            // `set_null` is a trigger's work, since a generated column cannot be set.
            let action = if reference.on_delete == OnDelete::Cascade { " ON DELETE CASCADE" } else { "" };
            definition.push_str(&format!(" REFERENCES {target}(id){action}"));
            if reference.on_delete == OnDelete::SetNull && reference.collection != USERS {
                self.triggers.push(set_null_trigger(number, field, &target));
            }
        }
        self.columns.push(Column { name: column.clone(), definition });
        let index = if field.unique {
            let name = format!("collections_u_{number}_{name}");
            Named {
                sql: format!("CREATE UNIQUE INDEX {name} ON {table}({column})"),
                name,
                column: Some(column),
            }
        } else {
            let name = format!("collections_i_{number}_{name}");
            Named { sql: format!("CREATE INDEX {name} ON {table}({column})"), name, column: Some(column) }
        };
        self.indexes.push(index);
    }

    /// The statements that make the table.
    pub fn create(&self, number: i64) -> Vec<String> {
        let table = table_name(number);
        let mut create = format!(
            "CREATE TABLE {table}(seq INTEGER PRIMARY KEY,id TEXT NOT NULL UNIQUE,owner_id TEXT,created_at TEXT NOT NULL,\
             updated_at TEXT NOT NULL,version INTEGER NOT NULL,data TEXT NOT NULL"
        );
        for column in &self.columns {
            create.push(',');
            create.push_str(&column.definition);
        }
        create.push(')');
        let made = self.indexes.iter().chain(&self.triggers).map(|named| named.sql.clone());
        std::iter::once(create).chain(made).collect()
    }

    /// Whether both shapes have this index or trigger, over the same column.
    fn keeps(&self, next: &Shape, named: &Named) -> bool {
        let same = |all: &Shape| all.indexes.iter().chain(&all.triggers).any(|other| other == named);
        let column = |all: &Shape| {
            all.columns.iter().find(|column| Some(&column.name) == named.column.as_ref()).cloned()
        };
        same(self) && same(next) && column(self) == column(next)
    }

    /// The statements that take away what `next` has not, to be run before the data is changed.
    pub fn shed(&self, next: &Shape, number: i64) -> Vec<String> {
        let gone = |named: &&Named| !self.keeps(next, named);
        let triggers =
            self.triggers.iter().filter(gone).map(|trigger| format!("DROP TRIGGER {}", trigger.name));
        let indexes = self.indexes.iter().filter(gone).map(|index| format!("DROP INDEX {}", index.name));
        let columns = self.columns.iter().filter(|column| !next.columns.contains(column));
        let columns =
            columns.map(|column| format!("ALTER TABLE {} DROP COLUMN {}", table_name(number), column.name));
        triggers.chain(indexes).chain(columns).collect()
    }

    /// The statements that add what `before` had not, to be run once the data was changed.
    pub fn grow(&self, before: &Shape, number: i64) -> Vec<String> {
        let columns = self.columns.iter().filter(|column| !before.columns.contains(column));
        let named = self.indexes.iter().chain(&self.triggers).filter(|named| !before.keeps(self, named));
        columns
            .map(|column| format!("ALTER TABLE {} ADD COLUMN {}", table_name(number), column.definition))
            .chain(named.map(|named| named.sql.clone()))
            .collect()
    }

    /// The statements that end the table.
    pub fn drop(&self, number: i64) -> Vec<String> {
        // Ending a table deletes its rows, which its own references to itself would refuse.
        let mut statements = self.shed(&Shape::default(), number);
        statements.push(format!("DROP TABLE {}", table_name(number)));
        statements
    }
}

fn count_triggers(number: i64) -> Vec<Named> {
    let table = table_name(number);
    [("ci", "INSERT", "+"), ("cd", "DELETE", "-")]
        .into_iter()
        .map(|(kind, event, sign)| {
            let name = format!("collections_{kind}_{number}");
            let sql = format!(
                "CREATE TRIGGER {name} AFTER {event} ON {table} BEGIN \
                 UPDATE collections_counts SET count=count{sign}1 WHERE number={number}; END"
            );
            Named { name, sql, column: None }
        })
        .collect()
}

fn set_null_trigger(number: i64, field: &Field, target: &str) -> Named {
    let (table, column) = (table_name(number), field.column());
    let name = format!("collections_n_{number}_{}", field.name);
    let sql = format!(
        "CREATE TRIGGER {name} BEFORE DELETE ON {target} BEGIN {}; END",
        set_null_statement(&table, &column, &field.name, "OLD.id")
    );
    Named { name, sql, column: Some(column) }
}

/// Makes a reference null in every record that holds it. `id` is SQL.
pub(crate) fn set_null_statement(table: &str, column: &str, field: &str, id: &str) -> String {
    format!(
        "UPDATE {table} SET data=json_set(data,'$.{field}',NULL),version=version+1,\
         updated_at=strftime('%Y-%m-%dT%H:%M:%f','now')||'000Z' WHERE {column}={id}"
    )
}

/// Whether a list may be narrowed to records of an owner.
fn lists_by_owner(options: &Options) -> bool {
    match options.rules.of(Action::List) {
        Rule::Owner => true,
        Rule::Expression(filter) => names_owner(filter.root()),
        _ => false,
    }
}

fn names_owner(expr: &Expr) -> bool {
    let is_owner =
        |operand: &Operand| matches!(operand, Operand::Place(Place::Record(RecordColumn::OwnerId)));
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().any(names_owner),
        Expr::Not(inner) => names_owner(inner),
        Expr::Compare { left, right, .. } => is_owner(left) || is_owner(right),
        Expr::In(operand, _) => is_owner(operand),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::{fault::Faults, json::Json};

    fn parts(schema: &str, options: &str) -> (Schema, Options) {
        let schema = Schema::parse(&Json::parse(schema).unwrap()).unwrap();
        let mut faults = Faults::default();
        let options = Options::parse(&Json::parse(options).unwrap(), &schema, &mut faults);
        assert!(faults.is_empty(), "{faults}");
        (schema, options)
    }

    fn shape(number: i64, fields: &str) -> Shape {
        let (schema, options) =
            parts(&format!("{{\"fields\":[{fields}]}}"), r#"{"access":{"list":"owner"}}"#);
        Shape::of(number, &schema, &options, &|name| {
            name.strip_prefix('c').and_then(|rest| rest.parse().ok())
        })
    }

    fn run(connection: &Connection, statements: Vec<String>) {
        for statement in statements {
            connection.execute_batch(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    fn database() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("PRAGMA foreign_keys=ON; CREATE TABLE tb_users(id TEXT PRIMARY KEY);")
            .unwrap();
        let migration = include_str!("../../migrations/sqlite/0001_catalog.up.sql");
        connection.execute_batch(migration).unwrap();
        for number in 1..=3 {
            let meta = format!(
                "INSERT INTO collections_meta VALUES({number},'i{number}','c{number}','','{{}}','{{}}','','',1)"
            );
            connection.execute_batch(&meta).unwrap();
            connection.execute_batch(&format!("INSERT INTO collections_counts VALUES({number},0)")).unwrap();
        }
        connection
    }

    fn insert(connection: &Connection, number: i64, id: &str, data: &str) -> rusqlite::Result<usize> {
        let sql = format!(
            "INSERT INTO collections_r_{number}(id,created_at,updated_at,version,data) VALUES(?1,'','',1,?2)"
        );
        connection.execute(&sql, [id, data])
    }

    fn text(connection: &Connection, sql: &str) -> String {
        connection
            .query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .unwrap()
    }

    const TARGET: &str = r#"{"name":"code","type":"string","unique":true}"#;
    const SOURCE: &str = r#"{"name":"a","type":"reference","collection":"c1"},
        {"name":"b","type":"reference","collection":"c1","on_delete":"set_null"},
        {"name":"c","type":"reference","collection":"c1","on_delete":"cascade"},
        {"name":"u","type":"reference","collection":"users"},
        {"name":"self","type":"reference","collection":"c2"}"#;

    #[test]
    fn uniques_references_and_counts_are_the_databases_own() {
        let connection = database();
        run(&connection, shape(1, TARGET).create(1));
        run(&connection, shape(2, SOURCE).create(2));
        for id in ["p1", "p2", "p3"] {
            insert(&connection, 1, id, &format!("{{\"code\":\"{id}\"}}")).unwrap();
        }
        let twice = insert(&connection, 1, "p4", r#"{"code":"p1"}"#).unwrap_err().to_string();
        assert!(twice.contains("UNIQUE constraint failed: collections_r_1.f_code"), "{twice}");
        insert(&connection, 2, "k1", r#"{"z":1.50,"a":"p1"}"#).unwrap();
        insert(&connection, 2, "k2", r#"{"b":"p2","x":[1]}"#).unwrap();
        insert(&connection, 2, "k3", r#"{"c":"p3","self":"k3"}"#).unwrap();
        assert!(insert(&connection, 2, "k4", r#"{"a":"nobody"}"#).is_err());
        assert!(insert(&connection, 2, "k4", r#"{"u":"nobody"}"#).is_err());
        let delete = |id: &str| connection.execute("DELETE FROM collections_r_1 WHERE id=?1", [id]);
        assert!(delete("p1").is_err());
        assert_eq!(delete("p2").unwrap(), 1);
        assert_eq!(
            text(&connection, "SELECT data FROM collections_r_2 WHERE id='k2'"),
            r#"Text("{\"b\":null,\"x\":[1]}")"#
        );
        assert_eq!(text(&connection, "SELECT version FROM collections_r_2 WHERE id='k2'"), "Integer(2)");
        assert_eq!(delete("p3").unwrap(), 1);
        assert_eq!(text(&connection, "SELECT count(*) FROM collections_r_2"), "Integer(2)");
        assert_eq!(text(&connection, "SELECT count FROM collections_counts WHERE number=2"), "Integer(2)");
        assert_eq!(text(&connection, "SELECT count FROM collections_counts WHERE number=1"), "Integer(1)");
    }

    #[test]
    fn a_table_changes_its_shape_in_place_and_ends() {
        let connection = database();
        run(&connection, shape(1, TARGET).create(1));
        let (before, after) = (
            shape(2, SOURCE),
            shape(
                2,
                r#"{"name":"a","type":"string","index":true},{"name":"n","type":"integer","unique":true}"#,
            ),
        );
        run(&connection, before.create(2));
        insert(&connection, 1, "p1", "{}").unwrap();
        insert(&connection, 2, "k1", r#"{"a":"p1","self":"k1"}"#).unwrap();
        run(&connection, before.shed(&after, 2));
        run(&connection, after.grow(&before, 2));
        insert(&connection, 2, "k2", r#"{"a":"anything","n":1}"#).unwrap();
        assert!(insert(&connection, 2, "k3", r#"{"n":1}"#).is_err());
        connection.execute("DELETE FROM collections_r_1", []).unwrap();
        run(&connection, after.shed(&before, 2));
        run(&connection, vec!["UPDATE collections_r_2 SET data='{}'".to_owned()]);
        run(&connection, before.grow(&after, 2));
        assert!(insert(&connection, 2, "k3", r#"{"a":"anything"}"#).is_err());
        insert(&connection, 2, "k4", r#"{"self":"k4"}"#).unwrap();
        run(&connection, before.drop(2));
        run(&connection, shape(1, TARGET).drop(1));
        let left = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'collections_%_1%' OR name LIKE 'collections_%_2%'";
        assert_eq!(text(&connection, left), "Integer(0)");
    }
}
