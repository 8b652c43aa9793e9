//! The extension `webhooks`, built outside of the workspace, on the real server with a real receiver: what is sent, how
//! it is signed, and that nothing is lost, whatever happens to the receiver or the server.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod limits;
mod receiver;
mod tokens;

use std::{collections::BTreeSet, process::Command};

use receiver::{Received, Receiver, Reply, wait_until};
use serde_json::{Value as Json, json};
use tinybase_test_postgres::server_url;
use tinybase_tests::{Client, Server, Site, root, site::PASSWORD, third_party::build_extension};

const RECORDS: &str = "/api/collections/posts/records";

/// Creates a site with the extension, whose server may access loopback.
fn site() -> Site {
    let mut site = Site::new();
    site.set("TINYBASE_PLUGINS_HTTP_ALLOW_NETWORKS", "127.0.0.0/8");
    // Under load, a call may take longer than the other tests allow.
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    site.set("TINYBASE_PLUGINS_START_TIMEOUT_MS", "10000");
    site.set("TINYBASE_LOG_LEVEL", "debug");
    let ran = site.install(&build_extension("webhooks", "0.1.0"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    site
}

/// Sets short waits, and creates a collection to change.
fn prepare(admin: &Client) {
    let settings = json!({"backoff_min_ms": 50, "backoff_max_ms": 400, "timeout_ms": 1000});
    admin.patch("/api/webhooks/settings", &settings).expect(200);
    let schema = json!({"fields": [{"name": "text", "type": "string"}]});
    admin.post("/api/collections", &json!({"name": "posts", "label": "Posts", "schema": schema})).expect(201);
}

fn add(admin: &Client, receiver: &Receiver) -> Json {
    admin.post("/api/webhooks", &json!({"url": receiver.url()})).expect(201)
}

fn secret(hook: &Json) -> &str {
    hook["secret"].as_str().unwrap()
}

fn write(client: &Client, text: &str) -> String {
    let record = client.post(RECORDS, &json!({"data": {"text": text}})).expect(201);
    record["id"].as_str().unwrap().to_owned()
}

fn deliveries(admin: &Client, query: &str) -> Vec<Json> {
    let page = admin.get(&format!("/api/webhooks/deliveries?{query}")).expect(200);
    page["deliveries"].as_array().unwrap().clone()
}

/// Returns the records that messages are about.
fn records(received: &[Received]) -> BTreeSet<String> {
    received.iter().map(|received| received.json()["data"]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_change_is_told_signed_and_tried_again_until_it_is_taken() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let receiver = Receiver::start();
    receiver.first(&[Reply::Status(500), Reply::Status(302), Reply::Status(204)]);
    let hook = add(&admin, &receiver);
    let id = write(&admin, "hello");
    let tries = receiver.wait_for(3);
    for one in &tries {
        assert!(one.is_signed_by(secret(&hook)), "{one:?}");
        assert!(!one.is_signed_by("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        assert_eq!((one.line.as_str(), one.id()), ("POST /in?key=hunter2 HTTP/1.1", tries[0].id()));
        assert_eq!((&one.body, one.header("content-type")), (&tries[0].body, "application/json"));
    }
    let message = tries[0].json();
    assert_eq!((&message["type"], &message["data"]["id"]), (&json!("record.created"), &json!(id)));
    assert_eq!(message["data"]["record"], json!({"text": "hello"}));
    wait_until("it is noted", || deliveries(&admin, "state=delivered").len() == 1);
    let delivery = &deliveries(&admin, "")[0];
    assert_eq!((&delivery["attempts"], &delivery["response_status"]), (&json!(3), &json!(204)));

    let record = format!("{RECORDS}/{id}");
    admin.patch(&record, &json!({"data": {"text": "changed"}})).expect(200);
    admin.delete(&record).expect(204);
    let told = receiver.wait_for(5);
    let types: BTreeSet<_> =
        told[3..].iter().map(|one| one.json()["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["record.deleted", "record.updated"].map(str::to_owned).into());
    let update = told[3..].iter().find(|one| one.json()["type"] == "record.updated").unwrap().json();
    assert_eq!(
        (&update["data"]["old"]["text"], &update["data"]["record"]["text"]),
        (&json!("hello"), &json!("changed"))
    );

    let metrics = String::from_utf8(admin.get("/metrics").body).unwrap();
    assert!(
        metrics.contains("tinybase_plugin_http_duration_seconds_count{plugin=\"webhooks\"}"),
        "{metrics}"
    );
    let log = server.log().join("\n");
    assert!(!log.contains("hunter2") && !log.contains(secret(&hook)), "{log}");
    let stored = site.sql("SELECT value FROM tb_settings WHERE key = 'ext.webhooks.signing_key'");
    assert!(stored.contains("$sealed"), "{stored}");
    let log = admin.get("/api/admin/audit-log?action=webhooks.create").expect(200);
    assert_eq!(log["entries"][0]["target_id"], hook["id"], "{log}");
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_or_asked_to_end() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let receiver = Receiver::start();
    receiver.otherwise(Reply::Hang);
    add(&admin, &receiver);
    let mut written: BTreeSet<_> = (0..5).map(|number| write(&admin, &number.to_string())).collect();
    receiver.wait_for(1);
    // Some are being sent, some wait, some may not be queued yet.
    server.kill();
    let server = site.serve();
    let admin = server.admin();
    written.extend((5..10).map(|number| write(&admin, &number.to_string())));
    receiver.wait_for(receiver.received().len() + 1);
    assert!(server.stop().success());
    receiver.otherwise(Reply::Status(200));
    let server = site.serve();
    let admin = server.admin();
    wait_until("all are delivered", || deliveries(&admin, "state=delivered").len() == 10);
    assert_eq!(records(&receiver.received()), written);
    assert_eq!(receiver.ids().len(), 10, "each change has one id, however often it was sent");
}

#[test]
fn a_receiver_that_hangs_holds_up_nobody_else() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    admin.patch("/api/webhooks/settings", &json!({"timeout_ms": 30_000})).expect(200);
    let (hanging, quick) = (Receiver::start(), Receiver::start());
    hanging.otherwise(Reply::Hang);
    let stuck = add(&admin, &hanging);
    add(&admin, &quick);
    for number in 0..20 {
        write(&admin, &number.to_string());
    }
    assert_eq!(records(&quick.wait_for(20)).len(), 20);
    assert!(hanging.received().len() <= 4, "no more than a hook's part is under way");
    admin.delete(&format!("/api/webhooks/{}", stuck["id"].as_str().unwrap())).expect(204);
    assert_eq!(deliveries(&admin, "").len(), 20, "those of the deleted hook are gone");
}

#[test]
fn an_event_that_is_told_twice_is_sent_once() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let receiver = Receiver::start();
    add(&admin, &receiver);
    let payload = json!({
        "event_id": "0000-told-twice", "collection": "posts", "collection_id": null, "id": "r1", "owner_id": null, "record": {"text": "x"},
        "previous": null, "caller": null, "request_id": "q1",
    });
    let bytes = match site.database_url() {
        Some(_) => format!("convert_to('{payload}', 'UTF8')"),
        None => format!("CAST('{payload}' AS BLOB)"),
    };
    let at = "'2026-01-01T00:00:00.000000Z'";
    let row = format!("('record.create', 'posts', {bytes}, 'webhooks/record.create/*', {at}, {at})");
    site.sql(&format!(
        "INSERT INTO tb_outbox (topic, subject, payload, subscriber, created_at, next_attempt_at) VALUES {row}, {row}"
    ));
    // Queued after them, so both were sent once this is.
    let id = write(&admin, "behind");
    wait_until("what was written behind is there", || records(&receiver.received()).contains(&id));
    wait_until("all are noted", || deliveries(&admin, "state=delivered").len() == 2);
    let of_twice = receiver.received().iter().filter(|one| one.id() == "0000-told-twice").count();
    assert_eq!((of_twice, receiver.received().len()), (1, 2));
    assert_eq!(site.sql("SELECT count(*) FROM tb_outbox").trim(), "0");
}

#[test]
fn two_secrets_sign_while_one_takes_over_from_the_other() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let receiver = Receiver::start();
    let hook = add(&admin, &receiver);
    let path = format!("/api/webhooks/{}", hook["id"].as_str().unwrap());
    let rotated = admin.post(&format!("{path}/rotate-secret"), &json!({})).expect(200);
    admin.post(&format!("{path}/test"), &json!({})).expect(202);
    let test = &receiver.wait_for(1)[0];
    assert_eq!(test.json()["type"], "webhook.test");
    assert!(test.is_signed_by(secret(&hook)) && test.is_signed_by(secret(&rotated)), "{test:?}");
    assert_ne!(secret(&hook), secret(&rotated));
    let shown = admin.get(&path).expect(200);
    assert!(shown.get("secret").is_none() && !shown.to_string().contains("whsec_"), "{shown}");

    // Without an overlap the old secret expires immediately.
    admin.patch("/api/webhooks/settings", &json!({"secret_overlap_hours": 0})).expect(200);
    let last = admin.post(&format!("{path}/rotate-secret"), &json!({})).expect(200);
    admin.post(&format!("{path}/test"), &json!({})).expect(202);
    let test = &receiver.wait_for(2)[1];
    assert!(test.is_signed_by(secret(&last)) && !test.is_signed_by(secret(&rotated)), "{test:?}");
}

/// Runs the README's function in this language on a message, and returns its result.
fn verified(language: &str, program: &str, driver: &str, secret: &str, message: &Received) -> String {
    let readme = std::fs::read_to_string(root().join("examples/webhooks/README.md")).unwrap();
    let code = readme.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap();
    let headers = json!({
        "webhook-id": message.id(),
        "webhook-timestamp": message.header("webhook-timestamp"),
        "webhook-signature": message.header("webhook-signature"),
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("verify.{language}"));
    std::fs::write(&file, format!("{code}\n{driver}")).unwrap();
    let ran = Command::new(program).arg(file).args([secret, &headers.to_string(), &message.body]).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).trim().to_lowercase()
}

#[test]
fn the_readme_shows_how_to_verify() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let receiver = Receiver::start();
    let hook = add(&admin, &receiver);
    write(&admin, "h\u{e4}llo");
    let message = &receiver.wait_for(1)[0];
    let python =
        "import sys, json\nprint(verify(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].encode()))";
    let js = "console.log(verify(process.argv[2], JSON.parse(process.argv[3]), process.argv[4]));";
    for (language, program, driver) in [("python", "python3", python), ("js", "node", js)] {
        let by = |secret: &str, message: &Received| verified(language, program, driver, secret, message);
        assert_eq!(by(secret(&hook), message), "true", "{language}");
        assert_eq!(by("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", message), "false", "{language}");
        let mut other = message.clone();
        other.body.push(' ');
        assert_eq!(by(secret(&hook), &other), "false", "{language}");
    }
}

#[test]
fn what_the_operator_did_not_open_is_not_asked() {
    let mut site = site();
    site.set("TINYBASE_PLUGINS_HTTP_ALLOW_NETWORKS", "10.0.0.0/8");
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let receiver = Receiver::start();
    add(&admin, &receiver);
    write(&admin, "x");
    let error = || deliveries(&admin, "").first().map_or(String::new(), |one| one["error"].to_string());
    wait_until("it is refused", || error().contains("http_denied_address"));
    assert!(!error().contains("hunter2"), "{}", error());
    assert!(receiver.received().is_empty());
}

#[test]
fn hooks_are_for_editors_and_for_tokens_with_the_scope() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    for (email, role) in
        [("ada@example.com", "user"), ("vi@example.com", "viewer"), ("ed@example.com", "editor")]
    {
        let user = json!({"email": email, "password": PASSWORD, "role": role});
        admin.post("/api/admin/users", &user).expect(201);
        let status = server.client().signed_in(email).get("/api/webhooks").status;
        assert_eq!(status, if role == "editor" { 200 } else { 403 }, "{role}");
    }
    for (scopes, expected) in [(json!(["admin:webhooks:read"]), 200), (json!(["admin:users:read"]), 403)] {
        let token = json!({"name": "t", "scopes": scopes});
        let token = admin.post("/api/admin/application-tokens", &token).expect(201);
        let client = server.client().with_token(token["token_value"].as_str().unwrap());
        assert_eq!(client.get("/api/webhooks").status, expected, "{scopes}");
    }
}

/// Creates a user with this role and signs in.
fn user(server: &Server, admin: &Client, email: &str, role: &str) -> (Client, String) {
    let user = json!({"email": email, "password": PASSWORD, "role": role});
    let made = admin.post("/api/admin/users", &user).expect(201);
    (server.client().signed_in(email), made["id"].as_str().unwrap().to_owned())
}

/// Returns the changes of `collection` in the messages: type, the text now, the text before.
fn told(receiver: &Receiver, collection: &str) -> Vec<(String, Json, Json)> {
    let of_message = |one: &Received| {
        let (message, text) = (one.json(), |data: &Json| data["text"].clone());
        let data = &message["data"];
        (data["collection"] == collection).then(|| {
            let kind = message["type"].as_str().unwrap().to_owned();
            (kind, text(&data["record"]), text(&data["old"]))
        })
    };
    receiver.received().iter().filter_map(of_message).collect()
}

/// Waits until everything that was written is sent to the hook that receives all changes.
fn settle(all: &Receiver, admin: &Client, writer: &Client) {
    let id = write(writer, "settled");
    wait_until("all is sent", || records(&all.received()).contains(&id));
    wait_until("nothing waits", || deliveries(admin, "state=pending").is_empty());
}

#[test]
fn a_hook_is_told_of_what_its_owner_may_read() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let make = |name: &str, rule: &str| {
        let fields = json!([{"name": "text", "type": "string"}, {"name": "is_open", "type": "boolean"}]);
        let access =
            json!({"list": rule, "read": rule, "create": "auth", "update": "auth", "delete": "auth"});
        let body =
            json!({"name": name, "label": name, "schema": {"fields": fields}, "options": {"access": access}});
        admin.post("/api/collections", &body).expect(201);
    };
    for (name, rule) in [("vault", "admin"), ("own", "owner_id = @me"), ("some", "is_open = true")] {
        make(name, rule);
    }
    let (editor, editor_id) = user(&server, &admin, "ed@example.com", "editor");
    let (other, _) = user(&server, &admin, "bo@example.com", "user");
    let (all, limited, by_token) = (Receiver::start(), Receiver::start(), Receiver::start());
    add(&admin, &all);
    add(&editor, &limited);
    let scopes = json!(["admin:webhooks:write", "collections:read:own"]);
    let token =
        admin.post("/api/admin/application-tokens", &json!({"name": "t", "scopes": scopes})).expect(201);
    add(&server.client().with_token(token["token_value"].as_str().unwrap()), &by_token);

    let records = |name: &str| format!("/api/collections/{name}/records");
    for (client, who) in [(&editor, "mine"), (&other, "another's")] {
        for name in ["vault", "own", "some"] {
            let data = json!({"text": who, "is_open": true});
            let made = client.post(&records(name), &json!({"data": data})).expect(201);
            let record = format!("{}/{}", records(name), made["id"].as_str().unwrap());
            client.patch(&record, &json!({"data": {"text": "then", "is_open": false}})).expect(200);
            client.delete(&record).expect(204);
        }
    }
    settle(&all, &admin, &other);
    assert_eq!(told(&all, "vault").len(), 6);
    assert_eq!(told(&limited, "vault"), []);
    let of_own = |text: &str| {
        vec![
            ("record.created".to_owned(), json!(text), Json::Null),
            ("record.deleted".to_owned(), Json::Null, json!("then")),
            ("record.updated".to_owned(), json!("then"), json!(text)),
        ]
    };
    let sorted = |mut told: Vec<(String, Json, Json)>| {
        told.sort_by_key(|(kind, ..)| kind.clone());
        told
    };
    assert_eq!(sorted(told(&limited, "own")), of_own("mine"), "and nothing of another's");
    // A record that was open when it was queued may be closed by now; then it is not sent.
    let closed: Vec<_> =
        told(&limited, "some").into_iter().filter(|(kind, ..)| kind != "record.created").collect();
    assert_eq!(closed, []);
    assert_eq!((told(&by_token, "vault"), told(&by_token, "posts").len()), (vec![], 0));
    assert_eq!(told(&by_token, "own").len(), 6, "an admin's token reads what it has the scope for");

    // The owner's account is disabled: no changes of public collections are sent either.
    let before = told(&limited, "posts").len();
    assert!(before > 0);
    admin.patch(&format!("/api/admin/users/{editor_id}"), &json!({"is_active": false})).expect(200);
    settle(&all, &admin, &other);
    assert_eq!(told(&limited, "posts").len(), before);

    // Hooks of a version without owners receive what anybody may read.
    site.sql("UPDATE webhooks_hooks SET owner_id = NULL, owner_scopes = NULL");
    let data = json!({"text": "for admins", "is_open": true});
    admin.post(&records("vault"), &json!({"data": data})).expect(201);
    settle(&all, &admin, &other);
    assert_eq!((told(&all, "vault").len(), told(&limited, "posts").len()), (6, before + 1));
}

#[test]
fn what_waits_is_told_to_nobody_who_may_not_read_it_any_more() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let (editor, editor_id) = user(&server, &admin, "ed@example.com", "editor");
    let receivers = [(); 2].map(|()| Receiver::start());
    for receiver in &receivers {
        receiver.otherwise(Reply::Status(500));
        add(&editor, receiver);
    }
    let settings = json!({"backoff_min_ms": 200, "backoff_max_ms": 200, "attempts_max": 50, "disable_after_failures": 0});
    admin.patch("/api/webhooks/settings", &settings).expect(200);
    let rules = |rule: &str| json!({"options": {"access": {"list": rule, "read": rule}}});
    write(&admin, "waits");
    receivers.iter().for_each(|receiver| drop(receiver.wait_for(1)));
    // The rule changed: nothing pending is sent, although it was open when it was queued.
    admin.patch("/api/collections/posts", &rules("admin")).expect(200);
    wait_until("both are given up", || deliveries(&admin, "state=dead").len() == 2);
    receivers.iter().for_each(|receiver| receiver.otherwise(Reply::Status(200)));
    for delivery in deliveries(&admin, "") {
        assert!(delivery["error"].as_str().unwrap().contains("may not read"), "{delivery}");
    }
    // A public collection with the same name does not open the records of the previous one.
    admin.delete("/api/collections/posts").expect(204);
    let schema = json!({"fields": [{"name": "text", "type": "string"}]});
    admin.post("/api/collections", &json!({"name": "posts", "label": "Posts", "schema": schema})).expect(201);
    let (tries, dead) = (receivers[0].received().len(), deliveries(&admin, "state=dead"));
    for delivery in &dead {
        let again = format!("/api/webhooks/deliveries/{}/retry", delivery["id"].as_str().unwrap());
        editor.post(&again, &json!({})).expect(202);
    }
    wait_until("both are given up again", || deliveries(&admin, "state=dead").len() == 2);
    assert_eq!(receivers[0].received().len(), tries);
    // An owner who is no longer an editor receives nothing.
    receivers.iter().for_each(|receiver| receiver.otherwise(Reply::Status(500)));
    write(&admin, "waits too");
    receivers.iter().for_each(|receiver| {
        wait_until("it was tried", || receiver.received().iter().any(|one| one.body.contains("waits too")));
    });
    admin.patch(&format!("/api/admin/users/{editor_id}"), &json!({"role": "user"})).expect(200);
    wait_until("these are given up", || deliveries(&admin, "state=dead").len() == 4);
}

#[test]
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
fn two_nodes_send_each_delivery_once() {
    if server_url().is_none() {
        println!("PostgreSQL's alone: several nodes share a server's database");
        return;
    }
    let site = site();
    let (one, other) = (site.serve(), site.serve());
    let admin = one.admin();
    prepare(&admin);
    // Under load a try may take long, and a lease must outlast it.
    admin.patch("/api/webhooks/settings", &json!({"timeout_ms": 20_000})).expect(200);
    let receiver = Receiver::start();
    add(&admin, &receiver);
    let clients = [admin.clone(), other.admin()];
    let written: BTreeSet<_> =
        (0..40).map(|number: usize| write(&clients[number % 2], &number.to_string())).collect();
    wait_until("all are delivered", || deliveries(&admin, "state=delivered&limit=1000").len() == 40);
    let received = receiver.received();
    assert_eq!((records(&received), received.len()), (written, 40));
}
