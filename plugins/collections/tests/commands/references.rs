//! References between imported records: to earlier and later records, in circles, and next to an invalid line.

use serde_json::{Value, json};

use crate::bench::{Bench, none};

/// Returns the id of the record on a line.
fn id(line: usize) -> String {
    format!("01890000-0000-7000-8000-{line:012}")
}

/// Returns a whole record, as an export writes it.
fn whole(line: usize, data: Value) -> String {
    json!({"id": id(line), "collection_id": "x", "data": data}).to_string()
}

fn tree() -> Value {
    json!([{"name": "n", "type": "integer", "unique": true}, {"name": "up", "type": "reference", "collection": "tree"}])
}

/// Creates the collection with a field that references it.
fn make_tree(bench: &Bench) {
    bench.make("tree", &json!([{"name": "n", "type": "integer", "unique": true}]));
    let fields = json!({"schema": {"fields": tree()}});
    let answer = bench.host.request("PATCH", "/api/collections/tree").admin().json(&fields).send();
    assert_eq!(answer.status(), 200, "{}", answer.json());
}

/// Every record references the next one, the last one nothing: the number of records does not matter.
#[test]
fn references_to_later_records_hold_however_many_there_are_and_a_bad_line_takes_what_refers_to_it_alone() {
    for count in [2, 49, 50, 60, 130] {
        let bench = Bench::new();
        make_tree(&bench);
        let data = |line: usize| match line {
            _ if line == count => json!({"n": line}),
            _ => json!({"n": line, "up": id(line + 1)}),
        };
        let file: Vec<String> = (1..=count).map(|line| whole(line, data(line))).collect();
        assert_eq!(bench.import("tree", "t.jsonl", file.join("\n"), none()), (0, vec![]), "{count}");
        assert_eq!(bench.records("tree").len(), count);
    }
    // Every odd line references the next one. Line 30 is invalid: a taken number, a wrong type, or a dangling
    // reference.
    for count in [40, 50, 60, 120] {
        for bad in [json!({"n": 1}), json!({"n": "x"}), json!({"n": 1_000, "up": id(5_000)})] {
            let bench = Bench::new();
            make_tree(&bench);
            let data = |line: usize| match line {
                30 => bad.clone(),
                _ if line % 2 == 1 => json!({"n": line, "up": id(line + 1)}),
                _ => json!({"n": line}),
            };
            let file: Vec<String> = (1..=count).map(|line| whole(line, data(line))).collect();
            let (code, errors) =
                bench.import("tree", "t.jsonl", file.join("\n"), json!({"on-error": "skip"}));
            assert_eq!(code, 0, "{errors:?}");
            let mut lines: Vec<&str> = errors.iter().filter_map(|error| error.split(':').next()).collect();
            lines.retain(|line| line.starts_with("line "));
            lines.sort_unstable();
            assert_eq!(lines, ["line 29", "line 30"], "{count} {bad}: {errors:?}");
            assert_eq!(bench.records("tree").len(), count - 2);
        }
    }
}

#[test]
fn an_export_of_records_that_refer_to_one_another_comes_back() {
    let bench = Bench::new();
    make_tree(&bench);
    for line in 1..=6 {
        let answer = bench
            .host
            .request("PUT", &format!("/api/collections/tree/records/{}", id(line)))
            .admin()
            .json(&json!({"data": {"n": line}}))
            .send();
        assert_eq!(answer.status(), 201, "{}", answer.json());
    }
    // To a later record, to itself, and in a circle.
    for (from, to) in [(1, 6), (2, 2), (3, 5), (5, 4), (4, 3), (6, 2)] {
        let target = format!("/api/collections/tree/records/{}", id(from));
        let body = json!({"data": {"up": id(to)}});
        assert_eq!(bench.host.request("PATCH", &target).admin().json(&body).send().status(), 200);
    }
    let before = bench.records("tree");
    for format in ["jsonl", "csv"] {
        let file = bench.path("tree");
        let export = json!({"name": "tree", "file": file, "format": format, "whole": true});
        assert_eq!(bench.host.command("export", &export).unwrap().exit_code, 0);
        assert_eq!(bench.host.request("DELETE", "/api/collections/tree").admin().send().status(), 204);
        make_tree(&bench);
        let outcome = bench.host.command("import", &export).unwrap();
        assert_eq!((outcome.exit_code, &outcome.errors[..]), (0, &[][..]), "{format}");
        let after = bench.records("tree");
        let told = |records: &[Value]| -> Vec<[Value; 3]> {
            let part = |record: &Value| ["id", "created_at", "data"].map(|name| record[name].clone());
            records.iter().map(part).collect()
        };
        assert_eq!(told(&after), told(&before), "{format}");
    }
}

/// The first record references the last one, in another chunk.
#[test]
fn references_lead_over_all_that_is_written_at_once() {
    let bench = Bench::new();
    bench.make("tree", &json!([{"name": "t", "type": "string"}]));
    let fields =
        json!([{"name": "t", "type": "string"}, {"name": "up", "type": "reference", "collection": "tree"}]);
    let altered = json!({"schema": {"fields": fields}});
    assert_eq!(
        bench.host.request("PATCH", "/api/collections/tree").admin().json(&altered).send().status(),
        200
    );
    let filler = "x".repeat(300 << 10);
    let data = |line: usize| match line {
        1 => json!({"up": id(40)}),
        2 => json!({"up": id(5_000)}),
        3 => json!({"up": id(2)}),
        40 => json!({"up": id(1)}),
        _ => json!({"t": filler}),
    };
    let file: Vec<String> = (1..=40).map(|line| whole(line, data(line))).collect();
    let (code, errors) = bench.import("tree", "t.jsonl", file.join("\n"), json!({"on-error": "skip"}));
    assert_eq!(code, 0, "{errors:?}");
    for line in ["line 2: up: there is no record", "line 3: up: there is no record"] {
        assert!(errors.iter().any(|error| error.starts_with(line)), "{line}: {errors:?}");
    }
    assert_eq!(bench.records("tree").len(), 38);
}
