//! Mailed links end to end, with a plugin that keeps the mails: password resets and sign-ins by the links in them.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Server, Site, site::PASSWORD};
use totp_rs::{Builder, Secret};

const ADA: &str = "ada@example.com";
const NEW_PASSWORD: &str = "staple battery horse";
const RESET: &str = "/api/auth/password-reset";
const LINK: &str = "/api/auth/login-link";

/// The maximum wait for a mail.
const MAIL_WAIT_MAX: Duration = Duration::from_secs(20);

fn site() -> Site {
    let mut site = Site::new();
    site.set("TINYBASE_AUTH_PASSWORD_RESET_URL", "https://app.example.org/reset?token={token}");
    site.install_stress("mailbox");
    site
}

fn request(client: &Client, what: &str, email: &str) -> Json {
    client.post(&format!("{what}/request"), &json!({"email": email})).expect(200)
}

#[track_caller]
fn until(holds: impl Fn() -> bool) {
    let deadline = Instant::now() + MAIL_WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "what is waited for does not come");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits until there are `count` mails, and returns them all.
#[track_caller]
fn mails(server: &Server, count: usize) -> Vec<Json> {
    let mails = || server.client().get("/api/mailbox").expect(200).as_array().unwrap().clone();
    until(|| mails().len() >= count);
    mails()
}

/// Requests the `count`th mail, and returns its token.
fn token(server: &Server, what: &str, count: usize) -> String {
    request(&server.client(), what, ADA);
    mails(server, count)[count - 1]["data"]["token"].as_str().unwrap().to_owned()
}

fn reset(client: &Client, token: &str, password: &str) -> (u16, String) {
    client.post(&format!("{RESET}/confirm"), &json!({"token": token, "password": password})).outcome()
}

fn sign_in(client: &Client, token: &str) -> (u16, String) {
    client.post(&format!("{LINK}/confirm"), &json!({"token": token})).outcome()
}

fn login(client: &Client, password: &str) -> u16 {
    client.post("/api/auth/login", &json!({"email": ADA, "password": password})).status
}

fn ok() -> (u16, String) {
    (200, String::new())
}

fn invalid() -> (u16, String) {
    (400, "link_invalid".to_owned())
}

#[test]
fn a_mailed_token_sets_a_new_password_once_and_ends_every_session() {
    let site = site();
    let server = site.serve();
    let nobody = server.client();
    let ada = nobody.clone().registered(ADA);
    let early = token(&server, RESET, 1);
    let late = token(&server, RESET, 2);
    let link = token(&server, LINK, 3);
    let mail = &mails(&server, 3)[0];
    assert_eq!((&mail["to"], &mail["template"]), (&json!(ADA), &json!("password_reset")));
    let expected = json!({
        "token": early,
        "email": ADA,
        "instance_name": "TinyBase",
        "expires_minutes": 60,
        "url": format!("https://app.example.org/reset?token={early}"),
    });
    assert_eq!(mail["data"], expected);

    assert_eq!(reset(&nobody, &early, "password").0, 422, "a common password");
    assert_eq!(reset(&nobody, &link, NEW_PASSWORD), invalid(), "a token for another purpose");
    assert_eq!(ada.get("/api/auth/me").status, 200);
    assert_eq!(reset(&nobody, &early, NEW_PASSWORD), ok());
    assert_eq!(ada.get("/api/auth/me").status, 401, "a session outlived the new password");
    assert_eq!((login(&nobody, PASSWORD), login(&nobody, NEW_PASSWORD)), (401, 200));
    assert_eq!(reset(&nobody, &early, PASSWORD), invalid(), "used twice");
    assert_eq!(reset(&nobody, &late, PASSWORD), invalid(), "overtaken by the other");
    assert_eq!(sign_in(&nobody, &link), invalid(), "overtaken by the new password");

    let entries = server.admin().get("/api/admin/audit-log?target_kind=user").expect(200);
    let actions =
        entries["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap());
    let actions = actions.collect::<Vec<_>>();
    for action in ["user.password_reset_request", "user.login_link_request", "user.password_reset"] {
        assert!(actions.contains(&action), "{action} is not in {actions:?}");
    }
}

#[test]
fn of_many_uses_of_one_token_one_succeeds() {
    let site = site();
    let server = site.serve();
    let _ = server.client().registered(ADA);
    let (reset_token, link_token) = (token(&server, RESET, 1), token(&server, LINK, 2));
    let both = |action: &(dyn Fn(&Client) -> (u16, String) + Sync)| {
        let client = server.client();
        let outcomes = thread::scope(|scope| {
            let tries = (0..6).map(|_| scope.spawn(|| action(&client))).collect::<Vec<_>>();
            tries.into_iter().map(|a_try| a_try.join().unwrap()).collect::<Vec<_>>()
        });
        let succeeded = outcomes.iter().filter(|outcome| **outcome == ok()).count();
        assert_eq!(succeeded, 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| [ok(), invalid()].contains(outcome)), "{outcomes:?}");
    };
    both(&|client| sign_in(client, &link_token));
    both(&|client| reset(client, &reset_token, NEW_PASSWORD));
}

#[test]
fn a_mailed_link_signs_in() {
    let site = site();
    let server = site.serve();
    let _ = server.client().registered(ADA);
    let mailed = token(&server, LINK, 1);
    let mail = &mails(&server, 1)[0];
    assert_eq!((&mail["template"], &mail["data"]["expires_minutes"]), (&json!("login_link"), &json!(15)));
    let answer = server.client().post(&format!("{LINK}/confirm"), &json!({"token": mailed}));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let answer = answer.expect(200);
    assert_eq!((&answer["email"], &answer["admin_created"]), (&json!(ADA), &json!(false)));
    let ada = server.client().with_token(answer["access_token"].as_str().unwrap());
    assert_eq!(ada.get("/api/auth/me").expect(200)["email"], ADA);
    assert_eq!(sign_in(&server.client(), &mailed), invalid(), "used twice");
}

#[test]
fn a_mailed_link_asks_for_the_second_factor_and_is_used_up() {
    let site = site();
    let server = site.serve();
    let ada = server.client().registered(ADA);
    let enrolment = ada.post("/api/auth/mfa/totp/enrol", &json!({"password": PASSWORD})).expect(200);
    let secret = Secret::try_from_base32(enrolment["secret"].as_str().unwrap()).unwrap();
    let step = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
    let code = Builder::new().with_secret(secret).build().unwrap().generate(step * 30).to_string();
    let codes = ada.post("/api/auth/mfa/totp/confirm", &json!({"code": code})).expect(200);
    let mailed = token(&server, LINK, 1);
    let asked = server.client().post(&format!("{LINK}/confirm"), &json!({"token": mailed})).expect(200);
    assert_eq!((&asked["mfa_required"], asked.get("access_token")), (&json!(true), None), "{asked}");
    assert_eq!(sign_in(&server.client(), &mailed), invalid(), "used twice");
    let proof = json!({"mfa_ticket": asked["mfa_ticket"], "recovery_code": codes["recovery_codes"][0]});
    let answer = server.client().post("/api/auth/mfa/verify", &proof).expect(200);
    let sessions =
        server.client().with_token(answer["access_token"].as_str().unwrap()).get("/api/auth/sessions");
    assert!(sessions.expect(200).to_string().contains("login_link"));
}

#[test]
fn who_is_unknown_or_locked_out_gets_the_same_words_and_no_mail() {
    let site = site();
    let server = site.serve();
    let _ = server.client().registered(ADA);
    let _ = server.client().registered("eve@example.com");
    let (before_reset, before_link) = (token(&server, RESET, 1), token(&server, LINK, 2));
    site.sql(&format!("UPDATE tb_users SET is_active = 0 WHERE email = '{ADA}'"));
    assert_eq!(reset(&server.client(), &before_reset, NEW_PASSWORD), invalid());
    assert_eq!(sign_in(&server.client(), &before_link), invalid());
    for what in [RESET, LINK] {
        let words = ["nobody@example.com", ADA, "eve@example.com"]
            .map(|email| request(&server.client(), what, email));
        assert!(words.iter().all(|answer| *answer == words[0]), "{words:?}");
    }
    let to = |mails: Vec<Json>| mails[2..].iter().map(|mail| mail["to"].clone()).collect::<Vec<_>>();
    assert_eq!(to(mails(&server, 4)), ["eve@example.com", "eve@example.com"]);
}

#[test]
fn mail_that_cannot_go_out_is_told_to_the_log_alone() {
    let site = Site::new();
    let server = site.serve();
    let _ = server.client().registered(ADA);
    let without = request(&server.client(), RESET, ADA);
    server.logged(&["WARN", "no enabled extension offers the service mail@1"]);
    drop(server);

    site.install_stress("mailbox");
    let server = site.serve();
    let client = server.client().registered("bounce@example.com");
    // A failed mail does not count as open: the test tries more than a user may have open.
    for count in 1..=7 {
        assert_eq!(request(&client, RESET, "bounce@example.com"), without);
        until(|| {
            let log = server.log();
            log.iter().filter(|line| line.contains("a mail could not be sent")).count() == count
        });
    }
    server.logged(&["a mail could not be sent", "mail_refused"]);
    let tokens = server.log().into_iter().filter(|line| line.contains("tbo_")).collect::<Vec<_>>();
    assert!(tokens.is_empty(), "the log holds tokens: {tokens:?}");
}
