//! Tests what users change of their own accounts, the waits after wrong passwords, and the cleanup, through the routes
//! and a real database.

use std::{sync::Arc, time::Duration};

use crate::support::accounts::{Host, PASSWORD, host, host_with, keys, word};
use crate::support::db::{apply, query};
use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::{
    accounts::{Cleanup, LoginAnswer},
    db::ReadHint,
    error::ApiError,
};

const NONE: [Value; 0] = [];
const ADA: &str = "ada@example.org";

async fn change(host: &Host, token: &str, body: Json) -> (u16, Json) {
    host.call("PATCH /api/auth/me", Some(token), &body.to_string()).await
}

fn code(answer: &(u16, Json)) -> (u16, String) {
    (answer.0, word(&answer.1, "code"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_password_or_email_ends_the_other_sessions_and_no_more() {
    let host = host().await;
    for (field, value) in [("password", "another horse"), ("email", "ada@example.com")] {
        let (own, own_refresh) = host.session(ADA).await;
        let (other, other_refresh) = host.session(ADA).await;
        assert_eq!((host.me(&own).await, host.me(&other).await), (200, 200));
        let (status, me) = change(&host, &own, json!({field: value, "current_password": PASSWORD})).await;
        assert_eq!((status, keys(&me)), (200, vec!["id", "email", "is_admin", "role", "created_at"]));
        assert_eq!((host.me(&own).await, host.me(&other).await), (200, 401), "{field}");
        assert_eq!((host.refresh(&other_refresh).await.0, host.refresh(&own_refresh).await.0), (401, 200));
        if field == "password" {
            assert_eq!(host.login(ADA).await.0, 401, "the old password still holds");
            let back = json!({"password": PASSWORD, "current_password": value});
            assert_eq!(change(&host, &own, back).await.0, 200);
        } else {
            assert_eq!((word(&me, "email").as_str(), host.login(ADA).await.0), (value, 401));
            let (_, seen) = host.call("GET /api/auth/me", Some(&own), "").await;
            assert_eq!(seen["email"], value);
        }
    }
    let rows = query(
        &host.fresh.db,
        ReadHint::Indexed,
        "SELECT change FROM tb_audit_log WHERE action = 'user.update' ORDER BY id",
        &NONE,
    );
    let changes = rows.await.unwrap();
    let told = [
        r#"{"password":"changed"}"#,
        r#"{"password":"changed"}"#,
        r#"{"email":{"from":"ada@example.org","to":"ada@example.com"}}"#,
    ];
    assert_eq!(changes, told.map(|change| [Value::from(change)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_changed_is_refused_and_ends_nothing() {
    let host = host().await;
    let (token, _) = host.session(ADA).await;
    let (other, _) = host.session(ADA).await;
    host.register("bob@example.org").await;
    let right = |more: Json| {
        let mut body = json!({"current_password": PASSWORD});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (json!({"password": "another horse", "current_password": "wrong horse"}), 403, "password_wrong"),
        (json!({"password": "another horse"}), 422, "validation_error"),
        (right(json!({"password": "short"})), 422, "validation_error"),
        (right(json!({"password": "password1"})), 422, "validation_error"),
        (right(json!({"password": 5})), 422, "validation_error"),
        (right(json!({"email": "nobody"})), 422, "validation_error"),
        (right(json!({"email": "BOB@example.org"})), 400, "email_taken"),
    ];
    for (body, status, expected) in cases {
        assert_eq!(code(&change(&host, &token, body.clone()).await), (status, expected.into()), "{body}");
    }
    for nothing in
        [right(json!({})), right(json!({"email": null})), right(json!({"email": " ADA@Example.org"}))]
    {
        assert_eq!(change(&host, &token, nothing).await.0, 200);
    }
    assert_eq!((host.me(&token).await, host.me(&other).await), (200, 200));
    assert_eq!(code(&host.call("PATCH /api/auth/me", None, "{}").await), (401, "token_missing".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_of_the_password_at_once_one_is_made() {
    let host = host().await;
    let (token, _) = host.session(ADA).await;
    let changes = (0..4).map(|number| {
        let body = json!({"password": format!("another horse {number}"), "current_password": PASSWORD});
        let (host, token) = (&host, &token);
        async move { change(host, token, body).await }
    });
    let mut statuses = join_all(changes).await.iter().map(|(status, _)| *status).collect::<Vec<_>>();
    statuses.sort_unstable();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 403, 409].contains(status)), "{statuses:?}");
    assert_eq!(host.me(&token).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_with_the_old_password_never_outlives_its_change() {
    let host = host().await;
    let (token, _) = host.session(ADA).await;
    let body = json!({"password": "another horse", "current_password": PASSWORD});
    let (login, changed) = tokio::join!(host.login(ADA), change(&host, &token, body));
    assert_eq!(changed.0, 200, "{changed:?}");
    if login.0 == 200 {
        assert_eq!(host.me(&word(&login.1, "access_token")).await, 401);
    }
    assert_eq!((host.me(&token).await, host.count("tb_sessions").await), (200, 1));
}

/// Returns status, code and `Retry-After` of a refused login; status 200 of a successful one.
fn outcome(answer: Result<LoginAnswer, ApiError>) -> (u16, String, u64) {
    let Err(refused) = answer else { return (200, String::new(), 0) };
    let wait = refused.headers.as_ref().and_then(|headers| headers.get("retry-after"));
    let wait = wait.map_or(0, |wait| wait.to_str().unwrap().parse().unwrap());
    (refused.status.as_u16(), refused.code.into_owned(), wait)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guesser_waits_and_the_owner_elsewhere_does_not() {
    let host = host().await;
    host.session(ADA).await;
    let guess = |email: &'static str, password: &'static str, address: &'static str| {
        let host = &host;
        async move { outcome(host.login_from(email, password, address, "x").await) }
    };
    for email in [ADA, "nobody@example.org"] {
        for _ in 0..5 {
            assert_eq!(
                guess(email, "wrong horse", "203.0.113.7").await,
                (401, "credentials_invalid".into(), 0)
            );
        }
        assert_eq!(guess(email, "wrong horse", "203.0.113.7").await, (429, "login_backoff".into(), 2));
    }
    assert_eq!(guess(ADA, PASSWORD, "203.0.113.7").await.0, 429, "the password was looked at");
    assert_eq!(guess(ADA, PASSWORD, "198.51.100.1").await.0, 200);
    host.clock.advance(Duration::from_secs(2));
    assert_eq!(guess(ADA, "wrong horse", "203.0.113.7").await.0, 401);
    assert_eq!(guess(ADA, PASSWORD, "203.0.113.7").await.2, 4);
    host.clock.advance(Duration::from_secs(4));
    assert_eq!(guess(ADA, PASSWORD, "203.0.113.7").await.0, 200);
    assert_eq!(guess(ADA, "wrong horse", "203.0.113.7").await.0, 401, "a success forgets the failures");
    eventually(async || host.count("tb_audit_log WHERE action = 'user.login_backoff'").await == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_not_guessed_through_a_stolen_token_either() {
    let host = host().await;
    let (token, _) = host.session(ADA).await;
    let body = json!({"password": "another horse", "current_password": "wrong horse"});
    for _ in 0..5 {
        assert_eq!(change(&host, &token, body.clone()).await.0, 403);
    }
    assert_eq!(code(&change(&host, &token, body).await), (429, "login_backoff".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_many_guess_lets_its_owner_in_from_where_it_knows_her() {
    let host = host().await;
    assert_eq!(outcome(host.login_from(ADA, PASSWORD, "2001:db8:1:2::1", "x").await).0, 200);
    let guesses = (0..50).map(|number| {
        let (host, address) = (&host, format!("203.0.113.{number}"));
        async move { outcome(host.login_from(ADA, "wrong horse", &address, "x").await).0 }
    });
    assert!(join_all(guesses).await.iter().all(|status| *status == 401));
    let owner = async |address: &str| outcome(host.login_from(ADA, PASSWORD, address, "x").await);
    assert_eq!(owner("2001:db8:1:2:ffff::9").await.0, 200, "the owner is locked out at home");
    assert_eq!(owner("198.51.100.1").await, (429, "login_backoff".into(), 60));
    host.clock.advance(Duration::from_secs(60));
    assert_eq!(owner("198.51.100.1").await.0, 200, "the owner is locked out on a journey");
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_nobody_waits() {
    let host = host_with(|config| config.login_backoff = false).await;
    host.session(ADA).await;
    for _ in 0..8 {
        assert_eq!(outcome(host.login_from(ADA, "wrong horse", "203.0.113.7", "x").await).0, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_swept_out_and_nothing_else() {
    let host = host().await;
    let (kept, kept_refresh) = host.session(ADA).await;
    let (_, renewed) = host.session(ADA).await;
    assert_eq!(host.refresh(&renewed).await.0, 200);
    host.session(ADA).await;
    let past = "UPDATE tb_sessions SET expires_at = '2020-01-01T00:00:00.000000Z' WHERE id = (SELECT max(id) FROM tb_sessions)";
    let used =
        "UPDATE tb_refresh_tokens SET expires_at = '2020-01-01T00:00:00.000000Z' WHERE used_at IS NOT NULL";
    let link = "INSERT INTO tb_one_time_tokens (token_hash, user_id, purpose, created_at, expires_at)
         SELECT ?1, id, 'login_link', '2020', '2020' FROM tb_users";
    let hash = [Value::Blob(vec![0])];
    let one = Expect::Exactly(1);
    apply(&host.fresh.db, &[(past, &NONE, one), (used, &NONE, one), (link, &hash, one)]).await.unwrap();
    assert_eq!(host.accounts.sweep().await.unwrap(), 3);
    assert_eq!((host.count("tb_sessions").await, host.count("tb_refresh_tokens").await), (2, 2));
    assert_eq!((host.me(&kept).await, host.refresh(&kept_refresh).await.0), (200, 200));
    assert_eq!(host.accounts.sweep().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_ends_few_sessions() {
    let host = host().await;
    for _ in 0..3 {
        host.session(ADA).await;
    }
    // As a clock that is far ahead sees them: all have expired, one of them two days before the others.
    let first = "UPDATE tb_sessions SET expires_at = '2020-01-01T00:00:00.000000Z' WHERE id = (SELECT max(id) FROM tb_sessions)";
    let others =
        "UPDATE tb_sessions SET expires_at = '2020-01-03T00:00:00.000000Z' WHERE expires_at > '2021'";
    apply(&host.fresh.db, &[(first, &NONE, Expect::Exactly(1)), (others, &NONE, Expect::Exactly(2))])
        .await
        .unwrap();
    host.accounts.sweep().await.unwrap();
    assert_eq!(host.count("tb_sessions").await, 2);
}

/// Waits until the condition is true.
async fn until(holds: impl AsyncFn() -> bool) {
    let waits = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits).await.expect("it holds at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_job_sweeps_at_once_and_ends_with_its_owner() {
    let host = host().await;
    host.session(ADA).await;
    let past = "UPDATE tb_sessions SET expires_at = '2020-01-01T00:00:00.000000Z'";
    apply(&host.fresh.db, &[(past, &NONE, Expect::Exactly(1))]).await.unwrap();
    let holders = Arc::strong_count(&host.accounts);
    let job = Cleanup::start(Arc::clone(&host.accounts));
    until(async || host.count("tb_sessions").await == 0).await;
    assert_eq!(Arc::strong_count(&host.accounts), holders + 1);
    drop(job);
    until(async || Arc::strong_count(&host.accounts) == holders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_batch_holds_is_swept_out() {
    let host = host().await;
    host.session(ADA).await;
    let many = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1234)
         INSERT INTO tb_sessions (id, user_id, method, created_at, last_used_at, expires_at)
         SELECT 's' || n, (SELECT id FROM tb_users), 'password', '2020', '2020', '2020' FROM n";
    apply(&host.fresh.db, &[(many, &NONE, Expect::Any)]).await.unwrap();
    assert_eq!(host.accounts.sweep().await.unwrap(), 1234);
    assert_eq!(host.count("tb_sessions").await, 1);
}

/// Waits until the condition is true.
async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "it is not so after ten seconds");
        tokio::task::yield_now().await;
    }
}
