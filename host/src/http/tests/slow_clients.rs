//! Tests of clients that receive responses slowly or not at all: the memory they occupy is bounded, and is freed.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::harness::{BIG_BYTES, HUGE_BYTES, Setup, TestServer, patiently, read_to_end};
use crate::http::{
    Access, Limits,
    extract::{ApiJson, Fields, Input},
};
use crate::{memory, metrics::stats::HTTP};

const SHORT: Duration = Duration::from_millis(200);

type H2Client = h2::client::SendRequest<Bytes>;

/// Returns an HTTP/2 client with a window of this many bytes per response.
async fn h2_client(server: &TestServer, window: u32) -> H2Client {
    h2_over(server.connect().await, window).await
}

async fn h2_over(socket: TcpStream, window: u32) -> H2Client {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(1 << 20);
    let (client, connection) = patiently(builder.handshake(socket)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn begin(client: &H2Client, path: &str) -> http::Response<h2::RecvStream> {
    let request = Request::builder().method(Method::GET).uri(format!("http://test{path}")).body(()).unwrap();
    let (response, _) = patiently(client.clone().ready()).await.unwrap().send_request(request, true).unwrap();
    patiently(response).await.unwrap()
}

async fn nothing_is_held() {
    patiently(async {
        while memory::held() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn streams_that_take_nothing_share_a_budget_and_are_reset() {
    let limits = Limits {
        responses_bytes_max: 20 * BIG_BYTES,
        responses_wait_timeout: Duration::from_millis(1),
        response_stall_timeout: SHORT,
        ..Limits::default()
    };
    let server = TestServer::start_limited(limits).await;
    let client = h2_client(&server, 0).await;
    let (mut taken, mut refused) = (Vec::new(), 0);
    for _ in 0..40 {
        let response = begin(&client, "/api/big").await;
        match response.status() {
            StatusCode::OK => taken.push(response),
            status => {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                assert!(response.headers().contains_key("retry-after"));
                refused += 1;
            }
        }
        assert!(memory::held() <= 20 * BIG_BYTES);
    }
    // One client may use three eighths.
    assert!(taken.len() >= 6 && refused > 30, "{} taken, {refused} refused", taken.len());
    let other = h2_over(server.connect_from([127, 0, 0, 2]).await, 1 << 20).await;
    assert_eq!(begin(&other, "/api/big").await.status(), 200, "another client has room");
    assert_eq!(server.get("/health").await.status, 200, "small answers have room of their own");
    for response in taken {
        let mut body = response.into_body();
        let ended = patiently(body.data()).await.unwrap().unwrap_err();
        assert_eq!(ended.reason(), Some(h2::Reason::CANCEL), "{ended}");
    }
    nothing_is_held().await;
    assert_eq!(begin(&client, "/health").await.status(), 200, "the connection goes on");
}

#[tokio::test]
async fn an_answer_is_held_until_its_last_byte_is_taken() {
    let limits = Limits { response_stall_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let client = h2_client(&server, u32::try_from(BIG_BYTES).unwrap() - 1).await;
    let mut body = begin(&client, "/api/big").await.into_body();
    let mut bytes = 0;
    let ended = loop {
        match patiently(body.data()).await {
            Some(Ok(piece)) => bytes += piece.len(),
            ended => break ended,
        }
        assert!(memory::held() >= BIG_BYTES || bytes == BIG_BYTES - 1);
    };
    assert_eq!(bytes, BIG_BYTES - 1);
    assert_eq!(ended.unwrap().unwrap_err().reason(), Some(h2::Reason::CANCEL));
    nothing_is_held().await;
}

#[tokio::test]
async fn a_client_who_takes_too_little_is_cut_off() {
    // No client is that fast: any that does not receive everything at once is too slow.
    let limits = Limits {
        response_rate_bytes_per_second_min: u32::MAX,
        response_rate_grace: SHORT,
        response_stall_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let server = TestServer::start_limited(limits).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /api/huge HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    // Reads a little at a time until it is cut off: a client that reads on could receive everything before the first
    // check.
    let (mut taken, mut little) = (0, [0; 512]);
    patiently(socket.readable()).await.unwrap();
    patiently(async {
        while memory::held() > 0 {
            taken += socket.read(&mut little).await.unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let mut buf = vec![0; 1 << 20];
    while let Ok(bytes @ 1..) = patiently(socket.read(&mut buf)).await {
        taken += bytes;
    }
    assert!(taken < HUGE_BYTES, "it was cut off");

    let client = h2_client(&server, 1024).await;
    let mut body = begin(&client, "/api/big").await.into_body();
    let ended = loop {
        match patiently(body.data()).await.unwrap() {
            Ok(_) => body.flow_control().release_capacity(1).unwrap(),
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended.reason(), Some(h2::Reason::CANCEL), "{ended}");
    nothing_is_held().await;
}

#[tokio::test]
async fn a_stream_is_made_as_fast_as_its_client_takes_it() {
    let limits = Limits { response_stall_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let mut socket = server.connect().await;
    socket.write_all(b"GET /api/endless HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    patiently(server.signals.given_up.notified()).await;
    let made = server.signals.made.swap(0, Ordering::Relaxed);
    // The socket buffers of both sides, and a few chunks.
    assert!(made < 16 << 20, "{made} bytes were made for nobody");
    let client = h2_client(&server, 0).await;
    let _body = begin(&client, "/api/endless").await;
    patiently(server.signals.given_up.notified()).await;
    let made = server.signals.made.load(Ordering::Relaxed);
    assert!(made <= 64 << 10, "{made} bytes were made for nobody");
    nothing_is_held().await;
}

#[tokio::test]
async fn a_stream_waits_while_others_hold_everything() {
    let limits = Limits { responses_bytes_max: BIG_BYTES * 3 / 2, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let held = memory::test_share(BIG_BYTES * 2);
    let client = h2_client(&server, 1 << 20).await;
    let mut body = begin(&client, "/api/endless").await.into_body();
    assert_eq!(server.signals.made.load(Ordering::Relaxed), 0, "there is no room for a piece");
    drop(held);
    assert!(!patiently(body.data()).await.unwrap().unwrap().is_empty());
}

#[tokio::test]
async fn a_change_is_answered_though_there_is_no_room() {
    let limits = Limits {
        responses_bytes_max: 1000,
        responses_wait_timeout: Duration::from_millis(1),
        ..Limits::default()
    };
    let server = TestServer::start_limited(limits).await;
    let _held = memory::test_share(1000);
    let refused = server.get("/api/big").await;
    assert_eq!(refused.refusal(), (503, "overloaded".into()));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(server.ask("POST /api/echo", &[], "").await.status, 200);
    assert_eq!(server.ask("HEAD /api/big", &[], "").await.status, 200, "it holds nothing");
}

#[tokio::test]
async fn compressed_answers_are_counted_as_they_are_sent() {
    let limits = Limits { response_stall_timeout: SHORT, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let client = h2_client(&server, 0).await;
    for encoding in ["gzip", "br", "zstd"] {
        let request = Request::builder().uri("http://test/api/big").header("accept-encoding", encoding);
        let request = request.body(()).unwrap();
        let mut ready = patiently(client.clone().ready()).await.unwrap();
        let (response, _) = ready.send_request(request, true).unwrap();
        let response = patiently(response).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], encoding);
        let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert!((1..BIG_BYTES / 10).contains(&length));
        patiently(async {
            while memory::held() != length {
                tokio::task::yield_now().await;
            }
        })
        .await;
        nothing_is_held().await;
    }
}

struct Anything;

impl Input for Anything {
    fn read(fields: &mut Fields) -> Option<Anything> {
        fields.rest();
        Some(Anything)
    }
}

async fn take(ApiJson(Anything): ApiJson<Anything>) {}

#[tokio::test]
async fn bodies_of_the_hosts_routes_are_counted_too() {
    let limits = Limits { bodies_bytes_max: 64, ..Limits::default() };
    let mut setup = Setup { limits: Some(limits), ..Setup::default() };
    setup.host.with(()).route(Method::POST, "/api/own", Access::OPEN, take, serde_json::json!({}));
    let server = TestServer::start_with(setup).await;
    let json = [("content-type", "application/json")];
    let large = format!("{{{}}}", " ".repeat(100));
    let refused = server.ask("POST /api/own", &json, &large).await;
    assert_eq!(refused.refusal(), (503, "overloaded".into()));
    assert_eq!(server.ask("POST /api/own", &json, "{}").await.status, 200);
}

#[tokio::test]
async fn uploads_leave_room_for_small_bodies() {
    let limits = Limits { bodies_bytes_max: 400 << 10, body_bytes_max: 350 << 10, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let refused = server.ask("POST /api/echo", &[], &"x".repeat(320 << 10)).await;
    assert_eq!(refused.refusal(), (503, "overloaded".into()));
    let mut holder = server.connect().await;
    let head = format!("POST /api/echo HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", 300 << 10);
    holder.write_all(head.as_bytes()).await.unwrap();
    holder.write_all(&vec![b'x'; 290 << 10]).await.unwrap();
    patiently(async {
        while HTTP.body_bytes.get() < 290 << 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let refused = server.ask("POST /api/echo", &[], &"x".repeat(100 << 10)).await;
    assert_eq!(refused.refusal(), (503, "overloaded".into()));
    assert_eq!(server.ask("POST /api/echo", &[], &"x".repeat(60 << 10)).await.status, 200);
}

#[tokio::test]
async fn a_body_that_slows_down_is_a_408() {
    let limits =
        Limits { body_read_timeout: SHORT, body_rate_bytes_per_second_min: u32::MAX, ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let (mut reading, mut writing) = server.connect().await.into_split();
    let head = format!("POST /api/echo HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", 9 << 20);
    writing.write_all(head.as_bytes()).await.unwrap();
    writing.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    let trickle = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let mut answer = vec![0; 12];
    patiently(reading.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    trickle.abort();
    let mut stalled = server.connect().await;
    stalled.write_all(head.as_bytes()).await.unwrap();
    stalled.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    assert!(
        read_to_end(&mut stalled).await.starts_with("HTTP/1.1 408"),
        "what came first grants no more time"
    );
}
