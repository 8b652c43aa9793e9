//! Tests the request log over a real database: its route with each filter, pages, retention.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::support::db::Fresh;
use axum::{Router, body::Body};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tinybase_host::{
    accounts::{Caller, Role, Scopes},
    config,
    db::migrations::Migrator,
    error::ApiError,
    http::{Authenticate, HostRoutes, REQUEST_ID, RequestId},
    request_log::{Answered, Recorder, Retention, routes, sweep, sweep_a_step},
    sql::{HostSql, integer, text, time_from_now},
};
use tower::ServiceExt;

const DAY_SECONDS: i64 = 86_400;
/// How long the test waits for the retention job.
const WAIT_MAX: Duration = Duration::from_secs(10);

async fn fresh() -> (Fresh, HostSql) {
    let fresh = Fresh::open().await;
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    let sql = HostSql::new(Arc::clone(&fresh.db) as _);
    (fresh, sql)
}

fn recorder(sql: &HostSql) -> Recorder {
    Recorder::new(sql.clone(), &config::RequestLog::default()).unwrap()
}

/// Treats a role, or a scope, as a token.
struct Roles;

impl Authenticate for Roles {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>> {
        let mut roles = [Role::User, Role::Viewer, Role::Editor, Role::Admin].into_iter();
        let caller = match roles.find(|role| role.name() == token) {
            Some(role) => caller("u1", role, None),
            None => caller("u1", Role::Admin, Some(token)),
        };
        Box::pin(async { Ok(Arc::new(caller)) })
    }
}

fn caller(user_id: &str, role: Role, scope: Option<&str>) -> Caller {
    Caller {
        user_id: user_id.to_owned(),
        email: "ada@example.org".to_owned(),
        role,
        epoch: 0,
        session_id: None,
        token_id: scope.map(|_| "t1".into()),
        scopes: scope.map(|scope| Scopes::new(&[scope]).unwrap()),
    }
}

fn router(sql: &HostSql, recorder: Option<Recorder>) -> Router {
    let mut own = HostRoutes::default();
    routes(&mut own, sql.clone(), recorder);
    own.into_router(&(Arc::new(Roles) as Arc<dyn Authenticate>))
}

async fn get(router: &Router, query: &str, token: &str) -> (u16, Json) {
    let request = Request::builder().uri(format!("/api/admin/requests?{query}"));
    let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty());
    let response = router.clone().oneshot(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn page(router: &Router, query: &str) -> Json {
    let (status, body) = get(router, query, "viewer").await;
    assert_eq!(status, 200, "{query}: {body}");
    body
}

fn ids(page: &Json) -> String {
    let ids = page["requests"].as_array().unwrap().iter().map(|row| row["request_id"].as_str().unwrap());
    ids.collect::<Vec<_>>().join(" ")
}

/// A request and its response.
struct RequestTrace<'e> {
    id: &'static str,
    method: Method,
    target: &'static str,
    route: Option<&'static str>,
    status: u16,
    millis: u64,
    caller: Option<&'e Arc<Caller>>,
}

fn note(recorder: &Recorder, request_trace: &RequestTrace<'_>) {
    let mut headers = HeaderMap::new();
    headers.insert(REQUEST_ID, HeaderValue::from_static(request_trace.id));
    let answered = Answered {
        method: &request_trace.method,
        uri: &Uri::from_static(request_trace.target),
        route: request_trace.route,
        status: StatusCode::from_u16(request_trace.status).unwrap(),
        time: Duration::from_millis(request_trace.millis),
        caller: request_trace.caller,
        client: IpAddr::from([203, 0, 113, 5]),
        request_id: &RequestId::from_headers(&headers),
    };
    let mut row = recorder.note(Instant::now(), &answered).unwrap();
    row.sent(40);
    row.sent(2);
}

/// Records five requests, oldest first: `a` to `e`.
fn note_some(recorder: &Recorder) {
    let ada = Arc::new(caller("ada", Role::User, None));
    let program = Arc::new(caller("eve", Role::Admin, Some("admin:*")));
    let records = Some("/api/collections/{name}/records");
    let of = |id, method, target, route, status, millis, caller| RequestTrace {
        id,
        method,
        target,
        route,
        status,
        millis,
        caller,
    };
    for request_trace in [
        of("a", Method::POST, "/api/collections/posts/records", records, 201, 4, Some(&ada)),
        of("b", Method::GET, "/api/collections/posts/records?secret=word", records, 200, 2, Some(&ada)),
        of("c", Method::GET, "/api/collections/%C3%BC/records", records, 404, 1, Some(&program)),
        of("d", Method::GET, "/no/such/path", None, 404, 1, None),
        of("e", Method::GET, "/api/auth/me", Some("/api/auth/me"), 503, 700, None),
    ] {
        note(recorder, &request_trace);
        // Their times come from the clock; this ensures that the next one gets a later microsecond.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
    }
}

#[tokio::test]
async fn requests_are_found_by_each_filter_and_paged_without_a_gap() {
    let (_fresh, sql) = fresh().await;
    let recorder = recorder(&sql);
    let router = router(&sql, Some(recorder.clone()));
    note_some(&recorder);
    // `e` started 700 ms before its response, and so before the others.
    let all = page(&router, "").await;
    assert_eq!(ids(&all), "d c b a e", "what waits is written before it is asked for");
    assert_eq!((&all["total"], &all["total_is_exact"]), (&json!(5), &json!(true)));
    let mut program = all["requests"][1].clone();
    let at = program["at"].take();
    let expected = json!({
        "id": 3, "at": null, "method": "GET", "route": "/api/collections/{name}/records",
        "path": "/api/collections/%C3%BC/records", "status": 404, "duration_us": 1000, "user_id": "eve",
        "token_id": "t1", "address": "203.0.113.5", "request_id": "c", "bytes_out": 42,
    });
    assert_eq!(program, expected);
    let at = at.as_str().unwrap();
    for (query, found) in [
        ("method=POST", "a"),
        ("method=post", ""),
        ("status=404", "d c"),
        ("status=4xx", "d c"),
        ("status=2xx", "b a"),
        ("status=5xx", "e"),
        ("route=/api/collections/{name}/records", "c b a"),
        ("path=/api/", "c b a e"),
        ("path=/api/collections/posts/", "b a"),
        ("path=/api/collections/%25C3%25BC", "c"),
        ("user_id=ada", "b a"),
        ("user_id=ada&status=200", "b"),
        ("request_id=d", "d"),
        ("min_duration_ms=2", "b a e"),
        ("min_duration_ms=701", ""),
        (&format!("from={at}"), "d c"),
        (&format!("to={at}"), "b a e"),
        (&format!("from={at}&to={at}"), ""),
        ("limit=2&offset=1", "c b"),
        ("offset=9223372036854775807", ""),
    ] {
        assert_eq!(ids(&page(&router, query).await), found, "{query}");
    }
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    for _ in 0..3 {
        let part = page(&router, &format!("limit=2&cursor={cursor}&to=2999-01-01T00:00:00Z")).await;
        seen.push(ids(&part));
        cursor = part["next_cursor"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!((seen.join(" ").as_str(), cursor.as_str()), ("d c b a e", ""));
}

#[tokio::test]
async fn a_path_and_a_method_are_cut_and_a_query_is_never_stored() {
    let (_fresh, sql) = fresh().await;
    let recorder = recorder(&sql);
    let method: &'static str = "M".repeat(100).leak();
    let target: &'static str = format!("/{}?secret=word", "x".repeat(2000)).leak();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request_trace =
        RequestTrace { id: "a", method, target, route: None, status: 405, millis: 0, caller: None };
    note(&recorder, &request_trace);
    note_some(&recorder);
    recorder.flush().await;
    let rows = sql.rows("SELECT * FROM tb_request_log ORDER BY id", &[]).await.unwrap();
    assert_eq!((text(&rows[0], 2).len(), text(&rows[0], 4).len()), (32, 512));
    assert!(!format!("{rows:?}").contains("secret"), "{rows:?}");
}

#[tokio::test]
async fn the_log_is_for_those_who_may_see_the_administration() {
    let (_fresh, sql) = fresh().await;
    let router = router(&sql, None);
    for (token, status) in [
        ("user", 403),
        ("viewer", 200),
        ("editor", 200),
        ("admin", 200),
        ("admin:requests:read", 200),
        ("admin:*", 200),
        ("admin:audit:read", 403),
    ] {
        assert_eq!(get(&router, "", token).await.0, status, "as {token}");
    }
    for query in ["status=x", "secret=x", "limit=1001", "cursor=1&offset=1"] {
        assert_eq!(get(&router, query, "viewer").await.0, 422, "{query}");
    }
}

/// Adds this many requests from this many seconds ago.
async fn old_rows(sql: &HostSql, id: &str, seconds_ago: i64, rows: i64) {
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?3) INSERT INTO tb_request_log \
                (at, method, path, status, duration_us, address, request_id, bytes_out) \
                SELECT ?1, 'GET', '/', 200, 1, '::1', ?2, 0 FROM n";
    let mut batch = BatchWriter::default();
    let at = time_from_now(-seconds_ago);
    batch.push(many, [ValueRef::Text(&at), ValueRef::Text(id), ValueRef::Integer(rows)], Expect::Any);
    sql.apply(batch).await.unwrap();
}

/// Returns the number of rows per request id.
async fn counts(sql: &HostSql) -> Vec<(String, i64)> {
    let counted = "SELECT request_id, count(*) FROM tb_request_log GROUP BY request_id ORDER BY request_id";
    let rows = sql.rows(counted, &[]).await.unwrap();
    rows.iter().map(|row| (text(row, 0), integer(row, 1))).collect()
}

#[tokio::test]
async fn what_is_too_old_or_too_much_is_deleted_however_much_it_is() {
    let (_fresh, sql) = fresh().await;
    assert_eq!(sweep(&sql, None, 1000).await.unwrap(), 0, "an empty log is no fault");
    old_rows(&sql, "a", 8 * DAY_SECONDS, 1200).await;
    old_rows(&sql, "b", 6 * DAY_SECONDS, 1500).await;
    old_rows(&sql, "c", 0, 400).await;
    assert_eq!(sweep(&sql, None, 5000).await.unwrap(), 0);
    assert_eq!(sweep(&sql, Some(&time_from_now(-7 * DAY_SECONDS)), 5000).await.unwrap(), 1200);
    assert_eq!(counts(&sql).await, [("b".into(), 1500), ("c".into(), 400)]);
    assert_eq!(sweep(&sql, None, 1000).await.unwrap(), 900);
    assert_eq!(counts(&sql).await, [("b".into(), 600), ("c".into(), 400)]);
}

#[tokio::test]
async fn a_clock_that_is_ahead_empties_no_log() {
    let (_fresh, sql) = fresh().await;
    old_rows(&sql, "a", 7200, 3).await;
    old_rows(&sql, "b", 1800, 3).await;
    let now = time_from_now(DAY_SECONDS);
    assert_eq!(sweep_a_step(&sql, Some(&now), 1000).await.unwrap(), 3);
    assert_eq!(counts(&sql).await, [("b".to_owned(), 3)]);
    assert_eq!(sweep_a_step(&sql, None, 1000).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_sweeps_when_it_starts_unless_everything_is_kept() {
    let (_fresh, sql) = fresh().await;
    old_rows(&sql, "a", 31 * DAY_SECONDS, 1).await;
    old_rows(&sql, "b", 6 * DAY_SECONDS, 1).await;
    let days = |retention_days| config::RequestLog { retention_days, ..config::RequestLog::default() };
    let forever = Retention::start(sql.clone(), &days(0));
    let retention = Retention::start(sql.clone(), &days(7));
    let swept = async {
        while counts(&sql).await != [("b".to_owned(), 1)] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, swept).await.expect("the old row is deleted");
    drop((forever, retention));
}
