//! What validation accepts, refuses and writes.

use super::*;

fn schema(text: &str) -> Schema {
    Schema::parse(&Json::parse(text).unwrap()).unwrap()
}

fn everything() -> Schema {
    schema(
        r#"{"fields":[
        {"name":"title","type":"string","required":true,"min_length":2,"max_length":5,"pattern":"^[a-zäöü]+$"},
        {"name":"year","type":"integer","min":1900,"max":2100},
        {"name":"rating","type":"number","min":0.5,"max":10,"default":5},
        {"name":"seen","type":"boolean","default":false},
        {"name":"tags","type":"list[string]","max_length":3},
        {"name":"sizes","type":"list[int]"},
        {"name":"free","type":"array"},
        {"name":"meta","type":"object"},
        {"name":"on","type":"date","min":"2000-01-01"},
        {"name":"by","type":"reference","collection":"users"}]}"#,
    )
}

fn faults(outcome: Result<String, Faults>) -> Vec<String> {
    match outcome {
        Ok(text) => vec![format!("ok {text}")],
        Err(faults) => faults.list().iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn data_is_taken_or_every_fault_is_named() {
    let cases: &[(&str, &[&str])] = &[
        (r#"{"title":"abc"}"#, &[r#"ok {"title":"abc","rating":5,"seen":false}"#]),
        (r#"{"seen":true,"title":"äöü","rating":0.5}"#, &[r#"ok {"seen":true,"title":"äöü","rating":0.5}"#]),
        (r#"{"title":"abc","rating":null}"#, &[r#"ok {"title":"abc","rating":null,"seen":false}"#]),
        (
            r#"{"title":"abc","on":"2026-01-01T01:00:00+01:00","rating":1e1,"seen":null}"#,
            &[r#"ok {"title":"abc","on":"2026-01-01T00:00:00.000000Z","rating":10.0,"seen":null}"#],
        ),
        ("{}", &["title: is required"]),
        ("[]", &["data: must be an object, is an array"]),
        (r#"{"title":null}"#, &["title: must not be null"]),
        (r#"{"title":"abc","title":"abd"}"#, &["title: is given twice"]),
        (r#"{"title":"abc","yaar":1}"#, &["yaar: is not a field of this collection (did you mean year?)"]),
        (
            r#"{"title":"abc","titles":1}"#,
            &["titles: is not a field of this collection (did you mean title?)"],
        ),
        (
            r#"{"title":"A","year":1.0,"rating":10.5,"seen":1,"tags":["a",2,"c","d"],"sizes":[1.5],"on":"soon","by":"me"}"#,
            &[
                "title: must have at least 2 characters, has 1",
                "title: must match the pattern ^[a-zäöü]+$",
                "year: must be an integer of at most 64 bits",
                "rating: must be at most 10",
                "seen: must be true or false, is a number",
                "tags: must have at most 3 entries, has 4",
                "tags[1]: must be a string, is a number",
                "sizes[0]: must be an integer of at most 64 bits, is a number",
                "on: must be an RFC 3339 date or date-time",
                "by: must be the id of a record, a UUID in lower case",
            ],
        ),
        (r#"{"title":"abc","year":9223372036854775808}"#, &["year: must be an integer of at most 64 bits"]),
        (r#"{"title":"abc","year":"1999"}"#, &["year: must be an integer, is a string"]),
        (r#"{"title":"abc","meta":{"a":{"b":1,"b":2}}}"#, &["meta.a.b: is given twice"]),
        (r#"{"title":"abc","meta":{"a":["\u0000"]}}"#, &["meta.a[0]: must not hold the character NUL"]),
        (r#"{"title":"abc","on":"1999-12-31"}"#, &["on: must not be before 2000-01-01"]),
        (r#"{"title":"abcdef"}"#, &["title: must have at most 5 characters, has 6"]),
    ];
    let schema = everything();
    for (text, expected) in cases {
        let outcome = data(&schema, UnknownFields::Reject, &Json::parse(text).unwrap());
        assert_eq!(faults(outcome), *expected, "{text}");
    }
}

#[test]
fn unknown_fields_are_dropped_where_the_collection_says_so() {
    let outcome = data(
        &everything(),
        UnknownFields::Drop,
        &Json::parse(r#"{"title":"abc","x":1,"seen":true,"rating":1}"#).unwrap(),
    );
    assert_eq!(faults(outcome), [r#"ok {"title":"abc","seen":true,"rating":1}"#]);
}

#[test]
fn changes_are_laid_over_what_is_stored() {
    let schema = everything();
    let stored = r#"{"title":"abc","meta":{"a":1,"b":2},"gone":true,"rating":5}"#;
    for (changes, expected) in [
        (r#"{"rating":null}"#, r#"ok {"title":"abc","meta":{"a":1,"b":2},"rating":null}"#),
        (r#"{"meta":{"c":3},"year":1999}"#, r#"ok {"title":"abc","meta":{"c":3},"rating":5,"year":1999}"#),
        ("{}", r#"ok {"title":"abc","meta":{"a":1,"b":2},"rating":5}"#),
        (r#"{"title":null}"#, "title: must not be null"),
        (r#"{"gone":false}"#, "gone: is not a field of this collection"),
        (r#"{"rating":1,"rating":2}"#, "rating: is given twice"),
    ] {
        let outcome = merged(
            &schema,
            UnknownFields::Reject,
            &Json::parse(stored).unwrap(),
            &Json::parse(changes).unwrap(),
        );
        assert_eq!(faults(outcome), [expected], "{changes}");
    }
}

#[test]
fn depth_and_size_are_limited() {
    let schema = everything();
    let nested =
        |levels: usize| format!(r#"{{"title":"abc","free":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let deepest = nested(limits::DATA_DEPTH_MAX - 1);
    assert!(data(&schema, UnknownFields::Reject, &Json::parse(&deepest).unwrap()).is_ok());
    let too_deep = nested(limits::DATA_DEPTH_MAX + 1);
    let outcome = faults(data(&schema, UnknownFields::Reject, &Json::parse(&too_deep).unwrap()));
    assert!(outcome[0].contains("is nested deeper than 32 levels"), "{outcome:?}");
    let large = format!(r#"{{"title":"abc","free":["{}"]}}"#, "x".repeat(limits::DATA_BYTES_MAX));
    let outcome = faults(data(&schema, UnknownFields::Reject, &Json::parse(&large).unwrap()));
    assert_eq!(outcome, ["data: must have at most 1048576 bytes as JSON"]);
}

#[test]
fn the_time_for_bad_data_does_not_grow_with_it() {
    let schema = schema(r#"{"fields":[{"name":"title","type":"string"},{"name":"more","type":"object"}]}"#);
    let members: Vec<String> = (0..300_000).map(|at| format!("\"titel{at}\":0")).collect();
    let unknown = format!("{{{}}}", members.join(","));
    let nul = format!("{{\"more\":{{\"{}\":[{}0]}}}}", "n".repeat(100), "\"\\u0000\",".repeat(300_000));
    let begun = std::time::Instant::now();
    for text in [&unknown, &nul] {
        let given = Json::parse(text).unwrap();
        assert!(data(&schema, UnknownFields::Reject, &given).is_err());
        assert!(merged(&schema, UnknownFields::Reject, &Json::parse("{}").unwrap(), &given).is_err());
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "{:?}", begun.elapsed());
}
