//! The service `records@1`, on the engine of the test run: what another extension reads, and that a caller's rules
//! apply to it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use serde_json::{Value, json};
use tinybase_collections::plugin::Collections;
use tinybase_plugin_api::{Error, testkit::TestHost};

fn host() -> TestHost<Collections> {
    TestHost::start(env!("CARGO_MANIFEST_DIR"))
}

fn make(host: &TestHost<Collections>, name: &str, list: &str, read: &str) {
    let fields = json!([{"name": "t", "type": "string"}, {"name": "n", "type": "integer"}]);
    let access = json!({"list": list, "read": read, "create": "auth"});
    let body =
        json!({"name": name, "label": name, "schema": {"fields": fields}, "options": {"access": access}});
    let answer = host.post("/api/collections").admin().json(&body).send();
    assert_eq!(answer.status(), 201, "{}", answer.json());
}

/// Creates a record of `owner` and returns its id.
fn add(host: &TestHost<Collections>, collection: &str, owner: &str, text: &str) -> String {
    let target = format!("/api/collections/{collection}/records");
    let answer = host.post(&target).user(owner).json(&json!({"data": {"t": text}})).send();
    assert_eq!(answer.status(), 201, "{}", answer.json());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn call(host: &TestHost<Collections>, method: &str, payload: Value) -> Result<Value, Error> {
    host.call("records", 1, method, &payload)
}

fn user(id: &str, role: &str, scopes: Value) -> Value {
    json!({"user_id": id, "email": format!("{id}@example.com"), "role": role, "scopes": scopes})
}

fn texts(answer: &Value) -> Vec<&str> {
    answer["records"].as_array().unwrap().iter().map(|record| record["data"]["t"].as_str().unwrap()).collect()
}

#[test]
fn a_caller_reads_what_the_rules_let_them_see_and_no_more() {
    let host = host();
    make(&host, "own", "owner", "public");
    make(&host, "closed", "admin", "t = 'open' or owner_id = @me");
    for collection in ["own", "closed"] {
        let ids = [("ada", "a"), ("bob", "b"), ("ada", "open")]
            .map(|(who, text)| add(&host, collection, who, text));
        let wanted = json!([ids[2], "0192d3a8-0000-7000-8000-000000000000", ids[1], ids[0]]);
        let read = |rule: &str, caller: Value| {
            let asked = json!({"collection": collection, "ids": wanted, "caller": caller, "rule": rule});
            let answer =
                call(&host, "read", asked).map_err(|error| (error.status(), error.code().to_owned()))?;
            let texts = texts(&answer).into_iter().map(str::to_owned).collect::<Vec<_>>();
            Ok::<_, (u16, String)>((texts, answer["sees_all"] == true))
        };
        let seen =
            |texts: &[&str], all: bool| Ok((texts.iter().map(|text| (*text).to_owned()).collect(), all));
        let refused = |code: &str| Err((403, code.to_owned()));
        let (ada, bob) = (|| user("ada", "user", Value::Null), || user("bob", "user", Value::Null));
        let admin = |scopes: Value| user("root", "admin", scopes);
        let cases = match collection {
            "own" => vec![
                ("list", ada(), seen(&["open", "a"], false)),
                ("list", bob(), seen(&["b"], false)),
                ("list", user("eve", "viewer", Value::Null), seen(&[], false)),
                ("list", Value::Null, refused("access_denied")),
                ("read", Value::Null, seen(&["open", "b", "a"], true)),
            ],
            _ => vec![
                ("list", ada(), refused("access_denied")),
                ("read", ada(), seen(&["open", "a"], false)),
                ("read", bob(), seen(&["open", "b"], false)),
                ("read", Value::Null, seen(&["open"], false)),
            ],
        };
        for (rule, caller, expected) in cases {
            assert_eq!(read(rule, caller.clone()), expected, "{collection} by {rule} as {caller}");
        }
        // An admin passes every rule; an admin's application token only with the scope.
        let of_this = format!("collections:read:{collection} other");
        for scopes in [Value::Null, json!("collections:read"), json!(of_this)] {
            assert_eq!(read("list", admin(scopes)), seen(&["open", "b", "a"], true));
        }
        for scopes in ["", "collections:write", "collections:read:others", "search:read"] {
            assert_eq!(read("list", admin(json!(scopes))), refused("scope_missing"), "{scopes:?}");
        }
    }
}

#[test]
fn a_record_is_told_as_the_routes_answer_it_with_its_version() {
    let host = host();
    make(&host, "c", "public", "public");
    let id = add(&host, "c", "ada", "one");
    let target = format!("/api/collections/c/records/{id}");
    let patched = host.request("PATCH", &target).user("ada").json(&json!({"data": {"t": "two"}})).send();
    assert_eq!(patched.status(), 200);
    let mut expected = host.get(&target).send().json();
    expected["version"] = json!(2);
    let asked = json!({"collection": "c", "ids": [id], "caller": null});
    assert_eq!(call(&host, "read", asked).unwrap()["records"], json!([expected]));
    let listed = call(&host, "list", json!({"collection": "c", "ids": [id]})).unwrap();
    assert_eq!(listed["records"], json!([expected]));
}

#[test]
fn an_extension_walks_through_everything_in_its_own_name() {
    let host = host();
    make(&host, "c", "admin", "admin");
    let ids: Vec<String> = (0..7).map(|number| add(&host, "c", "ada", &number.to_string())).collect();
    let (mut after, mut found, mut pages) = (Value::Null, Vec::new(), 0);
    loop {
        let page = call(&host, "list", json!({"collection": "c", "after": after, "limit": 3})).unwrap();
        let records = page["records"].as_array().unwrap();
        found.extend(records.iter().map(|record| record["id"].as_str().unwrap().to_owned()));
        pages += 1;
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!((found, pages), (ids, 3));
    let told = call(&host, "collections", json!({"name": "c"})).unwrap();
    let told = &told["collections"][0];
    assert_eq!((&told["name"], &told["records"], &told["revision"]), (&json!("c"), &json!(7), &json!(1)));
    assert_eq!(told["fields"], json!([{"name": "t", "type": "string"}, {"name": "n", "type": "integer"}]));
    make(&host, "d", "public", "public");
    let all = call(&host, "collections", json!({})).unwrap();
    let names = |all: &Value| -> Vec<Value> {
        all["collections"].as_array().unwrap().iter().map(|told| told["name"].clone()).collect()
    };
    assert_eq!(names(&all), [json!("c"), json!("d")]);
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let host = host();
    make(&host, "c", "public", "public");
    let many: Vec<String> = (0..201).map(|number| number.to_string()).collect();
    let half_told = json!({"user_id": "u", "email": "u@x.y", "role": "admin"});
    for (method, payload, expected) in [
        ("read", json!({"collection": "c", "ids": []}), (422, "invalid_payload")),
        ("read", json!({"collection": "c", "ids": [], "caller": half_told}), (422, "invalid_payload")),
        ("read", json!({"collection": "c", "ids": many, "caller": null}), (422, "invalid_payload")),
        ("read", json!({"collection": "c", "ids": [7], "caller": null}), (422, "invalid_payload")),
        (
            "read",
            json!({"collection": "c", "ids": [], "caller": null, "rule": "x"}),
            (422, "invalid_payload"),
        ),
        ("read", json!({"collection": "x", "ids": [], "caller": null}), (404, "collection_not_found")),
        ("list", json!({"collection": "x"}), (404, "collection_not_found")),
        ("list", json!({"collection": "c", "limit": 0}), (422, "invalid_payload")),
        ("list", json!({"collection": "c", "limit": 501}), (422, "invalid_payload")),
        ("list", json!({"collection": "c", "after": "1 OR 1"}), (422, "invalid_payload")),
        ("list", json!({"collection": "c", "ids": [], "limit": 3}), (422, "invalid_payload")),
        ("list", json!({"collection": "c", "caller": null}), (422, "invalid_payload")),
        ("collections", json!({"name": "x"}), (404, "collection_not_found")),
        ("may_read", json!({"collection": "c", "caller": null, "records": []}), (422, "invalid_payload")),
        (
            "may_read",
            json!({"collection": "c", "collection_id": null, "caller": null, "records": [{"id": "r", "data": {}}]}),
            (422, "invalid_payload"),
        ),
        (
            "may_read",
            json!({"collection": "c", "collection_id": "another", "caller": null, "records": []}),
            (404, "collection_not_found"),
        ),
        ("write", json!({}), (404, "method_unknown")),
    ] {
        let error = call(&host, method, payload.clone()).unwrap_err();
        assert_eq!((error.status(), error.code()), expected, "{method} {payload}: {error}");
    }
    let nothing = call(&host, "read", json!({"collection": "c", "ids": [], "caller": null})).unwrap();
    assert_eq!(nothing, json!({"records": [], "sees_all": true}));
}

/// A listener that is notified late of a deletion must know which record it was: ids may be reused.
#[test]
fn an_event_tells_the_version_and_when_the_record_was_created() {
    let host = host();
    make(&host, "c", "public", "public");
    let id = add(&host, "c", "ada", "one");
    let target = format!("/api/collections/c/records/{id}");
    let record =
        host.request("PATCH", &target).user("ada").json(&json!({"data": {"t": "two"}})).send().json();
    assert_eq!(host.request("DELETE", &target).user("ada").send().status(), 204);
    let events = host.emitted();
    for (topic, version, created_at) in [
        ("record.create", 1, &Value::Null),
        ("record.update", 2, &record["created_at"]),
        ("record.delete", 2, &record["created_at"]),
    ] {
        let event = events.iter().find(|event| event.topic == topic).unwrap();
        assert_eq!((&event.payload["version"], &event.payload["created_at"]), (&json!(version), created_at));
        assert_eq!(event.payload["collection_id"], record["collection_id"]);
        let updated_at = if topic == "record.delete" { &record["updated_at"] } else { &Value::Null };
        assert_eq!(&event.payload["updated_at"], updated_at);
    }
}

/// Returns whether each of four callers may read a record of ada with this text.
fn may_read(host: &TestHost<Collections>, collection: &str, id: &str, text: &str) -> [bool; 4] {
    let callers = [
        Value::Null,
        user("bob", "editor", Value::Null),
        user("ada", "user", Value::Null),
        user("root", "admin", Value::Null),
    ];
    let of_id = call(host, "collections", json!({"name": collection})).unwrap();
    let time = "2026-01-01T00:00:00.000000Z";
    let record = json!({
        "id": id, "owner_id": "ada", "created_at": time, "updated_at": time, "data": {"t": text},
    });
    callers.map(|caller| {
        let asked = json!({
            "collection": collection, "collection_id": of_id["collections"][0]["id"], "caller": caller,
            "records": [record],
        });
        call(host, "may_read", asked).unwrap()["allowed"] == json!([true])
    })
}

#[test]
fn an_event_may_be_told_to_whom_both_rules_let_at_the_record_then_and_now() {
    let host = host();
    // By the rules list and read: anonymous, bob, ada, an admin.
    for (number, (list, read, expected)) in [
        ("public", "public", [true, true, true, true]),
        ("auth", "public", [false, true, true, true]),
        ("owner", "public", [false, false, true, true]),
        ("admin", "public", [false, false, false, true]),
        ("public", "admin", [false, false, false, true]),
        ("public", "t = 'open' or owner_id = @me", [false, false, true, true]),
        ("@me.email like 'bob@%'", "auth", [false, true, false, true]),
        ("created_at < '2026-02-01' and t = 'secret'", "public", [true, true, true, true]),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c{number}");
        make(&host, &name, list, read);
        assert_eq!(may_read(&host, &name, "gone", "secret"), expected, "{list} and {read}");
    }
    // If the caller may not read a record now, its earlier states are closed too.
    make(&host, "c", "public", "t = 'open'");
    let id = add(&host, "c", "ada", "secret");
    assert_eq!(may_read(&host, "c", &id, "open"), [false, false, false, true]);
    assert_eq!(may_read(&host, "c", "gone", "open"), [true; 4]);
    let open = add(&host, "c", "ada", "open");
    assert_eq!(may_read(&host, "c", &open, "open"), [true; 4]);
    assert_eq!(may_read(&host, "c", &open, "secret"), [false, false, false, true]);
    // An admin's token may only read what its scopes allow.
    for (scopes, expected) in
        [("collections:read", true), ("collections:read:c", true), ("collections:write", false), ("", false)]
    {
        let time = "2026-01-01T00:00:00.000000Z";
        let record = json!({"id": "r", "owner_id": null, "created_at": time, "updated_at": time, "data": {}});
        let asked = json!({
            "collection": "c", "collection_id": null, "caller": user("root", "admin", json!(scopes)),
            "records": [record, record],
        });
        assert_eq!(
            call(&host, "may_read", asked).unwrap()["allowed"],
            json!([expected, expected]),
            "{scopes:?}"
        );
    }
}
