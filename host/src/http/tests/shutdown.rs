//! Tests of the server's shutdown.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::harness::{Reply, TestServer, patiently, read_to_end, read_until};
use crate::http::{Drained, Limits};

#[tokio::test]
async fn open_requests_end_and_new_ones_are_not_taken() {
    let mut server = TestServer::start().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /api/gate HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    read_until(&mut idle, r#"{"status":"healthy"}"#).await;
    patiently(server.signals.entered.notified()).await;
    server.stop();
    assert_eq!(read_to_end(&mut idle).await, "", "an idle connection is closed at once");
    let refused = patiently(async {
        while TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    refused.await;
    server.signals.open.notify_one();
    let reply = Reply::parse(&read_to_end(&mut busy).await);
    assert_eq!((reply.status, reply.body.as_str()), (200, "\"through\""));
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(server.ended().await, Drained { cut_off: 0 });
}

#[tokio::test]
async fn what_outlasts_the_timeout_is_cut_off() {
    let limits = Limits { shutdown_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut server = TestServer::start_limited(limits).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /api/gate HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    patiently(server.signals.entered.notified()).await;
    server.stop();
    assert_eq!(server.ended().await, Drained { cut_off: 1 });
    assert_eq!(read_to_end(&mut busy).await, "");
}
