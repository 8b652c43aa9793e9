//! Import and export on the engine of the test run: the contents of a file are stored, an export can be imported again,
//! and invalid data is reported.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod bench;
mod references;

use std::fs;

use bench::{Bench, Form, none};
use serde_json::json;

const FIRST: &str = "01890000-0000-7000-8000-000000000001";
const SECOND: &str = "01890000-0000-7000-8000-000000000002";

#[test]
fn every_export_comes_back_as_it_was() {
    let bench = Bench::new();
    let fields = json!([
        {"name": "t", "type": "string"}, {"name": "must", "type": "string", "required": true},
        {"name": "i", "type": "integer"}, {"name": "n", "type": "number"}, {"name": "b", "type": "boolean"},
        {"name": "d", "type": "date"}, {"name": "l", "type": "list[string]"}, {"name": "o", "type": "object"},
        {"name": "state", "type": "string", "default": "new"},
    ]);
    let one = json!([{"name": "only", "type": "string"}]);
    for (name, fields) in [("a", &fields), ("one", &one)] {
        bench.make(name, fields);
    }
    for data in [
        json!({"t": "", "must": "", "i": null, "n": 1.0, "state": null}),
        json!({"t": "\\N", "must": "null", "i": 9_007_199_254_740_993_i64, "n": 1e16, "b": true, "state": ""}),
        json!({"t": null, "must": " a,b;c\td\"e\nf\r\ng ", "n": 18_446_744_073_709_551_615_u64, "l": ["", "a,b"], "o": {"k": "\"", "z": null}}),
        json!({"must": "\u{feff}ä", "n": -0.1, "d": "2026-11-23T09:08:51.120000Z", "l": [], "o": {}, "b": false}),
        json!({"must": "007", "t": "1.10", "d": "2026-01-01", "i": 0, "l": null}),
    ] {
        bench.create("a", &data);
    }
    for data in [json!({}), json!({"only": ""}), json!({"only": null}), json!({"only": "x"}), json!({})] {
        bench.create("one", &data);
    }
    let forms = [
        ("csv", None),
        ("csv", Some(";")),
        ("tsv", None),
        ("csv", Some("pipe")),
        ("json", None),
        ("jsonl", None),
    ];
    for (collection, fields) in [("a", &fields), ("one", &one)] {
        for (format, delimiter) in forms {
            bench.round_trip(collection, fields, &Form { format, delimiter, whole: false });
            bench.round_trip(collection, fields, &Form { format, delimiter, whole: true });
        }
    }
}

#[test]
fn whole_records_stand_where_their_times_put_them() {
    let bench = Bench::new();
    bench.make("n", &json!([{"name": "t", "type": "string"}]));
    bench.create("n", &json!({"t": "now"}));
    let line = |id: &str, time: &str, text: &str| {
        json!({"id": id, "collection_id": "x", "owner_id": "u2", "created_at": time, "updated_at": time, "data": {"t": text}}).to_string()
    };
    let text = [
        line(FIRST, "2020-01-02T00:00:00.000000Z", "second"),
        line(SECOND, "2020-01-01T00:00:00.000000Z", "first"),
    ]
    .join("\n");
    assert_eq!(bench.import("n", "w.jsonl", &text, json!({"whole": true})), (0, vec![]));
    assert_eq!(bench.data("n"), [json!({"t": "first"}), json!({"t": "second"}), json!({"t": "now"})]);
    bench.create("n", &json!({"t": "last"}));
    assert_eq!(bench.data("n")[3], json!({"t": "last"}));
    assert_eq!(bench.records("n")[0]["created_at"], "2020-01-01T00:00:00.000000Z");
    // Neither a time in the future nor a missing id.
    let future = line("01890000-0000-7000-8000-000000000009", "2999-01-01T00:00:00Z", "x");
    let (code, errors) = bench.import("n", "f.jsonl", &future, json!({"whole": true}));
    assert!(
        code == 1 && errors[0].starts_with("line 1: created_at: must not be in the future"),
        "{errors:?}"
    );
    let (code, errors) = bench.import("n", "g.jsonl", "{\"t\":\"x\"}", json!({"whole": true}));
    assert!(code == 1 && errors[0].starts_with("line 1: is no whole record"), "{errors:?}");
    let (code, errors) = bench.import("n", "h.csv", "id,t\nx,y\n", json!({"whole": true}));
    assert!(code == 1 && errors[0].starts_with("line 2: id: must be a UUID"), "{errors:?}");
}

#[test]
fn numbers_stay_what_they_are_and_odd_values_are_told() {
    let bench = Bench::new();
    let text = "big,price,exp,n,odd,id\n12345678901234567890123,1.10,1E10,1.5,1,7\n1,2.25,2,2,n/a,8\n2,3.5,3,3,3,9\n";
    let (code, errors) = bench.import("c", "c.csv", text, none());
    assert_eq!(code, 0, "{errors:?}");
    for note in [
        "line 2: 12345678901234567890123 would not come back from a number as it is, so big holds text",
        "line 2: 1.10 would not come back",
        "line 2: 1E10 would not come back",
        "line 3: n/a is not a number, so odd holds text",
        "id becomes the field _id",
    ] {
        assert!(errors.iter().any(|line| line.starts_with(note)), "{note}: {errors:?}");
    }
    let kinds: Vec<String> =
        bench.types("c").into_iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(kinds, ["big string", "price string", "exp string", "n number", "odd string", "_id integer"]);
    let first = json!({"big": "12345678901234567890123", "price": "1.10", "exp": "1E10", "n": 1.5, "odd": "1", "_id": 7});
    assert_eq!(bench.data("c")[0], first);
    // A number field accepts an equal number, and nothing that would be rounded.
    bench.make("f", &json!([{"name": "n", "type": "number"}]));
    assert_eq!(bench.import("f", "f.csv", "n\n1.10\n1E10\n", none()).0, 0);
    assert_eq!(bench.data("f"), [json!({"n": 1.1}), json!({"n": 10_000_000_000.0})]);
    let (code, errors) = bench.import("f", "g.csv", "n\n12345678901234567890123\n", none());
    assert!(code == 1 && errors[0].starts_with("line 2: n: must be a number"), "{errors:?}");
}

#[test]
fn files_of_other_programs_are_read() {
    let bench = Bench::new();
    let expected = [json!({"a": 1, "b": "x"}), json!({"a": 2, "b": "y"})];
    for (at, (file, text, more)) in [
        ("c.csv", "a;b\r\n1;x\r\n2;y\r\n", none()),
        ("c.csv", "\u{feff}a\tb\n1\tx\n2\ty\n", none()),
        ("c.tsv", "a\tb\n1\tx\n2\ty\n", none()),
        ("c.csv", "a|b\n1|x\n2|y", none()),
        ("c.txt", "a:b\n1:x\n2:y\n", json!({"format": "csv", "delimiter": ":"})),
        ("c.json", "\u{feff}{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\"}\n", none()),
        ("c.json", "\u{feff}[{\"a\":1,\"b\":\"x\"},{\"a\":2,\"b\":\"y\"}]", none()),
        ("c.data", "{\"a\":1,\"b\":\"x\"}\n\n{\"a\":2,\"b\":\"y\"}", json!({"format": "jsonl"})),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c{at}");
        assert_eq!(bench.import(&name, file, text, more), (0, vec![]), "{text:?}");
        assert_eq!(bench.data(&name), expected, "{text:?}");
    }
}

#[test]
fn what_is_no_file_of_records_does_nothing_and_says_so() {
    let bench = Bench::new();
    bench.make("n", &json!([{"name": "t", "type": "string"}, {"name": "i", "type": "integer"}]));
    for (collection, file, text, more, message) in [
        ("n", "a.csv", &b""[..], none(), "there is nothing in it"),
        ("new", "a.jsonl", b" \n", none(), "there is nothing in it"),
        ("new", "a.json", b"[]", none(), "holds no records to read a schema off"),
        ("new", "a.csv", b"t,i\n", none(), "holds no records to read a schema off"),
        ("n", "a.csv", b"t,t\na,b\n", none(), "two columns are named t"),
        ("n", "a.csv", b"t,i\rx,1\r", none(), "goes over several lines"),
        ("n", "a.xls", b"x", none(), "is no known form of file"),
        ("n", "a.json", b"{}", json!({"delimiter": ";"}), "--delimiter is for csv"),
        ("n", "a.csv", b"t,i\nx\n", none(), "line 2: there are 1 columns, and 2 in the first line"),
        ("n", "a.csv", b"t,i\n\xff,1\n", none(), "line 2: column 1 is not UTF-8"),
        ("n", "a.csv", b"t,i\nx,1\n\"y,2\n", none(), "line 3: a quote begins here and has no end"),
        ("n", "a.csv", b"t,i\nx,one\n", json!({"on-error": "skip"}), "line 2: i: must be an integer"),
        ("n", "a.csv", b"t,id\nx,1\n", none(), "line 2: id: is not a field of this collection"),
        ("n", "a.csv", b"t,i\nx,1\n", json!({"key": "nope"}), "--key: n has no field nope"),
    ] {
        let (code, errors) = bench.import(collection, file, text, more);
        assert_eq!(code, 1, "{message}: {errors:?}");
        assert!(errors.iter().any(|line| line.contains(message)), "{message}: {errors:?}");
    }
    // Records before a fault are written, as documented.
    assert_eq!(bench.data("n"), [json!({"t": "x", "i": 1})]);
    assert_eq!(bench.host.get("/api/collections/new").admin().send().status(), 404);
    assert_eq!(bench.import("n", "b.json", "[]", none()).0, 0);
}

/// While a chunk is written the next one is read: a fault found in the later chunk must not hide one in the earlier
/// chunk.
#[test]
fn of_several_chunks_the_first_fault_stops_the_import_and_nothing_behind_it_is_stored() {
    const ROWS: usize = 60;
    let filler = "x".repeat(300 << 10);
    let text = |number: usize| match number {
        // The database refuses it, in the first chunk.
        5 => json!({"n": 2, "t": filler}),
        // The schema refuses it, in the second.
        20 => json!({"n": "twenty", "t": filler}),
        _ => json!({"n": number, "t": filler}),
    };
    let file: String = (1..=ROWS).map(|number| format!("{}\n", text(number))).collect();
    let bench = Bench::new();
    let fields = json!([{"name": "n", "type": "integer", "unique": true}, {"name": "t", "type": "string"}]);
    let stored = |collection: &str| -> Vec<usize> {
        let numbers = bench.data(collection).into_iter().map(|data| data["n"].as_u64().unwrap());
        numbers.map(|number| usize::try_from(number).unwrap()).collect()
    };
    bench.make("stops", &fields);
    let (code, errors) = bench.import("stops", "a.ndjson", &file, none());
    assert!(code == 1 && errors[0].starts_with("line 5: "), "{errors:?}");
    assert!(!errors.iter().any(|error| error.starts_with("line 20")), "{errors:?}");
    assert_eq!(stored("stops"), [1, 2, 3, 4]);
    bench.make("skips", &fields);
    let (code, errors) = bench.import("skips", "a.ndjson", &file, json!({"on-error": "skip"}));
    assert_eq!(code, 0, "{errors:?}");
    for line in ["line 5: ", "line 20: n: must be an integer", "2 records"] {
        assert!(errors.iter().any(|error| error.starts_with(line)), "{line}: {errors:?}");
    }
    let expected: Vec<usize> = (1..=ROWS).filter(|number| ![5, 20].contains(number)).collect();
    assert_eq!(stored("skips"), expected, "in the order of the file");
}

/// One statement inserts fifty records.
#[test]
fn many_records_stand_in_the_order_of_the_file_and_one_among_them_that_is_refused_is_named() {
    let bench = Bench::new();
    let fields = json!([{"name": "n", "type": "integer", "unique": true}, {"name": "t", "type": "string"}]);
    bench.make("n", &fields);
    let number = |line: usize| if line == 70 { 3 } else { line };
    let file: String = (1..=130).map(|line| format!("{}\n", json!({"n": number(line), "t": "a"}))).collect();
    let (code, errors) = bench.import("n", "n.ndjson", &file, json!({"on-error": "skip"}));
    assert!(code == 0 && errors.iter().any(|error| error.starts_with("line 70: ")), "{errors:?}");
    let numbers = |text: &str| -> Vec<u64> {
        let of_text = bench.data("n").into_iter().filter(|data| data["t"] == text);
        of_text.map(|data| data["n"].as_u64().unwrap()).collect()
    };
    let expected: Vec<u64> = (1..=130).filter(|line| *line != 70).collect();
    assert_eq!(numbers("a"), expected);
    let total = bench.host.get("/api/collections/n/records?limit=1").admin().send().json()["total"].clone();
    assert_eq!(total, 129, "each of them is counted");
    // Some exist already: the new ones between them are created in order.
    let file: String = (101..=260).map(|n| format!("{}\n", json!({"n": n, "t": "b"}))).collect();
    let (code, errors) = bench.import("n", "k.ndjson", &file, json!({"key": "n"}));
    assert_eq!((code, errors), (0, vec![]));
    assert_eq!(numbers("b"), (101..=260).collect::<Vec<u64>>());
}

#[test]
fn a_key_finds_the_records_that_are_updated() {
    let bench = Bench::new();
    let fields = json!([
        {"name": "sku", "type": "string"}, {"name": "price", "type": "number"}, {"name": "day", "type": "date"},
        {"name": "state", "type": "string", "default": "new"},
    ]);
    bench.make("n", &fields);
    let before = bench.create("n", &json!({"sku": "a", "price": 1, "state": "sold"}));
    let text = "sku,price,day\na,2,\nb,3,2026-01-01T01:00:00+01:00\nb,4,\n";
    let (code, errors) = bench.import("n", "k.csv", text, json!({"key": "sku"}));
    assert_eq!((code, &errors), (0, &vec![]));
    let expected = [
        json!({"sku": "a", "price": 2, "state": "sold"}),
        json!({"sku": "b", "price": 4, "day": "2026-01-01T00:00:00.000000Z", "state": "new"}),
    ];
    assert_eq!(bench.data("n"), expected);
    let after = bench.records("n")[0].clone();
    assert_eq!((&after["id"], &after["created_at"]), (&before["id"], &before["created_at"]));
    // By a date, by a number in another notation, and by the id.
    let by_day = r#"{"day":"2026-01-01T00:00:00Z","price":5}"#;
    assert_eq!(bench.import("n", "d.jsonl", by_day, json!({"key": "day"})), (0, vec![]));
    assert_eq!(
        bench.import("n", "p.jsonl", r#"{"price":5.0,"state":"x"}"#, json!({"key": "price"})),
        (0, vec![])
    );
    assert_eq!(bench.data("n")[1]["state"], "x");
    let whole = json!({"id": before["id"], "collection_id": "x", "owner_id": "u9", "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2021-01-01T00:00:00Z", "data": {"sku": "c"}});
    assert_eq!(
        bench.import("n", "w.jsonl", whole.to_string(), json!({"key": "id", "whole": true})),
        (0, vec![])
    );
    let after = bench.records("n")[0].clone();
    assert_eq!(
        (&after["data"], &after["owner_id"], &after["created_at"]),
        (&json!({"sku": "c"}), &json!("u9"), &json!("2020-01-01T00:00:00.000000Z"))
    );
    assert_eq!(bench.records("n").len(), 2);
    // A missing key value, an ambiguous one, and invalid data are reported with their lines.
    bench.create("n", &json!({"sku": "twice"}));
    bench.create("n", &json!({"sku": "twice"}));
    let text = "sku,price\n,1\ntwice,1\nc,x\nd,1\n";
    let (code, errors) = bench.import("n", "e.csv", text, json!({"key": "sku", "on-error": "skip"}));
    assert_eq!(code, 0);
    for (line, message) in
        [(2, "sku: the key has no value"), (3, "2 records have this key"), (4, "price: must be a number")]
    {
        let start = format!("line {line}: {message}");
        assert!(errors.iter().any(|error| error.starts_with(&start)), "{start}: {errors:?}");
    }
    assert_eq!(bench.records("n").len(), 5);
}

#[test]
fn an_export_that_fails_leaves_what_was_there() {
    let bench = Bench::new();
    bench.make("n", &json!([{"name": "t", "type": "string"}]));
    bench.create("n", &json!({"t": "a"}));
    let file = bench.path("n.csv");
    fs::write(&file, "before").unwrap();
    let nowhere = bench.path("nowhere/n.csv");
    assert!(bench.host.command("export", &json!({"name": "n", "file": nowhere})).is_err());
    assert!(bench.host.command("export", &json!({"name": "missing", "file": file})).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    bench.host.command("export", &json!({"name": "n", "file": file})).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "t\na\n");
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 1);
    let out = bench.host.command("export", &json!({"name": "n", "file": "-", "format": "csv"})).unwrap();
    assert_eq!(out.out, ["t", "a"]);
}

#[test]
fn a_row_that_is_too_long_is_named_by_its_line() {
    let bench = Bench::new();
    bench.make("n", &json!([{"name": "t", "type": "string"}, {"name": "u", "type": "string"}]));
    let file = format!("t,u\na,b\n\"{}", "long\n".repeat(4 << 20));
    let (code, errors) = bench.import("n", "n.csv", file, none());
    assert_eq!(code, 1);
    assert!(errors.iter().any(|error| error.contains("line 3: the row has more than")), "{errors:?}");
    assert_eq!(bench.records("n").len(), 1);
}

#[test]
fn many_columns_are_read_in_time() {
    let bench = Bench::new();
    bench.make("n", &json!([{"name": "t", "type": "string"}]));
    let names: Vec<String> = (0..100_000).map(|at| format!("column_{at}")).collect();
    let file = format!("{}\nx", names.join(","));
    let before = std::time::Instant::now();
    let (code, errors) = bench.import("n", "n.csv", file, none());
    assert!(code == 1 && errors[0].contains("there are 1 columns"), "{errors:?}");
    let taken = before.elapsed();
    assert!(taken < std::time::Duration::from_secs(5), "{taken:?}");
}

#[test]
fn whole_records_stand_where_their_times_put_them_although_a_later_one_stops_the_import() {
    let bench = Bench::new();
    bench.make("n", &json!([{"name": "t", "type": "string"}]));
    bench.create("n", &json!({"t": "now"}));
    let time = "2020-01-01T00:00:00Z";
    let first = json!({"id": FIRST, "collection_id": "x", "created_at": time, "updated_at": time, "data": {"t": "first"}});
    for behind in ["nonsense", "{\"t\":[]}"] {
        let (code, errors) = bench.import("n", "w.jsonl", format!("{first}\n{behind}"), none());
        assert!(code == 1 && errors[0].starts_with("line "), "{errors:?}");
        assert_eq!(bench.data("n"), [json!({"t": "first"}), json!({"t": "now"})]);
        bench.host.request("DELETE", &format!("/api/collections/n/records/{FIRST}")).admin().send();
    }
}

#[test]
fn what_is_no_record_is_skipped_where_the_schema_is_read_off_the_file_too() {
    let bench = Bench::new();
    let text = "{\"a\":1}\nnonsense\n{\"a\":2}\n";
    let (code, errors) = bench.import("n", "n.jsonl", text, none());
    assert!(code == 1 && errors[0].starts_with("line 2: no JSON"), "{errors:?}");
    let (code, errors) = bench.import("n", "n.jsonl", text, json!({"on-error": "skip"}));
    assert!(code == 0 && errors[0].starts_with("line 2: no JSON"), "{errors:?}");
    assert_eq!(bench.data("n"), [json!({"a": 1}), json!({"a": 2})]);
    let text = "a,b\n1,2\n3\n4,5\n";
    let (code, errors) = bench.import("m", "m.csv", text, json!({"on-error": "skip"}));
    assert!(code == 0 && errors[0].starts_with("line 3: there are 1 columns"), "{errors:?}");
    assert_eq!(bench.data("m"), [json!({"a": 1, "b": 2}), json!({"a": 4, "b": 5})]);
}

#[test]
fn integers_of_more_than_64_bits_are_refused_with_their_line() {
    let bench = Bench::new();
    bench.make("n", &json!([{"name": "n", "type": "number"}, {"name": "o", "type": "object"}, {"name": "t", "type": "string"}]));
    let digits = "12345678901234567890123";
    let lines = [
        format!("{{\"n\":{digits}}}"),
        format!("{{\"o\":{{\"deep\":[1,-{digits}]}}}}"),
        format!("{{\"t\":\"{digits} \\\" {digits}\"}}"),
        "{\"n\":18446744073709551615}".to_owned(),
        "{\"n\":100000000000000000000}".to_owned(),
        "{\"n\":1.2345678901234567890123e4}".to_owned(),
    ];
    let (code, errors) = bench.import("n", "n.jsonl", lines.join("\n"), json!({"on-error": "skip"}));
    assert_eq!(code, 0, "{errors:?}");
    let mut named: Vec<&String> = errors.iter().filter(|error| error.starts_with("line ")).collect();
    named.sort_unstable();
    assert_eq!(named.len(), 2, "{errors:?}");
    assert!(named[0].starts_with(&format!("line 1: the number {digits} ")), "{errors:?}");
    assert!(named[1].starts_with("line 2: "), "{errors:?}");
    // If the schema is inferred from the file, no number is changed silently.
    let (code, errors) = bench.import("new", "n.jsonl", &lines[0], none());
    assert!(code == 1 && errors[0].starts_with("line 1: "), "{errors:?}");
    for (at, line) in lines.iter().enumerate() {
        let body = format!("{{\"data\":{line}}}");
        let answer = bench.host.post("/api/collections/n/records").user("u1").body(body).send();
        assert_eq!(answer.status(), if at < 2 { 400 } else { 201 }, "{line}: {}", answer.json());
    }
}
