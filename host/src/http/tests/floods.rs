//! HTTP/2 clients that keep the server busy without sending requests.

use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{TestServer, patiently};
use crate::http::Limits;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Returns a frame with this type, flags and stream.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn frames_without_end_are_cut_off_and_others_are_served() {
    let limits = Limits { response_stall_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = TestServer::start_limited(limits).await;
    let header_block = frame(1, 0x1, 1, b"\x82");
    let floods = [
        ("pings", frame(6, 0, 0, b"12345678")),
        ("settings", frame(4, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("continuations of headers", frame(9, 0, 1, &[0x40; 1024])),
    ];
    for (what, flood) in floods {
        let mut socket = server.connect().await;
        socket.write_all(PREFACE).await.unwrap();
        if flood[3] == 9 {
            socket.write_all(&header_block).await.unwrap();
        }
        let many = flood.repeat((64 << 10) / flood.len());
        // Nothing is read: the server's responses to each of them pile up.
        let sent = patiently(async {
            let mut sent = 0_usize;
            while socket.write_all(&many).await.is_ok() {
                sent += many.len();
            }
            sent
        })
        .await;
        assert!(sent < 256 << 20, "{what}: {sent} bytes were taken");
        assert_eq!(server.get("/health").await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn streams_that_are_reset_at_once_hold_nobody_up() {
    let server = TestServer::start().await;
    let (client, connection) = patiently(h2::client::handshake(server.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let mut begun = 0;
    for _ in 0..5_000 {
        let Ok(mut ready) = patiently(client.clone().ready()).await else { break };
        let request = Request::builder().uri("http://test/api/never").body(()).unwrap();
        let Ok((response, mut stream)) = ready.send_request(request, true) else { break };
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        begun += 1;
    }
    assert!(begun > 0);
    assert_eq!(server.get("/health").await.status, 200);
    let idle = patiently(async {
        while crate::metrics::stats::HTTP.in_flight.get() > 0 {
            tokio::task::yield_now().await;
        }
    });
    idle.await;
}

#[tokio::test]
async fn streams_and_headers_of_a_connection_are_bounded() {
    let server = TestServer::start().await;
    let (mut client, connection) = patiently(h2::client::handshake(server.connect().await)).await.unwrap();
    tokio::spawn(connection);
    let mut ready = patiently(client.clone().ready()).await.unwrap();
    let request = Request::builder().uri("http://test/health").body(()).unwrap();
    let (response, _) = ready.send_request(request, true).unwrap();
    assert_eq!(patiently(response).await.unwrap().status(), 200);
    assert_eq!(client.current_max_send_streams(), 200);

    let mut request = Request::builder().uri("http://test/health");
    for number in 0..70 {
        request = request.header(format!("x-{number}"), "y".repeat(1024));
    }
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    match patiently(response).await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn an_upgrade_and_trailers_change_nothing() {
    let server = TestServer::start().await;
    for upgrade in ["h2c", "websocket", "TLS/1.0"] {
        let headers = [("upgrade", upgrade), ("http2-settings", "AAMAAABkAAQAAP__")];
        let reply = server.ask("GET /health", &headers, "").await;
        assert_eq!((reply.status, reply.header("upgrade")), (200, None), "{upgrade}");
    }
    let mut socket = server.connect().await;
    let trailers = format!("x: {}\r\n", "y".repeat(1024)).repeat(64);
    let request = format!(
        "POST /api/echo HTTP/1.1\r\nhost: t\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{trailers}\r\n"
    );
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = patiently(socket.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{answer}");
}
