//! Administration tests that a case file cannot express: what ends immediately, concurrent changes, and the effect of
//! deletions on records.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Server, Site, site::PASSWORD};

/// The maximum wait for background work.
const WAIT_MAX: Duration = Duration::from_secs(20);

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::yield_now();
    }
}

fn text(value: &Json, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

fn create_user(admin: &Client, email: &str, role: &str) -> String {
    let body = json!({"email": email, "password": PASSWORD, "role": role});
    text(&admin.post("/api/admin/users", &body).expect(201), "id")
}

fn login(server: &Server, email: &str) -> Json {
    server.client().post("/api/auth/login", &json!({"email": email, "password": PASSWORD})).expect(200)
}

fn with(server: &Server, token: &Json) -> Client {
    server.client().with_token(token.as_str().unwrap())
}

fn refresh(server: &Server, login: &Json) -> u16 {
    with(server, &login["refresh_token"]).send("POST", "/api/auth/refresh", b"").status
}

#[test]
fn a_deactivated_user_is_out_at_once_and_comes_back() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let id = create_user(&admin, "alan@example.com", "admin");
    let session = login(&server, "alan@example.com");
    let alan = with(&server, &session["access_token"]);
    let made = alan.post("/api/admin/application-tokens", &json!({"name": "alan's"})).expect(201);
    let token = with(&server, &made["token_value"]);
    assert_eq!((alan.get("/api/auth/me").status, token.get("/api/auth/me").status), (200, 200));

    let path = format!("/api/admin/users/{id}");
    admin.patch(&path, &json!({"is_active": false})).expect(200);
    assert_eq!(alan.get("/api/auth/me").outcome(), (401, "token_revoked".into()));
    assert_eq!(token.get("/api/auth/me").outcome(), (401, "token_revoked".into()));
    assert_eq!(refresh(&server, &session), 401);
    let credentials = |password: &str| json!({"email": "alan@example.com", "password": password});
    let refused = server.client().post("/api/auth/login", &credentials(PASSWORD));
    let wrong = server.client().post("/api/auth/login", &credentials("wrong horse battery"));
    assert_eq!(refused.status, 401);
    assert_eq!(refused.body, wrong.body, "the words tell that the account is there");

    admin.patch(&path, &json!({"is_active": true})).expect(200);
    assert_eq!(token.get("/api/auth/me").status, 200, "the token was not ended for good");
    let session = login(&server, "alan@example.com");

    admin.patch(&path, &json!({"role": "viewer"})).expect(200);
    assert_eq!(token.get("/api/auth/me").expect(200)["role"], "viewer", "the role of now");
    admin.patch(&path, &json!({"password": "another horse battery"})).expect(200);
    assert_eq!(refresh(&server, &session), 401, "a new password ends the sessions");

    assert_eq!(admin.delete(&path).status, 204);
    assert_eq!(token.get("/api/auth/me").outcome(), (401, "token_invalid".into()));
}

#[test]
fn records_that_refer_to_a_deleted_user_follow_their_schema() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    for on_delete in ["set_null", "cascade", "restrict"] {
        let schema = json!({"fields": [
            {"name": "user", "type": "reference", "collection": "users", "on_delete": on_delete},
        ]});
        let body = json!({"name": on_delete, "label": on_delete, "schema": schema});
        admin.post("/api/collections", &body).expect(201);
    }
    let refer = |collection: &str, user: &str| {
        let body = json!({"data": {"user": user}});
        let made = admin.post(&format!("/api/collections/{collection}/records"), &body).expect(201);
        format!("/api/collections/{collection}/records/{}", text(&made, "id"))
    };
    let id = create_user(&admin, "ada@example.com", "user");
    let path = format!("/api/admin/users/{id}");
    let (nulled, gone, kept) = (refer("set_null", &id), refer("cascade", &id), refer("restrict", &id));

    assert_eq!(admin.delete(&path).outcome(), (409, "user_referenced".into()));
    assert_eq!(admin.get(&path).status, 200);
    assert_eq!(admin.get(&nulled).expect(200)["data"]["user"], json!(id), "nothing of it was done");

    assert_eq!(admin.delete(&kept).status, 204);
    assert_eq!(admin.delete(&path).status, 204);
    assert_eq!(admin.get(&path).status, 404);
    assert_eq!(admin.get(&nulled).expect(200)["data"]["user"], Json::Null);
    assert_eq!(admin.get(&gone).status, 404);
}

#[test]
fn a_user_is_deleted_with_a_chain_of_records_of_any_length() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let reference = |name: &str, to: &str, on_delete: &str| json!({"name": name, "type": "reference", "collection": to, "on_delete": on_delete});
    let body = json!({"name": "t", "label": "t", "schema": {"fields": [
        reference("user", "users", "cascade"), reference("loose", "users", "set_null"),
    ]}});
    admin.post("/api/collections", &body).expect(201);
    let fields = json!([
        reference("user", "users", "cascade"),
        reference("loose", "users", "set_null"),
        reference("up", "t", "cascade"),
        reference("kept", "t", "restrict"),
    ]);
    admin.patch("/api/collections/t", &json!({"schema": {"fields": fields}})).expect(200);
    let (ada, alan) =
        (create_user(&admin, "ada@example.com", "user"), create_user(&admin, "alan@example.com", "user"));
    let node = |number: usize| format!("00000000-0000-7000-8000-{number:012}");
    let operations: Vec<Json> = (0..2_500)
        .map(|number| {
            let data = match number {
                0 => json!({"user": ada}),
                1_200 => json!({"up": node(1_199), "kept": node(3), "loose": ada, "user": ada}),
                2_499 => json!({"user": alan}),
                _ => json!({"up": node(number - 1)}),
            };
            json!({"op": "create", "collection": "t", "id": node(number), "data": data})
        })
        .collect();
    for operations in operations.chunks(500) {
        admin.post("/api/collections/batch", &json!({"operations": operations})).expect(200);
    }
    let kept = admin.post("/api/collections/t/records", &json!({"data": {"kept": node(2_000)}})).expect(201);
    let path = format!("/api/admin/users/{ada}");
    assert_eq!(admin.delete(&path).outcome(), (409, "user_referenced".into()));
    let total = || admin.get("/api/collections/t/records?limit=1").expect(200)["total"].clone();
    assert_eq!(total(), 2_501, "nothing of it was done");

    assert_eq!(admin.delete(&format!("/api/collections/t/records/{}", text(&kept, "id"))).status, 204);
    assert_eq!(admin.delete(&path).status, 204);
    assert_eq!(total(), 1, "what belongs to another user is left");
}

/// A record that was moved to another user with a success response belongs to that user, however late the move was.
#[test]
fn a_record_that_moves_to_another_user_while_the_first_is_deleted_is_kept() {
    const CHAIN: usize = 2_000;
    const LOOSE: usize = 1_000;
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let user = json!({"name": "user", "type": "reference", "collection": "users", "on_delete": "cascade"});
    let up = json!({"name": "up", "type": "reference", "collection": "t", "on_delete": "cascade"});
    let fields = json!([user]);
    admin
        .post("/api/collections", &json!({"name": "t", "label": "t", "schema": {"fields": fields}}))
        .expect(201);
    admin.patch("/api/collections/t", &json!({"schema": {"fields": [user, up]}})).expect(200);
    let (ada, alan) =
        (create_user(&admin, "ada@example.com", "user"), create_user(&admin, "alan@example.com", "user"));
    let node = |number: usize| format!("00000000-0000-7000-8000-{number:012}");
    let operations: Vec<Json> = (0..CHAIN + LOOSE)
        .map(|number| {
            let data = match number {
                0 => json!({"user": ada}),
                _ if number < CHAIN => json!({"up": node(number - 1)}),
                _ => json!({"user": ada}),
            };
            json!({"op": "create", "collection": "t", "id": node(number), "data": data})
        })
        .collect();
    for operations in operations.chunks(500) {
        admin.post("/api/collections/batch", &json!({"operations": operations})).expect(200);
    }
    let path = |number: usize| format!("/api/collections/t/records/{}", node(number));
    // Signed in beforehand: the records must be moved while the user is being deleted.
    let other = server.admin();
    let moved: Vec<usize> = thread::scope(|scope| {
        let deletion = scope.spawn(|| {
            let path = format!("/api/admin/users/{ada}");
            until("the deletion of the user", || (other.delete(&path).status == 204).then_some(()));
        });
        let mut moved = Vec::new();
        for number in CHAIN..CHAIN + LOOSE {
            if deletion.is_finished() {
                break;
            }
            let answer = admin.patch(&path(number), &json!({"data": {"user": alan}}));
            if answer.status == 200 {
                moved.push(number);
            }
        }
        deletion.join().unwrap();
        moved
    });
    assert!(!moved.is_empty(), "nothing was moved in time");
    let lost: Vec<&usize> = moved.iter().filter(|number| admin.get(&path(**number)).status != 200).collect();
    assert!(lost.is_empty(), "{lost:?} of {} were moved, and are gone", moved.len());
    assert_eq!(admin.get(&path(0)).status, 404);
    assert_eq!(admin.get("/api/collections/t/records?limit=1").expect(200)["total"], moved.len());
}

#[test]
fn an_import_ends_where_the_collection_is_changed_meanwhile() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let fields = json!([{"name": "t", "type": "string"}]);
    admin
        .post("/api/collections", &json!({"name": "t", "label": "t", "schema": {"fields": fields}}))
        .expect(201);
    let file = site.dir().join("t.ndjson");
    std::fs::write(&file, "{\"t\":\"some text that is to be stored\"}\n".repeat(60_000)).unwrap();
    let ran = thread::scope(|scope| {
        let import = scope.spawn(|| {
            site.run(&["collections", "import", "t", file.to_str().unwrap(), "--on-error", "skip"])
        });
        while !import.is_finished() {
            for name in ["t", "u"] {
                let fields = json!([{"name": "t", "type": "string", "description": name}]);
                admin.patch("/api/collections/t", &json!({"schema": {"fields": fields}})).expect(200);
            }
        }
        import.join().unwrap()
    });
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.errors.contains("the collection was changed meanwhile"), "{ran:?}");
    assert!(!ran.errors.contains("line "), "{ran:?}");
}

#[test]
fn the_use_of_a_token_is_written_down() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let made = admin.post("/api/admin/application-tokens", &json!({"name": "x"})).expect(201);
    let path = format!("/api/admin/application-tokens/{}", text(&made["token"], "id"));
    assert_eq!(made["token"]["last_used_at"], Json::Null);
    assert_eq!(with(&server, &made["token_value"]).get("/api/auth/me").status, 200);
    until("the use of the token", || {
        admin.get(&path).expect(200)["last_used_at"].as_str().map(str::to_owned)
    });
}

#[test]
fn a_token_is_held_to_its_scopes_in_collections_too() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    for name in ["posts", "pages"] {
        let body =
            json!({"name": name, "label": name, "schema": {"fields": [{"name": "t", "type": "string"}]}});
        admin.post("/api/collections", &body).expect(201);
    }
    let body = json!({"name": "x", "scopes": ["collections:read:posts"]});
    let made = admin.post("/api/admin/application-tokens", &body).expect(201);
    let token = with(&server, &made["token_value"]);
    assert_eq!(token.get("/api/collections/posts/records").status, 200);
    let missing = (403, "scope_missing".to_owned());
    assert_eq!(token.get("/api/collections/pages/records").outcome(), missing);
    let record = json!({"data": {"t": "x"}});
    assert_eq!(token.post("/api/collections/posts/records", &record).outcome(), missing);
    assert_eq!(token.delete("/api/collections/posts").outcome(), missing);
}

#[test]
fn an_extension_that_fails_costs_its_part_of_the_metrics_alone() {
    let mut site = Site::new();
    site.install_stress("faults");
    for fault in
        ["before_panic", "before_hang", "before_refuse", "before_payload_garbage", "before_payload_other"]
    {
        site.set("STRESS_SWITCH", fault);
        let server = site.serve();
        let admin = server.admin();
        let body =
            json!({"name": fault, "label": fault, "schema": {"fields": [{"name": "t", "type": "string"}]}});
        admin.post("/api/collections", &body).expect(201);
        let metrics = admin.get("/api/admin/metrics").expect(200);
        let sizes = metrics["collection_sizes"].as_array().unwrap();
        let size = json!({"collection_name": fault, "record_count": 0});
        assert!(sizes.contains(&size), "{fault}: {metrics}");
        if fault != "before_payload_other" {
            server.logged(&["WARN", "a plugin's part is missing", "faults"]);
        }
        server.stop();
    }
}

#[test]
fn two_changes_of_the_settings_at_once_keep_what_belongs_together() {
    let site = Site::new();
    let server = site.serve();
    let path = "/api/admin/settings";
    let (one, other) = (server.admin(), server.admin());
    let ready = json!({
        "auth_portal_enabled": false,
        "auth_portal_login_redirect_url": "https://app.example.org/in",
        "auth_portal_register_redirect_url": "https://app.example.org/new",
    });
    for _ in 0..20 {
        one.patch(path, &ready).expect(200);
        let (on, bare) = thread::scope(|scope| {
            let on = scope.spawn(|| one.patch(path, &json!({"auth_portal_enabled": true})).status);
            let bare =
                scope.spawn(|| other.patch(path, &json!({"auth_portal_login_redirect_url": null})).status);
            (on.join().unwrap(), bare.join().unwrap())
        });
        assert!([on, bare] == [200, 400] || [on, bare] == [400, 200], "{on} and {bare}");
    }
}

#[test]
fn a_secret_among_the_settings_stands_nowhere_as_it_is() {
    let site = Site::new();
    let server = site.serve();
    let secret = "AKIA-not-to-be-seen";
    server.admin().patch("/api/admin/settings", &json!({"storage_access_key": secret})).expect(200);
    server.stop();
    let mut looked_at = 0;
    for entry in std::fs::read_dir(site.dir()).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() {
            let content = std::fs::read(&entry).unwrap();
            let found = content.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{} holds the secret", entry.display());
            looked_at += content.windows(11).filter(|part| part == b"storage_acc").count();
        }
    }
    for table in ["tb_settings", "tb_settings_history", "tb_audit_log"] {
        let rows = site.sql(&format!("SELECT * FROM {table}"));
        assert!(!rows.contains(secret), "{table} holds the secret");
        looked_at += rows.matches("storage_acc").count();
    }
    assert!(looked_at > 0, "the database was not looked at");
}
