//! Events, commands and everything beyond one request, on the engine of the test run.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;

use serde_json::{Value, json};
use tinybase_collections::plugin::Collections;
use tinybase_plugin_api::{Error, testkit::TestHost};

fn host() -> TestHost<Collections> {
    TestHost::start(env!("CARGO_MANIFEST_DIR"))
}

fn make(host: &TestHost<Collections>, name: &str, fields: Value) {
    let access = json!({"create": "public", "update": "public", "delete": "public"});
    let body =
        json!({"name": name, "label": name, "schema": {"fields": fields}, "options": {"access": access}});
    let answer = host.post("/api/collections").admin().json(&body).send();
    assert_eq!(answer.status(), 201, "{}", answer.json());
}

fn records(host: &TestHost<Collections>, target: &str) -> Vec<Value> {
    let page = host.get(target).send().json();
    page["records"].as_array().unwrap().iter().map(|record| record["data"].clone()).collect()
}

#[test]
fn listeners_are_told_what_was_changed() {
    let host = host();
    make(&host, "n", json!([{"name": "t", "type": "string"}]));
    let record =
        host.post("/api/collections/n/records").user("u1").json(&json!({"data": {"t": "a"}})).send().json();
    let target = format!("/api/collections/n/records/{}", record["id"].as_str().unwrap());
    host.request("PATCH", &target).json(&json!({"data": {"t": "b"}})).send();
    host.request("DELETE", &target).send();
    let events = host.emitted();
    let told: Vec<_> = events.iter().filter(|event| event.topic.starts_with("record.")).collect();
    let caller = json!({"user_id": "u1", "email": "u1@example.com", "is_admin": false});
    for (topic, record, previous, caller) in [
        ("record.create", json!({"t": "a"}), Value::Null, caller),
        ("record.update", json!({"t": "b"}), json!({"t": "a"}), Value::Null),
        ("record.delete", Value::Null, json!({"t": "b"}), Value::Null),
    ] {
        let event =
            told.iter().find(|event| event.topic == topic).unwrap_or_else(|| panic!("{topic} was not told"));
        assert_eq!(event.subject, "n");
        let payload = &event.payload;
        assert_eq!(
            (&payload["record"], &payload["previous"], &payload["caller"]),
            (&record, &previous, &caller)
        );
        assert!(payload["event_id"].is_string(), "{payload}");
        assert_eq!((&payload["request_id"], &payload["owner_id"]), (&json!("test-request"), &json!("u1")));
    }
}

#[test]
fn what_changes_a_collection_is_in_the_audit_log_and_what_is_refused_is_not() {
    let host = host();
    make(&host, "n", json!([{"name": "t", "type": "string"}]));
    host.post("/api/collections/n/records").json(&json!({"data": {"t": "not a date"}})).send();
    let again = json!({"name": "n", "label": "n", "schema": {"fields": []}});
    assert_eq!(host.post("/api/collections").admin().json(&again).send().status(), 400);
    let alter = |target: &str, body: Value| host.request("PATCH", target).admin().json(&body).send().status();
    let target = "/api/collections/n";
    let renamed = json!({"schema": {"fields": [{"name": "u", "type": "string", "renamed_from": "t"}]}});
    assert_eq!(alter(target, json!({"schema": {"fields": [{"name": "t", "type": "date"}]}})), 400);
    assert_eq!(alter(&format!("{target}?dry_run=true"), renamed.clone()), 200);
    assert_eq!(host.audited().len(), 1, "{:?}", host.audited());
    assert_eq!(alter(target, renamed), 200);
    assert_eq!(host.request("DELETE", target).admin().send().status(), 204);
    let entries = host.audited();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| (entry.action.as_str(), entry.target_id.as_str(), entry.user_id()))
        .collect();
    let by_admin = |action| (action, "n", Some("admin"));
    assert_eq!(
        told,
        [by_admin("collections.create"), by_admin("collections.alter"), by_admin("collections.delete")]
    );
    let (was, is) = (json!({"name": "t", "type": "string"}), json!({"name": "u", "type": "string"}));
    assert_eq!(entries[0].change["fields.t"], json!({"from": null, "to": was}));
    assert_eq!(entries[1].change, json!({"fields.u": {"from": was, "to": is}}));
    assert_eq!(entries[2].change["fields.u"], json!({"from": is, "to": null}));
}

#[test]
fn a_hook_that_refuses_leaves_nothing_behind() {
    let host = host();
    make(&host, "n", json!([{"name": "t", "type": "string"}]));
    host.refuse("record.create", Error::bad_request("no_spam", "no spam"));
    let answer = host.post("/api/collections/n/records").json(&json!({"data": {"t": "a"}})).send();
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (400, Some("no_spam")));
    assert!(records(&host, "/api/collections/n/records").is_empty());
    let batch = json!({"operations": [{"op": "create", "collection": "n", "data": {"t": "a"}}]});
    assert_eq!(host.post("/api/collections/batch").json(&batch).send().status(), 400);
}

#[test]
fn files_of_every_form_are_imported_and_exported() {
    let host = host();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let array = r#"[{"Title": "A", "US Gross": 1, "tags": ["x"]},
        {"Title": 300, "US Gross": 2.5, "tags": []}]"#;
    fs::write(path("a.json"), array).unwrap();
    fs::write(path("b.ndjson"), "{\"Title\":\"B\",\"US_Gross\":3}\n\n{\"Title\":\"C\"}\n").unwrap();
    fs::write(path("c.csv"), "Title,US Gross,tags\n\"D, E\",4,\"[\"\"y\"\"]\"\n5,,\n").unwrap();
    for (file, count) in [("a.json", 2), ("b.ndjson", 2), ("c.csv", 2)] {
        let outcome = host.command("import", &json!({"name": "films", "file": path(file)})).unwrap();
        assert_eq!((outcome.exit_code, &outcome.errors[..]), (0, &[][..]), "{file}: {:?}", outcome.out);
        assert_eq!(outcome.out.last().unwrap(), &format!("{count} records were imported into films"));
    }
    let expected = [
        json!({"Title": "A", "US_Gross": 1, "tags": ["x"]}),
        json!({"Title": "300", "US_Gross": 2.5, "tags": []}),
        json!({"Title": "B", "US_Gross": 3}),
        json!({"Title": "C"}),
        json!({"Title": "D, E", "US_Gross": 4, "tags": ["y"]}),
        json!({"Title": "5"}),
    ];
    assert_eq!(records(&host, "/api/collections/films/records?sort_order=asc"), expected);
    for file in ["out.json", "out.ndjson", "out.csv"] {
        host.command("export", &json!({"name": "films", "file": path(file)})).unwrap();
        let copy = format!("copy_{}", file.split_once('.').unwrap().1);
        let schema = host.get("/api/collections/films").send().json()["schema"].to_string();
        fs::write(path("schema.json"), schema).unwrap();
        let arguments = json!({"name": copy, "file": path(file), "schema": path("schema.json")});
        assert_eq!(host.command("import", &arguments).unwrap().exit_code, 0);
        assert_eq!(
            records(&host, &format!("/api/collections/{copy}/records?sort_order=asc")),
            expected,
            "{file}"
        );
    }
}

#[test]
fn whole_records_keep_their_ids() {
    let host = host();
    make(&host, "n", json!([{"name": "t", "type": "string"}]));
    host.post("/api/collections/n/records").user("u1").json(&json!({"data": {"t": "a"}})).send();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("n.ndjson").display().to_string();
    host.command("export", &json!({"name": "n", "file": file, "whole": true})).unwrap();
    let before = host.get("/api/collections/n/records").send().json()["records"][0].clone();
    host.request("DELETE", &format!("/api/collections/n/records/{}", before["id"].as_str().unwrap())).send();
    assert_eq!(host.command("import", &json!({"name": "n", "file": file})).unwrap().exit_code, 0);
    let after = host.get("/api/collections/n/records").send().json()["records"][0].clone();
    for part in ["id", "owner_id", "data"] {
        assert_eq!(after[part], before[part]);
    }
}

#[test]
fn an_import_stops_at_a_fault_or_skips_it_and_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("n.ndjson").display().to_string();
    let lines = [r#"{"t":"a"}"#, r#"{"t":5,"z":[]}"#, "nonsense", r#"{"t":"a"}"#, r#"{"t":"b"}"#];
    fs::write(&file, lines.join("\n")).unwrap();
    for (on_error, exit_code, kept, faults) in
        [("stop", 1, vec!["a"], 1), ("skip", 0, vec!["a", "5", "b"], 2)]
    {
        let host = host();
        make(
            &host,
            "n",
            json!([{"name": "t", "type": "string", "unique": true}, {"name": "z", "type": "array"}]),
        );
        let mut arguments = json!({"name": "n", "file": file, "on-error": on_error});
        if on_error == "stop" {
            fs::write(&file, lines.join("\n").replace("5,\"z\":[]", "[]")).unwrap();
        } else {
            fs::write(&file, lines.join("\n")).unwrap();
            arguments["on-error"] = json!("skip");
        }
        let outcome = host.command("import", &arguments).unwrap();
        assert_eq!(outcome.exit_code, exit_code, "{:?}", outcome.errors);
        let listed = records(&host, "/api/collections/n/records?sort_order=asc");
        let texts: Vec<_> = listed.iter().map(|data| data["t"].as_str().unwrap()).collect();
        assert_eq!(texts, kept);
        let named: Vec<_> = outcome.errors.iter().filter(|line| line.starts_with("line ")).collect();
        assert_eq!(named.len(), faults, "{named:?}");
        assert!(named[0].starts_with(if on_error == "stop" {
            "line 2: t: must be a string"
        } else {
            "line 3: no JSON"
        }));
    }
}

#[test]
fn hostile_bodies_are_refused_and_nothing_is_stored() {
    let host = host();
    make(
        &host,
        "n",
        json!([{"name": "t", "type": "string"}, {"name": "i", "type": "integer"}, {"name": "o", "type": "object"}]),
    );
    let deep = format!("{{\"data\":{{\"o\":{}1{}}}}}", "{\"a\":".repeat(100), "}".repeat(100));
    let deeper = "[".repeat(100_000);
    for (body, status) in [
        (b"{\"data\":{\"t\":\"\xff\"}}".to_vec(), 422),
        (b"{\"data\":{\"t\":\"a\\u0000b\"}}".to_vec(), 400),
        (b"{\"data\":{\"i\":1e400}}".to_vec(), 422),
        (b"{\"data\":{\"i\":99999999999999999999}}".to_vec(), 400),
        (b"{\"data\":{\"i\":1.0}}".to_vec(), 400),
        (b"{\"data\":{\"t\":\"\\ud800\"}}".to_vec(), 422),
        (deep.into_bytes(), 400),
        (deeper.into_bytes(), 422),
        (format!("{{\"data\":{{\"{}\":1}}}}", "x".repeat(1 << 20)).into_bytes(), 400),
        (format!("{{\"data\":{{\"t\":\"{}\"}}}}", "x".repeat(1 << 21)).into_bytes(), 400),
        (Vec::new(), 422),
    ] {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = host.post("/api/collections/n/records").body(body).send();
        assert_eq!(answer.status(), status, "{start}: {:?}", answer.json());
        assert!(answer.json()["code"].is_string() && answer.body().len() < 20_000, "{start}");
    }
    assert!(records(&host, "/api/collections/n/records").is_empty());
}

/// Sets a field of a new record as a caller; returns the status and the message.
fn referring(
    host: &TestHost<Collections>,
    role: (&str, &str),
    scopes: Option<&str>,
    data: &Value,
) -> (u16, String) {
    let request = host.post("/api/collections/n/records").role(role.0, role.1);
    let request = match scopes {
        Some(scopes) => request.scopes(scopes),
        None => request,
    };
    let answer = request.json(&json!({"data": data})).send();
    (answer.status(), answer.json()["detail"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn whoever_may_not_list_users_refers_to_themselves_alone() {
    let host = host();
    let (one, two) = ("01890000-0000-7000-8000-0000000000a1", "01890000-0000-7000-8000-0000000000a2");
    for (name, id) in [("u1", one), ("u2", two)] {
        host.add_user(id, &format!("{name}@example.com"), false);
    }
    make(
        &host,
        "n",
        json!([{"name": "by", "type": "reference", "collection": "users"}, {"name": "t", "type": "string"}]),
    );
    let words = |id: &str| (409, format!("by: there is no record {id} in users"));
    let user = (one, "user");
    assert_eq!(referring(&host, user, None, &json!({"by": two})), words(two));
    let absent = "01890000-0000-7000-8000-000000000001";
    assert_eq!(referring(&host, user, None, &json!({"by": absent})), words(absent));
    assert_eq!(referring(&host, user, None, &json!({"by": one})).0, 201);
    // Callers who may list users may set any existing user.
    for role in ["viewer", "editor"] {
        assert_eq!(referring(&host, (one, role), None, &json!({"by": two})).0, 201, "{role}");
        assert_eq!(referring(&host, (one, role), None, &json!({"by": absent})), words(absent));
        let writes = Some("collections:write:n");
        assert_eq!(referring(&host, (one, role), writes, &json!({"by": two})), words(two));
        let reads = Some("collections:write:n admin:users:read");
        assert_eq!(referring(&host, (one, role), reads, &json!({"by": two})).0, 201, "{role}");
    }
    let nobody = host.post("/api/collections/n/records").json(&json!({"data": {"by": one}})).send();
    assert_eq!(nobody.status(), 409, "{}", nobody.json());
    let operations = json!({"operations": [{"op": "create", "collection": "n", "data": {"by": two}}]});
    assert_eq!(host.post("/api/collections/batch").user(one).json(&operations).send().status(), 409);
    // A value set by an admin stays when something else is changed.
    let set = host.post("/api/collections/n/records").admin().json(&json!({"data": {"by": two}})).send();
    assert_eq!(set.status(), 201, "{}", set.json());
    let target = format!("/api/collections/n/records/{}", set.json()["id"].as_str().unwrap());
    let change = |data: Value| host.request("PATCH", &target).user(one).json(&json!({"data": data})).send();
    assert_eq!(change(json!({"t": "x", "by": two})).status(), 200);
    assert_eq!(change(json!({"by": one})).status(), 200);
    assert_eq!(change(json!({"by": two})).status(), 409);
}

#[test]
fn a_token_refers_to_nothing_that_its_scopes_do_not_let_it_read() {
    let host = host();
    make(&host, "other", json!([{"name": "t", "type": "string"}]));
    make(&host, "n", json!([{"name": "to", "type": "reference", "collection": "other"}]));
    let answer =
        host.post("/api/collections/other/records").admin().json(&json!({"data": {"t": "x"}})).send();
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let data = json!({"to": id});
    let words = (409, format!("to: there is no record {id} in other"));
    let writes = "collections:write:n";
    assert_eq!(referring(&host, ("u1", "user"), Some(writes), &data), words);
    assert_eq!(referring(&host, ("u1", "editor"), Some(writes), &data), words);
    for scopes in ["collections:write:n collections:read:other", "collections:write:n collections:read"] {
        assert_eq!(referring(&host, ("u1", "user"), Some(scopes), &data).0, 201, "{scopes}");
    }
}
