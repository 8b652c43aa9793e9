//! Tests of the extension on a test host: hooks, entries, pages, settings, the job and the command.

use std::time::Duration;

use tinybase_audit::Audit;
use tinybase_plugin_api::{prelude::*, testkit::TestHost};

fn host() -> TestHost<Audit> {
    TestHost::start(env!("CARGO_MANIFEST_DIR"))
}

fn change(id: &str, text: &str) -> Json {
    json!({
        "collection": "posts", "id": id, "record": {"text": text}, "previous": null, "owner_id": "u1",
        "caller": {"user_id": "u1", "email": "ada@example.com", "is_admin": false}, "request_id": "r1",
    })
}

#[test]
fn changes_are_written_down_and_only_admins_read_them() {
    let host = host();
    for (topic, id) in [("record.create", "a"), ("record.update", "a"), ("record.delete", "a")] {
        host.emit(topic, "posts", &change(id, "x")).unwrap();
    }
    host.emit("user.login", "u1", &json!({"caller": {"user_id": "u1"}})).unwrap();
    assert_eq!(host.get("/api/audit/entries").send().status(), 401);
    assert_eq!(host.get("/api/audit/entries").user("u1").send().status(), 403);

    let page = host.get("/api/audit/entries?limit=2&offset=1").admin().send().json();
    let topics: Vec<_> = page["entries"].as_array().unwrap().iter().map(|entry| &entry["topic"]).collect();
    assert_eq!((topics, &page["total"]), (vec![&json!("record.delete"), &json!("record.update")], &json!(4)));
    let page = host.get("/api/audit/entries?topic=record.create").admin().send().json();
    let entry = &page["entries"][0];
    assert_eq!(
        (&entry["object_id"], &entry["email"], &page["total"]),
        (&json!("a"), &json!("ada@example.com"), &json!(1))
    );
    assert_eq!(host.get("/api/audit/entries?offset=9").admin().send().json()["total"], 4);
    assert_eq!(host.get("/api/audit/changes").admin().send().json(), json!({"changes": {"posts": 3}}));
}

#[test]
fn bad_paging_is_named() {
    let host = host();
    for query in ["limit=0", "limit=1001", "limit=x", "offset=-1", "offset=9999999999999999999"] {
        let answer = host.get(&format!("/api/audit/entries?{query}")).admin().send();
        assert_eq!((answer.status(), answer.code().as_str()), (422, "invalid_query"), "{query}");
    }
}

#[test]
fn a_forbidden_word_is_refused_and_nothing_is_written() {
    let host = host();
    let settings =
        || host.request("PATCH", "/api/audit/settings").json(&json!({"forbidden_words": ["spam"]}));
    assert_eq!(settings().user("u1").send().status(), 403);
    let changed = settings().admin().send().json();
    assert_eq!(changed, json!({"forbidden_words": ["spam"], "retention_days": 30}));
    for topic in ["record.create", "record.update"] {
        let refusal = host.emit(topic, "posts", &change("a", "Buy SPAM now")).unwrap_err();
        assert_eq!((refusal.status(), refusal.code()), (400, "forbidden_word"));
    }
    host.emit("record.delete", "posts", &change("a", "spam")).unwrap();
    assert_eq!(host.get("/api/audit/changes").admin().send().json(), json!({"changes": {"posts": 1}}));
    assert_eq!(host.get("/api/audit/entries").admin().send().json()["total"], 1);
}

#[test]
fn old_entries_are_cleaned() {
    let host = host();
    host.emit("user.login", "u1", &json!({})).unwrap();
    host.advance(Duration::from_hours(24 * 20));
    host.emit("user.login", "u2", &json!({})).unwrap();
    host.job("clean").unwrap();
    assert_eq!(host.get("/api/audit/entries").admin().send().json()["total"], 2);
    host.advance(Duration::from_hours(24 * 11));
    host.job("clean").unwrap();
    let left = host.get("/api/audit/entries").admin().send().json();
    assert_eq!((&left["total"], &left["entries"][0]["subject"]), (&json!(1), &json!("u2")));
}

#[test]
fn entries_are_exported() {
    let host = host();
    for number in 0..1200 {
        host.after("record.create", "posts", &change(&number.to_string(), "x")).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("entries");
    let path = file.to_str().unwrap();
    let outcome = host.command("export", &json!({"file": path})).unwrap();
    assert_eq!(outcome.out, [format!("wrote 1200 entries to {path}")]);
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count(), 1200);
    assert!(lines.lines().all(|line| serde_json_line(line)["topic"] == "record.create"));
    host.command("export", &json!({"file": path, "format": "text"})).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().next().unwrap().ends_with("record.create posts 0 by ada@example.com"));
    let nowhere = host.command("export", &json!({"file": "no/such/folder/x"})).unwrap_err();
    assert_eq!(nowhere.code(), "file_not_writable");
}

fn serde_json_line(line: &str) -> Json {
    line.parse().expect("each line is JSON")
}
