//! Tests of the security headers, route by route.

use super::harness::{Setup, TestServer};

const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The default headers of pages.
const PAGE: [(&str, &str); 4] = [
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

fn setup_with_pages() -> (tempfile::TempDir, Setup) {
    let pages = tempfile::tempdir().unwrap();
    for name in ["index.html", "logo.svg", "app.js"] {
        std::fs::write(pages.path().join(name), "content").unwrap();
    }
    let mut setup = Setup::default();
    setup.config.public.static_dir = Some(pages.path().to_owned());
    (pages, setup)
}

#[tokio::test]
async fn every_answer_carries_what_protects_it() {
    let (_pages, setup) = setup_with_pages();
    let page_policy = setup.config.server.content_security_policy.clone();
    assert!(page_policy.starts_with("default-src 'none'; script-src 'self';"), "{page_policy}");
    let server = TestServer::start_with(setup).await;
    let html = "content-type: text/html; charset=utf-8";
    let cases = [
        ("GET /", "", Some(DATA_POLICY), None),
        ("GET /health", "", Some(DATA_POLICY), None),
        ("HEAD /health", "", Some(DATA_POLICY), None),
        ("POST /health", "", Some(DATA_POLICY), None),
        ("OPTIONS /health", "", None, None),
        ("GET /openapi.json", "", Some(DATA_POLICY), None),
        ("GET /nothing", "", Some(DATA_POLICY), None),
        ("GET /api/echo/x", "", Some(DATA_POLICY), None),
        ("GET /api/echo/%ff", "", Some(DATA_POLICY), None),
        ("GET /api/user", "", Some(DATA_POLICY), None),
        ("GET /api/panics", "", Some(DATA_POLICY), None),
        ("GET /api/auth/nothing", "", Some(DATA_POLICY), Some("no-store")),
        ("GET /api/admin", "", Some(DATA_POLICY), Some("no-store")),
        ("GET /index.html", "", Some(page_policy.as_str()), Some("no-cache")),
        ("GET /logo.svg", "", Some(page_policy.as_str()), Some("no-cache")),
        ("GET /app.js", "", None, Some("no-cache")),
        ("POST /api/answer", html, Some(page_policy.as_str()), None),
        ("POST /api/answer", "content-type: text/plain", None, None),
        ("POST /api/answer", "x-content-type-options: sniff", None, None),
    ];
    for (line, body, policy, cache) in cases {
        let answer = server.ask(line, &[], body).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{line}");
        assert_eq!(answer.header("content-security-policy"), policy, "{line} {body}");
        assert_eq!(answer.header("cache-control"), cache, "{line}");
        let is_page = policy == Some(page_policy.as_str());
        for (name, value) in PAGE {
            assert_eq!(answer.header(name), is_page.then_some(value), "{line} {body}: {name}");
        }
    }
}

#[tokio::test]
async fn a_page_keeps_the_policies_that_it_set() {
    let server = TestServer::start().await;
    let own = [
        ("content-security-policy", "default-src 'self'"),
        ("x-frame-options", "SAMEORIGIN"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "unsafe-none"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("permissions-policy", "camera=(self)"),
    ];
    let lines: Vec<String> = own.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    for content_type in ["text/html", "application/json"] {
        let body = format!("content-type: {content_type}\n{}", lines.join("\n"));
        let answer = server.ask("POST /api/answer", &[], &body).await;
        for (name, value) in own {
            assert_eq!(answer.header(name), Some(value), "{content_type}: {name}");
            assert_eq!(answer.head.matches(&format!("\n{name}: ")).count(), 1, "{name} twice");
        }
    }
}

#[tokio::test]
async fn an_operator_sets_the_policy_of_pages() {
    for (configured, sent) in [("default-src 'self'", Some("default-src 'self'")), ("", None)] {
        let (_pages, mut setup) = setup_with_pages();
        setup.config.server.content_security_policy = configured.to_owned();
        let server = TestServer::start_with(setup).await;
        let answer = server.get("/index.html").await;
        assert_eq!(answer.header("content-security-policy"), sent);
        assert_eq!(server.get("/health").await.header("content-security-policy"), Some(DATA_POLICY));
        let docs = server.get("/docs").await;
        assert!(docs.header("content-security-policy").unwrap().contains("default-src 'none'"));
    }
}

#[tokio::test]
async fn an_extensions_cookies_are_made_to_hold() {
    let mut setup = Setup::default();
    setup.config.server.trusted_proxies = vec!["127.0.0.1".to_owned()];
    let server = TestServer::start_with(setup).await;
    let body =
        "set-cookie: a=1; Domain=example.org; Path=/\nset-cookie: b=2; SameSite=Strict; HttpOnly=false";
    let cases = [
        ("http", ["a=1; Path=/api/answer; HttpOnly; SameSite=Lax", "b=2; SameSite=Strict; Path=/api/answer"]),
        (
            "https",
            [
                "a=1; Path=/api/answer; HttpOnly; Secure; SameSite=Lax",
                "b=2; SameSite=Strict; Path=/api/answer; Secure",
            ],
        ),
    ];
    for (scheme, expected) in cases {
        let answer = server.ask("POST /api/answer", &[("x-forwarded-proto", scheme)], body).await;
        let cookies: Vec<&str> =
            answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: ")).collect();
        assert_eq!(cookies, expected, "{scheme}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let long = format!("set-cookie: a={}", "x".repeat(5000));
    let refused = server.ask("POST /api/answer", &[], &long).await;
    assert_eq!(refused.refusal(), (502, "plugin_answer_invalid".into()));
}
