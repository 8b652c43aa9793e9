//! What an operator monitors, on the real server: metrics for Prometheus, and whether the server can do its work.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Site, site::ADMIN_EMAIL};

/// Returns the value of a metric: of the line that begins with `series`.
fn figure(text: &str, series: &str) -> Option<f64> {
    let line =
        text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn metrics(client: &Client) -> String {
    let answer = client.get("/metrics");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn the_figures_follow_what_the_server_does() {
    let site = Site::new();
    site.install_stress("faults");
    let server = site.serve();
    let (admin, nobody) = (server.admin(), server.client());
    for path in ["/api/faults/log", "/api/faults/panic_in_future", "/no/such/path", "/no/other/path"] {
        nobody.get(path);
    }
    let text = metrics(&admin);
    let exactly = [
        (r#"tinybase_http_requests_total{method="GET",route="/api/faults/{fault}",status="2xx"}"#, 1.0),
        (r#"tinybase_http_requests_total{method="GET",route="/api/faults/{fault}",status="5xx"}"#, 1.0),
        (r#"tinybase_http_request_duration_seconds_count{method="GET",route="/api/faults/{fault}"}"#, 2.0),
        (r#"tinybase_http_requests_total{method="OTHER",route="unmatched",status="4xx"}"#, 2.0),
        (r#"tinybase_http_requests_total{method="POST",route="/api/auth/login",status="2xx"}"#, 1.0),
        (r#"tinybase_plugin_call_duration_seconds_count{plugin="faults",kind="request"}"#, 2.0),
        (r#"tinybase_plugin_errors_total{plugin="faults",kind="request"}"#, 1.0),
        (r#"tinybase_plugin_panics_total{plugin="faults"}"#, 1.0),
        ("tinybase_http_requests_in_flight", 1.0),
        ("tinybase_outbox_backlog", 0.0),
        ("tinybase_password_jobs", 0.0),
    ];
    for (series, expected) in exactly {
        assert_eq!(figure(&text, series), Some(expected), "{series} in\n{text}");
    }
    let mut more_than_none = vec![
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
        "tinybase_http_connections",
        r#"tinybase_db_read_duration_seconds_count{kind="short"}"#,
        "tinybase_token_cache_misses_total",
    ];
    if site.database_url().is_none() {
        assert_eq!(figure(&text, "tinybase_db_write_queue"), Some(0.0));
        more_than_none.extend([
            "tinybase_db_group_jobs_count",
            "tinybase_db_commit_duration_seconds_count",
            "tinybase_db_sync_duration_seconds_count",
            "tinybase_db_wal_pages",
        ]);
    }
    for series in more_than_none {
        assert!(figure(&text, series).is_some_and(|value| value > 0.0), "{series} in\n{text}");
    }
    let hits = figure(&text, "tinybase_token_cache_hits_total").unwrap();
    let again = metrics(&admin);
    assert!(figure(&again, "tinybase_token_cache_hits_total").unwrap() > hits, "{again}");
    assert!(!text.contains("/no/such/path"), "a path became a label");
}

#[test]
fn who_may_read_the_figures() {
    let mut site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    assert_eq!(server.client().get("/metrics").outcome(), (401, "token_missing".into()));
    let user = server.client().registered("user@example.com");
    assert_eq!(user.get("/metrics").outcome(), (403, "role_required".into()));
    for (scope, status) in [("admin:metrics:read", 200), ("admin:audit:read", 403)] {
        let made = admin.post("/api/admin/application-tokens", &json!({"name": scope, "scopes": [scope]}));
        let token = made.expect(201)["token_value"].as_str().unwrap().to_owned();
        assert_eq!(server.client().with_token(&token).get("/metrics").status, status, "{scope}");
    }
    server.stop();
    for (networks, status) in [("10.0.0.0/8", 401), ("10.0.0.0/8,127.0.0.0/8", 200)] {
        site.set("TINYBASE_METRICS_ALLOW", networks);
        let server = site.serve();
        assert_eq!(server.client().get("/metrics").status, status, "{networks}");
        assert_eq!(server.client().get("/api/admin/users").status, 401, "{networks} open the figures alone");
        server.stop();
    }
    site.set("TINYBASE_SERVER_TRUSTED_PROXIES", "127.0.0.1");
    let server = site.serve();
    for (client, status) in [("203.0.113.5", 401), ("127.0.0.2", 200)] {
        let headers = [("x-forwarded-for", client)];
        let answer = server.client().try_send("GET", "/metrics", &headers, b"").unwrap();
        assert_eq!(answer.status, status, "{client} behind a proxy");
    }
    server.stop();
    site.set("TINYBASE_METRICS_ALLOW", "10.0.0.0/33");
    let refused = site.serve_in_vain();
    assert!(refused.errors.contains("TINYBASE_METRICS_ALLOW"), "{refused:?}");
}

#[test]
fn a_server_is_ready_until_it_is_asked_to_end() {
    let mut site = Site::new();
    // Longer than the test, which must finish before connections are refused.
    site.set("TINYBASE_SERVER_SHUTDOWN_DELAY_MS", "60000");
    let server = site.serve();
    let client = server.client();
    assert_eq!(client.get("/ready").expect(200), json!({"status": "ready"}));
    server.ask_to_end();
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.get("/ready").outcome() != (503, "shutting_down".into()) {
        assert!(Instant::now() < deadline, "it stays ready");
    }
    assert_eq!(client.get("/health").status, 200, "it lives on");
    client.signed_in(ADMIN_EMAIL).get("/api/auth/me").expect(200);
}

/// Returns the rows of the request log that match a query, newest first.
fn requests(admin: &Client, query: &str) -> Vec<Json> {
    let page = admin.get(&format!("/api/admin/requests?{query}")).expect(200);
    page["requests"].as_array().unwrap().clone()
}

#[test]
fn requests_are_logged_without_what_nobody_may_read_later() {
    let mut site = Site::new();
    site.set("TINYBASE_REQUEST_LOG_READS_PER_SECOND_MAX", "100000");
    let server = site.serve();
    let admin = server.admin();
    let secrets = ["q-secret", "h-secret", "b-secret"];
    let (query, body) = ("?_token=q-secret", br#"{"email": "b-secret@example.com", "password": "b-secret"}"#);
    let headers = [("content-type", "application/json"), ("x-api-key", "h-secret"), ("x-request-id", "one")];
    let client = server.client();
    assert_eq!(
        client.try_send("POST", &format!("/api/auth/login{query}"), &headers, body).unwrap().status,
        401
    );
    let me = admin.try_send("GET", "/api/auth/me", &[("x-request-id", "two")], b"").unwrap();
    let head = admin.try_send("HEAD", "/api/auth/me", &[("x-request-id", "three")], b"").unwrap();
    assert_eq!((me.status, head.status), (200, 200));
    let stranger = client.try_send("GET", "/api/admin/users", &[("x-request-id", "four")], b"").unwrap();
    assert_eq!(stranger.status, 401);
    let logged = |id: &str, names: [&str; 4]| {
        let rows = requests(&admin, &format!("request_id={id}"));
        assert_eq!(rows.len(), 1, "{id}: {rows:?}");
        assert_eq!(rows[0]["address"], "127.0.0.1");
        names.map(|name| rows[0][name].clone())
    };
    let login = logged("one", ["method", "route", "path", "status"]);
    assert_eq!(json!(login), json!(["POST", "/api/auth/login", "/api/auth/login", 401]));
    let me_id = me.json()["id"].clone();
    let seen = logged("two", ["user_id", "token_id", "bytes_out", "status"]);
    assert_eq!(json!(seen), json!([me_id, null, me.body.len(), 200]));
    assert_eq!(
        json!(logged("three", ["method", "bytes_out", "user_id", "status"])),
        json!(["HEAD", 0, me_id, 200])
    );
    assert_eq!(
        json!(logged("four", ["route", "user_id", "token_id", "status"])),
        json!(["/api/admin/users", null, null, 401])
    );
    let user = client.clone().registered("user@example.com");
    let user_id = user.get("/api/auth/me").json()["id"].clone();
    for (id, route, path) in [
        ("refused", "/api/admin/users/{id}", "/api/admin/users/x"),
        ("kept-out", "/api/collections/{name}", "/api/collections/posts"),
    ] {
        user.try_send("DELETE", path, &[("x-request-id", id)], b"").unwrap();
        let seen = logged(id, ["route", "user_id", "token_id", "status"]);
        assert_eq!(json!(seen), json!([route, user_id, null, 403]), "{id}");
    }
    assert_eq!(
        requests(&admin, "path=/api/admin/requests&method=GET").len(),
        6,
        "its own reading is logged too"
    );
    assert!(figure(&metrics(&admin), "tinybase_request_log_rows_total").unwrap() >= 8.0);
    client.try_send("GET", "/last", &[("x-request-id", "five")], b"").unwrap();
    assert!(server.stop().success());
    let rows = site.sql("SELECT * FROM tb_request_log");
    assert!(rows.contains("/api/auth/login"), "{rows}");
    assert!(secrets.iter().all(|secret| !rows.contains(secret)), "{rows}");
    for file in std::fs::read_dir(site.dir()).unwrap() {
        let path = file.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    }
    let server = site.serve();
    let last = requests(&server.admin(), "request_id=five");
    assert_eq!(last.len(), 1, "what waits when the server ends is written: {last:?}");
}

#[test]
fn of_each_kind_of_request_so_many_a_second_are_logged() {
    let mut site = Site::new();
    site.set("TINYBASE_REQUEST_LOG_READS_PER_SECOND_MAX", "0");
    site.set("TINYBASE_REQUEST_LOG_ROWS_PER_SECOND_MAX", "0");
    let server = site.serve();
    let admin = server.admin();
    for path in ["/health", "/no/such/path"] {
        server.client().get(path);
    }
    assert_eq!(requests(&admin, ""), Vec::<Json>::new());
    let dropped = figure(&metrics(&admin), "tinybase_request_log_dropped_total").unwrap();
    assert!(dropped >= 2.0, "the login and the unknown path, but no quick read: {dropped}");
    server.stop();
    site.set("TINYBASE_REQUEST_LOG_READS_PER_SECOND_MAX", "1000");
    site.set("TINYBASE_REQUEST_LOG_ENABLED", "false");
    let server = site.serve();
    let admin = server.admin();
    server.client().get("/health");
    assert_eq!(requests(&admin, ""), Vec::<Json>::new(), "it is switched off");
    let text = metrics(&admin);
    for series in ["tinybase_request_log_rows_total", "tinybase_request_log_dropped_total"] {
        assert_eq!(figure(&text, series), Some(0.0), "{series}");
    }
}
