//! Tests of invalid HTTP, and of HTTP/2.

use bytes::Bytes;
use http::{Method, Request};

use super::harness::{BIG_BYTES, Reply, TestServer, patiently};

#[tokio::test]
async fn broken_requests_are_refused_and_the_server_goes_on() {
    let get = "GET /health HTTP/1.1\r\nhost: t\r\n";
    let post = "POST /api/echo HTTP/1.1\r\nhost: t\r\nconnection: close\r\n";
    let cases = [
        ("no HTTP", "GARBAGE\r\n\r\n".to_owned(), 400),
        ("bytes", "\u{1}\u{2}\u{3}\r\n\r\n".to_owned(), 400),
        ("no version", "GET /health\r\n\r\n".to_owned(), 400),
        ("NUL in a header", format!("{get}x: a\0b\r\n\r\n"), 400),
        ("blank before the colon", format!("{get}x : a\r\n\r\n"), 400),
        ("two lengths", format!("{post}content-length: 1\r\ncontent-length: 2\r\n\r\nab"), 400),
        ("a length that is none", format!("{post}content-length: -1\r\n\r\n"), 400),
        ("a chunk size that is none", format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n"), 400),
        ("an unknown transfer coding", format!("{post}transfer-encoding: gzip\r\n\r\n"), 400),
        (
            "a proxy's CONNECT",
            "CONNECT example.org:443 HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n".to_owned(),
            404,
        ),
        ("OPTIONS of all", "OPTIONS * HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n".to_owned(), 404),
        ("a header of 70 KB", format!("{get}x: {}\r\n\r\n", "a".repeat(70_000)), 431),
        ("200 headers", format!("{get}{}\r\n", "x: a\r\n".repeat(200)), 431),
        (
            "a path of 9 KB",
            format!("GET /{} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n", "a".repeat(9_000)),
            414,
        ),
        ("a path of 1 MB", format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "a".repeat(1 << 20)), 431),
    ];
    let server = TestServer::start().await;
    for (what, request, status) in cases {
        let answer = server.raw(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer:?}");
    }
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_request_names_its_server_once() {
    let server = TestServer::start().await;
    for (hosts, status) in [
        ("", 400),
        ("host: a\r\n", 200),
        ("host: a.example:8000\r\n", 200),
        ("host: a\r\nhost: a\r\n", 400),
        ("host: a\r\nHost: b\r\n", 400),
        ("host: \r\n", 400),
        ("host: a b\r\n", 400),
        ("host: a/b\r\n", 400),
        ("host: u@a\r\n", 400),
        ("host: a:port\r\n", 400),
    ] {
        for path in ["/health", "/api/echo/x", "/nothing"] {
            let answer = server.raw(format!("GET {path} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
            let reply = Reply::parse(&answer);
            match status {
                400 => assert_eq!(reply.refusal(), (400, "host_invalid".into()), "{hosts:?} {path}"),
                _ => assert_ne!(reply.status, 400, "{hosts:?} {path}"),
            }
        }
    }
    let (client, connection) = patiently(h2::client::handshake(server.connect().await)).await.unwrap();
    tokio::spawn(connection);
    for (host, status) in [("test", 200), ("TEST", 200), ("other", 400)] {
        let request = Request::builder().uri("http://test/health").header("host", host).body(()).unwrap();
        let mut ready = patiently(client.clone().ready()).await.unwrap();
        let (response, _) = ready.send_request(request, true).unwrap();
        assert_eq!(patiently(response).await.unwrap().status(), status, "{host}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    let request = b"POST /api/echo HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nabc";
    tokio::io::AsyncWriteExt::write_all(&mut socket, request).await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut socket).await.unwrap();
    let answer = super::harness::read_to_end(&mut socket).await;
    assert!(!answer.contains(" 200 "), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = TestServer::start().await;
    let mut requests = String::new();
    for number in 0..50 {
        requests.push_str(&format!("GET /api/echo/n{number} HTTP/1.1\r\nhost: t\r\n\r\n"));
    }
    requests.push_str("GET /api/echo/last HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    let answers = server.raw(requests).await;
    let places: Vec<_> =
        (0..50).map(|number| answers.find(&format!("[\"n{number}\"]")).expect("each is answered")).collect();
    assert!(places.is_sorted());
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 51);
}

#[tokio::test]
async fn a_target_with_a_host_is_served_by_its_path() {
    let server = TestServer::start().await;
    assert_eq!(server.get("http://test/health").await.body, r#"{"status":"healthy"}"#);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let server = TestServer::start().await;
    let reply = Reply::parse(&server.raw("GET /health HTTP/1.0\r\n\r\n").await);
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"healthy"}"#));
}

struct H2Reply {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

async fn h2_ask(
    client: &mut h2::client::SendRequest<Bytes>,
    method: Method,
    path: &str,
    body: &[u8],
) -> H2Reply {
    let uri = format!("http://test{path}");
    let request = Request::builder().method(method).uri(uri).body(()).unwrap();
    let mut ready = patiently(client.clone().ready()).await.unwrap();
    let (response, mut sending) = ready.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        sending.send_data(Bytes::copy_from_slice(body), true).unwrap();
    }
    let (parts, mut stream) = patiently(response).await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(piece) = patiently(stream.data()).await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        body.extend_from_slice(&piece);
    }
    H2Reply { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test]
async fn http_2_is_served_on_the_same_port() {
    let server = TestServer::start().await;
    let (mut client, connection) = patiently(h2::client::handshake(server.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let got = h2_ask(&mut client, Method::GET, "/api/big", b"").await;
    assert_eq!((got.status, got.body.len()), (200, BIG_BYTES));
    let head = h2_ask(&mut client, Method::HEAD, "/api/big", b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], BIG_BYTES.to_string().as_str());
    let echoed = h2_ask(&mut client, Method::POST, "/api/echo", &[b'x'; 30_000]).await;
    assert!(String::from_utf8(echoed.body).unwrap().contains("\"body_bytes\":30000"));
    let refused = h2_ask(&mut client, Method::POST, "/api/small", &[b'x'; 100]).await;
    assert_eq!(refused.status, 413);
    assert!(!refused.headers.contains_key("connection"));
    assert_eq!(h2_ask(&mut client, Method::GET, "/api/panics", b"").await.status, 500);
    assert_eq!(h2_ask(&mut client, Method::GET, "/nothing", b"").await.status, 404);
    assert!(got.headers.contains_key("x-request-id"));
}
