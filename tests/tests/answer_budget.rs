//! The memory of a request: requests for gigabytes are refused with 413 as early as possible, and the server's memory
//! stays near the maximum response size. Work on large records is done page by page.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::path::Path;

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Server, Site};

/// The maximum response size in bytes.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// How much memory the server may use beyond a response.
const MORE_BYTES_MAX: u64 = 200 << 20;
/// Records of 200 KB: together more than the database ever returned at once.
const LARGE_RECORDS: usize = 350;
const LARGE_BYTES: usize = 200_000;

struct Hostile {
    site: Site,
    server: Server,
    admin: Client,
    anyone: Client,
}

impl Hostile {
    fn new() -> Hostile {
        Hostile::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Hostile {
        let mut site = Site::new();
        settings.iter().for_each(|(name, value)| site.set(name, value));
        site.set("TINYBASE_PLUGINS_RESPONSE_BYTES_MAX", &ANSWER_BYTES_MAX.to_string());
        site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "25000");
        let server = site.serve();
        let (admin, anyone) = (server.admin(), server.client());
        Hostile { site, server, admin, anyone }
    }

    fn make(&self, name: &str, fields: Json) {
        let access = json!({"list": "public", "read": "public", "create": "public", "update": "public", "delete": "public"});
        let body =
            json!({"name": name, "label": name, "schema": {"fields": fields}, "options": {"access": access}});
        self.admin.post("/api/collections", &body).expect(201);
    }

    fn create(&self, name: &str, count: usize, data: impl Fn(usize) -> Json) -> Vec<Json> {
        let numbers: Vec<usize> = (0..count).collect();
        let chunks = numbers.chunks(30).flat_map(|numbers| {
            let create = |number: &usize| json!({"op": "create", "collection": name, "data": data(*number)});
            let operations: Vec<Json> = numbers.iter().map(create).collect();
            let answer =
                self.anyone.post("/api/collections/batch", &json!({"operations": operations})).expect(200);
            answer["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|result| result["record"]["id"].clone())
                .collect::<Vec<_>>()
        });
        chunks.collect()
    }

    /// 350 records of 200 KB.
    fn large(&self) {
        self.make("large", json!([{"name": "s", "type": "string"}, {"name": "n", "type": "integer"}]));
        self.create(
            "large",
            LARGE_RECORDS,
            |number| json!({"s": format!("{number:04}{}", "x".repeat(LARGE_BYTES)), "n": number}),
        );
    }

    #[track_caller]
    fn stays_small(&self, before: u64, what: &str) {
        let grown = self.server.peak_bytes().saturating_sub(before);
        assert!(grown < ANSWER_BYTES_MAX + MORE_BYTES_MAX, "{what}: the server grew by {} MB", grown >> 20);
    }
}

#[track_caller]
fn too_large(answer: &tinybase_tests::Answer, what: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (413, "answer_too_large"), "{what}");
}

#[test]
fn references_to_one_large_record_are_counted_each_time() {
    let hostile = Hostile::new();
    hostile.make("big", json!([{"name": "s", "type": "string"}]));
    let big = hostile.create("big", 1, |_| json!({"s": "x".repeat(1_000_000)}))[0].clone();
    let names: Vec<String> = (0..10).map(|number| format!("r{number}")).collect();
    let fields = names.iter().map(|name| json!({"name": name, "type": "reference", "collection": "big"}));
    hostile.make("small", fields.collect());
    let data: Json =
        names.iter().map(|name| (name.clone(), big.clone())).collect::<serde_json::Map<_, _>>().into();
    hostile.create("small", 200, |_| data.clone());
    let before = hostile.server.peak_bytes();
    let expand = names.join(",");
    let list = "/api/collections/small/records";
    too_large(&hostile.anyone.get(&format!("{list}?limit=200&expand={expand}")), "ten references");
    too_large(&hostile.anyone.get(&format!("{list}?limit=200&expand=r0&cursor=")), "a reference");
    let record = hostile.anyone.get(&format!("{list}?limit=1")).expect(200)["records"][0]["id"].clone();
    too_large(
        &hostile.anyone.get(&format!("{list}/{}?expand={expand}", record.as_str().unwrap())),
        "one record",
    );
    assert_eq!(hostile.anyone.get(&format!("{list}?limit=5&expand=r0")).status, 200);

    let id = big.as_str().unwrap();
    let update = json!({"op": "update", "collection": "big", "id": id, "data": {}});
    let batch = json!({"operations": vec![update.clone(); 1_000]});
    too_large(&hostile.anyone.post("/api/collections/batch", &batch), "1,000 updates");
    // With so few operations only the response is too large, not the memory until they are stored.
    let few = json!({"operations": vec![update.clone(); 10]});
    too_large(&hostile.anyone.post("/api/collections/batch", &few), "10 updates");
    let version = hostile.site.sql("SELECT version FROM collections_r_1");
    assert_eq!(version, "1", "what was refused is not stored");
    assert_eq!(
        hostile
            .anyone
            .post("/api/collections/batch", &json!({"operations": [update.clone(), update]}))
            .status,
        200
    );
    hostile.stays_small(before, "references and updates");
}

#[test]
fn large_records_are_listed_sorted_and_grouped_within_the_limit() {
    let hostile = Hostile::new();
    hostile.large();
    let before = hostile.server.peak_bytes();
    let list = "/api/collections/large/records";
    for query in [
        "limit=1000",
        "limit=250",
        "limit=1000&sort=s",
        "limit=1000&sort=-s&count=none",
        "limit=1000&cursor=",
        "limit=500&fields=n",
    ] {
        too_large(&hostile.anyone.get(&format!("{list}?{query}")), query);
    }
    too_large(&hostile.anyone.get("/api/collections/large/aggregate?group_by=s&limit=1000"), "groups");
    assert_eq!(
        hostile.anyone.get("/api/collections/large/aggregate?group_by=s&sort=-count&limit=20").status,
        200
    );
    for query in ["limit=30", "limit=30&sort=-s", "limit=30&filter=n%20%3E%20100"] {
        let page = hostile.anyone.get(&format!("{list}?{query}")).expect(200);
        assert_eq!(page["records"].as_array().unwrap().len(), 30, "{query}");
    }
    hostile.stays_small(before, "lists");

    let ids = hostile.site.sql("SELECT id FROM collections_r_1");
    let operations: Vec<Json> =
        ids.lines().map(|id| json!({"op": "delete", "collection": "large", "id": id})).collect();
    assert_eq!(operations.len(), LARGE_RECORDS);
    hostile.anyone.post("/api/collections/batch", &json!({"operations": operations})).expect(200);
    hostile.stays_small(before, "deletes");
}

#[test]
fn answers_that_are_made_at_once_share_a_budget() {
    const ALL_BYTES_MAX: u64 = 8 * ANSWER_BYTES_MAX;
    const CLIENTS: usize = 24;
    let hostile = Hostile::with(&[("TINYBASE_SERVER_RESPONSES_BYTES_MAX", &ALL_BYTES_MAX.to_string())]);
    hostile.large();
    let before = hostile.server.peak_bytes();
    let list = "/api/collections/large/records?limit=35&count=none";
    let outcomes = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| [(); 3].map(|()| hostile.anyone.get(list).outcome())))
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            assert_eq!(hostile.anyone.get("/api/collections/large").status, 200, "it holds next to nothing");
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let answered = outcomes.iter().filter(|outcome| outcome.0 == 200).count();
    let refused = outcomes.iter().filter(|outcome| **outcome == (503, "overloaded".to_owned())).count();
    assert!(answered > 0, "{outcomes:?}");
    assert_eq!(answered + refused, outcomes.len(), "{outcomes:?}");
    let grown = hostile.server.peak_bytes().saturating_sub(before);
    assert!(grown < 3 * ALL_BYTES_MAX, "the server grew by {} MB; {answered} were answered", grown >> 20);
}

#[test]
fn a_body_is_refused_before_its_values_take_many_times_its_size() {
    let hostile = Hostile::new();
    hostile.make("any", json!([{"name": "s", "type": "string"}]));
    let before = hostile.server.peak_bytes();
    let digits = format!("{{\"data\":{{\"s\":[0{}]}}}}", ",0".repeat(4 << 20));
    let operations = format!("{{\"operations\":[{{}}{}]}}", ",{}".repeat(3 << 20));
    for (path, body) in [
        ("/api/collections/any/records", &digits),
        ("/api/collections/batch", &digits),
        ("/api/collections/batch", &operations),
    ] {
        let json = [("content-type", "application/json")];
        let refused = hostile.anyone.try_send("POST", path, &json, body.as_bytes()).unwrap();
        assert_eq!(refused.outcome(), (413, "body_too_large".into()), "{path}: {}", &body[..40]);
    }
    let grown = hostile.server.peak_bytes().saturating_sub(before);
    assert!(grown < 100 << 20, "the server grew by {} MB", grown >> 20);
}

#[test]
fn work_on_large_records_goes_from_page_to_page() {
    let hostile = Hostile::new();
    hostile.large();
    let before = hostile.server.peak_bytes();
    let fields = json!([
        {"name": "s", "type": "string"},
        {"name": "n", "type": "integer"},
        {"name": "more", "type": "string", "default": "d"},
    ]);
    let altered = json!({"schema": {"fields": fields}});
    let planned = hostile.admin.patch("/api/collections/large?dry_run=true", &altered).expect(200);
    assert_eq!(planned["records_changed"], LARGE_RECORDS);
    hostile.admin.patch("/api/collections/large", &altered).expect(200);
    let record =
        hostile.anyone.get("/api/collections/large/records?limit=1").expect(200)["records"][0].clone();
    assert_eq!(record["data"]["more"], "d");
    hostile.stays_small(before, "a change of the schema");
    let Hostile { site, server, .. } = hostile;
    server.stop();
    site.done(&["collections", "export", "large", "large.ndjson"]);
    let exported = std::fs::read_to_string(site.dir().join(Path::new("large.ndjson"))).unwrap();
    assert_eq!(exported.lines().count(), LARGE_RECORDS);
    site.done(&["collections", "import", "again", "large.ndjson"]);
    assert_eq!(site.sql("SELECT sum(count) FROM collections_counts"), (2 * LARGE_RECORDS).to_string());
}
