//! Tests the second factor through its routes, over a real database: enrolling, signing in with two factors, losing the
//! app.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::accounts::{Host, PASSWORD, host, keys, word};
use crate::support::db::{apply, query};
use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::{
    audit::{Actor, ActorKind},
    db::ReadHint,
};
use totp_rs::{Builder, Secret};

const EMAIL: &str = "ada@example.org";
const NONE: [Value; 0] = [];

/// An authenticator app whose time steps only move forward. With the steps around the current one accepted, two codes
/// are valid at once, whatever the clock does meanwhile.
struct App {
    secret: String,
    next_step: u64,
}

impl App {
    fn new(enrolment: &Json) -> App {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        App { secret: word(enrolment, "secret"), next_step: now / 30 }
    }

    fn code(&mut self) -> String {
        self.next_step += 1;
        self.code_at(self.next_step - 1)
    }

    fn code_at(&self, step: u64) -> String {
        let secret = Secret::try_from_base32(&self.secret).unwrap();
        Builder::new().with_secret(secret).build().unwrap().generate(step * 30).to_string()
    }
}

/// A user with a second factor.
struct Enrolled {
    host: Host,
    token: String,
    app: App,
    recovery_codes: Vec<String>,
}

impl Enrolled {
    async fn ticket(&self) -> String {
        let (status, answer) = self.host.login(EMAIL).await;
        assert_eq!((status, &answer["mfa_required"]), (200, &json!(true)), "{answer}");
        word(&answer, "mfa_ticket")
    }

    async fn verify(&self, ticket: &str, field: &str, code: &str) -> (u16, String) {
        let body = json!({"mfa_ticket": ticket, field: code});
        let (status, answer) = self.host.call("POST /api/auth/mfa/verify", None, &body.to_string()).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn status(&self) -> (bool, i64) {
        let (status, answer) = self.host.call("GET /api/auth/mfa", Some(&self.token), "").await;
        assert_eq!(status, 200, "{answer}");
        (answer["totp_enabled"].as_bool().unwrap(), answer["recovery_codes_left"].as_i64().unwrap())
    }

    async fn actions(&self) -> Vec<String> {
        let sql =
            "SELECT action, actor_kind, actor_name FROM tb_audit_log WHERE action LIKE 'mfa.%' ORDER BY id";
        let rows = query(&self.host.fresh.db, ReadHint::Indexed, sql, &NONE).await.unwrap();
        let text = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            other => panic!("{other:?} is no text"),
        };
        rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join(" ")).collect()
    }
}

async fn post(host: &Host, path: &str, token: &str, body: Json) -> (u16, Json) {
    host.call(&format!("POST /api/auth/mfa/{path}"), Some(token), &body.to_string()).await
}

async fn enrolled() -> Enrolled {
    let host = host().await;
    let (_, admin) = host.login("root@example.org").await;
    assert_eq!(admin["admin_created"], true);
    host.register(EMAIL).await;
    let (token, _) = host.session(EMAIL).await;
    let (status, enrolment) = post(&host, "totp/enrol", &token, json!({"password": PASSWORD})).await;
    assert_eq!((status, keys(&enrolment)), (200, vec!["secret", "otpauth_url"]));
    let url = word(&enrolment, "otpauth_url");
    assert!(url.starts_with("otpauth://totp/TinyBase:ada%40example.org?secret="), "{url}");
    let mut app = App::new(&enrolment);
    // No code is required before one was confirmed.
    host.session(EMAIL).await;
    let (status, answer) = post(&host, "totp/confirm", &token, json!({"code": app.code()})).await;
    assert_eq!(status, 200, "{answer}");
    let codes = answer["recovery_codes"].as_array().unwrap().iter();
    let recovery_codes = codes.map(|code| code.as_str().unwrap().to_owned()).collect();
    Enrolled { host, token, app, recovery_codes }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_takes_both_factors_and_a_code_works_once() {
    let mut ada = enrolled().await;
    assert_eq!((ada.status().await, ada.recovery_codes.len()), ((true, 10), 10));
    let (_, asked) = ada.host.login(EMAIL).await;
    assert_eq!(keys(&asked), ["mfa_required", "mfa_ticket", "expires_in", "methods"]);
    assert_eq!((&asked["expires_in"], &asked["methods"]), (&json!(300), &json!(["totp", "recovery_code"])));
    let ticket = word(&asked, "mfa_ticket");
    assert_eq!(ada.host.me(&ticket).await, 401, "a ticket is no token");
    let enrolled_by = ada.app.code_at(ada.app.next_step - 1);
    let invalid = |code: &str| (401, code.to_owned());
    assert_eq!(ada.verify(&ticket, "code", &enrolled_by).await, invalid("mfa_code_invalid"));
    let code = ada.app.code();
    let body = json!({"mfa_ticket": ticket, "code": code}).to_string();
    let (status, session) = ada.host.call("POST /api/auth/mfa/verify", None, &body).await;
    assert_eq!(status, 200, "{session}");
    assert_eq!(ada.host.me(&word(&session, "access_token")).await, 200);
    assert_eq!(ada.verify(&ticket, "code", &code).await, invalid("mfa_ticket_invalid"));
    let ticket = ada.ticket().await;
    assert_eq!(ada.verify(&ticket, "code", &code).await, invalid("mfa_code_invalid"), "the step was used");
    let sql = "SELECT method FROM tb_sessions ORDER BY created_at DESC LIMIT 1";
    let methods = query(&ada.host.fresh.db, ReadHint::Indexed, sql, &NONE).await.unwrap();
    assert_eq!(methods, [["password+totp".into()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_used_while_the_clock_was_ahead_keeps_nobody_out() {
    let mut ada = enrolled().await;
    let later = "UPDATE tb_second_factors SET last_step = last_step + 1000000";
    apply(&ada.host.fresh.db, &[(later, &NONE, Expect::Exactly(1))]).await.unwrap();
    let (first, second) = (ada.ticket().await, ada.ticket().await);
    let code = ada.app.code();
    assert_eq!(ada.verify(&first, "code", &code).await.0, 200);
    assert_eq!(ada.verify(&second, "code", &code).await, (401, "mfa_code_invalid".into()), "it works once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_dies_of_wrong_codes_of_use_and_of_a_sign_out() {
    let mut ada = enrolled().await;
    let ticket = ada.ticket().await;
    for _ in 0..5 {
        assert_eq!(ada.verify(&ticket, "recovery_code", "none").await.1, "mfa_code_invalid");
    }
    let code = ada.app.code();
    assert_eq!(ada.verify(&ticket, "code", &code).await, (401, "mfa_ticket_invalid".into()));
    let ticket = ada.ticket().await;
    ada.host.call("POST /api/auth/logout", Some(&ada.token), "").await;
    assert_eq!(ada.verify(&ticket, "code", &code).await, (401, "mfa_ticket_invalid".into()));
    for forged in ["", "v1.a.b", &"x".repeat(10_000)] {
        assert_eq!(ada.verify(forged, "code", &code).await, (401, "mfa_ticket_invalid".into()));
    }
    let ticket = ada.ticket().await;
    assert_eq!(ada.verify(&ticket, "code", &code).await.0, 200, "no code was used up in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_use_a_code_and_a_recovery_code_once() {
    let mut ada = enrolled().await;
    for (field, code) in [("code", ada.app.code()), ("recovery_code", ada.recovery_codes[3].clone())] {
        let tickets = join_all((0..8).map(|_| ada.ticket())).await;
        let tries = tickets.iter().map(|ticket| ada.verify(ticket, field, &code));
        let won = join_all(tries).await.into_iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(won, 1, "{field}");
    }
    let ticket = ada.ticket().await;
    let tries = ada.recovery_codes[4..8].iter().map(|code| ada.verify(&ticket, "recovery_code", code));
    let won = join_all(tries).await.into_iter().filter(|(status, _)| *status == 200).count();
    assert_eq!((won, ada.status().await), (1, (true, 8)), "one ticket, one session, one code");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_stands_in_once_and_can_be_renewed() {
    let mut ada = enrolled().await;
    let old = ada.recovery_codes[0].clone();
    let typed = old.to_uppercase().replace('-', " ");
    let ticket = ada.ticket().await;
    assert_eq!(ada.verify(&ticket, "recovery_code", &typed).await.0, 200);
    let ticket = ada.ticket().await;
    assert_eq!(ada.verify(&ticket, "recovery_code", &old).await, (401, "mfa_code_invalid".into()));
    assert_eq!(ada.status().await, (true, 9));
    let both = json!({"password": PASSWORD, "code": ada.app.code()});
    let (status, renewed) = post(&ada.host, "recovery-codes", &ada.token, both.clone()).await;
    assert_eq!((status, ada.status().await), (200, (true, 10)));
    assert_eq!(ada.verify(&ticket, "recovery_code", &ada.recovery_codes[1]).await.1, "mfa_code_invalid");
    let new = renewed["recovery_codes"][0].as_str().unwrap();
    assert_eq!(ada.verify(&ticket, "recovery_code", new).await.0, 200);
    let (status, answer) = post(&ada.host, "recovery-codes", &ada.token, both).await;
    assert_eq!((status, &answer["code"]), (400, &json!("mfa_code_invalid")), "the code was used");
    let expected = [
        "mfa.enable user ada@example.org",
        "mfa.recovery_code_use user ada@example.org",
        "mfa.recovery_codes_renew user ada@example.org",
        "mfa.recovery_code_use user ada@example.org",
    ];
    assert_eq!(ada.actions().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_switched_off_by_both_factors_or_by_an_admin() {
    let ada = enrolled().await;
    let remove = async |body: Json| {
        let (status, answer) =
            ada.host.call("DELETE /api/auth/mfa/totp", Some(&ada.token), &body.to_string()).await;
        (status, answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let code = ada.recovery_codes[0].as_str();
    let wrong = json!({"password": "wrong horse", "recovery_code": code});
    assert_eq!(remove(wrong).await, (403, "password_wrong".into()));
    let wrong = json!({"password": PASSWORD, "recovery_code": "0000"});
    assert_eq!(remove(wrong).await, (400, "mfa_code_invalid".into()));
    for incomplete in
        [json!({"password": PASSWORD}), json!({"password": PASSWORD, "code": "1", "recovery_code": code})]
    {
        assert_eq!(remove(incomplete).await, (422, "validation_error".into()));
    }
    assert_eq!(ada.status().await, (true, 10));
    assert_eq!(remove(json!({"password": PASSWORD, "recovery_code": code})).await.0, 204);
    assert_eq!((ada.status().await, ada.host.count("tb_recovery_codes").await), ((false, 0), 0));
    ada.host.session(EMAIL).await;
    assert_eq!(
        remove(json!({"password": PASSWORD, "recovery_code": code})).await,
        (409, "mfa_not_enabled".into())
    );

    let (_, enrolment) = post(&ada.host, "totp/enrol", &ada.token, json!({"password": PASSWORD})).await;
    let confirm = json!({"code": App::new(&enrolment).code()});
    assert_eq!(post(&ada.host, "totp/confirm", &ada.token, confirm).await.0, 200);
    let (_, me) = ada.host.call("GET /api/auth/me", Some(&ada.token), "").await;
    let admin = Actor::local(ActorKind::Command, "the test");
    let id = word(&me, "id");
    ada.host.accounts.disable_mfa(&admin, &id).await.unwrap();
    ada.host.session(EMAIL).await;
    assert_eq!(&*ada.host.accounts.disable_mfa(&admin, &id).await.unwrap_err().code, "mfa_not_enabled");
    assert_eq!(ada.actions().await.last().unwrap(), "mfa.disable command the test");
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_takes_the_password_and_one_secret_alone_is_confirmed() {
    let ada = enrolled().await;
    let (status, answer) = post(&ada.host, "totp/enrol", &ada.token, json!({"password": PASSWORD})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("mfa_enabled")));
    let (status, answer) = post(&ada.host, "totp/confirm", &ada.token, json!({"code": "000000"})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("mfa_enabled")));
    ada.host.register("eve@example.org").await;
    let (eve, _) = ada.host.session("eve@example.org").await;
    let (status, answer) = post(&ada.host, "totp/confirm", &eve, json!({"code": "000000"})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("mfa_not_enrolled")));
    let (status, answer) = post(&ada.host, "totp/enrol", &eve, json!({"password": "wrong horse"})).await;
    assert_eq!((status, &answer["code"]), (403, &json!("password_wrong")));
    let first = post(&ada.host, "totp/enrol", &eve, json!({"password": PASSWORD})).await.1;
    let second = post(&ada.host, "totp/enrol", &eve, json!({"password": PASSWORD})).await.1;
    let code = App::new(&first).code();
    assert_eq!(post(&ada.host, "totp/confirm", &eve, json!({"code": code})).await.0, 400, "it was replaced");
    let code = App::new(&second).code();
    assert_eq!(post(&ada.host, "totp/confirm", &eve, json!({"code": code})).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_cannot_be_guessed_with_a_stolen_token() {
    let ada = enrolled().await;
    for _ in 0..10 {
        assert_eq!(
            post(&ada.host, "totp/enrol", &ada.token, json!({"password": "wrong horse"})).await.0,
            403
        );
    }
    let (status, answer) = post(&ada.host, "totp/enrol", &ada.token, json!({"password": PASSWORD})).await;
    assert_eq!((status, &answer["code"]), (429, &json!("mfa_backoff")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_key_is_told_and_recovery_codes_still_work() {
    let mut ada = enrolled().await;
    let sql = "UPDATE tb_second_factors SET secret = 'v1.AAAAAAAA.' || substr(secret, 13)";
    apply(&ada.host.fresh.db, &[(sql, &NONE, Expect::Exactly(1))]).await.unwrap();
    let ticket = ada.ticket().await;
    let code = ada.app.code();
    assert_eq!(ada.verify(&ticket, "code", &code).await, (500, "second_factor_unreadable".into()));
    assert_eq!(ada.verify(&ticket, "recovery_code", &ada.recovery_codes[0]).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_secret_nor_codes_are_stored_in_clear() {
    let ada = enrolled().await;
    let mut rows = Vec::new();
    for sql in ["SELECT secret FROM tb_second_factors", "SELECT code_hash FROM tb_recovery_codes"] {
        rows.extend(query(&ada.host.fresh.db, ReadHint::Indexed, sql, &NONE).await.unwrap());
    }
    assert_eq!(rows.len(), 11);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    let shown = |value: Value| match value {
        Value::Text(text) => format!("{text} {}\n", hex(text.as_bytes())),
        Value::Blob(bytes) => format!("{}\n", hex(&bytes)),
        other => panic!("{other:?} is neither a secret nor a hash"),
    };
    let stored = rows.into_iter().flatten().map(shown).collect::<String>();
    assert!(!stored.contains(&ada.app.secret), "{stored}");
    let digits = ada.recovery_codes[0].replace('-', "");
    assert!(!stored.contains(&digits) && !stored.to_lowercase().contains(&digits), "{stored}");
}
