//! Pages, cursors, field selections and aggregates on real tables, on each engine.

use std::borrow::Cow;

use super::*;
use crate::{
    access::{Caller, Rule, Rules},
    catalog::Options,
    dialect::Dialect,
    fault::Faults,
    filter::Context,
    json::Json,
    schema::Schema,
    sql_value::SqlValue,
    storage::Shape,
    testing::{Store, stores},
};

mod differential;

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

/// Creates the collection 7 with rows of data, on each engine.
fn databases(schema: &Schema, rows: &[&str]) -> Vec<Store> {
    let mut stores = stores();
    for store in &mut stores {
        let shape = Shape::of(store.dialect, 7, schema, &Options::default(), &|_| None);
        store.script("INSERT INTO collections_meta VALUES(7,'','','','{}','{}','','',1)");
        store.script("INSERT INTO collections_counts(number,count) VALUES(7,0)");
        for statement in shape.create(7) {
            store.script(&statement);
        }
        for (at, data) in rows.iter().enumerate() {
            let owner = if at % 3 == 0 { "u1" } else { "u2" };
            insert(store, &format!("r{at}"), owner, data);
        }
    }
    stores
}

fn insert(store: &mut Store, id: &str, owner: &str, data: &str) {
    let sql = "INSERT INTO collections_r_7(id,owner_id,created_at,updated_at,version,data) VALUES(?1,?2,?3,?3,1,?4)";
    store.rows(sql, &[id.into(), owner.into(), "2026-11-23T00:00:00.000000Z".into(), data.into()]);
}

fn table<'a>(store: &Store, schema: &'a Schema) -> Table<'a> {
    Table { dialect: store.dialect, number: 7, name: "collections_r_7", schema }
}

fn pairs(query: &'static str) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn run(store: &mut Store, statement: &Statement) -> Vec<Vec<SqlValue>> {
    store.rows(&statement.sql, &statement.params)
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
    let (schema, caller) = (schema(), Caller::default());
    let mut stores = databases(&schema, &ROWS);
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
        // Evaluating the condition on that one record may take long.
        ("filter=r=30 and (r=30 or b like '%x%')", "2", Some(1), false),
        ("filter=r=30 and r in (30,1,2,3,4,5,6,7,8,9)", "2", Some(1), false),
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
        for store in &mut stores {
            let table = table(store, &schema);
            let statement = list.statement(table, &Rule::Public, &context(&caller), None, list.limit);
            let rows = run(store, &statement);
            assert_eq!(ids(&rows), expected, "{query}: {}", statement.sql);
            assert_eq!(rows[0][columns::TOTAL], total.map_or(SqlValue::Null, SqlValue::Integer), "{query}");
            assert_eq!(statement.is_short, short, "{query}");
        }
    }
}

#[test]
fn the_list_rule_filters_rows_and_their_count() {
    let schema = schema();
    let mut stores = databases(&schema, &ROWS);
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
        for store in &mut stores {
            let table = table(store, &schema);
            let rows = run(store, &list.statement(table, rule, &context(&caller), None, 100));
            assert_eq!(ids(&rows), expected);
            let total = SqlValue::Integer(expected.len() as i64);
            assert_eq!(rows[0][columns::TOTAL], total);
            assert_eq!(run(store, &list.count_statement(table, rule, &context(&caller)))[0][0], total);
        }
    }
    assert!(faults.is_empty());
}

#[test]
fn cursors_walk_through_every_order_and_survive_inserts() {
    let schema = schema();
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
        "m.o,-m.n",
        "-m.o",
        "id",
        "-owner_id,a",
        "-created_at",
    ] {
        for mut store in databases(&schema, &ROWS) {
            walk(&mut store, &schema, sort);
        }
    }
}

fn walk(store: &mut Store, schema: &Schema, sort: &str) {
    let caller = Caller::default();
    let table = table(store, schema);
    let query = if sort.is_empty() { "cursor=".to_owned() } else { format!("cursor=&sort={sort}") };
    let parameters = pairs(Box::leak(query.into_boxed_str()));
    let list = ListQuery::parse(&parameters, schema).unwrap();
    let whole = run(store, &list.statement(table, &Rule::Public, &context(&caller), None, 100));
    let (mut walked, mut position) = (Vec::new(), None);
    for step in 0..20 {
        let statement = list.statement(table, &Rule::Public, &context(&caller), position.as_ref(), 2);
        let page = run(store, &statement);
        let Some(last) = page.last() else { break };
        let next = behind(store, &list, last);
        let cursor = next.encode(1);
        position = Some(Position::decode(&cursor, 1, list.sort.keys.len()).unwrap());
        assert_eq!(position.as_ref(), Some(&next));
        walked.extend(page);
        if step == 1 && list.sort == Sort::default() {
            // It comes before the rows read so far: later pages neither repeat nor omit a record.
            insert(store, "r9", "u1", "{\"r\":999}");
            store.script("DELETE FROM collections_r_7 WHERE id='r8'");
        }
    }
    assert_eq!(ids(&walked), ids(&whole), "{:?}: sort={sort}", store.dialect);
}

/// Returns the position of a row that ends its page.
fn behind(store: &Store, list: &ListQuery, row: &[SqlValue]) -> Position {
    let SqlValue::Integer(seq) = row[columns::SEQ] else { panic!("seq is an integer") };
    list.position(store.dialect, seq, row[columns::SORT..].iter().cloned())
}

#[test]
fn a_cursor_uses_the_index_of_its_first_key() {
    let (schema, caller) = (schema(), Caller::default());
    for mut store in databases(&schema, &ROWS) {
        // PostgreSQL prefers to read a small table completely.
        let (explain, search) = match store.dialect {
            Dialect::Sqlite => ("EXPLAIN QUERY PLAN ", "SEARCH collections_r_7 USING INDEX"),
            Dialect::Postgres => {
                store.script("SET enable_seqscan=off; SET enable_bitmapscan=off");
                ("EXPLAIN ", "Index Cond")
            }
        };
        for (sort, value) in [("r", 30), ("-r", 30), ("a", 1)] {
            let parameters = pairs(Box::leak(format!("cursor=&sort={sort}").into_boxed_str()));
            let list = ListQuery::parse(&parameters, &schema).unwrap();
            let position = Position { values: vec![SqlValue::Integer(value)], seq: 3 };
            let mut statement =
                list.statement(table(&store, &schema), &Rule::Public, &context(&caller), Some(&position), 2);
            statement.sql.insert_str(0, explain);
            let plan = format!("{:?}", run(&mut store, &statement));
            let sorts = plan.contains("TEMP B-TREE") || plan.contains("Text(\"  ->  Sort");
            assert!(plan.contains(search) && !sorts, "{sort}: {plan}");
        }
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
fn sums_have_the_last_digit_of_compensated_floats_and_integers_overflow() {
    let schema = schema();
    let caller = Caller::default();
    let (most, least) =
        (r#"{"a":9223372036854775807,"r":9223372036854775807}"#, r#"{"a":-9223372036854775808,"r":1}"#);
    for (rows, query, expected) in [
        (
            &[r#"{"a":0.1}"#, r#"{"a":0.2}"#][..],
            "sum=a",
            Some(r#"{"by":{},"sum":{"a":0.30000000000000004}}"#),
        ),
        (&[r#"{"a":1e100}"#, r#"{"a":1}"#, r#"{"a":-1e100}"#], "sum=a", Some(r#"{"by":{},"sum":{"a":1.0}}"#)),
        (&[r#"{"a":0.1}"#; 10], "sum=a&avg=a", Some(r#"{"by":{},"sum":{"a":1.0},"avg":{"a":0.1}}"#)),
        (&[most, least], "sum=a&avg=a", Some(r#"{"by":{},"sum":{"a":-1},"avg":{"a":-0.5}}"#)),
        (&[most, r#"{"a":0.5}"#], "sum=a", Some(r#"{"by":{},"sum":{"a":9.223372036854776e+18}}"#)),
        (
            &[r#"{"a":9007199254740993}"#, r#"{"a":0.25}"#, r#"{"a":-9007199254740992}"#],
            "sum=a",
            Some(r#"{"by":{},"sum":{"a":1.25}}"#),
        ),
        (&[most, r#"{"a":1,"r":2}"#], "sum=a", None),
        (&[most, r#"{"a":1,"r":2}"#], "sum=r", None),
        (
            &[most, r#"{"a":1,"r":2}"#],
            "avg=a,r",
            Some(r#"{"by":{},"avg":{"a":4.611686018427388e+18,"r":4.611686018427388e+18}}"#),
        ),
    ] {
        let aggregate = Aggregate::parse(&pairs(query), &schema).unwrap();
        for mut store in databases(&schema, rows) {
            let statement = aggregate.statement(table(&store, &schema), &Rule::Public, &context(&caller));
            let answer = store.try_rows(&statement.sql, &statement.params).ok().map(|rows| {
                let mut out = String::new();
                aggregate.write_row(&rows[0], &mut out);
                out
            });
            assert_eq!(answer.as_deref(), expected, "{:?}: {query} over {rows:?}", store.dialect);
        }
    }
}

#[test]
fn aggregates_answer_by_group() {
    let (schema, caller) = (schema(), Caller::default());
    let mut stores = databases(&schema, &ROWS);
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
        for store in &mut stores {
            let mut out = String::new();
            let statement = aggregate.statement(table(store, &schema), &Rule::Public, &context(&caller));
            for row in run(store, &statement) {
                aggregate.write_row(&row, &mut out);
            }
            assert_eq!(out, expected, "{query}");
        }
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
