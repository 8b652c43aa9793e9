//! Tests of routing, and of the headers of every response.

use http::Method;

use super::harness::{Setup, TestServer};
use crate::http::{Access, HostRoutes};

#[tokio::test]
async fn a_plugin_is_handed_the_request() {
    let server = TestServer::start().await;
    let headers = [("x-request-id", "my-id.1"), ("authorization", "Bearer user")];
    let reply = server.ask("GET /api/echo/a%20b%C3%BC?x=1&y", &headers, "").await;
    assert_eq!((reply.status, reply.header("x-request-id")), (200, Some("my-id.1")));
    let told = reply.json();
    assert_eq!(told["params"][0], "a bü");
    assert_eq!(told["query"], "x=1&y");
    assert_eq!(told["caller"], "user");
    assert_eq!(told["request_id"], "my-id.1");
    let replaced = server.ask("GET /api/echo/a", &[("x-request-id", "a b\"c")], "").await;
    assert_eq!(replaced.header("x-request-id").map(str::len), Some(16));
}

#[tokio::test]
async fn what_has_no_route_is_refused() {
    let cases = [
        ("GET /nothing", 404, "not_found", None),
        ("POST /nothing", 404, "not_found", None),
        ("GET /api/auth", 404, "not_found", None),
        ("DELETE /api/echo/x", 405, "method_not_allowed", Some("GET, HEAD, OPTIONS")),
        ("GET /api/echo", 405, "method_not_allowed", Some("OPTIONS, POST")),
        ("POST /health", 405, "method_not_allowed", Some("GET,HEAD")),
        ("BREW /health", 405, "method_not_allowed", Some("GET,HEAD")),
        ("GET /api/echo/%00", 400, "bad_path", None),
        ("GET /api/echo/%ff", 400, "bad_path", None),
        ("GET /api/echo/%zz", 400, "bad_path", None),
        ("GET /api/user", 401, "token_missing", None),
        ("GET /api/boss", 401, "token_missing", None),
    ];
    let server = TestServer::start().await;
    for (line, status, code, allow) in cases {
        let reply = server.ask(line, &[], "").await;
        assert_eq!(reply.refusal(), (status, code.to_owned()), "{line}");
        assert_eq!(reply.head.contains("\r\nallow: "), allow.is_some(), "{line}: {reply:?}");
        if let Some(allow) = allow {
            assert_eq!(reply.header("allow"), Some(allow), "{line}");
        }
    }
}

#[tokio::test]
async fn a_route_is_open_to_whom_it_says() {
    let cases = [
        ("/api/echo/x", "Bearer user", 200),
        ("/api/echo/x", "Bearer wrong", 401),
        ("/api/echo/x", "Basic dXNlcjpwdw==", 200),
        ("/api/user", "Bearer user", 200),
        ("/api/user", "bearer  user", 200),
        ("/api/user", "Basic user", 401),
        ("/api/user", "Bearer wrong", 401),
        ("/api/boss", "Bearer user", 403),
        ("/api/boss", "Bearer admin", 200),
    ];
    let server = TestServer::start().await;
    for (path, authorization, status) in cases {
        let reply = server.ask(&format!("GET {path}"), &[("authorization", authorization)], "").await;
        assert_eq!(reply.status, status, "{path} {authorization}");
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{path} {authorization}");
    }
}

#[tokio::test]
async fn head_and_options_follow_from_the_other_methods() {
    let server = TestServer::start().await;
    for path in ["/api/big", "/health", "/"] {
        let (got, head) = (server.get(path).await, server.ask(&format!("HEAD {path}"), &[], "").await);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-length"), Some(&*got.body.len().to_string()), "{path}");
        let options = server.ask(&format!("OPTIONS {path}"), &[], "").await;
        assert_eq!((options.status, options.body.as_str()), (204, ""), "{path}");
        assert!(options.header("allow").unwrap().contains("GET"), "{path}");
    }
    assert_eq!(server.ask("HEAD /nothing", &[], "").await.body, "");
}

#[tokio::test]
async fn answers_of_plugins_are_tamed() {
    let server = TestServer::start().await;
    let reply = server.get("/api/odd/200").await;
    assert_eq!((reply.status, reply.body.as_str(), reply.header("x-kept")), (200, "{}", Some("yes")));
    assert_eq!(reply.header("content-length"), Some("2"));
    assert_eq!(server.get("/api/odd/101").await.refusal(), (500, "internal_error".into()));
    assert_eq!(server.get("/api/odd/204").await.body, "");
    let streamed = server.get("/api/stream").await;
    assert_eq!(streamed.header("transfer-encoding"), Some("chunked"));
    assert!(streamed.body.contains("three"));
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_goes_on() {
    let mut host = HostRoutes::default();
    host.with(()).route(Method::GET, "/host-panics", Access::OPEN, panics, serde_json::Value::Null);
    let server = TestServer::start_with(Setup { host, ..Setup::default() }).await;
    for path in ["/api/panics", "/api/panics-later", "/host-panics"] {
        assert_eq!(server.get(path).await.refusal(), (500, "internal_error".into()), "{path}");
        let both = format!(
            "GET {path} HTTP/1.1\r\nhost: t\r\n\r\nGET /health HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"
        );
        assert!(server.raw(both).await.ends_with(r#"{"status":"healthy"}"#), "{path}");
    }
}

async fn panics() {
    panic!("on purpose")
}
