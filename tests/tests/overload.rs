//! Requests that are refused for lack of memory: a client that sends many of them is counted, and does not fill the
//! log.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    io::Write,
    time::{Duration, Instant},
};

use tinybase_tests::Site;

/// The maximum body size. The bodies of four requests are the memory limit; the last quarter is reserved for small
/// ones.
const BODY_BYTES_MAX: usize = 256 << 10;
const REFUSED: usize = 300;

#[test]
fn refusals_for_lack_of_room_are_counted_and_do_not_fill_the_log() {
    let mut site = Site::new();
    site.set("TINYBASE_SERVER_BODY_BYTES_MAX", &BODY_BYTES_MAX.to_string());
    site.set("TINYBASE_SERVER_BODIES_BYTES_MAX", &(4 * BODY_BYTES_MAX).to_string());
    let server = site.serve();
    let (anyone, admin) = (server.client(), server.admin());
    let begun = Instant::now();
    let held: Vec<_> = (0..3)
        .map(|_| {
            let mut socket = anyone.connect();
            let head = format!(
                "POST /api/collections/batch HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
                 content-length: {BODY_BYTES_MAX}\r\n\r\n",
                anyone.address()
            );
            socket.write_all(head.as_bytes()).unwrap();
            socket.write_all(&vec![b' '; BODY_BYTES_MAX - 1]).unwrap();
            socket
        })
        .collect();
    let figure = |name: &str| -> Option<usize> {
        let metrics = String::from_utf8(admin.get("/metrics").body).unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        // Some are written with a decimal point.
        value?.split('.').next()?.parse().ok()
    };
    // Any earlier, another body would take the room that these are meant to fill.
    while figure("tinybase_http_body_bytes") < Some(3 * (BODY_BYTES_MAX - 1)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "the bodies are not read");
    }
    let large = vec![b' '; BODY_BYTES_MAX - 1];
    for _ in 0..REFUSED {
        let json = [("content-type", "application/json")];
        // The server closes the connection, which the client may notice before it has read the response.
        if let Ok(answer) = anyone.try_send("POST", "/api/collections/batch", &json, &large) {
            assert_eq!(answer.outcome(), (503, "overloaded".to_owned()));
        }
    }
    drop(held);
    let lines = server.log().iter().filter(|line| line.contains("overloaded")).count();
    let lines_max = 1 + usize::try_from(begun.elapsed().as_secs() / 5).unwrap();
    assert!((1..=lines_max).contains(&lines), "{lines} lines in {:?}", begun.elapsed());
    assert_eq!(figure("tinybase_http_overloaded_total"), Some(REFUSED));
}
