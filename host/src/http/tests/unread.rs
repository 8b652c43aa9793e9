//! Tests of requests that get a response before their bodies are read, and of the connection afterwards.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::harness::{Reply, TestServer, patiently, read_to_end};

/// Requests that are refused because of their heads, and the status.
const REFUSED: [(&str, &str, u16); 4] = [
    ("/nothing", "host: t\r\n", 404),
    ("/api/user", "host: t\r\n", 405),
    ("/health", "host: t\r\n", 405),
    ("/api/echo", "host: a b\r\n", 400),
];

async fn send(socket: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    patiently(socket.write_all(bytes.as_ref())).await.unwrap();
}

/// Reads one response, and keeps the connection open.
async fn one_answer(socket: &mut TcpStream) -> Reply {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(patiently(socket.read_u8()).await.expect("an answer"));
    }
    let head = String::from_utf8(answer.clone()).unwrap();
    let bytes = Reply::parse(&head).header("content-length").map_or(0, |bytes| bytes.parse().unwrap());
    let mut body = vec![0; bytes];
    patiently(socket.read_exact(&mut body)).await.unwrap();
    Reply::parse(&(head + std::str::from_utf8(&body).unwrap()))
}

#[tokio::test]
async fn a_short_body_that_nobody_read_leaves_the_connection_open() {
    let server = TestServer::start().await;
    for (path, host, status) in REFUSED {
        let mut socket = server.connect().await;
        for is_late in [true, false] {
            let head = format!("POST {path} HTTP/1.1\r\n{host}content-length: 1000\r\n\r\n");
            if is_late {
                send(&mut socket, head).await;
                tokio::task::yield_now().await;
                send(&mut socket, "x".repeat(1000)).await;
            } else {
                send(&mut socket, head + &"x".repeat(1000)).await;
            }
            let reply = one_answer(&mut socket).await;
            assert_eq!((reply.status, reply.header("connection")), (status, None), "{path}");
        }
        let chunked = format!("POST {path} HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
        send(&mut socket, chunked).await;
        tokio::task::yield_now().await;
        send(&mut socket, "0\r\n\r\n").await;
        let reply = one_answer(&mut socket).await;
        assert_eq!((reply.status, reply.header("connection")), (status, None), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_is_long_or_does_not_come_ends_the_connection_and_the_answer_says_so() {
    let server = TestServer::start().await;
    for (path, host, status) in REFUSED {
        let head = format!("POST {path} HTTP/1.1\r\n{host}");
        for body in [
            "content-length: 1000\r\n\r\n".to_owned(),
            format!("content-length: 1000\r\n\r\n{}", "x".repeat(999)),
            "content-length: 70000\r\n\r\n".to_owned(),
            format!("content-length: 70001\r\n\r\n{}", "x".repeat(70_000)),
            format!("transfer-encoding: chunked\r\n\r\n11170\r\n{}\r\n", "x".repeat(70_000)),
            "expect: 100-continue\r\ncontent-length: 1000\r\n\r\n".to_owned(),
        ] {
            let reply = Reply::parse(&server.raw(format!("{head}{body}")).await);
            assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_asked_for_leaves_the_connection_open() {
    let server = TestServer::start().await;
    let mut socket = server.connect().await;
    for _ in 0..2 {
        let head = "POST /api/echo HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
        send(&mut socket, head).await;
        assert_eq!(one_answer(&mut socket).await.status, 100);
        send(&mut socket, "abc").await;
        let reply = one_answer(&mut socket).await;
        assert_eq!((reply.status, reply.header("connection")), (200, None));
    }
    let last = "GET /health HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    send(&mut socket, last).await;
    assert_eq!(Reply::parse(&read_to_end(&mut socket).await).status, 200);
}
