//! A sign-in method of an extension, on the real server: the rules for passwords apply to it too.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tinybase_tests::{
    Answer, Client, Site,
    site::{ADMIN_EMAIL, PASSWORD},
};
use totp_rs::{Builder, Secret};

const CODE: &str = "314159";

fn enter(client: &Client, who: &Json) -> Answer {
    let mut body = json!({"code": CODE});
    body.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
    client.post("/api/door/code", &body)
}

fn token(answer: Answer) -> String {
    answer.expect(200)["access_token"].as_str().expect("a session has begun").to_owned()
}

#[test]
fn an_extension_signs_in_whom_it_has_verified() {
    let site = Site::new();
    site.install_stress("door");
    let server = site.serve();
    let client = server.client();
    let ada = json!({"email": " Ada@Example.com "});
    assert_eq!(
        enter(&client, &ada).outcome(),
        (401, "sign_in_refused".into()),
        "nobody asked for an account"
    );
    let new = json!({"email": "ada@example.com", "register": true});
    let answer = enter(&client, &new).expect(200);
    let fields =
        ["access_token", "refresh_token", "token_type", "user_id", "email", "is_admin", "admin_created"];
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), fields);
    let ada_again = client.clone().with_token(&token(enter(&client, &ada)));
    let sessions = ada_again.get("/api/auth/sessions").expect(200);
    assert_eq!((&sessions["total"], &sessions["sessions"][0]["method"]), (&json!(2), &json!("door:code")));
    assert_eq!(sessions["sessions"][0]["address"], "127.0.0.1");
    let by_id = enter(&client, &json!({"user_id": answer["user_id"]}));
    assert_eq!(
        client.clone().with_token(&token(by_id)).get("/api/auth/me").expect(200)["email"],
        "ada@example.com"
    );
    let by_password = json!({"email": "ada@example.com", "password": PASSWORD});
    assert_eq!(client.post("/api/auth/login", &by_password).status, 401, "nobody knows its password");
    assert_eq!(enter(&client, &json!({"user_id": "none"})).outcome(), (401, "sign_in_refused".into()));
    let no_address = json!({"email": "ada", "register": true});
    assert_eq!(enter(&client, &no_address).outcome(), (422, "email_invalid".into()));
    let created = server.admin().get("/api/admin/audit-log?action=user.create").expect(200);
    assert_eq!(
        (&created["entries"][0]["actor_kind"], &created["entries"][0]["actor_name"]),
        (&json!("extension"), &json!("door"))
    );
}

#[test]
fn a_token_is_what_it_is_to_extensions_too() {
    let site = Site::new();
    site.install_stress("door");
    let server = site.serve();
    let (admin, client) = (server.admin(), server.client());
    let who = |token: &Json| client.post("/api/door/who", &json!({"token": token})).expect(200);
    let login = json!({"email": ADMIN_EMAIL, "password": PASSWORD});
    let signed_in = who(&client.post("/api/auth/login", &login).expect(200)["access_token"]);
    let of_admin = json!({
        "email": ADMIN_EMAIL, "role": "admin", "is_admin": true, "scopes": null, "token_id": null, "may_write": true,
    });
    assert_eq!(signed_in, of_admin);
    let narrow = json!({"name": "narrow", "scopes": ["collections:read"]});
    let made = admin.post("/api/admin/application-tokens", &narrow).expect(201);
    let of_token = json!({
        "email": ADMIN_EMAIL, "role": "admin", "is_admin": false, "scopes": "collections:read",
        "token_id": made["token"]["id"], "may_write": false,
    });
    assert_eq!(who(&made["token_value"]), of_token);
    assert_eq!(client.post("/api/door/who", &json!({"token": "none"})).status, 401);
}

#[test]
fn nobody_is_registered_before_there_is_an_administrator() {
    let site = Site::without_admin();
    site.install_stress("door");
    let server = site.serve();
    let client = server.client();
    let new = json!({"email": "ada@example.com", "register": true});
    assert_eq!(enter(&client, &new).outcome(), (403, "setup_needed".into()));
    let login = json!({"email": "bob@example.com", "password": PASSWORD});
    assert_eq!(client.post("/api/auth/login", &login).expect(200)["admin_created"], true);
    enter(&client, &new).expect(200);
}

#[test]
fn the_second_factor_holds_behind_the_door_too() {
    let site = Site::new();
    site.install_stress("door");
    let server = site.serve();
    let client = server.client();
    let ada = client.clone().registered("ada@example.com");
    let enrolment = ada.post("/api/auth/mfa/totp/enrol", &json!({"password": PASSWORD})).expect(200);
    let secret = Secret::try_from_base32(enrolment["secret"].as_str().unwrap()).unwrap();
    let app = Builder::new().with_secret(secret).build().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let confirm = json!({"code": app.generate(now).to_string()});
    ada.post("/api/auth/mfa/totp/confirm", &confirm).expect(200);
    let asked = enter(&client, &json!({"email": "ada@example.com"})).expect(200);
    assert_eq!((&asked["mfa_required"], asked.get("access_token")), (&json!(true), None));
    let verify = json!({"mfa_ticket": asked["mfa_ticket"], "code": app.generate(now + 30).to_string()});
    let ada = client.clone().with_token(&token(client.post("/api/auth/mfa/verify", &verify)));
    let sessions = ada.get("/api/auth/sessions").expect(200);
    assert_eq!(sessions["sessions"][0]["method"], "door:code+totp");
}

#[test]
fn nobody_comes_past_what_the_admin_has_closed() {
    let site = Site::without_admin();
    site.install_stress("door");
    let server = site.serve();
    let client = server.client();
    let new = json!({"email": "ada@example.com", "register": true});
    assert_eq!(
        enter(&client, &new).outcome(),
        (403, "setup_needed".into()),
        "the first account is an admin's"
    );
    let admin = client.clone().signed_in("root@example.com");
    let id = enter(&client, &new).expect(200)["user_id"].as_str().unwrap().to_owned();
    let path = format!("/api/admin/users/{id}");
    admin.send("PATCH", &path, br#"{"is_active": false}"#).expect(200);
    assert_eq!(enter(&client, &new).outcome(), (401, "sign_in_refused".into()));
}

#[test]
fn the_ways_to_sign_in_are_listed_whatever_an_extension_answers() {
    let mut site = Site::new();
    site.install_stress("door");
    let password = json!({"id": "password", "label": "Password", "start_url": null});
    let code = json!({"id": "code", "label": "One-time code", "start_url": "/api/door/page"});
    let server = site.serve();
    assert_eq!(server.client().get("/api/auth/methods").expect(200), json!({"methods": [password, code]}));
    drop(server);
    for switch in ["methods_hang", "methods_panic", "methods_bad"] {
        site.set("STRESS_SWITCH", switch);
        let server = site.serve();
        assert_eq!(
            server.client().get("/api/auth/methods").expect(200),
            json!({"methods": [password]}),
            "{switch}"
        );
        server.logged(&["its ways to sign in are left out", "door"]);
    }
}

#[test]
fn a_secret_setting_is_stored_sealed_and_opens_for_the_extension_alone() {
    let mut site = Site::new();
    site.install_stress("door");
    let server = site.serve();
    let client = server.client();
    let secret = json!({"client_secret": "hunter2-hunter2"});
    client.send("PUT", "/api/door/settings", secret.to_string().as_bytes()).expect(204);
    assert_eq!(client.get("/api/door/settings").expect(200), secret);
    let refused = client.send("PUT", "/api/door/settings", br#"{"client_secret": "short"}"#);
    assert_eq!(refused.outcome(), (422, "setting_invalid".into()));
    assert!(!String::from_utf8_lossy(&refused.body).contains("\"short"), "the words tell the value");
    drop(server);
    let stored = site.sql("SELECT value FROM tb_settings WHERE key = 'ext.door.client_secret'");
    assert!(stored.contains("$sealed") && !stored.contains("hunter2"), "{stored}");

    site.set("TINYBASE_SECRET_KEY", &"ab".repeat(32));
    site.run(&["keys", "adopt"]);
    let server = site.serve();
    let client = server.client();
    assert_eq!(client.get("/api/door/settings").outcome(), (500, "setting_unreadable".into()));
    client.send("PUT", "/api/door/settings", secret.to_string().as_bytes()).expect(204);
    assert_eq!(client.get("/api/door/settings").expect(200), secret, "it was given again");
}
