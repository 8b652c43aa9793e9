//! Every operator on every kind of place with every type of value. Each filter that passes the check is evaluated in
//! memory and by the databases, and all results must be equal, unknown ones included. The same places are also used in
//! sorts and access rules.

use std::{borrow::Cow, cmp::Ordering};

use super::*;
use crate::{
    access::Rule,
    filter::eval::{Datum, at_place},
    query::{ListQuery, Position, Statement, Table, columns},
};

const USER: &str = "01890000-0000-7000-8000-000000000001";

/// Records with values of every type at each place that allows any type.
const ROWS: [&str; 16] = [
    r#"{"t":"a","i":1,"n":1.5,"b":true,"d":"2026-01-01","r":"01890000-0000-7000-8000-000000000001","lt":["a","b"],"li":[1,2],"ln":[1.5,2],"lb":[true,false],"free":[1,"a"],"o":{"a":1,"b":1,"deep":{"z":"x"},"list":[1,{"k":"v"}]}}"#,
    r#"{"t":"A_","i":-7,"n":0.1,"b":false,"d":"2026-01-01T00:00:00.000000Z","r":null,"lt":[],"li":[],"ln":[],"lb":[],"free":[],"o":{"a":"1","b":1,"deep":{"z":1},"list":["1",{"k":null}]}}"#,
    r#"{"t":null,"i":null,"n":null,"b":null,"d":null,"lt":null,"li":null,"ln":null,"lb":null,"free":null,"o":null}"#,
    "{}",
    r#"{"t":"","i":0,"n":0,"b":true,"d":"1999-12-31T23:59:59.999999Z","lt":[""],"li":[0],"ln":[0],"lb":[false],"free":[null],"o":{}}"#,
    r#"{"t":"Ä%","i":9007199254740993,"n":1e300,"o":{"a":null,"b":null,"deep":null,"list":null}}"#,
    r#"{"t":"10","i":10,"n":10,"lt":["10"],"li":[10],"ln":[10],"lb":[true],"free":["10",10],"o":{"a":true,"b":1,"deep":{"z":true},"list":[true,false]}}"#,
    r#"{"t":"true","i":2,"n":2.0,"free":[true],"o":{"a":[1],"b":"[1]","deep":{"z":[1]},"list":[[1],[2]]}}"#,
    r#"{"t":"[1]","i":3,"n":3.25,"free":[[1]],"o":{"a":{"k":"v"},"b":"{\"k\":\"v\"}","deep":{"z":{"k":"v"}},"list":[{"k":"v"}]}}"#,
    r#"{"t":"{\"k\":\"v\"}","n":-0.7,"free":[{"k":"v"}],"o":{"a":18446744073709551615,"b":9223372036854775807,"deep":{"z":-0.0},"list":[1.0,2.0]}}"#,
    r#"{"t":"日本","n":12345678901234567,"free":["日本"],"o":{"a":1e16,"b":10000000000000000,"deep":{"z":1e16},"list":[1e16]}}"#,
    r#"{"t":"a'b\\c","n":0.30000000000000004,"free":["a'b\\c"],"o":{"a":"a'b\\c","b":"A'B\\C","deep":{"z":""},"list":[""]}}"#,
    r#"{"t":"u1","i":100,"n":1e16,"free":["u1"],"o":{"a":"u1","b":"u2","deep":{"z":"u1"},"list":["u1"],"odd key":5}}"#,
    r#"{"t":"line\nbreak","i":-9223372036854775808,"n":1e-7,"o":{"a":"line\nbreak","b":"","odd key":"line\nbreak","deep":{"z":"%"},"list":["%_"]}}"#,
    r#"{"t":"me@example.org","i":9223372036854775807,"n":0.2,"o":{"a":2.5,"b":2,"deep":"x","list":{"0":"not an array"}}}"#,
    r#"{"t":"2026-11-23T00:00:03.000000Z","i":5,"n":5,"d":"2026-11-23T00:00:03.000000Z","o":{"a":"2026-11-23T00:00:03.000000Z","b":"2026-01-01","deep":{"z":5},"list":[5,6]}}"#,
];

/// Every kind of place.
const PLACES: [&str; 29] = [
    "id",
    "owner_id",
    "created_at",
    "updated_at",
    "t",
    "i",
    "n",
    "b",
    "d",
    "r",
    "lt",
    "free",
    "o",
    "lt[0]",
    "li[1]",
    "ln[0]",
    "lb[0]",
    "lt[99]",
    "free[0]",
    "free[0].k",
    "o.a",
    "o.b",
    "o.deep.z",
    "o.list",
    "o.list[0]",
    "o.list[1].k",
    "o.`odd key`",
    "o.missing",
    "o.a[0]",
];

const VALUES: [&str; 22] = [
    "''",
    "'a'",
    "'A_'",
    "'10'",
    "'[1]'",
    "'{\"k\":\"v\"}'",
    "'true'",
    "'日本'",
    "'u1'",
    "'2026-01-01'",
    "'2026-11-23T01:00:03+01:00'",
    "0",
    "1",
    "-7",
    "10.0",
    "1.5",
    "1e16",
    "9007199254740993",
    "true",
    "false",
    "@me",
    "@now",
];

const VARIABLES: [&str; 5] = ["@me", "@me.email", "@me.is_admin", "@now", "@request.data.x"];

fn schema(indexed: bool) -> Schema {
    let scalar =
        |name: &str, kind: &str| format!("{{\"name\":\"{name}\",\"type\":\"{kind}\",\"index\":{indexed}}}");
    let plain = |name: &str, kind: &str| format!("{{\"name\":\"{name}\",\"type\":\"{kind}\"}}");
    let fields = [
        scalar("t", "string"),
        scalar("i", "integer"),
        scalar("n", "number"),
        scalar("b", "boolean"),
        scalar("d", "date"),
        "{\"name\":\"r\",\"type\":\"reference\",\"collection\":\"users\"}".to_owned(),
        plain("lt", "list[string]"),
        plain("li", "list[int]"),
        plain("ln", "list[float]"),
        plain("lb", "list[bool]"),
        plain("free", "array"),
        plain("o", "object"),
    ];
    let text = format!("{{\"fields\":[{}]}}", fields.join(","));
    Schema::parse(&Json::parse(&text).unwrap()).unwrap()
}

fn databases(schema: &Schema) -> Vec<Store> {
    let mut stores = stores();
    for store in &mut stores {
        store.script(&format!("INSERT INTO tb_users(id) VALUES('{USER}')"));
        let shape = Shape::of(store.dialect, 1, schema, &Options::default(), &|_| None);
        store.script("INSERT INTO collections_meta VALUES(1,'','','','{}','{}','','',1)");
        store.script("INSERT INTO collections_counts(number,count) VALUES(1,0)");
        for statement in shape.create(1) {
            store.script(&statement);
        }
        for (at, data) in ROWS.iter().enumerate() {
            let (id, owner, time) = identity(at);
            let owner = owner.map_or(SqlValue::Null, SqlValue::from);
            let sql = "INSERT INTO collections_r_1(seq,id,owner_id,created_at,updated_at,version,data) VALUES(?1,?2,?3,?4,?4,1,?5)";
            store.rows(sql, &[SqlValue::Integer(at as i64), id.into(), owner, time.into(), (*data).into()]);
        }
    }
    stores
}

fn parsed_rows() -> Vec<Json<'static>> {
    ROWS.iter().map(|text| Json::parse(text).unwrap()).collect()
}

/// Runs a test on each record.
fn each<T>(data: &[Json<'_>], mut test: impl FnMut(&Record<'_>) -> T) -> Vec<T> {
    let record = |(at, data)| {
        let (id, owner_id, time) = identity(at);
        test(&Record { id: &id, owner_id, created_at: &time, updated_at: &time, data })
    };
    data.iter().enumerate().map(record).collect()
}

/// Returns every filter of one place.
fn filters(place: &str) -> Vec<String> {
    let mut filters = vec![format!("{place} is null"), format!("{place} is not null"), place.to_owned()];
    for compare in ["=", "!=", "<", "<=", ">", ">="] {
        filters.extend(VALUES.iter().map(|value| format!("{place} {compare} {value}")));
        filters.extend(VARIABLES.iter().map(|variable| format!("{variable} {compare} {place}")));
    }
    for compare in ["=", "<=", ">"] {
        filters.extend(PLACES.iter().map(|other| format!("{place} {compare} {other}")));
    }
    for pattern in ["a_", "%", "_", "", "%A%", "[%", "\\%", "2026%", "ä%", "u_"] {
        filters.push(format!("{place} like '{pattern}'"));
        filters.push(format!("{place} not like '{pattern}'"));
    }
    for list in [
        "'a', '10', ''",
        "1, 10, 1.5",
        "true",
        "'a', 1, true, '[1]'",
        "@me, 'x'",
        "@request.data.x, 1",
        "@now",
    ] {
        filters.push(format!("{place} in ({list})"));
        filters.push(format!("{place} not in ({list})"));
    }
    filters.extend(VALUES.iter().map(|value| format!("{place} has {value}")));
    filters.extend(VARIABLES.iter().map(|variable| format!("{place} has {variable}")));
    filters
}

/// Returns filters of variables only, whose values may be absent.
fn filters_of_variables() -> Vec<String> {
    let mut filters = Vec::new();
    for variable in VARIABLES {
        filters.push(variable.to_owned());
        filters.push(format!("{variable} is null"));
        filters.push(format!("{variable} like 'a%'"));
        filters.push(format!("{variable} in ('a', @me)"));
        filters.extend(VALUES.iter().map(|value| format!("{variable} = {value}")));
        filters.extend(VARIABLES.iter().map(|other| format!("{variable} >= {other}")));
    }
    filters
}

/// Returns the results of several filters, evaluated by one query; a database error includes the filter.
fn ask(store: &mut Store, filters: &[(String, Filter)], context: &Context<'_>) -> Vec<Vec<Option<bool>>> {
    let statement = |filters: &[(String, Filter)], dialect| {
        let mut writer = SqlWriter::new(dialect);
        writer.push("SELECT ");
        for (at, (_, filter)) in filters.iter().enumerate() {
            writer.push(if at > 0 { "," } else { "" });
            filter.write_sql(&mut writer, context);
        }
        writer.push(" FROM collections_r_1 ORDER BY seq");
        writer.finish()
    };
    let (sql, params) = statement(filters, store.dialect);
    let rows = store.try_rows(&sql, &params).unwrap_or_else(|_| {
        for alone in filters {
            let (sql, params) = statement(std::slice::from_ref(alone), store.dialect);
            if let Err(fault) = store.try_rows(&sql, &params) {
                panic!("{:?}: {}: {fault}\n{sql}", store.dialect, alone.0);
            }
        }
        panic!("{:?}: together they fail", store.dialect)
    });
    let truth = |value: &SqlValue| match value {
        SqlValue::Integer(number) => Some(*number != 0),
        _ => None,
    };
    (0..filters.len()).map(|at| rows.iter().map(|row| truth(&row[at])).collect()).collect()
}

fn check(schema: &Schema, stores: &mut [Store], context: &Context<'_>, texts: Vec<String>) -> usize {
    const AT_ONCE: usize = 24;
    let data = parsed_rows();
    // Filters that fail the check never reach a database.
    let allowed =
        |text: String| Filter::parse(&text, schema, Writer::Author).ok().map(|filter| (text, filter));
    let filters: Vec<(String, Filter)> = texts.into_iter().filter_map(allowed).collect();
    let mut differing = Vec::new();
    for some in filters.chunks(AT_ONCE) {
        let expected: Vec<_> =
            some.iter().map(|(_, filter)| each(&data, |record| filter.holds(record, context))).collect();
        for store in &mut *stores {
            for (at, found) in ask(store, some, context).into_iter().enumerate() {
                if found != expected[at] {
                    let rows: Vec<_> =
                        (0..ROWS.len()).filter(|row| found[*row] != expected[at][*row]).collect();
                    differing.push(format!(
                        "{:?}: {} differs for the records {rows:?}",
                        store.dialect, some[at].0
                    ));
                }
            }
        }
    }
    let some = &differing[..differing.len().min(40)];
    assert!(some.is_empty(), "{} filters differ:\n{}", differing.len(), some.join("\n"));
    filters.len()
}

#[test]
fn every_operator_on_every_place_has_one_answer() {
    const NOW: &str = "2026-11-23T00:00:07.000000Z";
    let me = Caller { id: Some("u1"), email: Some("me@example.org"), is_admin: false };
    let mut checked = 0;
    for (indexed, caller) in [(false, me), (true, Caller::default())] {
        let schema = schema(indexed);
        let mut stores = databases(&schema);
        let context = Context { caller: &caller, now: NOW, method: "GET", action: "list", data: None };
        let texts = PLACES.iter().flat_map(|place| filters(place)).chain(filters_of_variables()).collect();
        checked += check(&schema, &mut stores, &context, texts);
    }
    assert!(checked > 5_000, "only {checked} filters passed the check");
}

/// Returns the sort order of two values: null, then numbers, then text.
fn in_order(left: &Datum<'_>, right: &Datum<'_>) -> Ordering {
    left.compare(right).unwrap_or_else(|| (*left != Datum::Null).cmp(&(*right != Datum::Null)))
}

fn rows_of(store: &mut Store, statement: &Statement, what: &str) -> Vec<Vec<SqlValue>> {
    store
        .try_rows(&statement.sql, &statement.params)
        .unwrap_or_else(|fault| panic!("{:?}: {what}: {fault}\n{}", store.dialect, statement.sql))
}

fn seq_of(row: &[SqlValue]) -> i64 {
    match row[columns::SEQ] {
        SqlValue::Integer(seq) => seq,
        _ => panic!("a seq is an integer"),
    }
}

/// Walks through every page of a list by cursor, and returns the records' positions.
fn walk(
    store: &mut Store,
    schema: &Schema,
    list: &ListQuery,
    rule: &Rule,
    context: &Context<'_>,
    what: &str,
) -> Vec<i64> {
    let table = Table { dialect: store.dialect, number: 1, name: "collections_r_1", schema };
    let (mut found, mut position): (Vec<i64>, Option<Position>) = (Vec::new(), None);
    loop {
        let statement = list.statement(table, rule, context, position.as_ref(), list.limit);
        let rows = rows_of(store, &statement, what);
        found.extend(rows.iter().map(|row| seq_of(row)));
        let Some(last) = rows.last().filter(|_| found.len() <= ROWS.len()) else { return found };
        position = Some(list.position(store.dialect, seq_of(last), last[columns::SORT..].iter().cloned()));
    }
}

#[test]
fn every_place_that_can_be_sorted_by_has_one_order() {
    let data = parsed_rows();
    let caller = Caller::default();
    let context = Context { caller: &caller, now: "", method: "GET", action: "list", data: None };
    for indexed in [false, true] {
        let schema = schema(indexed);
        let mut stores = databases(&schema);
        for (place, direction) in PLACES.iter().flat_map(|place| [(place, ""), (place, "-")]) {
            let sort = format!("{direction}{place}");
            let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = vec![
                ("sort".into(), sort.as_str().into()),
                ("cursor".into(), "".into()),
                ("limit".into(), "5".into()),
            ];
            let Ok(list) = ListQuery::parse(&pairs, &schema) else { continue };
            let key = crate::filter::place(place, &schema).unwrap();
            // Compares values by their text, since a value does not outlive its record here.
            let compare = |left: usize, right: usize| {
                let times = [identity(left), identity(right)];
                let record = |side: usize, at: usize| Record {
                    id: &times[side].0,
                    owner_id: times[side].1,
                    created_at: &times[side].2,
                    updated_at: &times[side].2,
                    data: &data[at],
                };
                let (left_record, right_record) = (record(0, left), record(1, right));
                let order = in_order(&at_place(&key, &left_record), &at_place(&key, &right_record));
                let order = order.then(left.cmp(&right));
                if direction == "-" { order.reverse() } else { order }
            };
            let mut expected: Vec<usize> = (0..ROWS.len()).collect();
            expected.sort_by(|left, right| compare(*left, *right));
            let expected: Vec<i64> = expected.into_iter().map(|at| at as i64).collect();
            for store in &mut stores {
                let found = walk(store, &schema, &list, &Rule::Public, &context, &sort);
                assert_eq!(found, expected, "{:?}: sort={sort}, indexed {indexed}", store.dialect);
            }
        }
    }
}

#[test]
fn every_place_may_stand_in_an_access_rule() {
    let data = parsed_rows();
    let caller = Caller::default();
    let context = Context { caller: &caller, now: "", method: "GET", action: "list", data: None };
    let schema = schema(false);
    let mut stores = databases(&schema);
    let list =
        ListQuery::parse(&[("sort".into(), "id".into()), ("cursor".into(), "".into())], &schema).unwrap();
    for place in PLACES {
        for text in [
            format!("{place} is null"),
            format!("{place} is not null and @me is null"),
            format!("{place} = o.b"),
        ] {
            let Ok(filter) = Filter::parse(&text, &schema, Writer::Author) else { continue };
            let holds = each(&data, |record| filter.holds(record, &context) == Some(true));
            let mut expected: Vec<i64> =
                (0..ROWS.len()).filter(|at| holds[*at]).map(|at| at as i64).collect();
            expected.sort_by_key(|at| identity(usize::try_from(*at).unwrap()).0);
            let rule = Rule::Expression(filter);
            for store in &mut stores {
                assert_eq!(
                    walk(store, &schema, &list, &rule, &context, &text),
                    expected,
                    "{:?}: {text}",
                    store.dialect
                );
                let table =
                    Table { dialect: store.dialect, number: 1, name: "collections_r_1", schema: &schema };
                let count = rows_of(store, &list.count_statement(table, &rule, &context), &text);
                assert_eq!(count[0][0], SqlValue::Integer(expected.len() as i64), "{text}");
            }
        }
    }
}
