//! Tests of rate limits from the client's side: on routes of the host and of plugins, per user, and per address that
//! cannot be forged.

use http::Method;

use super::harness::{Setup, TestServer};
use crate::{config::Config, http::Access};

fn setup(change: impl FnOnce(&mut Config)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.config);
    let login = async || "\"in\"";
    setup.host.with(()).route(Method::POST, "/api/auth/login", Access::OPEN, login, serde_json::Value::Null);
    setup.host.with(()).route(Method::GET, "/open", Access::OPEN, login, serde_json::Value::Null);
    setup
}

/// Returns how many of 50 requests are admitted.
async fn let_in(server: &TestServer, request: &str, headers: &[(&str, &str)]) -> usize {
    let mut count = 0;
    for _ in 0..50 {
        let answer = server.ask(request, headers, "{}").await;
        if answer.status == 429 {
            assert_eq!(answer.refusal(), (429, "rate_limited".into()));
            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{request}: {seconds}");
            assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"), "{request}");
        } else {
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn sign_in_is_limited_by_address_while_limits_are_on() {
    for (enabled, expected) in [(true, 10), (false, 50)] {
        let server = TestServer::start_with(setup(|config| config.rate_limit.enabled = enabled)).await;
        assert_eq!(let_in(&server, "POST /api/auth/login", &[]).await, expected);
    }
}

#[tokio::test]
async fn a_plugins_route_is_limited_by_who_calls_it() {
    let server = TestServer::start_with(setup(|config| config.rate_limit.api_per_minute = 20)).await;
    let user = ("authorization", "Bearer user");
    assert_eq!(let_in(&server, "GET /api/echo/a", &[]).await, 20);
    assert_eq!(let_in(&server, "GET /api/user", &[]).await, 0, "who has no token counts by address");
    assert_eq!(let_in(&server, "GET /api/user", &[user]).await, 20);
    assert_eq!(let_in(&server, "GET /api/echo/a", &[user]).await, 0, "one count for all routes of a group");
    assert_eq!(let_in(&server, "GET /api/boss", &[("authorization", "Bearer admin")]).await, 20);
    assert_eq!(let_in(&server, "GET /api/user", &[("authorization", "Bearer forged")]).await, 0);
    assert_eq!(let_in(&server, "GET /open", &[]).await, 50);
}

#[tokio::test]
async fn who_may_not_call_a_route_uses_up_no_strangers_tokens() {
    let server = TestServer::start_with(setup(|config| config.rate_limit.api_per_minute = 20)).await;
    assert_eq!(let_in(&server, "GET /api/boss", &[("authorization", "Bearer user")]).await, 20);
    assert_eq!(let_in(&server, "GET /api/echo/a", &[]).await, 20);
}

#[tokio::test]
async fn every_counted_answer_tells_what_is_left() {
    let server = TestServer::start_with(setup(|config| config.rate_limit.api_per_minute = 20)).await;
    let told = async |path: &str| {
        let answer = server.get(path).await;
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
            .map(|name| answer.header(name).map(str::to_owned))
    };
    let texts = |texts: [&str; 3]| texts.map(|text| Some(text.to_owned()));
    assert_eq!(told("/api/echo/a").await, texts(["20", "19", "3"]));
    assert_eq!(told("/api/odd/404").await, texts(["20", "18", "6"]));
    let login = server.ask("POST /api/auth/login", &[], "{}").await;
    assert_eq!(login.header("x-ratelimit-limit"), Some("10"));
    assert_eq!(told("/open").await, [None, None, None]);
    assert_eq!(told("/health").await, [None, None, None]);
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_limited_one_by_one() {
    let trusting = setup(|config| config.server.trusted_proxies = vec!["127.0.0.1".to_owned()]);
    let server = TestServer::start_with(trusting).await;
    let login = async |client| let_in(&server, "POST /api/auth/login", &[("x-forwarded-for", client)]).await;
    assert_eq!(login("203.0.113.9").await, 10);
    assert_eq!(login("203.0.113.10").await, 10);
    assert_eq!(login("198.51.100.1, 203.0.113.9").await, 0);
}

#[tokio::test]
async fn a_forged_address_helps_nobody() {
    let server = TestServer::start_with(setup(|_| ())).await;
    let login = async |client| let_in(&server, "POST /api/auth/login", &[("x-forwarded-for", client)]).await;
    assert_eq!(login("203.0.113.9").await, 10);
    assert_eq!(login("203.0.113.10").await, 0);
}

#[tokio::test]
async fn exempt_networks_are_not_counted() {
    let exempting = setup(|config| config.rate_limit.exempt = vec!["127.0.0.0/8".to_owned()]);
    let server = TestServer::start_with(exempting).await;
    assert_eq!(let_in(&server, "POST /api/auth/login", &[]).await, 50);
    assert_eq!(server.get("/api/echo/a").await.header("x-ratelimit-limit"), None);
}
