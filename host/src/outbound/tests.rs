//! Tests requests to a server on loopback, with and without its network allowed.

use std::net::SocketAddr;

use tinybase_abi::error::RawError;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// What the server does after it has read a request.
#[derive(Clone, Copy)]
enum Behaviour {
    Answer(&'static str),
    Hang,
    Close,
}

async fn server(behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            match behaviour {
                Behaviour::Answer(answer) => drop(stream.write_all(answer.as_bytes()).await),
                Behaviour::Hang => kept.push(stream),
                Behaviour::Close => {}
            }
        }
    });
    address
}

fn outbound(allowed: &[&str]) -> Outbound {
    let allowed: Vec<String> = allowed.iter().map(|network| (*network).to_owned()).collect();
    Outbound::new(Limits {
        timeout: Duration::from_millis(1_500),
        request_bytes_max: 1000,
        response_bytes_max: 100,
        concurrent_max: 1,
        allowed: Networks::new(&allowed),
    })
}

async fn send(outbound: &Outbound, url: &str) -> Result<(u16, Vec<u8>), (String, bool)> {
    let request = packed::Request {
        method: "GET",
        url,
        headers: Vec::new(),
        body: b"",
        timeout_ms: 0,
        response_bytes_max: 0,
    };
    let answer = outbound.send(&outbound.places(), &request).await;
    let answer = answer.map_err(|failure| {
        assert!(!failure.to_string().contains("secret"), "{failure}");
        let error = RawError::from(failure);
        (error.words().code, error.retryable == 1)
    })?;
    let answer = packed::Response::read(&answer).unwrap();
    Ok((answer.status, answer.body.to_vec()))
}

fn refused(code: &str, retryable: bool) -> Result<(u16, Vec<u8>), (String, bool)> {
    Err((code.to_owned(), retryable))
}

#[tokio::test]
async fn what_is_not_the_internet_is_reached_only_where_it_is_open() {
    let address = server(Behaviour::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")).await;
    let port = address.port();
    let (closed, open) = (outbound(&["10.0.0.0/8"]), outbound(&["127.0.0.0/8", "::1"]));
    for host in ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}/?key=secret");
        assert_eq!(send(&closed, &url).await, refused("http_denied_address", false), "{host}");
        if host != "[::ffff:127.0.0.1]" {
            assert_eq!(send(&open, &url).await, Ok((200, b"hi".to_vec())), "{host}");
        }
    }
    for host in ["169.254.169.254", "[::1]", "10.0.0.1.nip.invalid", "0.0.0.0"] {
        let outcome = send(&outbound(&[]), &format!("http://{host}:{port}/")).await;
        let code = if host.ends_with("invalid") { "http_failed" } else { "http_denied_address" };
        assert_eq!(outcome.unwrap_err().0, code, "{host}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let address = server(Behaviour::Answer(answer)).await;
    let outbound = outbound(&["127.0.0.1"]);
    assert_eq!(send(&outbound, &format!("http://{address}/")).await, Ok((302, Vec::new())));
}

#[tokio::test]
async fn limits_and_deadlines_hold() {
    let outbound = outbound(&["127.0.0.1"]);
    let large = "HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n";
    let endless = concat!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\n",
        "01234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n50\r\n",
        "01234567890123456789012345678901234567890123456789012345678901234567890123456789\r\n0\r\n\r\n"
    );
    for (behaviour, expected) in [
        (Behaviour::Answer(large), refused("http_response_too_large", false)),
        (Behaviour::Answer(endless), refused("http_response_too_large", false)),
        (
            Behaviour::Answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"),
            refused("http_failed", true),
        ),
        (Behaviour::Answer("no http at all\r\n\r\n"), refused("http_failed", true)),
        (Behaviour::Close, refused("http_failed", true)),
        (Behaviour::Hang, refused("http_timeout", true)),
    ] {
        let url = format!("http://{}/?key=secret", server(behaviour).await);
        assert_eq!(send(&outbound, &url).await, expected);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(send(&outbound, &format!("http://{nobody}/?key=secret")).await, refused("http_failed", true));
}

#[tokio::test]
async fn one_of_an_extension_waits_for_the_other() {
    let outbound = Arc::new(outbound(&["127.0.0.1"]));
    let places = outbound.places();
    let hanging = format!("http://{}/", server(Behaviour::Hang).await);
    let quick = server(Behaviour::Answer("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let quick = format!("http://{quick}/");
    let request = |url| packed::Request {
        method: "GET",
        url,
        headers: Vec::new(),
        body: b"",
        timeout_ms: 300,
        response_bytes_max: 0,
    };
    let (hanging, quick) = (request(hanging.as_str()), request(quick.as_str()));
    let (first, second) =
        tokio::join!(biased; outbound.send(&places, &hanging), outbound.send(&places, &quick));
    assert_eq!((first.unwrap_err().code(), second.unwrap_err().code()), ("http_timeout", "http_timeout"));
    assert!(outbound.send(&places, &quick).await.is_ok(), "the place is free again");
}
