//! Tables of records on real databases: their parts enforce the schema, and they are changed in place.

use super::*;
use crate::{
    fault::Faults,
    json::Json,
    sql_value::SqlValue,
    testing::{Store, stores},
};

fn parts(schema: &str, options: &str) -> (Schema, Options) {
    let schema = Schema::parse(&Json::parse(schema).unwrap()).unwrap();
    let mut faults = Faults::default();
    let options = Options::parse(&Json::parse(options).unwrap(), &schema, &mut faults);
    assert!(faults.is_empty(), "{faults}");
    (schema, options)
}

fn shape(dialect: Dialect, number: i64, fields: &str) -> Shape {
    let (schema, options) = parts(&format!("{{\"fields\":[{fields}]}}"), r#"{"access":{"list":"owner"}}"#);
    Shape::of(dialect, number, &schema, &options, &|name| {
        name.strip_prefix('c').and_then(|rest| rest.parse().ok())
    })
}

fn run(store: &mut Store, statements: Vec<String>) {
    for statement in statements {
        store.script(&statement);
    }
}

fn with_collections(store: &mut Store) {
    for number in 1..=3 {
        store.script(&format!(
            "INSERT INTO collections_meta VALUES({number},'i{number}','c{number}','','{{}}','{{}}','','',1)"
        ));
        store.script(&format!("INSERT INTO collections_counts(number,count) VALUES({number},0)"));
    }
}

fn insert(store: &mut Store, number: i64, id: &str, data: &str) -> Result<(), String> {
    let sql = format!(
        "INSERT INTO collections_r_{number}(id,created_at,updated_at,version,data) VALUES(?1,'','',1,?2)"
    );
    store.try_rows(&sql, &[id.into(), data.into()]).map(drop)
}

fn delete(store: &mut Store, number: i64, id: &str) -> Result<(), String> {
    store.try_rows(&format!("DELETE FROM collections_r_{number} WHERE id=?1"), &[id.into()]).map(drop)
}

fn count(store: &mut Store, number: i64) -> SqlValue {
    let sql = store.dialect.count_of(number);
    store.value(&sql)
}

/// Checks that the database's catalog has everything in the shape.
fn is_as_made(store: &mut Store, shape: &Shape, number: i64) {
    let params = [table_name(number).into(), format!("collections\\_n\\_{number}\\_%").into()];
    let made = store.rows(store.dialect.made(), &params);
    for named in shape.named() {
        let found = made.iter().find(|row| row[0] == SqlValue::Text(named.name.clone()));
        assert_eq!(found.map(|row| row[1].clone()), Some(SqlValue::Text(named.sql.clone())), "{made:?}");
    }
    let columns = store.rows(&store.dialect.columns_of(&table_name(number)), &[]);
    for column in &shape.columns {
        assert!(columns.contains(&vec![SqlValue::Text(column.name.clone())]), "{columns:?}");
    }
}

const TARGET: &str = r#"{"name":"code","type":"string","unique":true}"#;
const SOURCE: &str = r#"{"name":"a","type":"reference","collection":"c1"},
    {"name":"Bb","type":"reference","collection":"c1","on_delete":"set_null"},
    {"name":"c","type":"reference","collection":"c1","on_delete":"cascade"},
    {"name":"u","type":"reference","collection":"users"},
    {"name":"self","type":"reference","collection":"c2"},
    {"name":"Before","type":"reference","collection":"c2","on_delete":"set_null"}"#;

#[test]
fn uniques_references_and_counts_are_the_databases_own() {
    for mut store in stores() {
        let store = &mut store;
        with_collections(store);
        let shapes = [shape(store.dialect, 1, TARGET), shape(store.dialect, 2, SOURCE)];
        run(store, shapes[0].create(1));
        run(store, shapes[1].create(2));
        is_as_made(store, &shapes[0], 1);
        is_as_made(store, &shapes[1], 2);
        for id in ["p1", "p2", "p3"] {
            insert(store, 1, id, &format!("{{\"code\":\"{id}\"}}")).unwrap();
        }
        let twice = insert(store, 1, "p4", r#"{"code":"p1"}"#).unwrap_err().to_lowercase();
        assert!(twice.contains("unique constraint") && twice.contains("code"), "{twice}");
        insert(store, 2, "k1", r#"{"z":1.50,"a":"p1"}"#).unwrap();
        insert(store, 2, "k2", r#"{"q":"\"ä\\\n","Bb":"p2","x":[1.50,{"b":2,"a":1e2}],"t":null}"#).unwrap();
        insert(store, 2, "k3", r#"{"c":"p3","self":"k3"}"#).unwrap();
        assert!(insert(store, 2, "k4", r#"{"a":"nobody"}"#).is_err());
        assert!(insert(store, 2, "k4", r#"{"u":"nobody"}"#).is_err());
        assert!(insert(store, 2, "k4", r#"{"Bb":"nobody"}"#).is_err());
        assert!(delete(store, 1, "p1").is_err());
        delete(store, 1, "p2").unwrap();
        assert_eq!(
            store.value("SELECT data FROM collections_r_2 WHERE id='k2'"),
            r#"{"q":"\"ä\\\n","Bb":null,"x":[1.50,{"b":2,"a":1e2}],"t":null}"#.into()
        );
        assert_eq!(store.value("SELECT version FROM collections_r_2 WHERE id='k2'"), SqlValue::Integer(2));
        delete(store, 1, "p3").unwrap();
        assert_eq!(store.value("SELECT count(*) FROM collections_r_2"), SqlValue::Integer(2));
        assert_eq!(count(store, 2), SqlValue::Integer(2));
        assert_eq!(count(store, 1), SqlValue::Integer(1));
    }
}

#[test]
fn records_that_are_deleted_together_may_refer_to_each_other() {
    for mut store in stores() {
        let store = &mut store;
        with_collections(store);
        let shapes = [shape(store.dialect, 1, TARGET), shape(store.dialect, 2, SOURCE)];
        run(store, shapes[0].create(1));
        run(store, shapes[1].create(2));
        insert(store, 1, "p1", "{}").unwrap();
        // One references itself, two form a circle, and one survives.
        insert(store, 2, "k1", r#"{"c":"p1"}"#).unwrap();
        insert(store, 2, "k2", r#"{"c":"p1","Before":"k1"}"#).unwrap();
        insert(store, 2, "k3", r#"{"Before":"k2"}"#).unwrap();
        store.script(r#"UPDATE collections_r_2 SET data='{"c":"p1","Before":"k2"}' WHERE id='k1'"#);
        insert(store, 2, "k4", r#"{"c":"p1"}"#).unwrap();
        store.script(r#"UPDATE collections_r_2 SET data='{"c":"p1","Before":"k4"}' WHERE id='k4'"#);
        delete(store, 1, "p1").unwrap();
        let left = store.rows("SELECT id,data FROM collections_r_2", &[]);
        assert_eq!(left, [["k3".into(), r#"{"Before":null}"#.into()]], "{:?}", store.dialect);
        assert_eq!(count(store, 2), SqlValue::Integer(1));
    }
}

#[test]
fn a_table_changes_its_shape_in_place_and_ends() {
    for mut store in stores() {
        let store = &mut store;
        with_collections(store);
        let (before, after) = (
            shape(store.dialect, 2, SOURCE),
            shape(
                store.dialect,
                2,
                r#"{"name":"a","type":"string","index":true},{"name":"n","type":"integer","unique":true}"#,
            ),
        );
        let target = shape(store.dialect, 1, TARGET);
        run(store, target.create(1));
        run(store, before.create(2));
        insert(store, 1, "p1", "{}").unwrap();
        insert(store, 2, "k1", r#"{"a":"p1","self":"k1"}"#).unwrap();
        if let Some(lock) = store.dialect.lock("collections_r_2") {
            store.script(&format!("BEGIN; {lock}; COMMIT"));
        }
        run(store, before.drop_statements(&after, 2));
        run(store, after.add_column_statements(&before, 2));
        run(store, after.add_index_statements(&before));
        is_as_made(store, &after, 2);
        insert(store, 2, "k2", r#"{"a":"anything","n":1}"#).unwrap();
        assert!(insert(store, 2, "k3", r#"{"n":1}"#).is_err());
        store.script("DELETE FROM collections_r_1");
        run(store, after.drop_statements(&before, 2));
        store.script("UPDATE collections_r_2 SET data='{}'");
        run(store, before.add_column_statements(&after, 2));
        run(store, before.add_index_statements(&after));
        is_as_made(store, &before, 2);
        assert!(insert(store, 2, "k3", r#"{"a":"anything"}"#).is_err());
        insert(store, 2, "k4", r#"{"self":"k4"}"#).unwrap();
        let links = [("f_a".to_owned(), "collections_r_1".to_owned())];
        assert_eq!(store.value(&store.dialect.dangling("collections_r_2", &links)), SqlValue::Integer(0));
        run(store, before.drop(2));
        run(store, target.drop(1));
        let left = match store.dialect {
            Dialect::Sqlite => {
                "SELECT count(*) FROM sqlite_master WHERE name LIKE 'collections_%_1%' OR name LIKE 'collections_%_2%'"
            }
            Dialect::Postgres => {
                "SELECT (SELECT count(*) FROM pg_class c WHERE c.relname ~ 'collections_._[12]' AND relnamespace=current_schema()::regnamespace) \
                 + (SELECT count(*) FROM pg_proc WHERE proname ~ 'collections_._[12]' AND pronamespace=current_schema()::regnamespace)"
            }
        };
        assert_eq!(store.value(left), SqlValue::Integer(0));
    }
}

#[test]
fn stored_data_of_any_kind_fills_columns_without_fault() {
    let fields = r#"{"name":"t","type":"string","index":true},{"name":"i","type":"integer","index":true},
        {"name":"n","type":"number","index":true},{"name":"b","type":"boolean","index":true},
        {"name":"d","type":"date","index":true},
        {"name":"a_name_that_is_longer_than_what_a_name_of_the_databases_may_be","type":"string","index":true},
        {"name":"a_name_that_is_longer_than_what_a_name_of_the_databases_may_be_2","type":"string","unique":true}"#;
    for mut store in stores() {
        with_collections(&mut store);
        let shape = shape(store.dialect, 1, fields);
        run(&mut store, shape.create(1));
        is_as_made(&mut store, &shape, 1);
        let odd =
            ["null", "true", "\"x\"", "[1]", "{\"a\":1}", "1.5", "1e300", "123456789012345678901234567890"];
        for (at, value) in odd.iter().enumerate() {
            let data = format!("{{\"t\":{value},\"i\":{value},\"n\":{value},\"b\":{value},\"d\":{value}}}");
            insert(&mut store, 1, &format!("r{at}"), &data).unwrap();
        }
        let long = r#"{"a_name_that_is_longer_than_what_a_name_of_the_databases_may_be":"x","a_name_that_is_longer_than_what_a_name_of_the_databases_may_be_2":"y"}"#;
        insert(&mut store, 1, "r10", long).unwrap();
        assert!(insert(&mut store, 1, "r11", long).is_err());
        let numbers = "SELECT f_n,f_i FROM collections_r_1 WHERE id IN ('r5','r6') ORDER BY id";
        let found = store.rows(numbers, &[]);
        assert_eq!(found[0][0], SqlValue::Real(1.5));
        assert_eq!(found[1][0], SqlValue::Real(1e300));
    }
}
