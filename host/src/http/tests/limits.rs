//! Tests of clients that send too much, too slowly or never, and of the server's limits.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{HUGE_BYTES, Reply, SMALL_BYTES_MAX, TestServer, patiently, read_to_end, read_until};
use crate::http::Limits;

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_body_over_its_limit_is_refused_however_it_is_sent() {
    let limits = Limits { body_bytes_max: 1000, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let chunked = |path: &str, bytes: usize| {
        let chunk = format!("8\r\n{}\r\n", "x".repeat(8)).repeat(bytes / 8);
        format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        )
    };
    for (path, bytes, fits) in [
        ("/api/echo", 1000, true),
        ("/api/echo", 1008, false),
        ("/api/small", SMALL_BYTES_MAX, true),
        ("/api/small", SMALL_BYTES_MAX + 8, false),
    ] {
        let replies = [
            server.ask(&format!("POST {path}"), &[], &"x".repeat(bytes)).await,
            Reply::parse(&server.raw(chunked(path, bytes)).await),
        ];
        for reply in replies {
            if fits {
                assert!(reply.body.contains(&format!("\"body_bytes\":{bytes}")), "{path}: {reply:?}");
            } else {
                assert_eq!(reply.refusal(), (413, "body_too_large".into()), "{path}");
                assert_eq!(reply.header("connection"), Some("close"), "{path}");
            }
        }
    }
    let counted = Reply::parse(&server.raw(chunked("/api/count", 1000)).await);
    assert_eq!(counted.body, "1000");
    let refused = Reply::parse(&server.raw(chunked("/api/count", 1008)).await);
    assert!(refused.body.contains("larger than 1000 bytes"), "{refused:?}");
}

#[tokio::test]
async fn a_client_who_is_still_sending_sees_the_refusal() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    let bytes = 64 << 20;
    let head = format!("POST /api/small HTTP/1.1\r\nhost: t\r\ncontent-length: {bytes}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..48 {
        patiently(socket.write_all(&[b'x'; 64 << 10])).await.expect("the server reads on after its answer");
        tokio::task::yield_now().await;
    }
    assert_eq!(Reply::parse(&read_to_end(&mut socket).await).refusal().0, 413);
}

#[tokio::test]
async fn an_expected_refusal_comes_before_the_body() {
    let server = TestServer::start().await;
    let head = "POST /api/small HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 99999\r\n\r\n";
    assert_eq!(Reply::parse(&server.raw(head).await).refusal(), (413, "body_too_large".into()));
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let limits = Limits { header_read_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let warm = "GET /health HTTP/1.1\r\nhost: t\r\n\r\n";
    for sent in ["", "GET /hea", "GET /health HTTP/1.1\r\nhost: t\r\nx-a: ", "PRI * HTTP/2.0\r\n"] {
        let mut socket = server.connect().await;
        socket.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(read_to_end(&mut socket).await, "", "{sent:?}");
    }
    let mut socket = server.connect().await;
    socket.write_all(warm.as_bytes()).await.unwrap();
    read_until(&mut socket, r#"{"status":"healthy"}"#).await;
    socket.write_all(b"GET /hea").await.unwrap();
    assert_eq!(read_to_end(&mut socket).await, "", "a second head is held to the same time");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let limits = Limits { idle_timeout: SHORT, header_read_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let answer = server.raw("GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await;
    assert!(answer.ends_with(r#"{"status":"healthy"}"#));
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_408() {
    let limits = Limits { body_read_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    for body in ["", "abc"] {
        let request = format!("POST /api/echo HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\n{body}");
        assert_eq!(
            Reply::parse(&server.raw(request).await).refusal(),
            (408, "body_timeout".into()),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn a_call_that_never_ends_is_a_504() {
    let limits = Limits { request_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    assert_eq!(server.get("/api/never").await.refusal(), (504, "request_timeout".into()));
}

#[tokio::test]
async fn a_client_who_takes_nothing_makes_room_for_the_next() {
    let limits = Limits { response_stall_timeout: SHORT, connections_max: 1, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /api/huge HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let next = server.get("/health").await;
    assert_eq!(next.status, 200);
    let mut taken = Vec::new();
    let _ = patiently(socket.read_to_end(&mut taken)).await;
    assert!(taken.len() < HUGE_BYTES, "it was cut off");
}

#[tokio::test]
async fn a_slow_reader_who_keeps_reading_gets_everything() {
    let limits =
        Limits { response_stall_timeout: Duration::from_secs(5), idle_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /api/huge HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut taken, mut buf) = (0, vec![0; 1 << 20]);
    loop {
        match patiently(socket.read(&mut buf)).await.unwrap() {
            0 => break,
            bytes => taken += bytes,
        }
        tokio::task::yield_now().await;
    }
    assert!(taken > HUGE_BYTES);
}

#[tokio::test]
async fn bodies_share_a_bounded_memory() {
    let limits = Limits { bodies_bytes_max: 1000, body_bytes_max: 900, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let mut holder = server.connect().await;
    let held = "x".repeat(800);
    let request = format!("POST /api/echo HTTP/1.1\r\nhost: t\r\ncontent-length: 900\r\n\r\n{held}");
    holder.write_all(request.as_bytes()).await.unwrap();
    let refused = patiently(async {
        loop {
            let reply = server.ask("POST /api/echo", &[], &"x".repeat(300)).await;
            if reply.status != 200 {
                break reply;
            }
        }
    })
    .await;
    assert_eq!(refused.refusal(), (503, "overloaded".into()));
    assert!(refused.header("retry-after").is_some());
    drop(holder);
    patiently(async { while server.ask("POST /api/echo", &[], &"x".repeat(300)).await.status != 200 {} })
        .await;
}
