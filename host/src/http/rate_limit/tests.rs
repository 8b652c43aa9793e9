//! Tests of the rule of a route, the counted subjects, and the response headers, with a clock of their own.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use super::*;
use crate::http::Caller;

fn limits(change: impl FnOnce(&mut Config)) -> Arc<RateLimits> {
    let mut config = Config::default();
    config.rate_limit.api_per_minute = 60;
    change(&mut config);
    RateLimits::from_config(&config).unwrap()
}

fn address(number: u32) -> IpAddr {
    IpAddr::from(number.to_be_bytes())
}

/// Returns how many of 100 concurrent requests are admitted.
async fn let_in(
    limits: &RateLimits,
    path: &str,
    authenticated: impl Fn() -> Authenticated,
    client: IpAddr,
    now: Instant,
) -> usize {
    let rule = limits.rule_of_own(&Method::POST, path).unwrap();
    let is_limited =
        |admitted: &Authenticated| admitted.as_ref().is_err_and(|refused| refused.code == "rate_limited");
    let mut count = 0;
    for _ in 0..100 {
        count += usize::from(!is_limited(&limits.admit(rule, authenticated(), client, now).await.0));
    }
    count
}

#[test]
fn a_route_falls_under_one_rule() {
    let limits = limits(|config| {
        (config.rate_limit.auth_per_minute, config.rate_limit.admin_per_minute) = (30, 40);
    });
    let cases = [
        ("POST", "/api/auth/register", Some(5)),
        ("POST", "/api/auth/login", Some(10)),
        ("GET", "/api/auth/login", Some(30)),
        ("POST", "/api/auth/refresh", Some(30)),
        ("GET", "/api/admin/users", Some(40)),
        ("GET", "/api/administration", Some(60)),
        ("GET", "/api/collections", Some(60)),
        ("GET", "/health", None),
        ("GET", "/openapi.json", None),
    ];
    for (method, path, per_minute) in cases {
        let rule = limits.rule_of_own(&method.parse().unwrap(), path);
        assert_eq!(rule.map(|rule| rule.per_minute), per_minute, "{method} {path}");
    }
    for (path, per_minute) in
        [("/api/notes", 60), ("/api/admin/notes", 40), ("/api/auth/door", 30), ("/feed.xml", 60)]
    {
        assert_eq!(limits.rule_of_plugin(path).per_minute, per_minute, "{path}");
    }
}

#[tokio::test]
async fn everyone_is_counted_alone_and_by_each_rule_alone() {
    let limits = limits(|config| config.rate_limit.auth_per_minute = 30);
    let now = Instant::now();
    let nobody = || Ok(None);
    let user = |id: &'static str| move || Ok(Some(Arc::new(Caller::of_test(id))));
    let token = || Ok(Some(Arc::new(Caller { token_id: Some("t1".into()), ..Caller::of_test("u1") })));
    let at = address(1);
    assert_eq!(let_in(&limits, "/api/notes", nobody, at, now).await, 60);
    assert_eq!(let_in(&limits, "/api/notes", nobody, at, now).await, 0);
    assert_eq!(let_in(&limits, "/api/notes", nobody, address(2), now).await, 60);
    assert_eq!(
        let_in(&limits, "/api/notes", user("u1"), at, now).await,
        60,
        "a user has a bucket of their own"
    );
    assert_eq!(let_in(&limits, "/api/notes", user("u1"), address(3), now).await, 0, "wherever they are");
    assert_eq!(let_in(&limits, "/api/notes", user("u2"), at, now).await, 60);
    assert_eq!(let_in(&limits, "/api/notes", token, at, now).await, 60, "and so has each of their tokens");
    assert_eq!(let_in(&limits, "/api/auth/me", nobody, at, now).await, 30);
    assert_eq!(let_in(&limits, "/api/auth/login", nobody, at, now).await, 10);
    assert_eq!(let_in(&limits, "/api/auth/register", nobody, at, now).await, 5);
}

#[tokio::test]
async fn who_is_refused_counts_by_address() {
    let limits = limits(|_| ());
    let now = Instant::now();
    let forged = || Err(ApiError::unauthorized("token_invalid", "no"));
    assert_eq!(let_in(&limits, "/api/notes", forged, address(1), now).await, 60);
    assert_eq!(let_in(&limits, "/api/notes", || Ok(None), address(1), now).await, 0);
}

#[tokio::test]
async fn zero_is_no_limit_and_exempt_networks_have_none() {
    let limits = limits(|config| {
        config.rate_limit.admin_per_minute = 0;
        config.rate_limit.exempt = vec!["10.0.0.0/8".to_owned()];
    });
    let now = Instant::now();
    assert_eq!(let_in(&limits, "/api/admin/users", || Ok(None), address(1), now).await, 100);
    assert_eq!(let_in(&limits, "/api/notes", || Ok(None), "10.1.2.3".parse().unwrap(), now).await, 100);
    assert_eq!(let_in(&limits, "/api/notes", || Ok(None), "11.1.2.3".parse().unwrap(), now).await, 60);
}

#[tokio::test]
async fn the_answer_tells_what_is_left_and_when_to_come_back() {
    let limits = limits(|_| ());
    let start = Instant::now();
    let rule = limits.rule_of_plugin("/api/notes");
    let ask = async |after: u64| {
        limits.admit(rule, Ok(None), address(1), start + Duration::from_millis(after)).await
    };
    let (admitted, quota) = ask(0).await;
    assert!(admitted.is_ok());
    assert_eq!(quota, Some(Quota { limit: 60, remaining: 59, reset_seconds: 1 }));
    for _ in 0..59 {
        assert!(ask(0).await.0.is_ok());
    }
    let (refused, quota) = ask(400).await;
    assert_eq!(quota, Some(Quota { limit: 60, remaining: 0, reset_seconds: 60 }));
    let refused = refused.unwrap_err();
    assert_eq!((refused.status.as_u16(), &*refused.code), (429, "rate_limited"));
    assert_eq!(refused.headers.unwrap()["retry-after"], "1");
    assert!(ask(1_000).await.0.is_ok());
    assert!(ask(1_000).await.0.is_err());
    let (admitted, quota) = ask(31_000).await;
    assert!(admitted.is_ok());
    assert_eq!(quota, Some(Quota { limit: 60, remaining: 29, reset_seconds: 31 }));
}

#[test]
fn neighbours_in_a_64_share_a_bucket() {
    let parse = |text: &str| subscriber(text.parse().unwrap());
    assert_eq!(parse("2001:db8:1:2::1"), parse("2001:db8:1:2:ffff::9"));
    assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
    assert_eq!(parse("::ffff:10.0.0.1"), parse("10.0.0.1"));
}

/// Buckets that are unreachable.
#[derive(Debug)]
struct Unreachable;

impl shared::SharedBuckets for Unreachable {
    fn take(
        &self,
        _: Key,
        _: u32,
        _: u32,
    ) -> futures_util::future::BoxFuture<'_, Result<leases::Granted, crate::db::DbError>> {
        Box::pin(async { Err(crate::db::DbError::Busy) })
    }
}

#[tokio::test]
async fn where_the_shared_bucket_cannot_be_asked_a_node_admits_its_part() {
    let limits = limits(|_| ());
    let nodes = NodeCount::of(3);
    let shared = Shared::new(Arc::new(Unreachable), nodes, 64, Duration::from_millis(250));
    limits.shared.set(shared).unwrap();
    let now = Instant::now();
    assert_eq!(let_in(&limits, "/api/notes", || Ok(None), address(1), now).await, 20);
    assert_eq!(let_in(&limits, "/api/auth/login", || Ok(None), address(1), now).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_on_one_database_admit_what_one_bucket_allows() {
    let Some(database) = crate::db::testing::OnPostgres::migrated().await else { return };
    let mut nodes = Vec::new();
    let mut sweeping = Vec::new();
    for _ in 0..3 {
        let limits = limits(|config| config.rate_limit.shared_timeout_ms = 20_000);
        sweeping.push(limits.share(database.node().await, NodeCount::of(3), 64).unwrap());
        nodes.push(limits);
    }
    for (path, limit) in [("/api/auth/login", 10), ("/api/notes", 60)] {
        let now = Instant::now();
        let asked = (0..3 * limit).map(|number: usize| {
            let limits = Arc::clone(&nodes[number % 3]);
            let rule = limits.rule_of_own(&Method::POST, path).unwrap();
            tokio::spawn(async move { limits.admit(rule, Ok(None), address(1), now).await })
        });
        let mut admitted = 0;
        for asked in asked.collect::<Vec<_>>() {
            let (answer, quota) = asked.await.unwrap();
            assert_eq!(quota.unwrap().limit as usize, limit);
            admitted += usize::from(answer.is_ok());
        }
        // Tokens that have come back meanwhile are admitted as well.
        let most = limit + now.elapsed().as_millis() as usize * limit / 60_000;
        assert!((limit..=most).contains(&admitted), "{path}: {admitted} of {limit} were admitted");
    }
    let rows = BucketRows::new(database.node().await);
    assert_eq!(rows.sweep().await.unwrap(), 0, "a bucket that is not full was deleted");
}
