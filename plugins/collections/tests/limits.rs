//! Limits: the size of responses, batches before they are committed, chains of records that are deleted together.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use serde_json::{Value, json};
use tinybase_collections::plugin::Collections;
use tinybase_plugin_api::testkit::TestHost;

type Host = TestHost<Collections>;

fn host() -> Host {
    TestHost::start(env!("CARGO_MANIFEST_DIR"))
}

fn make(host: &Host, name: &str, fields: Value) {
    let access = json!({"list": "public", "read": "public", "create": "public", "update": "public", "delete": "public"});
    let body =
        json!({"name": name, "label": name, "schema": {"fields": fields}, "options": {"access": access}});
    let answer = host.post("/api/collections").admin().json(&body).send();
    assert_eq!(answer.status(), 201, "{}", answer.json());
}

fn create(host: &Host, name: &str, data: Value) -> String {
    let answer = host.post(&format!("/api/collections/{name}/records")).json(&json!({"data": data})).send();
    assert_eq!(answer.status(), 201, "{}", answer.json());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn total(host: &Host, name: &str) -> u64 {
    let target = format!("/api/collections/{name}/records?limit=1");
    host.get(&target).send().json()["total"].as_u64().unwrap()
}

#[track_caller]
fn too_large(answer: &tinybase_plugin_api::testkit::TestResponse, what: &str) {
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (413, Some("answer_too_large")), "{what}");
}

/// Creates ten records, each with three references to one record of 20 KB.
fn large(host: &Host) -> String {
    make(host, "big", json!([{"name": "s", "type": "string"}]));
    let id = create(host, "big", json!({"s": "x".repeat(20_000)}));
    let reference = |name: &str| json!({"name": name, "type": "reference", "collection": "big"});
    make(
        host,
        "small",
        json!([reference("a"), reference("b"), reference("c"), {"name": "t", "type": "string"}]),
    );
    for _ in 0..10 {
        create(host, "small", json!({"a": id, "b": id, "c": id, "t": "t"}));
    }
    id
}

#[test]
fn an_answer_that_would_be_too_large_is_refused() {
    let host = host();
    let id = large(&host);
    let list = "/api/collections/small/records?limit=10";
    let whole = host.get(&format!("{list}&expand=a,b,c")).send();
    assert_eq!(whole.status(), 200);
    assert!(whole.json()["records"][9]["expand"]["c"]["data"]["s"].as_str().unwrap().len() == 20_000);
    let one = format!("/api/collections/big/records/{id}");
    let small = host.get("/api/collections/small/records?limit=1").send().json()["records"][0].clone();
    let small = format!("/api/collections/small/records/{}", small["id"].as_str().unwrap());
    for (bytes, target, is_refused) in [
        (640_000, format!("{list}&expand=a,b,c"), false),
        (590_000, format!("{list}&expand=a,b,c"), true),
        (200_000, format!("{list}&expand=a"), true),
        (230_000, format!("{list}&expand=a"), false),
        (230_000, format!("{list}&expand=a&cursor="), false),
        (200_000, format!("{list}&expand=a&cursor="), true),
        (50_000, format!("{small}?expand=a,b,c"), true),
        (70_000, format!("{small}?expand=a,b,c"), false),
        (19_000, one.clone(), true),
        (21_000, one.clone(), false),
        (21_000, format!("{one}?fields=s"), false),
        (19_000, format!("{one}?fields=s"), true),
        (19_000, "/api/collections/big/records".to_owned(), true),
        (19_000, "/api/collections/big/records?sort=s&count=none".to_owned(), true),
        (19_000, "/api/collections/big/aggregate?group_by=s".to_owned(), true),
        (39_000, "/api/collections/big/aggregate?min=s&max=s".to_owned(), true),
        (41_000, "/api/collections/big/aggregate?min=s&max=s".to_owned(), false),
        (500, "/api/collections".to_owned(), true),
    ] {
        host.set_response_bytes_max(bytes);
        let answer = host.get(&target).send();
        if is_refused {
            too_large(&answer, &target);
        } else {
            assert_eq!(answer.status(), 200, "{target}: {}", answer.json());
            assert!(answer.body().len() as u64 <= bytes, "{target}: {} bytes", answer.body().len());
        }
    }
}

#[test]
fn a_change_that_could_not_be_answered_is_not_made() {
    let host = host();
    make(&host, "n", json!([{"name": "s", "type": "string"}, {"name": "i", "type": "integer"}]));
    let id = create(&host, "n", json!({"s": "x".repeat(20_000), "i": 0}));
    let update = json!({"op": "update", "collection": "n", "id": id, "data": {"i": 1}});
    let delete = json!({"op": "delete", "collection": "n", "id": id});
    let batch = |operations: &[Value]| {
        host.post("/api/collections/batch").json(&json!({"operations": operations})).send()
    };
    let target = format!("/api/collections/n/records/{id}");
    host.set_response_bytes_max(100_000);
    too_large(&batch(&vec![update.clone(); 50]), "a batch");
    host.set_response_bytes_max(10_000);
    too_large(&host.request("PATCH", &target).json(&json!({"data": {"i": 2}})).send(), "a change");
    let created = json!({"data": {"s": "x".repeat(20_000)}});
    too_large(&host.post("/api/collections/n/records").json(&created).send(), "a new record");
    host.set_response_bytes_max(32 << 20);
    let record = host.get(&target).send().json();
    assert_eq!((&record["data"]["i"], total(&host, "n")), (&json!(0), 1));
    let answer = batch(&vec![update; 50]);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 50);
    assert_eq!(answer.json()["results"][49]["record"]["data"]["i"], 1);
    host.set_response_bytes_max(100_000);
    assert_eq!(batch(&[delete]).status(), 200, "what is deleted is not answered");
    assert_eq!(total(&host, "n"), 0);
}

#[test]
fn pages_for_other_extensions_end_where_records_are_large() {
    let host = host();
    make(&host, "n", json!([{"name": "s", "type": "string"}, {"name": "l", "type": "array"}]));
    for at in 0..8 {
        create(&host, "n", json!({"s": format!("{at}{}", "x".repeat(700_000)), "l": vec![0; 100]}));
    }
    let (mut after, mut seen, mut pages) = (Value::Null, Vec::new(), 0);
    loop {
        let page = host
            .call("records", 1, "list", &json!({"collection": "n", "after": after, "limit": 500}))
            .unwrap();
        for record in page["records"].as_array().unwrap() {
            seen.push(record["data"]["s"].as_str().unwrap()[..1].to_owned());
        }
        pages += 1;
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!((seen.concat().as_str(), pages), ("01234567", 4));
    let values = json!({"data": {"s": "", "l": vec![0; 500_000]}});
    for _ in 0..3 {
        assert_eq!(host.post("/api/collections/n/records").json(&values).send().status(), 201);
    }
    let ids: Vec<Value> = host.get("/api/collections/n/records?limit=3").send().json()["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["id"].clone())
        .collect();
    let asked = json!({"collection": "n", "ids": ids, "caller": null, "rule": "read"});
    let refused = host.call("records", 1, "read", &asked).unwrap_err();
    assert_eq!((refused.status(), refused.code()), (413, "answer_too_large"));
}

fn node(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// Creates records with these numbers in a collection; `of` returns the data, with its references.
fn grow(host: &Host, name: &str, numbers: std::ops::Range<usize>, of: impl Fn(usize) -> Value) {
    let all: Vec<usize> = numbers.collect();
    for numbers in all.chunks(1_000) {
        let create = |number: &usize| json!({"op": "create", "collection": name, "id": node(*number), "data": of(*number)});
        let operations: Vec<Value> = numbers.iter().map(create).collect();
        let answer = host.post("/api/collections/batch").json(&json!({"operations": operations})).send();
        assert_eq!(answer.status(), 200, "{}", answer.json());
    }
}

fn reference(name: &str, to: &str, on_delete: &str) -> Value {
    json!({"name": name, "type": "reference", "collection": to, "on_delete": on_delete})
}

/// Creates a collection whose records reference one another by cascade.
fn tree(host: &Host) {
    make(host, "t", json!([{"name": "n", "type": "integer"}]));
    let fields = json!([
        reference("up", "t", "cascade"),
        reference("aside", "t", "cascade"),
        reference("kept", "t", "restrict"),
        reference("loose", "t", "set_null")
    ]);
    let answer = host
        .request("PATCH", "/api/collections/t")
        .admin()
        .json(&json!({"schema": {"fields": fields}}))
        .send();
    assert_eq!(answer.status(), 200, "{}", answer.json());
}

#[track_caller]
fn delete(host: &Host, number: usize) -> (u16, Value) {
    let answer = host.request("DELETE", &format!("/api/collections/t/records/{}", node(number))).send();
    (answer.status(), if answer.status() == 204 { Value::Null } else { answer.json() })
}

#[test]
fn chains_of_any_length_are_deleted() {
    // PostgreSQL takes longer to create them than to delete them.
    let is_on_server = std::env::var_os("TINYBASE_TEST_POSTGRES_URL").is_some();
    let (long, half) = if is_on_server { (2_000, 500) } else { (10_000, 1_500) };
    let host = host();
    tree(&host);
    let chain = |number: usize| if number == 0 { json!({}) } else { json!({"up": node(number - 1)}) };
    grow(&host, "t", 0..long, chain);
    let begun = std::time::Instant::now();
    assert_eq!(delete(&host, 0), (204, Value::Null));
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(total(&host, "t"), 0);

    // Shortcuts skip half of the chain; a plain breadth-first search would follow them too early.
    let shortcut = |number: usize| match number {
        0 => json!({}),
        number if number < half => json!({"up": node(number - 1)}),
        number => json!({"up": node(number - 1), "aside": node(number - half)}),
    };
    grow(&host, "t", 0..2 * half, shortcut);
    assert_eq!(delete(&host, 0), (204, Value::Null));
    assert_eq!(total(&host, "t"), 0);
}

#[test]
fn circles_and_wide_trees_are_deleted_too() {
    let host = host();
    tree(&host);
    grow(&host, "t", 0..4_000, |number| {
        if number == 0 { json!({}) } else { json!({"up": node((number - 1) / 2_000)}) }
    });
    // 0 has 2,000 records below it, 1 the others. A circle runs through 0, 1 and the last record.
    let circle = json!({"operations": [{"op": "update", "collection": "t", "id": node(0), "data": {"up": node(3_999)}}]});
    assert_eq!(host.post("/api/collections/batch").json(&circle).send().status(), 200);
    grow(&host, "t", 5_000..7_000, |number| {
        if number == 5_000 { json!({}) } else { json!({"aside": node(number - 1)}) }
    });
    let closed = format!("/api/collections/t/records/{}", node(5_000));
    let ring = json!({"data": {"aside": node(6_999), "up": node(5_000)}});
    assert_eq!(host.request("PATCH", &closed).json(&ring).send().status(), 200);
    assert_eq!(total(&host, "t"), 6_000);
    assert_eq!(delete(&host, 5_700), (204, Value::Null));
    assert_eq!(total(&host, "t"), 4_000);
    assert_eq!(delete(&host, 0), (204, Value::Null));
    assert_eq!(total(&host, "t"), 0);
}

#[test]
fn references_of_other_kinds_hold_as_before() {
    let host = host();
    tree(&host);
    let chain = |number: usize| if number == 0 { json!({}) } else { json!({"up": node(number - 1)}) };
    grow(&host, "t", 0..1_500, chain);
    grow(&host, "t", 2_000..2_001, |_| json!({"kept": node(1_000)}));
    grow(&host, "t", 3_000..3_001, |_| json!({"loose": node(1_200)}));
    let (status, refusal) = delete(&host, 0);
    assert_eq!((status, total(&host, "t")), (409, 1_502), "{refusal}");
    // References between records that are deleted together do not prevent the deletion.
    grow(&host, "t", 4_000..4_001, |_| json!({"up": node(1), "kept": node(1_400)}));
    // The record it restricts has no records below it, and must still be deleted after it.
    grow(&host, "t", 5_000..5_001, |_| json!({"up": node(1), "kept": node(1_499)}));
    grow(&host, "t", 5_001..5_002, |_| json!({"up": node(5_000)}));
    let moved = json!({"data": {"kept": null}});
    let target = format!("/api/collections/t/records/{}", node(2_000));
    assert_eq!(host.request("PATCH", &target).json(&moved).send().status(), 200);
    assert_eq!(delete(&host, 0), (204, Value::Null));
    let left = host.get("/api/collections/t/records?sort=id").send().json();
    let data: Vec<&Value> =
        left["records"].as_array().unwrap().iter().map(|record| &record["data"]).collect();
    assert_eq!(data, [&json!({"kept": null}), &json!({"loose": null})]);
}

#[test]
fn a_batch_deletes_chains_as_its_operations_left_them() {
    let host = host();
    tree(&host);
    let chain = |number: usize| if number == 0 { json!({}) } else { json!({"up": node(number - 1)}) };
    grow(&host, "t", 0..1_500, chain);
    let moved = |number: usize, up: Value| json!({"op": "update", "collection": "t", "id": node(number), "data": {"up": up}});
    let operations = json!([
        {"op": "create", "collection": "t", "id": node(9_000), "data": {"up": node(3)}},
        moved(1_490, Value::Null),
        {"op": "delete", "collection": "t", "id": node(2)},
        {"op": "create", "collection": "t", "id": node(9_001), "data": {"up": node(1)}},
    ]);
    let answer = host.post("/api/collections/batch").json(&json!({"operations": operations})).send();
    assert_eq!(answer.status(), 200, "{}", answer.json());
    let results = answer.json()["results"].clone();
    let statuses: Vec<u64> =
        results.as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 200, 204, 201]);
    assert!(results[3]["record"]["created_at"].as_str().unwrap().len() == 27, "{}", results[3]);
    // 0, 1, 1490 to 1499 and 9001.
    assert_eq!(total(&host, "t"), 13);
    let failing = json!([
        {"op": "delete", "collection": "t", "id": node(0)},
        {"op": "update", "collection": "t", "id": node(1), "data": {}},
    ]);
    let answer = host.post("/api/collections/batch").json(&json!({"operations": failing})).send();
    assert!((400..500).contains(&answer.status()), "{}", answer.json());
    assert_eq!(total(&host, "t"), 13);
}
