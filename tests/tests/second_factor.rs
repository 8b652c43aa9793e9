//! The second factor on the real server, across a restart.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tinybase_tests::{Answer, Client, Site, site::PASSWORD};
use totp_rs::{Builder, Secret};

const EMAIL: &str = "ada@example.com";

fn code(secret: &Json, step: u64) -> String {
    let secret = Secret::try_from_base32(secret.as_str().unwrap()).unwrap();
    Builder::new().with_secret(secret).build().unwrap().generate(step * 30).to_string()
}

/// Signs in by the password and this code.
fn verify(client: &Client, field: &str, code: &str) -> Answer {
    let asked = client.post("/api/auth/login", &json!({"email": EMAIL, "password": PASSWORD})).expect(200);
    assert_eq!(asked["mfa_required"], true, "{asked}");
    client.post("/api/auth/mfa/verify", &json!({"mfa_ticket": asked["mfa_ticket"], field: code}))
}

#[test]
fn a_code_that_was_used_is_refused_after_a_restart_too() {
    let site = Site::new();
    let server = site.serve();
    let ada = server.client().registered(EMAIL);
    let enrolment = ada.post("/api/auth/mfa/totp/enrol", &json!({"password": PASSWORD})).expect(200);
    let secret = &enrolment["secret"];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
    let confirmed = ada.post("/api/auth/mfa/totp/confirm", &json!({"code": code(secret, now)}));
    assert_eq!(confirmed.headers["cache-control"], "no-store");
    let codes = confirmed.expect(200)["recovery_codes"].clone();
    let next = code(secret, now + 1);
    let session = verify(&server.client(), "code", &next).expect(200);
    let token = session["access_token"].as_str().unwrap();
    assert_eq!(server.client().with_token(token).get("/api/auth/me").status, 200);
    server.kill();

    let server = site.serve();
    let client = server.client();
    assert_eq!(verify(&client, "code", &next).outcome(), (401, "mfa_code_invalid".into()));
    verify(&client, "recovery_code", codes[0].as_str().unwrap()).expect(200);
    assert_eq!(verify(&client, "recovery_code", codes[0].as_str().unwrap()).status, 401);
    let log = server.log().join("\n");
    let hidden = [secret.as_str().unwrap(), codes[0].as_str().unwrap(), &next, "mfa_ticket"];
    assert!(hidden.iter().all(|secret| !log.contains(secret)), "{log}");
}
