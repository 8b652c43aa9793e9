//! Tests of the extension on a test host: hooks, deliveries, retries, signatures, rotation, sweeping. No other server
//! is contacted.

mod rights;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tinybase_plugin_api::{
    http::{HttpRequest, HttpResponse},
    prelude::*,
    testkit::{TestHost, TestResponse},
};
use tinybase_webhooks::Webhooks;

const URL: &str = "https://example.org/in?key=1";

fn host() -> TestHost<Webhooks> {
    let host = TestHost::start(env!("CARGO_MANIFEST_DIR"));
    for (id, role) in [("ed", "editor"), ("eve", "editor"), ("admin", "admin")] {
        host.add_user(id, &format!("{id}@example.org"), false);
        host.change_user(id, role, true);
    }
    rule(&host, |_, _| true);
    answer(&host, 200);
    host
}

/// From now on, `allows` decides whether a caller may read a record with this data.
fn rule(host: &TestHost<Webhooks>, allows: impl Fn(&Json, &Json) -> bool + Send + Sync + 'static) {
    host.offer("records", 1, move |method, asked| {
        assert_eq!((method, &asked["collection"]), ("may_read", &json!("posts")));
        assert_eq!(asked["collection_id"], "c1");
        let records = asked["records"].as_array().unwrap().iter();
        let allowed: Vec<bool> = records.map(|record| allows(&asked["caller"], &record["data"])).collect();
        Ok(json!({"allowed": allowed}))
    });
}

/// From now on, every receiver responds with this status.
fn answer(host: &TestHost<Webhooks>, status: u16) {
    host.serve_http(move |_| Ok(HttpResponse::new(status)));
}

fn add(host: &TestHost<Webhooks>, fields: Json) -> Json {
    let mut hook = json!({"url": URL});
    hook.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let added = host.post("/api/webhooks").role("ed", "editor").json(&hook).send();
    assert_eq!(added.status(), 201, "{}", String::from_utf8_lossy(added.body()));
    added.json()
}

fn path(hook: &Json, rest: &str) -> String {
    format!("/api/webhooks/{}{rest}", hook["id"].as_str().unwrap())
}

fn change(event_id: &str, text: &str) -> Json {
    json!({
        "event_id": event_id, "collection": "posts", "collection_id": "c1", "id": "r1", "owner_id": "u1", "version": 1,
        "created_at": null, "updated_at": null, "record": {"text": text}, "previous": null, "caller": null, "request_id": "q1",
    })
}

/// Runs the send job once, with everything it starts.
fn send(host: &TestHost<Webhooks>) {
    host.job("send").unwrap();
    host.advance(Duration::from_millis(1));
}

fn deliveries(host: &TestHost<Webhooks>) -> Vec<Json> {
    let page = host.get("/api/webhooks/deliveries").admin().send().json();
    page["deliveries"].as_array().unwrap().clone()
}

fn hook(host: &TestHost<Webhooks>, hook: &Json) -> Json {
    host.get(&path(hook, "")).admin().send().json()
}

fn code(answer: &TestResponse) -> (u16, String) {
    (answer.status(), answer.code())
}

#[test]
fn hooks_are_for_editors_and_a_secret_is_answered_once() {
    let host = host();
    for (method, target) in
        [("GET", "/api/webhooks"), ("POST", "/api/webhooks"), ("GET", "/api/webhooks/deliveries")]
    {
        let request = || host.request(method, target).json(&json!({"url": URL}));
        assert_eq!((request().send().status(), request().user("u").send().status()), (401, 403));
        assert_eq!(request().role("v", "viewer").send().status(), 403);
    }
    let headers = json!({"Authorization": "Bearer hunter2"});
    let added = add(&host, json!({"collections": ["posts"], "headers": headers, "description": "mine"}));
    let secret = added["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() > 40, "{secret}");
    let shown = hook(&host, &added);
    assert_eq!(shown["header_names"], json!(["Authorization"]));
    let listed = host.get("/api/webhooks").admin().send().json();
    assert_eq!((&listed["total"], &listed["hooks"][0]), (&json!(1), &shown));
    let kept = format!("{listed} {:?}", host.audited());
    let stored = format!("{:?}", host.query("SELECT * FROM webhooks_hooks", &[]).unwrap());
    assert!(!kept.contains(secret) && !kept.contains("hunter2") && !stored.contains(secret), "{kept}");
    assert_eq!(host.audited()[0].action, "webhooks.create");
    let settings = host.get("/api/webhooks/settings").admin().send().json();
    assert_eq!((settings.get("signing_key"), &settings["attempts_max"]), (None, &json!(12)));

    let changed = host.request("PATCH", &path(&added, "")).admin().json(&json!({"collections": null})).send();
    assert_eq!(changed.json()["collections"], Json::Null);
    assert_eq!(changed.json()["description"], "mine");
    let expected = json!({"collections": {"from": ["posts"], "to": null}});
    assert_eq!(host.audited()[1].change, expected);
    assert_eq!(host.request("DELETE", &path(&added, "")).admin().send().status(), 204);
    assert_eq!(code(&host.get(&path(&added, "")).admin().send()), (404, "webhook_not_found".into()));
}

#[test]
fn what_is_no_hook_is_refused_with_every_fault() {
    let host = host();
    for (bad, field) in [
        (json!({}), "url"),
        (json!({"url": "example.org"}), "url"),
        (json!({"url": "ftp://example.org"}), "url"),
        (json!({"url": "http://me:pw@example.org"}), "url"),
        (json!({"url": URL, "events": []}), "events"),
        (json!({"url": URL, "events": ["created"]}), "events"),
        (json!({"url": URL, "collections": ["No"]}), "collections"),
        (json!({"url": URL, "headers": {"webhook-id": "x"}}), "headers"),
        (json!({"url": URL, "headers": {"x": "a\nb"}}), "headers"),
    ] {
        let refused = host.post("/api/webhooks").admin().json(&bad).send();
        assert_eq!(code(&refused), (422, "webhook_invalid".into()), "{bad}");
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", field]), "{bad}");
    }
    let odd = host.post("/api/webhooks").admin().json(&json!({"url": URL, "colour": 1})).send();
    assert_eq!(odd.status(), 400 + 22, "{:?}", odd.json());
    assert!(host.http_requests().is_empty());
}

#[test]
fn an_event_is_sent_signed_to_whoever_wants_it_and_once() {
    let host = host();
    add(&host, json!({"events": ["create"], "headers": {"x-mine": "1"}}));
    add(&host, json!({"collections": ["other"]}));
    add(&host, json!({"events": ["delete"]}));
    add(&host, json!({"is_active": false}));
    for _ in 0..2 {
        host.after("record.create", "posts", &change("e1", "hi")).unwrap();
    }
    assert!(host.http_requests().is_empty(), "nothing is sent before it is written down");
    send(&host);
    send(&host);
    let sent = host.http_requests();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].method(), sent[0].url(), sent[0].header("x-mine")), ("POST", URL, Some("1")));
    assert_eq!(sent[0].header("webhook-id"), Some("e1"));
    assert!(sent[0].header("webhook-signature").unwrap().starts_with("v1,"));
    assert_eq!(sent[0].timeout(), Some(Duration::from_secs(10)));
    let body: Json = String::from_utf8_lossy(sent[0].body()).parse().unwrap();
    let data = json!({"collection": "posts", "id": "r1", "owner_id": "u1", "record": {"text": "hi"}});
    assert_eq!((&body["type"], &body["data"]), (&json!("record.created"), &data));
    let [delivery] = &deliveries(&host)[..] else { panic!("one delivery") };
    assert_eq!((&delivery["state"], &delivery["attempts"]), (&json!("delivered"), &json!(1)));
    assert_eq!((&delivery["response_status"], &delivery["next_attempt_at"]), (&json!(200), &Json::Null));
}

#[test]
fn a_record_goes_along_only_where_it_is_wanted_and_fits() {
    let host = host();
    host.set_settings(json!({"payload_bytes_max": 1024})).unwrap();
    add(&host, json!({}));
    add(&host, json!({"include_record": false}));
    let mut update = change("e1", "new");
    update["previous"] = json!({"text": "old"});
    host.after("record.update", "posts", &update).unwrap();
    host.after("record.update", "posts", &change("e2", &"x".repeat(2000))).unwrap();
    send(&host);
    let data = |id: &str| -> Vec<Json> {
        let requests = host.http_requests();
        let of_event = requests.iter().filter(|request| request.header("webhook-id") == Some(id));
        of_event
            .map(|request| String::from_utf8_lossy(request.body()).parse::<Json>().unwrap()["data"].clone())
            .collect()
    };
    let bare = json!({"collection": "posts", "id": "r1", "owner_id": "u1"});
    let mut whole = bare.clone();
    whole["record"] = json!({"text": "new"});
    whole["old"] = json!({"text": "old"});
    assert_eq!(data("e1"), [whole, bare.clone()]);
    let mut cut = bare.clone();
    cut["truncated"] = true.into();
    assert_eq!(data("e2"), [cut, bare]);
}

#[test]
fn a_delivery_that_fails_is_tried_later_and_later_until_it_is_dead() {
    let host = host();
    answer(&host, 500);
    host.set_settings(json!({"attempts_max": 3})).unwrap();
    let added = add(&host, json!({}));
    host.after("record.create", "posts", &change("e1", "hi")).unwrap();
    send(&host);
    send(&host);
    assert_eq!(host.http_requests().len(), 1, "it waits");
    let [waiting] = &deliveries(&host)[..] else { panic!("one delivery") };
    assert_eq!((&waiting["state"], &waiting["response_status"]), (&json!("pending"), &json!(500)));
    host.advance(Duration::from_secs(1));
    send(&host);
    host.advance(Duration::from_millis(900));
    send(&host);
    assert_eq!(host.http_requests().len(), 2, "the second wait is at least a second");
    host.advance(Duration::from_millis(1100));
    send(&host);
    let [dead] = &deliveries(&host)[..] else { panic!("one delivery") };
    assert_eq!((&dead["state"], &dead["attempts"]), (&json!("dead"), &json!(3)));
    assert_eq!(hook(&host, &added)["failures"], 3);
    let bodies: Vec<_> = host.http_requests().iter().map(|request| request.body().to_vec()).collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "every try says the same");

    answer(&host, 204);
    let again = format!("/api/webhooks/deliveries/{}/retry", dead["id"].as_str().unwrap());
    assert_eq!(host.post(&again).admin().send().json()["state"], "pending");
    send(&host);
    assert_eq!(deliveries(&host)[0]["state"], "delivered");
    assert_eq!(hook(&host, &added)["failures"], 0, "a success counts from 0 again");
    let page = host.get("/api/webhooks/deliveries?state=dead").admin().send().json();
    assert_eq!(page["total"], 0);
    assert_eq!(
        code(&host.get("/api/webhooks/deliveries?state=x").admin().send()),
        (422, "invalid_query".into())
    );
    assert_eq!(
        code(&host.post("/api/webhooks/deliveries/x/retry").admin().send()),
        (404, "delivery_not_found".into())
    );
}

#[test]
fn a_hook_that_keeps_failing_is_switched_off_and_goes_on_where_it_stood() {
    let host = host();
    host.serve_http(|_| Err(Error::new(504, "http_timeout", "too slow").retryable()));
    host.set_settings(json!({"disable_after_failures": 2})).unwrap();
    let added = add(&host, json!({}));
    for event in ["e1", "e2"] {
        host.after("record.create", "posts", &change(event, "hi")).unwrap();
    }
    send(&host);
    let off = hook(&host, &added);
    assert_eq!(
        (&off["is_active"], &off["inactive_reason"]),
        (&json!(false), &json!("2 tries in a row failed"))
    );
    let entry = host.audited().last().unwrap().clone();
    assert_eq!((entry.action.as_str(), entry.user_id()), ("webhooks.switch_off", None));
    assert_eq!(code(&host.post(&path(&added, "/test")).admin().send()), (409, "webhook_inactive".into()));
    host.advance(Duration::from_secs(5));
    send(&host);
    assert_eq!(host.http_requests().len(), 2, "what is off is asked nothing");

    answer(&host, 200);
    let on = host.request("PATCH", &path(&added, "")).admin().json(&json!({"is_active": true})).send().json();
    assert_eq!((&on["failures"], &on["inactive_reason"]), (&json!(0), &Json::Null));
    send(&host);
    assert!(deliveries(&host).iter().all(|delivery| delivery["state"] == "delivered"));
}

#[test]
fn a_receiver_that_is_gone_is_asked_no_more() {
    let host = host();
    answer(&host, 410);
    let added = add(&host, json!({}));
    assert_eq!(host.post(&path(&added, "/test")).admin().send().json()["type"], "webhook.test");
    send(&host);
    assert_eq!(hook(&host, &added)["inactive_reason"], "the receiver answered 410, Gone");
}

#[test]
fn two_secrets_sign_while_one_takes_over_from_the_other() {
    let host = host();
    let added = add(&host, json!({}));
    let signatures = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&signatures);
    host.serve_http(move |request: &HttpRequest| {
        seen.lock().unwrap().push(request.header("webhook-signature").unwrap().split(' ').count());
        Ok(HttpResponse::new(200))
    });
    let test = || {
        host.post(&path(&added, "/test")).admin().send();
        send(&host);
    };
    test();
    let rotated = host.post(&path(&added, "/rotate-secret")).admin().send().json();
    assert_ne!(rotated["secret"], added["secret"]);
    assert_eq!(hook(&host, &added).get("secret"), None);
    test();
    host.advance(Duration::from_hours(25));
    test();
    assert_eq!(*signatures.lock().unwrap(), [1, 2, 1]);
}

#[test]
fn old_deliveries_are_swept_and_waiting_ones_are_not() {
    let host = host();
    add(&host, json!({}));
    host.after("record.create", "posts", &change("e1", "hi")).unwrap();
    send(&host);
    answer(&host, 500);
    host.after("record.create", "posts", &change("e2", "hi")).unwrap();
    send(&host);
    host.advance(Duration::from_hours(24 * 13));
    host.job("sweep").unwrap();
    assert_eq!(deliveries(&host).len(), 2);
    host.advance(Duration::from_hours(24 * 2));
    host.job("sweep").unwrap();
    let left: Vec<_> = deliveries(&host).iter().map(|delivery| delivery["event_id"].clone()).collect();
    assert_eq!(left, ["e2"]);
}

#[test]
fn settings_change_but_for_the_key() {
    let host = host();
    let patch = |body: Json| host.request("PATCH", "/api/webhooks/settings").admin().json(&body).send();
    assert_eq!(patch(json!({"attempts_max": 4})).json()["attempts_max"], 4);
    assert_eq!(host.audited()[0].change, json!({"attempts_max": {"from": 12, "to": 4}}));
    assert_eq!(code(&patch(json!({"signing_key": "x".repeat(44)}))), (422, "setting_invalid".into()));
}

fn data_of(host: &TestHost<Webhooks>, event_id: &str) -> Vec<Json> {
    let requests = host.http_requests();
    let of_event = requests.iter().filter(|request| request.header("webhook-id") == Some(event_id));
    let data = |request: &HttpRequest| {
        String::from_utf8_lossy(request.body()).parse::<Json>().map(|body| body["data"].clone())
    };
    of_event.map(|request| data(request).unwrap()).collect()
}

#[test]
fn headers_are_changed_one_by_one() {
    let host = host();
    let made = add(&host, json!({"headers": {"Authorization": "Bearer x", "X-One": "1"}}));
    let patch = |headers: Json| {
        let answer =
            host.request("PATCH", &path(&made, "")).admin().json(&json!({"headers": headers})).send();
        if answer.status() == 200 { answer.json()["header_names"].clone() } else { json!(code(&answer)) }
    };
    let refused = json!([422, "webhook_invalid"]);
    assert_eq!(patch(json!({"X-Two": "2"})), json!(["Authorization", "X-One", "X-Two"]));
    assert_eq!(patch(json!({"x-one": "3"})), json!(["Authorization", "X-Two", "x-one"]));
    assert_eq!(patch(json!({"X-TWO": null, "X-None": null})), json!(["Authorization", "x-one"]));
    assert_eq!(patch(json!({"a": "1", "A": "2"})), refused);
    let many = |count: usize| (0..count).map(|at| (format!("y-{at}"), json!("1"))).collect::<Json>();
    assert_eq!(patch(many(9)), refused, "ten at most, with those that there are");
    assert_eq!(patch(json!({})), json!(["Authorization", "x-one"]), "nothing of it was kept");
    host.after("record.create", "posts", &change("e1", "hi")).unwrap();
    send(&host);
    let sent = host.http_requests();
    assert_eq!((sent[0].header("authorization"), sent[0].header("x-one")), (Some("Bearer x"), Some("3")));
    assert_eq!(patch(Json::Null), json!([]));
}

#[test]
fn what_may_not_be_null_is_refused_and_changes_nothing() {
    let host = host();
    let made = add(&host, json!({"description": "mine"}));
    for field in ["url", "events", "is_active", "description", "include_record"] {
        let body: Json = [(field.to_owned(), Json::Null)].into_iter().collect();
        let refused = host.request("PATCH", &path(&made, "")).admin().json(&body).send();
        assert_eq!(code(&refused), (422, "webhook_invalid".into()), "{field}");
        assert_eq!(refused.json()["detail"][0]["loc"], json!(["body", field]));
    }
    assert_eq!(hook(&host, &made)["updated_at"], made["updated_at"]);
}

#[test]
fn parameters_that_a_route_does_not_have_are_refused() {
    let host = host();
    let made = add(&host, json!({}));
    for target in [
        "/api/webhooks?limt=5".to_owned(),
        "/api/webhooks?limit=5&limit=6".to_owned(),
        "/api/webhooks?state=dead".to_owned(),
        "/api/webhooks/deliveries?stat=dead".to_owned(),
        "/api/webhooks/settings?x".to_owned(),
        path(&made, "?x=1"),
        path(&made, "/deliveries?hook_id=1"),
    ] {
        let refused = host.get(&target).admin().send();
        assert_eq!(code(&refused), (422, "invalid_query".into()), "{target}");
    }
    assert_eq!(host.get("/api/webhooks?limit=5&offset=0&_=1").admin().send().status(), 200);
}
