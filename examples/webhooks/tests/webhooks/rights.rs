//! What a hook receives: what its owner and its application tokens may read, checked when a change is queued and again
//! before each try.

use std::time::Duration;

use tinybase_plugin_api::{prelude::*, testkit::TestHost};
use tinybase_webhooks::Webhooks;

use super::{URL, add, answer, change, code, data_of, deliveries, hook, host, path, rule, send};

fn states(host: &TestHost<Webhooks>, event_id: &str) -> Vec<(Json, Json)> {
    let of_event = deliveries(host).into_iter().filter(|delivery| delivery["event_id"] == event_id);
    of_event.map(|delivery| (delivery["state"].clone(), delivery["error"].clone())).collect()
}

/// Admins may read all records, others only those that are not secret.
fn by_secrecy(caller: &Json, data: &Json) -> bool {
    caller["role"] == "admin" || data["text"] != "secret"
}

#[test]
fn a_hook_receives_what_its_owner_may_read_and_nothing_else() {
    let host = host();
    rule(&host, by_secrecy);
    assert_eq!(add(&host, json!({}))["owner_id"], "ed");
    add(&host, json!({"include_record": false}));
    let (open, secret) = (json!({"text": "open"}), json!({"text": "secret"}));
    for (event_id, topic, record, old, expected) in [
        ("c-open", "record.create", &open, &Json::Null, Some(json!({"record": open}))),
        ("c-secret", "record.create", &secret, &Json::Null, None),
        ("u-open", "record.update", &open, &open, Some(json!({"record": open, "old": open}))),
        ("u-opened", "record.update", &open, &secret, Some(json!({"record": open}))),
        ("u-closed", "record.update", &secret, &open, None),
        ("d-open", "record.delete", &Json::Null, &open, Some(json!({"old": open}))),
        ("d-secret", "record.delete", &Json::Null, &secret, None),
    ] {
        let mut event = change(event_id, "");
        (event["record"], event["previous"]) = (record.clone(), old.clone());
        host.after(topic, "posts", &event).unwrap();
        send(&host);
        let told = data_of(&host, event_id);
        let Some(expected) = expected else {
            assert!(told.is_empty(), "{event_id}: {told:?}");
            assert!(states(&host, event_id).is_empty(), "{event_id} is not written down either");
            continue;
        };
        assert_eq!(told.len(), 2, "{event_id}");
        for name in ["record", "old"] {
            assert_eq!(told[0].get(name), expected.get(name), "{event_id}");
            assert_eq!(told[1].get(name), None, "{event_id}: the second hook wants no records");
        }
    }
}

#[test]
fn what_waits_is_judged_again_before_each_try() {
    type Change = fn(&TestHost<Webhooks>);
    let changes: [(&str, Change, bool); 6] = [
        ("nothing", |_| {}, true),
        ("the rule", |host| rule(host, |_, _| false), false),
        ("the role", |host| host.change_user("ed", "viewer", true), false),
        ("the account is off", |host| host.change_user("ed", "editor", false), false),
        ("the account is gone", |host| host.delete_user("ed"), false),
        (
            "the collection is another",
            |host| {
                host.offer("records", 1, |_, _| {
                    Err(Error::not_found(
                        "collection_not_found",
                        "the collection posts is another one by now",
                    ))
                });
            },
            false,
        ),
    ];
    for (name, becomes, is_told) in changes {
        let host = host();
        answer(&host, 500);
        add(&host, json!({}));
        add(&host, json!({"include_record": false}));
        host.after("record.create", "posts", &change("e1", "hi")).unwrap();
        send(&host);
        assert_eq!(data_of(&host, "e1").len(), 2, "{name}: queued and tried while it was allowed");
        answer(&host, 200);
        becomes(&host);
        host.advance(Duration::from_secs(2));
        send(&host);
        assert_eq!(data_of(&host, "e1").len(), if is_told { 4 } else { 2 }, "{name}");
        for (state, error) in states(&host, "e1") {
            let expected = if is_told { "delivered" } else { "dead" };
            assert_eq!((&state, error.as_str().is_some()), (&json!(expected), !is_told), "{name}");
        }
        host.after("record.create", "posts", &change("e2", "hi")).unwrap();
        assert_eq!(states(&host, "e2").len(), if is_told { 2 } else { 0 }, "{name}");
    }
}

#[test]
fn of_a_change_that_waits_the_old_record_is_left_out_once_it_is_closed() {
    let host = host();
    answer(&host, 500);
    add(&host, json!({}));
    let mut event = change("e1", "open");
    event["previous"] = json!({"text": "secret"});
    host.after("record.update", "posts", &event).unwrap();
    send(&host);
    rule(&host, by_secrecy);
    host.advance(Duration::from_secs(2));
    send(&host);
    let told = data_of(&host, "e1");
    assert!(told[0].get("old").is_some() && told[1].get("old").is_none(), "{told:?}");
    assert_eq!(told[1]["record"], json!({"text": "open"}));
}

#[test]
fn nobody_gets_more_by_a_hook_than_they_may_read_themselves() {
    let host = host();
    rule(&host, by_secrecy);
    let of_admin = host.post("/api/webhooks").admin().json(&json!({"url": URL})).send().json();
    let of_editor = add(&host, json!({}));
    let told = |event_id: &str| {
        host.after("record.create", "posts", &change(event_id, "secret")).unwrap();
        send(&host);
        data_of(&host, event_id).len()
    };
    assert_eq!(told("e1"), 1, "the admin's hook alone");
    for (method, rest) in [("PATCH", ""), ("DELETE", ""), ("POST", "/rotate-secret")] {
        for who in ["ed", "eve"] {
            let target = path(if who == "ed" { &of_admin } else { &of_editor }, rest);
            let refused = host.request(method, &target).role(who, "editor").json(&json!({"url": URL})).send();
            assert_eq!(code(&refused), (403, "webhook_of_another".into()), "{method} {target} by {who}");
        }
    }
    // An admin's change of an editor's hook does not make the admin its owner.
    let patch = |hook: &Json| host.request("PATCH", &path(hook, "")).json(&json!({"description": "x"}));
    assert_eq!(patch(&of_editor).admin().send().json()["owner_id"], "ed");
    assert_eq!(told("e2"), 1);
    // A token removes what it may not read, and its user, signed in, restores it.
    let scopes = |hook: &Json| hook["owner_scopes"].clone();
    host.add_token("narrow", "admin", "admin:webhooks:write collections:read:notes");
    host.add_token("wide", "admin", "admin:webhooks collections:read");
    let limited = patch(&of_admin).token("narrow").send().json();
    assert_eq!(scopes(&limited), json!(["admin:webhooks:write", "collections:read:notes"]));
    let further = patch(&of_admin).token("wide").send().json();
    assert_eq!(scopes(&further), scopes(&limited));
    assert_eq!(further["owner_token_ids"], json!(["narrow", "wide"]));
    let freed = patch(&of_admin).admin().send().json();
    assert_eq!((scopes(&freed), &freed["owner_token_ids"]), (Json::Null, &json!([])));
    let made = host.post("/api/webhooks").token("wide").json(&json!({"url": URL})).send().json();
    assert_eq!(
        (scopes(&made), &made["owner_token_ids"]),
        (json!(["admin:webhooks", "collections:read"]), &json!(["wide"]))
    );
}

#[test]
fn a_hook_ends_with_any_token_that_had_a_hand_in_it_and_says_so() {
    type Change = fn(&TestHost<Webhooks>);
    let changes: [(&str, Change, bool); 5] = [
        ("nothing", |_| {}, true),
        ("the token that made it", |host| host.delete_token("maker"), false),
        ("the token that changed it", |host| host.delete_token("changer"), false),
        ("the user of the token that changed it", |host| host.change_user("admin", "viewer", true), false),
        ("the same, switched off", |host| host.change_user("admin", "admin", false), false),
    ];
    for (name, becomes, is_told) in changes {
        let host = host();
        answer(&host, 500);
        host.add_token("maker", "ed", "admin:webhooks:write collections:read");
        host.add_token("changer", "admin", "admin:webhooks:write collections:read");
        let made = host.post("/api/webhooks").token("maker").json(&json!({"url": URL})).send().json();
        let text = json!({"description": "x"});
        host.request("PATCH", &path(&made, "")).token("changer").json(&text).send();
        host.after("record.create", "posts", &change("e1", "hi")).unwrap();
        host.post(&path(&made, "/test")).admin().send();
        send(&host);
        assert_eq!(host.http_requests().len(), 2, "{name}: while it stands");
        answer(&host, 200);
        becomes(&host);
        host.advance(Duration::from_secs(2));
        send(&host);
        assert_eq!(host.http_requests().len(), if is_told { 4 } else { 2 }, "{name}");
        host.after("record.create", "posts", &change("e2", "hi")).unwrap();
        assert_eq!(states(&host, "e2").len(), usize::from(is_told), "{name}");
        let listed = host.get("/api/webhooks").admin().send().json();
        for shown in [hook(&host, &made), listed["hooks"][0].clone()] {
            let told = shown["inactive_reason"].as_str().unwrap_or_default();
            assert_eq!((&shown["is_active"], told.contains("token")), (&json!(is_told), !is_told), "{name}");
        }
        let test = host.post(&path(&made, "/test")).role("ed", "editor").send();
        assert_eq!(test.status(), if is_told { 202 } else { 409 }, "{name}");
        // Its owner, signed in, takes it over.
        let freed = host.request("PATCH", &path(&made, "")).role("ed", "editor").json(&text).send().json();
        assert_eq!((&freed["is_active"], &freed["owner_token_ids"]), (&json!(true), &json!([])), "{name}");
        host.after("record.create", "posts", &change("e3", "hi")).unwrap();
        assert_eq!(states(&host, "e3").len(), 1, "{name}");
    }
}

#[test]
fn a_hook_receives_what_its_tokens_may_read_at_that_time() {
    let host = host();
    host.add_token("t", "ed", "admin:webhooks:write collections:read");
    rule(&host, |caller, _| {
        let scopes = caller["scopes"].as_str();
        let may_read = scopes.is_none_or(|scopes| scopes.split(' ').any(|scope| scope == "collections:read"));
        caller["role"] == "editor" && may_read
    });
    let made = host.post("/api/webhooks").token("t").json(&json!({"url": URL})).send().json();
    let told = |event_id: &str| {
        host.after("record.create", "posts", &change(event_id, "hi")).unwrap();
        send(&host);
        data_of(&host, event_id).len()
    };
    assert_eq!(told("e1"), 1);
    // If an admin limits a token further, its hooks lose those rights too. Scopes that the token gains are not
    // added.
    host.add_token("t", "ed", "admin:webhooks:write");
    assert_eq!(told("e2"), 0);
    host.add_token("t", "ed", "*");
    assert_eq!(told("e3"), 1);
    assert_eq!(hook(&host, &made)["owner_scopes"], json!(["admin:webhooks:write", "collections:read"]));
    // An admin's token that changes an editor's hook adds no rights, and removes what its own user may not read.
    host.add_token("a", "admin", "*");
    host.request("PATCH", &path(&made, "")).token("a").json(&json!({"description": "x"})).send();
    assert_eq!(told("e4"), 0, "the rule lets editors alone read");
}

#[test]
fn another_editor_neither_tests_a_hook_nor_sees_or_resends_its_deliveries() {
    let host = host();
    answer(&host, 500);
    host.set_settings(json!({"attempts_max": 1})).unwrap();
    let of_editor = add(&host, json!({}));
    host.after("record.create", "posts", &change("e1", "hi")).unwrap();
    send(&host);
    let dead = deliveries(&host)[0]["id"].as_str().unwrap().to_owned();
    let again = format!("/api/webhooks/deliveries/{dead}/retry");
    for (method, target) in [
        ("POST", path(&of_editor, "/test")),
        ("POST", again.clone()),
        ("GET", path(&of_editor, "/deliveries")),
    ] {
        let refused = host.request(method, &target).role("eve", "editor").send();
        assert_eq!(code(&refused), (403, "webhook_of_another".into()), "{method} {target}");
    }
    assert_eq!(deliveries(&host).len(), 1);
    assert_eq!(deliveries(&host)[0]["state"], "dead");
    let total = |id: &str, role: &str, target: &str| {
        host.get(target).role(id, role).send().json()["total"].as_i64().unwrap()
    };
    let all = "/api/webhooks/deliveries";
    assert_eq!(
        [total("ed", "editor", all), total("eve", "editor", all), total("admin", "admin", all)],
        [1, 0, 1]
    );
    assert_eq!(total("eve", "editor", "/api/webhooks/deliveries?state=dead"), 0);
    assert_eq!(total("ed", "editor", &path(&of_editor, "/deliveries")), 1);
    assert_eq!(host.post(&again).role("ed", "editor").send().status(), 202);
    assert_eq!(host.post(&path(&of_editor, "/test")).role("ed", "editor").send().status(), 202);
}

#[test]
fn only_its_owner_and_admins_see_all_of_a_hooks_url() {
    let host = host();
    let made = add(&host, json!({"url": "https://hooks.example.org:8443/services/T0/secret?key=1"}));
    for (id, role, expected) in [
        ("ed", "editor", &made["url"]),
        ("admin", "admin", &made["url"]),
        ("eve", "editor", &json!("https://hooks.example.org")),
    ] {
        let shown = host.get(&path(&made, "")).role(id, role).send().json();
        let listed = host.get("/api/webhooks").role(id, role).send().json();
        assert_eq!((&shown["url"], &listed["hooks"][0]["url"]), (expected, expected), "{id}");
    }
}

#[test]
fn a_delivery_is_sent_again_only_once_it_is_delivered_or_dead() {
    let host = host();
    answer(&host, 500);
    add(&host, json!({}));
    host.after("record.create", "posts", &change("e1", "hi")).unwrap();
    send(&host);
    let again = || {
        let id = deliveries(&host)[0]["id"].as_str().unwrap().to_owned();
        host.post(&format!("/api/webhooks/deliveries/{id}/retry")).role("ed", "editor").send()
    };
    let refused = again();
    assert_eq!(code(&refused), (409, "delivery_pending".into()), "{:?}", refused.json());
    assert_eq!(deliveries(&host)[0]["attempts"], 1, "it keeps its tries");
    assert!(host.audited().iter().all(|entry| entry.action != "webhooks.retry"));
    answer(&host, 200);
    host.advance(Duration::from_secs(2));
    send(&host);
    assert_eq!(deliveries(&host)[0]["state"], "delivered");
    assert_eq!(again().status(), 202);
}

#[test]
fn a_try_that_never_reached_the_receiver_is_none() {
    let host = host();
    host.set_settings(json!({"attempts_max": 1, "disable_after_failures": 1})).unwrap();
    let made = add(&host, json!({}));
    host.after("record.create", "posts", &change("e1", "hi")).unwrap();
    host.offer("records", 1, |_, _| Err(Error::new(503, "overloaded", "no room")));
    for _ in 0..3 {
        send(&host);
        let [delivery] = &deliveries(&host)[..] else { panic!("one delivery") };
        assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("pending"), &json!(0)));
        assert!(delivery["error"].as_str().unwrap().starts_with("not tried: "), "{delivery}");
        host.advance(Duration::from_millis(400));
        rule(&host, |_, _| true);
        send(&host);
        assert!(host.http_requests().is_empty(), "it waits first");
        host.offer("records", 1, |_, _| Err(Error::new(503, "overloaded", "no room")));
        host.advance(Duration::from_millis(700));
    }
    rule(&host, |_, _| true);
    send(&host);
    let [delivery] = &deliveries(&host)[..] else { panic!("one delivery") };
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
    assert_eq!(hook(&host, &made)["failures"], 0);
}
