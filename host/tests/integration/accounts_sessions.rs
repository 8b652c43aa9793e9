//! Tests sessions through their routes and a real database: what a user sees of them, how they end, and that their
//! tokens end with them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::accounts::{Host, PASSWORD, host, host_with, keys, word};
use crate::support::db::apply;
use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::{
    accounts::{Accounts, Keys},
    audit::{Actor, ActorKind},
    config,
    secrets::Vault,
    settings::Settings,
    sql::HostSql,
};

const NONE: [Value; 0] = [];

/// How long another process's change may take to become visible here.
const PATIENCE: Duration = Duration::from_secs(20);

async fn sessions(host: &Host, token: &str) -> Vec<Json> {
    let (status, answer) = host.call("GET /api/auth/sessions", Some(token), "").await;
    assert_eq!((status, keys(&answer)), (200, vec!["sessions", "total", "limit", "offset"]));
    let sessions = answer["sessions"].as_array().unwrap().clone();
    assert_eq!(answer["total"], json!(sessions.len()));
    sessions
}

async fn ids(host: &Host, token: &str) -> Vec<String> {
    sessions(host, token).await.iter().map(|session| word(session, "id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_every_session_and_which_one_asks() {
    let host = host().await;
    let first = host
        .login_from("ada@example.org", PASSWORD, "203.0.113.7", "Firefox")
        .await
        .unwrap()
        .access_token
        .reveal()
        .to_owned();
    let second = host
        .login_from("ada@example.org", PASSWORD, "2001:db8::1", "curl/8")
        .await
        .unwrap()
        .access_token
        .reveal()
        .to_owned();
    host.register("bob@example.org").await;
    host.session("bob@example.org").await;
    let seen = sessions(&host, &first).await;
    let fields =
        ["id", "method", "address", "user_agent", "created_at", "last_used_at", "expires_at", "current"];
    assert_eq!(keys(&seen[0]), fields);
    let told = |name: &str| seen.iter().map(|session| session[name].clone()).collect::<Vec<_>>();
    assert_eq!(told("address"), ["2001:db8::1", "203.0.113.7"]);
    assert_eq!(told("user_agent"), ["curl/8", "Firefox"]);
    assert_eq!(told("method"), ["password", "password"]);
    assert_eq!(told("current"), [json!(false), json!(true)]);
    assert_eq!(ids(&host, &second).await, ids(&host, &first).await);
    let page = host.call("GET /api/auth/sessions?limit=1&offset=1", Some(&first), "").await.1;
    assert_eq!((&page["sessions"][0], &page["sessions"][1]), (&seen[1], &Json::Null));
    assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(host.call("GET /api/auth/sessions?limit=0", Some(&first), "").await.0, 422);
    assert_eq!(host.count("tb_users WHERE last_login_at IS NOT NULL").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_ended_takes_its_tokens_along_and_no_others() {
    let host = host().await;
    let (first, first_refresh) = host.session("ada@example.org").await;
    let (second, second_refresh) = host.session("ada@example.org").await;
    assert_eq!((host.me(&first).await, host.me(&second).await), (200, 200));
    let of_first =
        word(sessions(&host, &first).await.iter().find(|one| one["current"] == true).unwrap(), "id");
    let end = format!("DELETE /api/auth/sessions/{of_first}");
    assert_eq!(host.call(&end, Some(&second), "").await, (204, json!("")));
    let (status, answer) = host.call("GET /api/auth/me", Some(&first), "").await;
    assert_eq!((status, word(&answer, "code").as_str()), (401, "token_revoked"));
    assert_eq!((host.me(&second).await, host.refresh(&first_refresh).await.0), (200, 401));
    assert_eq!(host.refresh(&second_refresh).await.0, 200);
    let (status, answer) = host.call(&end, Some(&second), "").await;
    assert_eq!((status, word(&answer, "code").as_str()), (404, "session_not_found"));
    assert_eq!(host.count("tb_audit_log WHERE action = 'session.end'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_the_session_of_another() {
    let host = host().await;
    let (ada, _) = host.session("ada@example.org").await;
    host.register("bob@example.org").await;
    let (bob, _) = host.session("bob@example.org").await;
    let of_ada = ids(&host, &ada).await.remove(0);
    for id in [of_ada.as_str(), "no-id", "%00", "%27%20OR%201=1"] {
        let (status, answer) = host.call(&format!("DELETE /api/auth/sessions/{id}"), Some(&bob), "").await;
        assert!([400, 404].contains(&status), "{id}: {answer}");
    }
    assert_eq!((host.me(&ada).await, host.me(&bob).await), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_session_ends_at_once() {
    let host = host().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(host.session("ada@example.org").await);
    }
    let (kept, _) = tokens.pop().unwrap();
    assert_eq!(host.call("DELETE /api/auth/sessions", Some(&kept), "").await.0, 204);
    for (access, refresh) in &tokens {
        assert_eq!((host.me(access).await, host.refresh(refresh).await.0), (401, 401));
    }
    assert_eq!((host.me(&kept).await, sessions(&host, &kept).await.len()), (200, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_goes_on_with_its_session() {
    let host = host().await;
    let (access, refresh) = host.session("ada@example.org").await;
    let before = sessions(&host, &access).await.remove(0);
    let (status, renewed) = host.refresh(&refresh).await;
    assert_eq!(status, 200);
    let after = sessions(&host, &word(&renewed, "access_token")).await;
    assert_eq!(after.len(), 1);
    assert_eq!((&after[0]["id"], &after[0]["created_at"]), (&before["id"], &before["created_at"]));
    assert!(word(&after[0], "last_used_at") > word(&before, "last_used_at"));
    assert!(word(&after[0], "expires_at") > word(&before, "expires_at"));
    assert_eq!(host.me(&access).await, 200, "an access token ended with a renewal");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_limit_the_session_that_was_used_longest_ago_ends() {
    let host = host_with(|config| config.sessions_per_user_max = 2).await;
    let (first, first_refresh) = host.session("ada@example.org").await;
    let (second, _) = host.session("ada@example.org").await;
    assert_eq!(host.me(&second).await, 200);
    let (status, _) = host.refresh(&first_refresh).await;
    assert_eq!(status, 200);
    let (third, _) = host.session("ada@example.org").await;
    assert_eq!((host.me(&first).await, host.me(&second).await, host.me(&third).await), (200, 401, 200));
    assert_eq!(host.count("tb_sessions").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_logins_at_once_each_gets_a_session_of_its_own() {
    let host = host().await;
    host.session("ada@example.org").await;
    let answers = join_all((0..6).map(|_| host.login("ada@example.org"))).await;
    for (status, answer) in &answers {
        assert_eq!((*status, host.me(&word(answer, "access_token")).await), (200, 200));
    }
    assert_eq!(host.count("tb_sessions").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_reuses_at_once_one_ends_the_session_and_tells_of_it() {
    let host = host_with(|config| config.refresh_reuse_interval_seconds = 0).await;
    let (_, refresh) = host.session("ada@example.org").await;
    assert_eq!(host.refresh(&refresh).await.0, 200);
    let answers = join_all((0..6).map(|_| host.refresh(&refresh))).await;
    assert!(answers.iter().all(|(status, _)| *status == 401), "{answers:?}");
    assert_eq!(host.count("tb_audit_log WHERE action = 'session.reuse'").await, 1);
    assert_eq!((host.count("tb_sessions").await, host.count("tb_refresh_tokens").await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ended_by_another_process_is_ended_here_too() {
    let host = host().await;
    let (token, _) = host.session("ada@example.org").await;
    assert_eq!(host.me(&token).await, 200);
    let other_db = host.fresh.beside().await;
    let sql = HostSql::new(Arc::clone(&other_db));
    let keys = Keys::load_or_create(&host.fresh.dir.path().join("keys")).unwrap();
    let vault = Arc::new(Vault::load_or_create(&host.fresh.dir.path().join("keys")).unwrap());
    let settings = Arc::new(Settings::new(sql.clone(), vault));
    let other = Accounts::new(sql, keys, settings, &config::Auth::default());
    let caller = other.authenticate(&token).await.unwrap();
    other.logout(&caller, &Actor::local(ActorKind::System, "test")).await.unwrap();
    // On SQLite each write makes this process check for changes of others; PostgreSQL sends notifications.
    let deadline = Instant::now() + PATIENCE;
    while host.me(&token).await != 401 {
        assert!(Instant::now() < deadline, "the session lives on here");
        apply(&host.fresh.db, &[("DELETE FROM tb_outbox", &NONE, Expect::Any)]).await.unwrap();
    }
    other_db.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_from_before_there_were_sessions_does_not_hold() {
    let host = host().await;
    let (token, _) = host.session("ada@example.org").await;
    apply(&host.fresh.db, &[("DELETE FROM tb_sessions", &NONE, Expect::Exactly(1))]).await.unwrap();
    assert_eq!(host.me(&token).await, 401);
    let (again, _) = host.session("ada@example.org").await;
    apply(&host.fresh.db, &[("UPDATE tb_users SET is_active = 0", &NONE, Expect::Exactly(1))]).await.unwrap();
    assert_eq!(host.me(&again).await, 401, "a user who was locked out goes on");
    let (status, answer) = host.login("ada@example.org").await;
    assert_eq!((status, word(&answer, "code").as_str()), (401, "credentials_invalid"));
}
