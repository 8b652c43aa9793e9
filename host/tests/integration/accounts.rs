//! Tests accounts through their routes and a real database: the contract, races, reuse of tokens, hooks.

use std::sync::Arc;

use crate::support::accounts::{PASSWORD, host, keys, word};
use crate::support::db::apply;
use futures_util::future::{BoxFuture, join_all};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tinybase_host::{
    accounts::{AccountEvent, AccountEvents},
    audit::{Actor, ActorKind},
    error::ApiError,
    settings::{ALLOW_PUBLIC_REGISTRATION, INSTANCE_NAME},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_first_login_sets_up_and_everything_answers_by_contract() {
    let host = host().await;
    assert_eq!(
        host.call("GET /api/auth/instance-info", None, "").await,
        (200, json!({"instance_name": "TinyBase"}))
    );
    let setup_status = async |needs_setup| {
        let (status, answer) = host.call("GET /api/auth/setup-status", None, "").await;
        assert_eq!(
            (status, answer),
            (200, json!({"needs_setup": needs_setup, "setup_token_required": false}))
        );
    };
    setup_status(true).await;
    let (status, answer) = host.login(" Ada@Example.ORG ").await;
    let fields =
        ["access_token", "refresh_token", "token_type", "user_id", "email", "is_admin", "admin_created"];
    assert_eq!((status, keys(&answer)), (200, fields.to_vec()));
    assert_eq!((&answer["is_admin"], &answer["admin_created"]), (&json!(true), &json!(true)));
    assert_eq!((&answer["email"], &answer["token_type"]), (&json!("ada@example.org"), &json!("bearer")));
    setup_status(false).await;

    let (status, again) = host.login("ada@example.org").await;
    assert_eq!(
        (status, &again["admin_created"], &again["user_id"]),
        (200, &json!(false), &answer["user_id"])
    );

    let (status, me) = host.call("GET /api/auth/me", Some(&word(&answer, "access_token")), "").await;
    assert_eq!((status, keys(&me)), (200, vec!["id", "email", "is_admin", "role", "created_at"]));
    assert_eq!((&me["id"], &me["is_admin"]), (&answer["user_id"], &json!(true)));
    assert!(word(&me, "created_at").ends_with('Z'));

    host.register("bob@example.org").await;
    let (_, bob) = host.login("bob@example.org").await;
    assert_eq!((&bob["is_admin"], &bob["admin_created"]), (&json!(false), &json!(false)));
    host.settings.set(&[(INSTANCE_NAME, Some(json!("Workshop")))]).await.unwrap();
    assert_eq!(
        host.call("GET /api/auth/instance-info", None, "").await.1,
        json!({"instance_name": "Workshop"})
    );
}

/// A request without a token, the status and code of its response, and for a 422 the places and types of the errors.
const REFUSED: &[(&str, &str, u16, &str)] = &[
    ("GET /api/auth/me", "", 401, "token_missing"),
    ("POST /api/auth/logout", "", 401, "token_missing"),
    ("POST /api/auth/refresh", "", 401, "token_missing"),
    (
        "POST /api/auth/login",
        r#"{"email":"ada@example.org","password":"wrong horse"}"#,
        401,
        "credentials_invalid",
    ),
    (
        "POST /api/auth/login",
        r#"{"email":"eve@example.org","password":"correct horse"}"#,
        401,
        "credentials_invalid",
    ),
    ("POST /api/auth/login", "", 422, r#"["body"] json_invalid"#),
    ("POST /api/auth/login", "{}", 422, r#"["body","email"] missing; ["body","password"] missing"#),
    ("POST /api/auth/login", r#"{"email":1,"password":"x"}"#, 422, r#"["body","email"] string_type"#),
    (
        "POST /api/auth/login",
        r#"{"email":"' OR 1=1 --","password":"x"}"#,
        422,
        r#"["body","email"] value_error"#,
    ),
    (
        "POST /api/auth/login",
        r#"{"email":"a\u0000@example.org","password":"x"}"#,
        422,
        r#"["body","email"] value_error"#,
    ),
    (
        "POST /api/auth/register",
        r#"{"email":"ADA@example.org","password":"correct horse"}"#,
        400,
        "email_taken",
    ),
    (
        "POST /api/auth/register",
        r#"{"email":"bob@example.org","password":"1234567"}"#,
        422,
        r#"["body","password"] string_too_short"#,
    ),
    (
        "POST /api/auth/register",
        r#"{"email":"bob","password":"1"}"#,
        422,
        r#"["body","email"] value_error; ["body","password"] string_too_short"#,
    ),
    ("POST /api/auth/register", r#"["bob@example.org"]"#, 422, r#"["body"] model_attributes_type"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_store_nothing() {
    let host = host().await;
    host.session("ada@example.org").await;
    let before = (host.count("tb_users").await, host.count("tb_refresh_tokens").await);
    for (line, body, status, expected) in REFUSED {
        let (answered, answer) = host.call(line, None, body).await;
        let told = match answer["detail"].as_array() {
            None => word(&answer, "code"),
            Some(faults) => {
                assert_eq!(answer["code"], "validation_error");
                let told = faults.iter().map(|fault| format!("{} {}", fault["loc"], word(fault, "type")));
                told.collect::<Vec<_>>().join("; ")
            }
        };
        assert_eq!((answered, told.as_str()), (*status, *expected), "{line} {body}");
    }
    let long = json!({"email": "ada@example.org", "password": "x".repeat(257)}).to_string();
    assert_eq!(host.call("POST /api/auth/login", None, &long).await.0, 401);
    assert_eq!(host.call("POST /api/auth/register", None, &long).await.0, 422);
    let huge = json!({"email": "x".repeat(1 << 20), "password": "x"}).to_string();
    assert_eq!(host.call("POST /api/auth/login", None, &huge).await.0, 413);
    host.settings.set(&[(ALLOW_PUBLIC_REGISTRATION, Some(json!(false)))]).await.unwrap();
    let body = json!({"email": "bob@example.org", "password": PASSWORD}).to_string();
    let (status, answer) = host.call("POST /api/auth/register", None, &body).await;
    assert_eq!((status, word(&answer, "code").as_str()), (403, "registration_disabled"));
    assert_eq!((host.count("tb_users").await, host.count("tb_refresh_tokens").await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_email_and_a_wrong_password_answer_the_same() {
    let host = host().await;
    host.session("ada@example.org").await;
    let answer = |email: &'static str| {
        let body = json!({"email": email, "password": "wrong horse"}).to_string();
        let host = &host;
        async move { host.call("POST /api/auth/login", None, &body).await }
    };
    assert_eq!(answer("ada@example.org").await, answer("eve@example.org").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_first_logins_one_becomes_admin() {
    let host = host().await;
    let emails = (0..6).map(|number| format!("user{number}@example.org")).collect::<Vec<_>>();
    let answers = join_all(emails.iter().map(|email| host.login(email))).await;
    let mut statuses = answers.iter().map(|(status, _)| *status).collect::<Vec<_>>();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401]);
    assert_eq!(host.count("tb_users").await, 1);
    assert_eq!(host.count("tb_users WHERE role = 'admin'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_registrations_of_one_email_one_succeeds() {
    let host = host().await;
    host.session("root@example.org").await;
    let body = json!({"email": "ada@example.org", "password": PASSWORD}).to_string();
    let answers = join_all((0..4).map(|_| host.call("POST /api/auth/register", None, &body))).await;
    let mut statuses = answers.iter().map(|(status, _)| *status).collect::<Vec<_>>();
    statuses.sort_unstable();
    assert_eq!((statuses, host.count("tb_users").await), (vec![201, 400, 400, 400], 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_admin_who_logs_in_many_times_at_first_is_created_once() {
    let host = host().await;
    let answers = join_all((0..6).map(|_| host.login("ada@example.org"))).await;
    let created = answers.iter().filter(|(_, answer)| answer["admin_created"] == json!(true)).count();
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!((created, host.count("tb_users").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_must_be_good_enough() {
    let host = host().await;
    let (status, answer) =
        host.call("POST /api/auth/login", None, r#"{"email":"ada@example.org","password":"short"}"#).await;
    assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", "password"])));
    assert_eq!(host.count("tb_users").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_the_wrong_kind_and_expired_ones_are_refused() {
    let host = host().await;
    let (access, refresh) = host.session("ada@example.org").await;
    let cases = [
        (access.as_str(), 400, "not_a_refresh_token"),
        ("nonsense", 401, "refresh_token_invalid"),
        ("tbr_nonsense", 401, "refresh_token_invalid"),
        ("a.b.c", 401, "refresh_token_invalid"),
    ];
    for (token, status, code) in cases {
        let (answered, answer) = host.refresh(token).await;
        assert_eq!((answered, word(&answer, "code").as_str()), (status, code), "{token}");
    }
    let (status, answer) = host.call("GET /api/auth/me", Some(&refresh), "").await;
    assert_eq!((status, word(&answer, "code").as_str()), (401, "token_invalid"));
    let sql = "UPDATE tb_refresh_tokens SET expires_at = '2020-01-01T00:00:00.000000Z'";
    apply(&host.fresh.db, &[(sql, &[], Expect::Any)]).await.unwrap();
    assert_eq!(host.refresh(&refresh).await.0, 401);
    host.session("ada@example.org").await;
    assert_eq!(host.count("tb_refresh_tokens").await, 1, "an expired token is still stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn logout_ends_every_token_of_that_user_at_once() {
    let host = host().await;
    host.session("root@example.org").await;
    host.register("ada@example.org").await;
    host.register("bob@example.org").await;
    let (first, refresh) = host.session("ada@example.org").await;
    let (second, _) = host.session("ada@example.org").await;
    let (bob, bob_refresh) = host.session("bob@example.org").await;
    for token in [&first, &bob] {
        assert_eq!(host.me(token).await, 200);
    }
    let (status, answer) = host.call("POST /api/auth/logout", Some(&first), "").await;
    assert_eq!((status, keys(&answer)), (200, vec!["message"]));
    for (token, status) in [(&first, 401), (&second, 401), (&bob, 200)] {
        assert_eq!(host.me(token).await, status);
    }
    assert_eq!((host.refresh(&refresh).await.0, host.refresh(&bob_refresh).await.0), (401, 200));
    let (again, _) = host.session("ada@example.org").await;
    assert_eq!(host.me(&again).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_outlives_a_logout_was_begun_after_it() {
    let host = host().await;
    let (token, _) = host.session("ada@example.org").await;
    let (login, logout) =
        tokio::join!(host.login("ada@example.org"), host.call("POST /api/auth/logout", Some(&token), ""),);
    assert_eq!((login.0, logout.0, host.me(&token).await), (200, 200, 401));
    let alive = host.me(&word(&login.1, "access_token")).await == 200;
    let refreshed = host.refresh(&word(&login.1, "refresh_token")).await.0 == 200;
    assert_eq!(alive, refreshed, "half of a session outlived the logout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_by_an_operator_ends_the_old_sessions() {
    let host = host().await;
    let (token, refresh) = host.session("ada@example.org").await;
    assert_eq!(host.me(&token).await, 200);
    let actor = Actor::local(ActorKind::Command, "admin add");
    host.accounts.add_admin("ADA@example.org", "another horse".into(), &actor).await.unwrap();
    assert_eq!((host.me(&token).await, host.refresh(&refresh).await.0), (401, 401));
    assert_eq!(host.login("ada@example.org").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_published_key_verifies_a_token() {
    let host = host().await;
    let (token, _) = host.session("ada@example.org").await;
    let (status, set) = host.call("GET /.well-known/jwks.json", None, "").await;
    assert_eq!((status, keys(&set["keys"][0])), (200, vec!["kty", "crv", "alg", "use", "kid", "x"]));
    let head = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(json!(head.kid), set["keys"][0]["kid"]);
    let key = serde_json::from_value(set["keys"][0].clone()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&key).unwrap();
    let validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    let claims = jsonwebtoken::decode::<Json>(&token, &key, &validation).unwrap().claims;
    assert_eq!(keys(&claims), ["sub", "email", "adm", "epoch", "sid", "iat", "exp", "jti", "typ"]);
}

/// Rejects one email, adds a row to the batch for every event, and records the notifications after it.
#[derive(Debug, Default)]
struct Listener {
    told: Mutex<Vec<&'static str>>,
}

impl AccountEvents for Listener {
    fn before<'a>(
        &'a self,
        event: &'a AccountEvent,
        batch: &'a mut BatchWriter,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        let sql = match (event.email.as_str(), event.name) {
            ("broken@example.org", _) | ("carol@example.org", "user.login") => {
                "UPDATE notes SET text = ?1 WHERE 0 = 1"
            }
            _ => "INSERT INTO notes (text) VALUES (?1)",
        };
        batch.push(sql, [ValueRef::Text(event.name)], Expect::Exactly(1));
        let refused = event.email == "refused@example.org";
        let refusal = ApiError::new(StatusCode::FORBIDDEN, "not_here", "this email is not welcome");
        Box::pin(std::future::ready(if refused { Err(refusal) } else { Ok(()) }))
    }

    fn after(&self, event: AccountEvent) {
        self.told.lock().push(event.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_may_refuse_and_add_statements_and_hear_of_what_was_committed() {
    let host = host().await;
    apply(&host.fresh.db, &[("CREATE TABLE notes (text TEXT NOT NULL)", &[], Expect::Any)]).await.unwrap();
    let listener = Arc::new(Listener::default());
    host.accounts.set_events(Arc::clone(&listener) as _);
    let (token, _) = host.session("ada@example.org").await;
    host.register("bob@example.org").await;
    host.call("POST /api/auth/logout", Some(&token), "").await;
    let expected = ["user.create", "user.login", "user.create", "user.logout"];
    assert_eq!(*listener.told.lock(), expected);
    assert_eq!(host.count("notes").await, 4);

    for (email, status, code) in
        [("refused@example.org", 403, "not_here"), ("broken@example.org", 409, "hook_condition")]
    {
        let body = json!({"email": email, "password": PASSWORD}).to_string();
        let (answered, answer) = host.call("POST /api/auth/register", None, &body).await;
        assert_eq!((answered, word(&answer, "code").as_str()), (status, code));
    }
    assert_eq!((host.count("notes").await, host.count("tb_users").await), (4, 2));
    assert_eq!(listener.told.lock().len(), 4);

    host.register("carol@example.org").await;
    let (status, answer) = host.login("carol@example.org").await;
    assert_eq!((status, word(&answer, "code").as_str()), (409, "hook_condition"));
}
