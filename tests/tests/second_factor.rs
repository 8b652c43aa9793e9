//! The second factor on the real server, across a restart.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tinybase_test_postgres::server_url;
use tinybase_tests::{Answer, Client, Server, Site, site::PASSWORD};
use totp_rs::{Builder, Secret};

const EMAIL: &str = "ada@example.com";

fn code(secret: &Json, step: u64) -> String {
    let secret = Secret::try_from_base32(secret.as_str().unwrap()).unwrap();
    Builder::new().with_secret(secret).build().unwrap().generate(step * 30).to_string()
}

/// Returns the current time step of authenticator codes.
fn step() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30
}

/// Registers ada and enables her second factor at this step. Returns the app's secret and the recovery codes.
fn with_second_factor(server: &Server, step: u64) -> (Json, Json) {
    let ada = server.client().registered(EMAIL);
    let enrolment = ada.post("/api/auth/mfa/totp/enrol", &json!({"password": PASSWORD})).expect(200);
    let secret = enrolment["secret"].clone();
    let confirmed = ada.post("/api/auth/mfa/totp/confirm", &json!({"code": code(&secret, step)}));
    assert_eq!(confirmed.headers["cache-control"], "no-store");
    (secret, confirmed.expect(200)["recovery_codes"].clone())
}

/// Returns a ticket for the second factor, obtained with the password.
fn ticket(client: &Client) -> Json {
    let asked = client.post("/api/auth/login", &json!({"email": EMAIL, "password": PASSWORD})).expect(200);
    assert_eq!(asked["mfa_required"], true, "{asked}");
    asked["mfa_ticket"].clone()
}

/// Signs in with the password and this code.
fn verify(client: &Client, field: &str, code: &str) -> Answer {
    client.post("/api/auth/mfa/verify", &json!({"mfa_ticket": ticket(client), field: code}))
}

#[test]
fn a_code_that_was_used_is_refused_after_a_restart_too() {
    let site = Site::new();
    let server = site.serve();
    let now = step();
    let (secret, codes) = with_second_factor(&server, now);
    let next = code(&secret, now + 1);
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

#[test]
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
fn a_ticket_is_used_once_whichever_node_is_asked() {
    if server_url().is_none() {
        println!("PostgreSQL's alone: several nodes share a server's database");
        return;
    }
    let site = Site::new();
    let nodes = [site.serve(), site.serve()];
    let now = step();
    let (secret, codes) = with_second_factor(&nodes[0], now);
    let ticket = ticket(&nodes[0].client());
    let with = |node: &Server, field: &str, code: &str| {
        node.client().post("/api/auth/mfa/verify", &json!({"mfa_ticket": ticket, field: code}))
    };
    // A wrong code consumes nothing.
    assert_eq!(with(&nodes[1], "recovery_code", "aaaa-aaaa").outcome(), (401, "mfa_code_invalid".into()));
    with(&nodes[0], "code", &code(&secret, now + 1)).expect(200);
    let fresh = codes[0].as_str().unwrap();
    for node in &nodes {
        assert_eq!(with(node, "recovery_code", fresh).outcome(), (401, "mfa_ticket_invalid".into()));
    }
    // The code can still be used with another ticket.
    verify(&nodes[1].client(), "recovery_code", fresh).expect(200);
}
