//! Tests of the host's own routes, pages, origins and compression.

use std::time::Duration;

use axum::Extension;
use http::Method;

use super::harness::{BIG_BYTES, Setup, TestServer};
use crate::{
    config::Config,
    http::{Access, Limits, RequestInfo},
};

#[tokio::test]
async fn the_system_answers() {
    let server = TestServer::start().await;
    assert_eq!(server.get("/health").await.body, r#"{"status":"healthy"}"#);
    assert_eq!(server.get("/healthz").await.body, r#"{"status":"ok"}"#);
    let root = server.get("/").await.json();
    assert_eq!(root["version"], env!("CARGO_PKG_VERSION"));
    for key in ["name", "docs", "openapi", "admin", "auth"] {
        assert!(root.get(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn pages_come_from_their_folder_alone() {
    let outer = tempfile::tempdir().unwrap();
    let pages = outer.path().join("pages");
    std::fs::create_dir_all(pages.join("sub/.git")).unwrap();
    for (name, content) in [
        ("../secret.txt", "secret"),
        ("index.html", "<p>front</p>"),
        ("sub/index.html", "<p>sub</p>"),
        ("a b.txt", "blank"),
        (".env", "secret"),
        ("sub/.git/config", "secret"),
    ] {
        std::fs::write(pages.join(name), content).unwrap();
    }
    let mut config = Config::default();
    config.public.static_dir = Some(pages);
    let server = TestServer::start_with(Setup { config, ..Setup::default() }).await;
    let cases = [
        ("/index.html", 200, "<p>front</p>"),
        ("/a%20b.txt", 200, "blank"),
        ("/sub/", 200, "<p>sub</p>"),
        ("/.env", 404, "not_found"),
        ("/%2eenv", 404, "not_found"),
        ("/sub/.git/config", 404, "not_found"),
        ("/../secret.txt", 404, "not_found"),
        ("/%2e%2e/secret.txt", 404, "not_found"),
        ("/..%2fsecret.txt", 404, "not_found"),
        ("/sub/..%5c..%5csecret.txt", 404, "not_found"),
        ("/missing.html", 404, "not_found"),
        ("/api/echo/x", 200, "params"),
    ];
    for (path, status, part) in cases {
        let reply = server.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.body.contains(part), "{path}: {reply:?}");
    }
    assert_eq!(server.get("/").await.json()["name"], "TinyBase");
    let front = server.ask("GET /", &[("accept", "text/html,*/*")], "").await;
    assert_eq!(front.body, "<p>front</p>");
    let modified = front.header("last-modified").unwrap().to_owned();
    let again = server.ask("GET /index.html", &[("if-modified-since", &modified)], "").await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    let posted = server.ask("POST /index.html", &[], "").await;
    assert_eq!(posted.refusal(), (404, "not_found".into()));
}

#[tokio::test]
async fn only_named_origins_may_read_answers() {
    let mut config = Config::default();
    config.cors.allow_origins = vec!["https://app.example.org".into()];
    let server = TestServer::start_with(Setup { config, ..Setup::default() }).await;
    for (origin, allowed) in [("https://app.example.org", true), ("https://evil.example.org", false)] {
        for path in ["/api/echo/x", "/health", "/nothing"] {
            let reply = server.ask(&format!("GET {path}"), &[("origin", origin)], "").await;
            assert_eq!(reply.header("access-control-allow-origin"), allowed.then_some(origin), "{path}");
            assert!(reply.header("vary").is_some_and(|vary| vary.contains("origin")), "{path}");
        }
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "authorization, content-type"),
        ];
        let preflight = server.ask("OPTIONS /api/echo/x", &asked, "").await;
        assert_eq!(preflight.status, 200);
        assert_eq!(preflight.header("access-control-allow-origin"), allowed.then_some(origin));
        assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, content-type"));
        assert!(preflight.header("access-control-allow-methods").unwrap().contains("PATCH"));
    }
    assert!(!server.get("/health").await.head.contains("access-control"), "no origin, no headers");
    let exposed = server.ask("GET /health", &[("origin", "https://app.example.org")], "").await;
    let exposed = exposed.header("access-control-expose-headers").unwrap().to_owned();
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "etag", "retry-after"] {
        assert!(exposed.split(',').any(|exposed| exposed == name), "{name}: {exposed}");
    }
    let plain = TestServer::start().await;
    let reply = plain.ask("GET /health", &[("origin", "https://app.example.org")], "").await;
    assert!(!reply.head.contains("access-control"), "{reply:?}");
}

type Headers<'h> = &'h [(&'h str, &'h str)];

#[tokio::test]
async fn every_answer_says_that_it_varies_by_origin() {
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("page.txt"), "content").unwrap();
    let mut setup = Setup::default();
    setup.config.cors.allow_origins = vec!["https://app.example.org".into()];
    setup.config.public.static_dir = Some(pages.path().to_owned());
    let server = TestServer::start_with(setup).await;
    let tag = server.get("/page.txt").await.header("etag").unwrap().to_owned();
    let (method, gzip) = (("access-control-request-method", "GET"), ("accept-encoding", "gzip"));
    let cases: &[(&str, Headers<'_>, u16)] = &[
        ("GET /health", &[], 200),
        ("HEAD /health", &[], 200),
        ("GET /api/echo/x", &[], 200),
        ("GET /api/big", &[gzip], 200),
        ("GET /api/stream", &[], 200),
        ("GET /nothing", &[], 404),
        ("POST /health", &[], 405),
        ("GET /api/user", &[], 401),
        ("GET /api/panics", &[], 500),
        ("GET /api/echo/%ff", &[], 400),
        ("GET /health", &[("host", "second")], 400),
        ("GET /page.txt", &[], 200),
        ("GET /page.txt", &[("if-none-match", &tag)], 304),
        ("GET /page.txt", &[("range", "bytes=1-2")], 206),
        ("GET /page.txt", &[("range", "bytes=99-")], 416),
        ("OPTIONS /health", &[], 204),
    ];
    for (line, headers, status) in cases {
        for origin in [None, Some("https://app.example.org"), Some("https://evil.example.org")] {
            let mut headers = headers.to_vec();
            headers.extend(origin.map(|origin| ("origin", origin)));
            if line.starts_with("OPTIONS") && origin.is_some() {
                headers.push(method);
            }
            let reply = server.ask(line, &headers, "").await;
            let expected = if headers.contains(&method) { 200 } else { *status };
            assert_eq!(reply.status, expected, "{line} {headers:?}");
            let varies = reply.head.lines().filter_map(|line| line.strip_prefix("vary: "));
            let names = varies.flat_map(|names| names.split(',')).map(str::trim);
            assert_eq!(
                names.filter(|name| *name == "origin").count(),
                1,
                "{line} {headers:?}: {}",
                reply.head
            );
            let allowed = origin.filter(|origin| origin.contains("app"));
            assert_eq!(reply.header("access-control-allow-origin"), allowed, "{line} {headers:?}");
        }
    }
    let mut setup = Setup::default();
    setup.config.cors.allow_origins = vec!["*".into()];
    setup.limits = Some(Limits { request_timeout: Duration::from_millis(50), ..Limits::default() });
    let late = TestServer::start_with(setup).await.get("/api/never").await;
    assert_eq!((late.status, late.header("vary")), (504, Some("origin")));
    let plain = TestServer::start().await;
    assert_eq!(plain.get("/health").await.header("vary"), None);
}

#[tokio::test]
async fn links_out_of_the_pages_are_not_followed() {
    let outer = tempfile::tempdir().unwrap();
    let pages = outer.path().join("pages");
    std::fs::create_dir_all(outer.path().join("private")).unwrap();
    std::fs::create_dir_all(pages.join("sub")).unwrap();
    for name in ["private/index.html", "private/key", "pages/sub/page.html"] {
        std::fs::write(outer.path().join(name), name).unwrap();
    }
    for (target, link) in
        [("../private/key", "key"), ("../private", "folder"), ("/etc", "etc"), ("sub/page.html", "page.html")]
    {
        std::os::unix::fs::symlink(target, pages.join(link)).unwrap();
    }
    let mut config = Config::default();
    config.public.static_dir = Some(pages);
    let server = TestServer::start_with(Setup { config, ..Setup::default() }).await;
    for path in
        ["/key", "/folder", "/folder/", "/folder/key", "/folder/index.html", "/etc/passwd", "//sub", "//sub/"]
    {
        for method in ["GET", "HEAD"] {
            let reply = server.ask(&format!("{method} {path}"), &[], "").await;
            assert_eq!(reply.status, 404, "{method} {path}: {reply:?}");
        }
    }
    assert_eq!(server.get("/page.html").await.body, "pages/sub/page.html", "a link within is");
    let moved = server.get("http://evil.example/sub").await;
    assert_eq!((moved.status, moved.header("location")), (307, Some("/sub/")));
}

#[tokio::test]
async fn large_answers_shrink_for_those_who_ask() {
    let cases = [
        ("/api/big", "gzip", Some("gzip")),
        ("/api/big", "br;q=0.5, zstd", Some("zstd")),
        ("/api/big", "br", Some("br")),
        ("/api/big", "identity", None),
        ("/api/big", "gzip;q=0", None),
        ("/api/big", "lzma", None),
        ("/health", "gzip", None),
    ];
    let server = TestServer::start().await;
    for (path, accepted, encoding) in cases {
        let reply = server.ask(&format!("GET {path}"), &[("accept-encoding", accepted)], "").await;
        assert_eq!(reply.header("content-encoding"), encoding, "{path} {accepted}");
        assert_eq!(reply.status, 200);
        let shrunk = reply.body.len() < BIG_BYTES / 10;
        assert_eq!(shrunk, encoding.is_some() || path == "/health", "{path} {accepted}");
    }
    let plain = server.get("/api/big").await;
    assert_eq!((plain.header("content-encoding"), plain.body.len()), (None, BIG_BYTES));
    assert_eq!(plain.header("vary"), Some("accept-encoding"), "a cache would give it to those who ask");
    let head = server.ask("HEAD /api/big", &[("accept-encoding", "gzip")], "").await;
    assert_eq!((head.header("content-encoding"), head.header("content-length")), (Some("gzip"), None));
}

async fn who(Extension(info): Extension<RequestInfo>) -> String {
    info.client.to_string()
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_nobody_else_does() {
    let forwarded = [("x-forwarded-for", "1.1.1.1, 203.0.113.9"), ("x-forwarded-proto", "https")];
    for (trusted, client, hsts) in
        [("127.0.0.1", "203.0.113.9", Some("max-age=31536000")), ("10.0.0.0/8", "127.0.0.1", None)]
    {
        let mut setup = Setup::default();
        setup.config.server.trusted_proxies = vec![trusted.to_owned()];
        setup.host.with(()).route(Method::GET, "/who", Access::OPEN, who, serde_json::json!({}));
        let server = TestServer::start_with(setup).await;
        let answer = server.ask("GET /who", &forwarded, "").await;
        assert_eq!(answer.body, client, "{trusted}");
        assert_eq!(answer.header("strict-transport-security"), hsts, "{trusted}");
        assert_eq!(server.get("/who").await.body, "127.0.0.1");
    }
}

#[tokio::test]
async fn the_page_of_the_api_is_served_with_a_policy_that_allows_its_own_files_alone() {
    let server = TestServer::start().await;
    for (path, content_type) in
        [("/docs", "text/html"), ("/docs/app.js", "text/javascript"), ("/docs/app.css", "text/css")]
    {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(content_type), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
    let page = server.get("/docs").await.body;
    for named in page.split(['"']).filter(|word| word.starts_with("docs/")) {
        assert_eq!(server.get(&format!("/{named}")).await.status, 200, "{named}");
    }
    let known = server.get("/").await.json();
    assert_eq!(server.get(known["docs"].as_str().unwrap()).await.status, 200);
    assert_eq!(server.get(known["openapi"].as_str().unwrap()).await.status, 200);
}
