//! The meaning of filters: each is evaluated in memory and by the databases, and all results must be equal.

use super::*;
use crate::{
    catalog::Options,
    dialect::Dialect,
    sql_value::SqlValue,
    storage::Shape,
    testing::{Store, stores},
};

mod generated;

const RECORDS: [&str; 6] = [
    r#"{"title":"The Third Man","year":1949,"rating":8.1,"seen":true,"tags":["noir","vienna"],"meta":{"a":1,"b":{"c":"x"},"list":[1,"1",true,null]},"on":"1949-09-02"}"#,
    r#"{"title":"the thing","year":1982,"rating":8,"seen":false,"tags":[],"meta":{"a":"1","b":null,"odd key":2.5},"on":"2026-01-01T00:00:00.500000Z"}"#,
    r#"{"title":"100%_sure","year":null,"rating":null,"seen":null,"tags":null,"meta":null,"on":null}"#,
    "{}",
    r#"{"title":"Ärger","year":9007199254740993,"rating":9007199254740992.0,"seen":true,"tags":["a\\b",""],"meta":{"a":true,"b":[1]},"on":"2026-01-01"}"#,
    r#"{"title":"","year":-5,"rating":-0.0,"seen":false,"tags":["5","%"],"meta":{"a":1.0,"u":18446744073709551615},"on":"2026-01-01T00:00:00.000000Z"}"#,
];

/// Each filter with the positions of the records that match it.
const CASES: &[(&str, &[usize])] = &[
    ("title = 'the thing'", &[1]),
    ("title != 'the thing'", &[0, 2, 4, 5]),
    ("not (title = 'the thing')", &[0, 2, 4, 5]),
    ("title <> \"x\" and title is not null", &[0, 1, 2, 4, 5]),
    ("title is null", &[3]),
    ("title like 'the %'", &[0, 1]),
    ("title like 'THE T%n'", &[0]),
    (r"title like '100\%\_sure'", &[2]),
    (r"title like '100__sure'", &[2]),
    ("title like 'ä%'", &[]),
    ("title like 'Ä%'", &[4]),
    ("title like ''", &[5]),
    ("title like '%'", &[0, 1, 2, 4, 5]),
    ("title not like '%t%'", &[2, 4, 5]),
    ("title like '%h%h%'", &[0, 1]),
    ("year > 1949", &[1, 4]),
    ("year >= 1949.0", &[0, 1, 4]),
    ("year < 0 or year is null", &[2, 3, 5]),
    ("year = 9007199254740993", &[4]),
    ("year = 9007199254740992.0", &[]),
    ("year > rating", &[0, 1, 4]),
    ("rating = 8", &[1]),
    ("rating = 0", &[5]),
    ("rating <= 8.1 and rating >= 8", &[0, 1]),
    ("year in (1949, 1982, -5)", &[0, 1, 5]),
    ("year not in (1949)", &[1, 4, 5]),
    ("seen", &[0, 4]),
    ("not seen", &[1, 5]),
    ("seen = false", &[1, 5]),
    ("seen is not null and not seen or year = 1949", &[0, 1, 5]),
    ("true", &[0, 1, 2, 3, 4, 5]),
    ("false or not true", &[]),
    ("tags has 'noir'", &[0]),
    ("tags has ''", &[4]),
    ("tags has '5'", &[5]),
    ("not tags has 'noir'", &[1, 2, 3, 4, 5]),
    ("tags not has 'noir'", &[1, 2, 3, 4, 5]),
    ("tags is null", &[2, 3]),
    ("tags[1] = 'vienna'", &[0]),
    ("meta.a = 1", &[0, 4, 5]),
    ("meta.a = '1'", &[1]),
    ("meta.a > 1", &[1]),
    ("meta.a", &[0, 4, 5]),
    ("meta.b.c = 'x'", &[0]),
    ("meta.b = '[1]'", &[4]),
    ("meta.b is null", &[1, 2, 3, 5]),
    ("meta.a like '1'", &[1]),
    ("meta.list has 1", &[0]),
    ("meta.list has '1'", &[0]),
    ("meta.list has true", &[0]),
    ("meta.a has 1", &[0, 4, 5]),
    ("meta.b has 'x'", &[0]),
    ("meta.list[0] = 1", &[0]),
    ("meta.list[9] is null", &[0, 1, 2, 3, 4, 5]),
    ("meta.`odd key` > 2", &[1]),
    ("meta.u > 9223372036854775807", &[5]),
    ("meta.a = title", &[]),
    ("meta.a < title", &[0, 1, 4, 5]),
    ("meta.a < id", &[0, 1, 4, 5]),
    ("meta.a in (1, '1')", &[0, 1, 4, 5]),
    ("on = '2026-01-01T01:00:00+01:00'", &[5]),
    ("on >= '2026-01-01'", &[1, 4, 5]),
    ("on > '2026-01-01'", &[1, 5]),
    ("on in ('2026-01-01', '1949-09-02')", &[0, 4]),
    ("on < @now", &[0, 1, 4, 5]),
    ("on like '2026-%'", &[1, 4, 5]),
    ("owner_id = @me", &[0, 2, 4]),
    ("owner_id is null", &[1, 3, 5]),
    ("owner_id in (@me.id, 'x')", &[0, 2, 4]),
    ("@me.email = 'me@example.org' and not @me.is_admin and year = 1949", &[0]),
    ("created_at = '2026-11-23T00:00:03Z'", &[3]),
    ("updated_at > created_at", &[]),
    ("id = 'r2' or id = 'r3'", &[2, 3]),
    ("@request.data.year = year", &[1]),
    ("id = @request.data.year", &[]),
    (
        "@request.data.nothing is null and @request.action = 'update' and @request.method = 'PATCH' and id = 'r0'",
        &[0],
    ),
    ("title = 'x'' or 1=1 --'", &[]),
    ("`title` = 'the thing'", &[1]),
    ("((((title = 'the thing'))))", &[1]),
    ("TITLE_2 is null", &[0, 1, 2, 3, 4, 5]),
    ("NOT seen AND Year_2 IS NULL", &[1, 5]),
    ("meta.u = 18446744073709551615", &[5]),
    ("meta.b = '{\"c\":\"x\"}'", &[0]),
    ("meta.b > 5", &[0, 4]),
    ("meta.b in ('[1]', 5)", &[4]),
    ("meta.a in (@me.email, 1)", &[0, 4, 5]),
    ("meta.list like '[1,%'", &[0]),
    ("meta has '[1]'", &[4]),
    ("meta has 'x'", &[]),
    ("meta is null", &[2, 3]),
    ("meta.list[1] = meta.a", &[]),
    ("meta.a = meta.list[0]", &[0]),
    ("meta.a <= meta.b", &[0, 4]),
    ("meta.a != meta.b", &[0, 4]),
    ("meta.`0` is null and tags[0] is not null", &[0, 4, 5]),
    ("tags[0] like 'A%'", &[4]),
    ("title > 'z'", &[4]),
    ("rating in (8.1, 8.0)", &[0, 1]),
    ("year > 1949.5 and year < 1982.5", &[1]),
    ("rating < year", &[0, 1, 4]),
    ("seen < true and @me.is_admin = seen", &[1, 5]),
    ("'a' < 'B'", &[]),
    ("@me.email > 'Z'", &[0, 1, 2, 3, 4, 5]),
    ("@me.email like 'ME@%'", &[0, 1, 2, 3, 4, 5]),
    ("@now is null or id = 'r1'", &[1]),
    // The indexed columns return the same as the JSON.
    ("code = 'x' or code is null", &[0, 1, 2, 3, 4, 5]),
    ("year = 1949 and year in (1949) and rank is null", &[0]),
];

fn schema() -> Schema {
    let text = r#"{"fields":[{"name":"title","type":"string"},{"name":"year","type":"integer","index":true},
        {"name":"rating","type":"number"},{"name":"seen","type":"boolean","index":true},{"name":"tags","type":"list[string]"},
        {"name":"meta","type":"object"},{"name":"on","type":"date"},{"name":"code","type":"string","unique":true},
        {"name":"TITLE_2","type":"string"},{"name":"Year_2","type":"string"},{"name":"rank","type":"number","index":true}]}"#;
    Schema::parse(&Json::parse(text).unwrap()).unwrap()
}

fn table(store: &mut Store, schema: &Schema) {
    let options = Options::default();
    let shape = Shape::of(store.dialect, 1, schema, &options, &|_| None);
    store.script("INSERT INTO collections_meta VALUES(1,'','','','{}','{}','','',1)");
    store.script("INSERT INTO collections_counts(number,count) VALUES(1,0)");
    for statement in shape.create(1) {
        store.script(&statement);
    }
    for (at, data) in RECORDS.iter().enumerate() {
        let (id, owner, time) = identity(at);
        let owner = owner.map_or(SqlValue::Null, SqlValue::from);
        let sql = "INSERT INTO collections_r_1(seq,id,owner_id,created_at,updated_at,version,data) VALUES(?1,?2,?3,?4,?4,1,?5)";
        store.rows(sql, &[SqlValue::Integer(at as i64), id.into(), owner, time.into(), (*data).into()]);
    }
}

fn identity(at: usize) -> (String, Option<&'static str>, String) {
    (format!("r{at}"), at.is_multiple_of(2).then_some("u1"), format!("2026-11-23T00:00:{at:02}.000000Z"))
}

fn in_store(store: &mut Store, filter: &Filter, context: &Context<'_>) -> Vec<Option<bool>> {
    let mut writer = SqlWriter::new(store.dialect);
    writer.push("SELECT ");
    filter.write_sql(&mut writer, context);
    writer.push(" FROM collections_r_1 ORDER BY seq");
    let (sql, params) = writer.finish();
    let rows = store.rows(&sql, &params);
    let truth = |row: Vec<SqlValue>| match row[0] {
        SqlValue::Integer(number) => Some(number != 0),
        _ => None,
    };
    rows.into_iter().map(truth).collect()
}

fn in_memory(filter: &Filter, context: &Context<'_>) -> Vec<Option<bool>> {
    RECORDS
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let ((id, owner_id, time), data) = (identity(at), Json::parse(text).unwrap());
            let record = Record { id: &id, owner_id, created_at: &time, updated_at: &time, data: &data };
            filter.holds(&record, context)
        })
        .collect()
}

#[test]
fn memory_and_databases_agree_on_every_case() {
    let schema = schema();
    let mut stores = stores();
    stores.iter_mut().for_each(|store| table(store, &schema));
    let caller = Caller { id: Some("u1"), email: Some("me@example.org"), is_admin: false };
    let given = Json::parse(r#"{"year":1982}"#).unwrap();
    let context = Context {
        caller: &caller,
        now: "2026-11-23T10:00:00.000000Z",
        method: "PATCH",
        action: "update",
        data: Some(&given),
    };
    for (text, expected) in CASES {
        let filter =
            Filter::parse(text, &schema, Writer::Author).unwrap_or_else(|error| panic!("{text}: {error}"));
        let answers = in_memory(&filter, &context);
        let held: Vec<usize> = (0..RECORDS.len()).filter(|at| answers[*at] == Some(true)).collect();
        assert_eq!(held, *expected, "{text}");
        let negated = Filter::parse(&format!("not ({text})"), &schema, Writer::Author).unwrap();
        for store in &mut stores {
            let dialect = store.dialect;
            assert_eq!(answers, in_store(store, &filter, &context), "{dialect:?}: {text}");
            assert_eq!(
                in_memory(&negated, &context),
                in_store(store, &negated, &context),
                "{dialect:?}: not ({text})"
            );
        }
    }
}

#[test]
fn an_anonymous_caller_owns_nothing() {
    let schema = schema();
    let caller = Caller::default();
    let context = Context { caller: &caller, now: "", method: "GET", action: "list", data: None };
    let mut stores = stores();
    stores.iter_mut().for_each(|store| table(store, &schema));
    for text in ["owner_id = @me", "owner_id != @me", "@me = @me"] {
        let filter = Filter::parse(text, &schema, Writer::Client).unwrap();
        for store in &mut stores {
            assert_eq!(in_memory(&filter, &context), in_store(store, &filter, &context));
        }
        assert!(in_memory(&filter, &context).iter().all(Option::is_none), "{text}");
    }
}

#[test]
fn fields_with_a_column_are_read_from_it_and_text_is_bound() {
    let schema = schema();
    let caller = Caller::default();
    let context = Context { caller: &caller, now: "", method: "GET", action: "list", data: None };
    let filter = Filter::parse(
        "year = 5 and title = 'x' and meta.a = 1 and not code in ('a','b')",
        &schema,
        Writer::Client,
    )
    .unwrap();
    let written = |dialect| {
        let mut writer = SqlWriter::new(dialect);
        filter.write_sql(&mut writer, &context);
        writer
    };
    let writer = written(Dialect::Sqlite);
    assert_eq!(
        writer.text,
        "((f_year = ?1) AND (json_extract(data,'$.title') = ?2) AND (json_extract(data,?3) = ?4) AND (NOT (f_code IN (?5,?6))))"
    );
    assert_eq!(writer.params[2], SqlValue::Text("$.\"meta\".\"a\"".to_owned()));
    let writer = written(Dialect::Postgres);
    assert!(
        writer.text.starts_with("((f_year = ?1::bigint) AND (((doc->>'title') COLLATE \"C\") = ?2::text"),
        "{}",
        writer.text
    );
    assert!(writer.text.contains("collections_numeric(doc->'meta'->?3::text)"), "{}", writer.text);
    assert_eq!(writer.params[2], SqlValue::Text("a".to_owned()));
}

#[test]
fn what_cannot_be_understood_says_where_and_why() {
    for (text, position, message) in [
        ("", 1, "expected a field, a value or `(`, found the end"),
        ("titel = 'x'", 1, "there is no field titel (did you mean title?)"),
        ("title = ", 9, "expected a field, a value or `(`, found the end"),
        ("title == 'x'", 7, "`==` is not known; write `=`"),
        ("title = 'x' && seen", 13, "`&&` is not known; write `and`"),
        ("title = 'x", 9, "the ' that begins here has no end"),
        ("title = null", 9, "null is compared by `is null` and `is not null`"),
        ("title = 5", 9, "title is a string and cannot be compared with the value, a number"),
        ("'ä' = 5", 7, "the value is a string and cannot be compared with the value, a number"),
        ("year = '5'", 8, "year is a number and cannot be compared with the value, a string"),
        ("seen = 1", 8, "seen is a boolean and cannot be compared"),
        ("on > 'soon'", 6, "expected an RFC 3339 date"),
        ("on > title", 6, "title is a string and cannot be compared with a date"),
        ("title", 1, "title is a string and needs a comparison"),
        ("'x'", 4, "expected a comparison, found the end"),
        ("title.x = 1", 1, "title is of type string and has nothing below it"),
        ("id.x = 1", 1, "id has nothing below it"),
        ("tags = 'x'", 1, "tags is an array or object: use `has`"),
        ("title has 'x'", 1, "`has` needs an array, title is a string"),
        ("tags has title", 10, "expected a value after `has`"),
        ("title in ()", 11, "expected a field, a value or `(`, found `)`"),
        ("title in ('a' 'b')", 15, "expected `)`, found a string"),
        ("title in (year)", 11, "expected a value: a list holds no fields"),
        ("year like '1'", 1, "`like` needs a string, year is a number"),
        ("title like title", 12, "expected a pattern in quotes"),
        (r"title like 'a\b'", 12, "in a pattern, `\\` stands before"),
        ("title like '%%%%%%%%%%%%%%%%%'", 12, "the pattern has more than 16 wildcards"),
        ("@you = 1", 1, "there is no such variable; there are @me"),
        ("@me.password = 'x'", 1, "there is no such variable"),
        ("@request.method = 'GET'", 1, "there is no such variable"),
        ("(title = 'x'", 13, "expected `)`, found the end"),
        ("title = 'x')", 12, "expected `and`, `or` or the end, found `)`"),
        ("title is 5", 10, "expected `null`, found a number"),
        ("title not 5", 11, "expected `in`, `like` or `has`, found a number"),
        (
            "in = 5",
            1,
            "expected a field (a field that is named like a keyword stands in backticks), found `in`",
        ),
        ("year = 1e999", 8, "the number is too large"),
        ("year = 5x", 8, "a number ends in letters here"),
        ("title = 'x'; drop table t", 12, "the character ';' has no meaning here"),
        ("meta.`a\"b` = 1", 6, "a name in backticks is not empty"),
        ("meta[-1] = 1", 6, "expected an index of 0 or more"),
        ("title = 'a\0b'", 9, "a string must not hold the character NUL"),
    ] {
        let error = Filter::parse(text, &schema(), Writer::Client).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.position, position, "{text}: {error}");
    }
}

#[test]
fn limits_hold() {
    let deep = format!("{}seen{}", "(".repeat(40), ")".repeat(40));
    let many = vec!["seen"; 101].join(" or ");
    let list = format!("year in ({})", vec!["1"; 501].join(","));
    let long = format!("title = '{}'", "x".repeat(33_000));
    let path = format!("meta{} = 1", ".a".repeat(20));
    for (text, message) in [
        (deep, "nested deeper than 32 levels"),
        ("not ".repeat(40) + "seen", "nested deeper than 32 levels"),
        (many, "more than 100 comparisons"),
        (list, "more than 500 entries"),
        (long, "longer than 32768 bytes"),
        (path, "more than 16 steps"),
    ] {
        let error = Filter::parse(&text, &schema(), Writer::Client).unwrap_err();
        assert!(error.message.contains(message), "{error}");
    }
}

#[test]
fn a_field_named_like_a_column_of_every_record_never_stands_in_for_it() {
    let text = r#"{"fields":[{"name":"owner_id","type":"string"},{"name":"id","type":"integer","index":true},{"name":"created_at","type":"string"}]}"#;
    let schema = Schema::parse(&Json::parse(text).unwrap()).unwrap();
    let caller = Caller { id: Some("u2"), email: None, is_admin: false };
    let context = Context { caller: &caller, now: "", method: "GET", action: "list", data: None };
    let data = Json::parse(r#"{"owner_id":"u2","id":5,"created_at":"x"}"#).unwrap();
    let record =
        Record { id: "r0", owner_id: Some("u1"), created_at: "2026", updated_at: "2026", data: &data };
    let mut stores = stores();
    stores.iter_mut().for_each(|store| table(store, &schema));
    for (text, holds) in [("owner_id = @me", false), ("id = 'r0'", true), ("created_at < '2027-01-01'", true)]
    {
        let filter = Filter::parse(text, &schema, Writer::Author).unwrap();
        assert_eq!(filter.holds(&record, &context), Some(holds), "{text}");
        for store in &mut stores {
            let found = in_store(store, &filter, &context)[0];
            assert_eq!(found, Some(holds), "{:?}: {text}", store.dialect);
        }
    }
    assert!(Filter::parse("id = 5", &schema, Writer::Author).is_err());
    for name in ["id", "owner_id", "created_at"] {
        assert!(matches!(place(name, &schema), Ok(Place::Record(_))), "{name}");
    }
}
