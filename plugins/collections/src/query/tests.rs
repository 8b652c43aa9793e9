//! Pages, cursors, picks and aggregates against a real SQLite table.

use std::borrow::Cow;

use rusqlite::{Connection, types::Value};

use super::*;
use crate::{
    access::{Caller, Rule, Rules},
    fault::Faults,
    filter::Context,
    json::Json,
    schema::Schema,
    sql_value::SqlValue,
};

const ROWS: [&str; 9] = [
    r#"{"a":1,"b":"x","r":10}"#,
    r#"{"a":null,"b":"y","r":20,"flag":true}"#,
    r#"{"a":2,"b":null,"r":30,"m":{"n":5,"o":"z"}}"#,
    r#"{"b":"x","r":40,"m":{"n":1}}"#,
    r#"{"a":1,"b":"a","r":50,"flag":false}"#,
    r#"{"a":2,"b":"x","r":60}"#,
    r#"{"a":1.5,"r":70,"m":{"n":5}}"#,
    r#"{"a":1,"b":"x","r":80,"flag":true}"#,
    r#"{"a":null,"b":"x","r":90}"#,
];

fn schema() -> Schema {
    let text = r#"{"fields":[{"name":"a","type":"number","index":true},{"name":"b","type":"string"},
        {"name":"r","type":"integer","required":true,"unique":true},{"name":"m","type":"object"},
        {"name":"flag","type":"boolean"},{"name":"l","type":"array"}]}"#;
    Schema::parse(&Json::parse(text).unwrap()).unwrap()
}

fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t(seq INTEGER PRIMARY KEY, id TEXT UNIQUE, owner_id TEXT, created_at TEXT, updated_at TEXT, data TEXT,
               f_a GENERATED ALWAYS AS (json_extract(data,'$.a')) VIRTUAL, f_r GENERATED ALWAYS AS (json_extract(data,'$.r')) VIRTUAL);
             CREATE INDEX i ON t(f_a); CREATE UNIQUE INDEX u ON t(f_r);
             CREATE TABLE collections_counts(number INTEGER PRIMARY KEY, count INTEGER);
             INSERT INTO collections_counts VALUES(7, 9);",
        )
        .unwrap();
    for (at, data) in ROWS.iter().enumerate() {
        let owner = if at % 3 == 0 { "u1" } else { "u2" };
        let row = (format!("r{at}"), owner, "2026-11-23T00:00:00.000000Z", data);
        connection
            .execute("INSERT INTO t(id,owner_id,created_at,updated_at,data) VALUES(?1,?2,?3,?3,?4)", row)
            .unwrap();
    }
    connection
}

fn pairs(query: &'static str) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn run(connection: &Connection, statement: &Statement) -> Vec<Vec<SqlValue>> {
    let mut prepared =
        connection.prepare(&statement.sql).unwrap_or_else(|error| panic!("{}: {error}", statement.sql));
    let params = statement.params.iter().map(|value| match value {
        SqlValue::Integer(number) => Value::Integer(*number),
        SqlValue::Real(number) => Value::Real(*number),
        SqlValue::Text(text) => Value::Text(text.clone()),
        _ => Value::Null,
    });
    let width = prepared.column_count();
    let rows = prepared.query_map(rusqlite::params_from_iter(params), |row| {
        (0..width)
            .map(|at| {
                Ok(match row.get::<_, Value>(at)? {
                    Value::Integer(number) => SqlValue::Integer(number),
                    Value::Real(number) => SqlValue::Real(number),
                    Value::Text(text) => SqlValue::Text(text),
                    _ => SqlValue::Null,
                })
            })
            .collect()
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn context<'a>(caller: &'a Caller<'a>) -> Context<'a> {
    Context { caller, now: "2026-11-23T00:00:00.000000Z", method: "GET", action: "list", data: None }
}

fn ids(rows: &[Vec<SqlValue>]) -> String {
    let ids: Vec<&str> = rows
        .iter()
        .map(|row| match &row[columns::ID] {
            SqlValue::Text(id) => &id[1..],
            _ => panic!("an id is text"),
        })
        .collect();
    ids.join("")
}

#[test]
fn pages_have_the_order_the_filter_and_the_total_that_were_asked_for() {
    let (schema, connection, caller) = (schema(), database(), Caller::default());
    let table = Table { number: 7, name: "t", schema: &schema };
    for (query, expected, total, short) in [
        ("", "876543210", Some(9), true),
        ("limit=2&offset=3", "54", Some(9), true),
        ("sort_order=asc&limit=3", "012", Some(9), true),
        ("sort_by=r&sort_order=asc&limit=3", "012", Some(9), true),
        ("sort=a", "138047625", Some(9), true),
        ("sort=-a", "526740831", Some(9), true),
        ("sort=a,-b", "183704652", Some(9), false),
        ("sort=-created_at,b", "876543210", Some(9), true),
        ("sort=m.n,-r&limit=4", "8754", Some(9), false),
        ("count=none&limit=1", "8", None, true),
        ("filter=a=1&sort=r", "047", Some(3), false),
        ("filter=r=30&limit=9", "2", Some(1), true),
        ("filter=r in (30,40) and a is null", "3", Some(1), true),
        ("filter=a>1&sort=-a&limit=1", "5", Some(3), false),
        ("filter=a>1&sort=-a&limit=1&count=none", "5", None, true),
        ("filter=a>1 and a<=2&sort=a&limit=2&count=none", "62", None, true),
        ("filter=a=1&count=none", "740", None, true),
        ("filter=a>1&count=none&limit=1", "6", None, false),
        ("filter=a>1 and b='x'&sort=a&count=none", "5", None, false),
        ("filter=a!=1&sort=a&limit=1&count=none", "6", None, false),
    ] {
        let list =
            ListQuery::parse(&pairs(query), &schema).unwrap_or_else(|fault| panic!("{query}: {fault:?}"));
        let statement = list.statement(table, &Rule::Public, &context(&caller), None, list.limit);
        let rows = run(&connection, &statement);
        assert_eq!(ids(&rows), expected, "{query}: {}", statement.sql);
        assert_eq!(rows[0][columns::TOTAL], total.map_or(SqlValue::Null, SqlValue::Integer), "{query}");
        assert_eq!(statement.is_short, short, "{query}");
    }
}

#[test]
fn the_list_rule_filters_rows_and_their_count() {
    let (schema, connection) = (schema(), database());
    let table = Table { number: 7, name: "t", schema: &schema };
    let mut faults = Faults::default();
    let access = Json::parse(r#"{"list":"owner","read":"owner_id = @me and r < 50"}"#).unwrap();
    let rules = Rules::parse(&access, &schema, &mut faults);
    let caller = Caller { id: Some("u1"), ..Caller::default() };
    let list = ListQuery::parse(&pairs("filter=r > 5"), &schema).unwrap();
    for (rule, expected) in [
        (rules.of(crate::access::Action::List), "630"),
        (rules.of(crate::access::Action::Read), "30"),
        (&Rule::Public, "876543210"),
    ] {
        let rows = run(&connection, &list.statement(table, rule, &context(&caller), None, 100));
        assert_eq!(ids(&rows), expected);
        let total = SqlValue::Integer(expected.len() as i64);
        assert_eq!(rows[0][columns::TOTAL], total);
        assert_eq!(run(&connection, &list.count_statement(table, rule, &context(&caller)))[0][0], total);
    }
    assert!(faults.is_empty());
}

#[test]
fn cursors_walk_through_every_order_and_survive_inserts() {
    let (schema, caller) = (schema(), Caller::default());
    let table = Table { number: 7, name: "t", schema: &schema };
    for sort in [
        "",
        "a",
        "-a",
        "b",
        "-b",
        "a,b",
        "a,-b",
        "-a,b",
        "-b,-a",
        "r",
        "-r",
        "m.n,-a",
        "-m.n,r",
        "id",
        "-owner_id,a",
        "-created_at",
    ] {
        let connection = database();
        let query = if sort.is_empty() { "cursor=".to_owned() } else { format!("cursor=&sort={sort}") };
        let parameters = pairs(Box::leak(query.into_boxed_str()));
        let list = ListQuery::parse(&parameters, &schema).unwrap();
        let whole = run(&connection, &list.statement(table, &Rule::Public, &context(&caller), None, 100));
        let (mut walked, mut position) = (Vec::new(), None);
        for step in 0..20 {
            let page = run(
                &connection,
                &list.statement(table, &Rule::Public, &context(&caller), position.as_ref(), 2),
            );
            let Some(last) = page.last() else { break };
            let SqlValue::Integer(seq) = last[columns::SEQ] else { panic!("seq is an integer") };
            let next = Position { values: last[columns::SORT..].to_vec(), seq };
            let cursor = next.encode(1);
            position = Some(Position::decode(&cursor, 1, list.sort.keys.len()).unwrap());
            assert_eq!(position.as_ref(), Some(&next));
            walked.extend(page);
            if step == 1 && list.sort == Sort::default() {
                // Before what was read: the pages to come neither repeat a record nor leave one out.
                connection.execute("INSERT INTO t(id,data) VALUES('r9','{\"r\":999}')", []).unwrap();
                connection.execute("DELETE FROM t WHERE id='r8'", []).unwrap();
            }
        }
        assert_eq!(ids(&walked), ids(&whole), "sort={sort}");
    }
}

#[test]
fn a_cursor_uses_the_index_of_its_first_key() {
    let (schema, connection, caller) = (schema(), database(), Caller::default());
    let table = Table { number: 7, name: "t", schema: &schema };
    for (sort, value) in [("r", 30), ("-r", 30), ("a", 1)] {
        let parameters = pairs(Box::leak(format!("cursor=&sort={sort}").into_boxed_str()));
        let list = ListQuery::parse(&parameters, &schema).unwrap();
        let position = Position { values: vec![SqlValue::Integer(value)], seq: 3 };
        let mut statement = list.statement(table, &Rule::Public, &context(&caller), Some(&position), 2);
        statement.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
        let plan = format!("{:?}", run(&connection, &statement));
        assert!(plan.contains("SEARCH t USING INDEX") && !plan.contains("TEMP B-TREE"), "{sort}: {plan}");
    }
}

#[test]
fn cursors_that_do_not_fit_are_refused() {
    let good = Position { values: vec![SqlValue::Text("ä\"".to_owned())], seq: 5 }.encode(1);
    assert!(Position::decode(&good, 1, 1).is_ok());
    for (cursor, fingerprint, keys) in [
        (good.as_str(), 2, 1),
        (good.as_str(), 1, 2),
        ("", 1, 1),
        ("!!!", 1, 1),
        (&good[1..], 1, 1),
        ("WzEsMl0", 1, 0),
        (&"A".repeat(10_000), 1, 1),
    ] {
        assert_eq!(
            Position::decode(cursor, fingerprint, keys).unwrap_err().code,
            "invalid_cursor",
            "{cursor}"
        );
    }
}

#[test]
fn bad_parameters_are_named() {
    let schema = schema();
    for (query, param, message) in [
        ("limit=0", "limit", "must be an integer of 1 to 1000"),
        ("limit=1001", "limit", "must be an integer of 1 to 1000"),
        ("limit=ten", "limit", "must be an integer"),
        ("offset=-1", "offset", "must be an integer of 0"),
        ("limit=1&limit=2", "limit", "is given twice"),
        ("sort=c", "sort", "there is no field c"),
        ("sort=m", "sort", "m is of type object and has no order"),
        ("sort_order=up", "sort_order", "must be asc or desc"),
        ("sort_by=", "sort_by", ""),
        ("sort=a&sort_by=b", "sort", "must not be given beside"),
        ("sort=a,a,a,a,a,a,a,a,a", "sort", "has more than 8 keys"),
        ("sort=a; drop table t", "sort", "has no meaning here"),
        ("filter=a = ", "filter", "at character 4: expected a field"),
        ("count=many", "count", "must be exact or none"),
        ("cursor=&offset=1", "offset", "must not be given beside a cursor"),
        ("fields=c", "fields", "there is no field c"),
        ("fields=a.b", "fields", "a is of type number and has nothing below it"),
        ("expand=a b", "expand", "must name reference fields"),
        ("expand=a.b.c.d", "expand", "follows more than 3 references"),
    ] {
        match ListQuery::parse(&pairs(query), &schema) {
            Ok(_) => assert!(message.is_empty(), "{query} was taken"),
            Err(fault) => {
                assert_eq!(fault.param, param, "{query}");
                assert!(fault.message.contains(message), "{query}: {}", fault.message);
            }
        }
    }
}

#[test]
fn fields_are_picked_from_raw_json() {
    let schema = schema();
    let data = r#"{"a":1.50,"m":{"n":{"x":[1,2]},"o":"z","p":null},"b":"\u00e4","l":[{"q":1}]}"#;
    for (fields, expected) in [
        ("a", r#"{"a":1.50}"#),
        ("b,a", r#"{"a":1.50,"b":"\u00e4"}"#),
        ("m.o,m.p", r#"{"m":{"o":"z","p":null}}"#),
        ("m.n.x", r#"{"m":{"n":{"x":[1,2]}}}"#),
        ("m.o,m", r#"{"m":{"n":{"x":[1,2]},"o":"z","p":null}}"#),
        ("m,m.o", r#"{"m":{"n":{"x":[1,2]},"o":"z","p":null}}"#),
        ("m.o.deeper", r#"{"m":{"o":"z"}}"#),
        ("id,created_at", "{}"),
        ("flag", "{}"),
        ("l.q", r#"{"l":[{"q":1}]}"#),
    ] {
        assert_eq!(Pick::parse(fields, &schema).unwrap().apply(data).unwrap(), expected, "{fields}");
    }
}

#[test]
fn aggregates_answer_by_group() {
    let (schema, connection, caller) = (schema(), database(), Caller::default());
    let table = Table { number: 7, name: "t", schema: &schema };
    for (query, expected) in [
        ("", r#"{"by":{},"count":9}"#),
        (
            "count=*,a&sum=r&avg=a&min=b,flag&max=flag",
            r#"{"by":{},"count":9,"count_of":{"a":6},"sum":{"r":450},"avg":{"a":1.4166666666666667},"min":{"b":"a","flag":false},"max":{"flag":true}}"#,
        ),
        ("group_by=b&sort=-count,b&limit=2", r#"{"by":{"b":"x"},"count":5}{"by":{"b":null},"count":2}"#),
        (
            "group_by=flag&sum=r",
            r#"{"by":{"flag":null},"sum":{"r":300}}{"by":{"flag":false},"sum":{"r":50}}{"by":{"flag":true},"sum":{"r":100}}"#,
        ),
        (
            "group_by=b,a&filter=b='x' and a is not null&sort=-max.r&max=r",
            r#"{"by":{"b":"x","a":1},"max":{"r":80}}{"by":{"b":"x","a":2},"max":{"r":60}}"#,
        ),
        ("filter=r>1000&sum=r", r#"{"by":{},"sum":{"r":null}}"#),
    ] {
        let aggregate =
            Aggregate::parse(&pairs(query), &schema).unwrap_or_else(|fault| panic!("{query}: {fault:?}"));
        let mut out = String::new();
        for row in run(&connection, &aggregate.statement(table, &Rule::Public, &context(&caller))) {
            aggregate.write_row(&row, &mut out);
        }
        assert_eq!(out, expected, "{query}");
    }
    for (query, message) in [
        ("sum=b", "only numbers have a sum"),
        ("avg=*", "there is no field *"),
        ("group_by=m", "has no single value"),
        ("group_by=b,b", "names b twice"),
        ("sort=r", "r is not among count"),
        ("min=nope", "there is no field nope"),
    ] {
        let fault = Aggregate::parse(&pairs(query), &schema).unwrap_err();
        assert!(fault.message.contains(message), "{query}: {}", fault.message);
    }
}
