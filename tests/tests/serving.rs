//! What an operator expects of a server: limits per address, a shutdown that loses no response, a log in which requests
//! can be found.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{io::Read, thread};

use serde_json::{Value as Json, json};
use tinybase_tests::{Site, client::status_of};

/// The routes with a limit, and the requests per minute and address.
const LIMITED: &[(&str, usize)] = &[("/api/auth/register", 5), ("/api/auth/login", 10)];

#[test]
fn sign_in_and_its_like_are_limited_by_address() {
    let mut site = Site::new();
    site.set("TINYBASE_RATE_LIMIT_ENABLED", "true");
    let server = site.serve();
    let client = server.client();
    for (path, times) in LIMITED {
        // Another account each time: guesses at one account's password are delayed by another rule.
        let body = |time: usize| json!({"email": format!("nobody{time}@example.com"), "password": "wrong"});
        for time in 0..*times {
            let answer = client.post(path, &body(time));
            assert!(matches!(answer.status, 401 | 422), "{path} {time}: {}", answer.status);
        }
        let answer = client.post(path, &body(*times));
        assert_eq!(answer.outcome(), (429, "rate_limited".into()), "{path}");
        let wait = answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
        assert!((1..=60).contains(&wait), "{path}: retry after {wait} s");
    }
    assert_eq!(client.get("/health").status, 200, "the rest is not limited");
}

#[test]
fn each_caller_has_a_limit_of_their_own_and_is_told_of_it() {
    let mut site = Site::new();
    site.set("TINYBASE_RATE_LIMIT_ENABLED", "true");
    site.set("TINYBASE_RATE_LIMIT_API_PER_MINUTE", "10");
    let server = site.serve();
    let admin = server.admin();
    let token = admin
        .post("/api/admin/application-tokens", &json!({"name": "a program", "scopes": ["collections:read"]}))
        .expect(201);
    let program = server.client().with_token(token["token_value"].as_str().unwrap());
    for (who, client) in [("nobody", server.client()), ("the admin", admin), ("the admin's token", program)] {
        for left in (0..10).rev() {
            let answer = client.get("/api/collections");
            assert_ne!(answer.status, 429, "{who} with {left} left");
            assert_eq!(answer.headers["x-ratelimit-limit"], "10", "{who}");
            assert_eq!(answer.headers["x-ratelimit-remaining"], *left.to_string(), "{who}");
        }
        let answer = client.get("/api/collections");
        assert_eq!(answer.outcome(), (429, "rate_limited".into()), "{who}");
        assert!(answer.headers.contains_key("retry-after"), "{who}");
    }
}

#[test]
fn a_server_that_is_asked_to_end_answers_what_is_under_way() {
    let site = Site::new();
    site.install_stress("faults");
    let server = site.serve();
    let client = server.client();
    let mut under_way = client.connect();
    let request = "GET /api/faults/slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    std::io::Write::write_all(&mut under_way, request.as_bytes()).unwrap();
    server.logged(&["slow answer begun"]);
    let answered = thread::spawn(move || {
        let mut answer = Vec::new();
        under_way.read_to_end(&mut answer).unwrap();
        answer
    });
    assert!(server.stop().success());
    let answer = answered.join().unwrap();
    assert_eq!(status_of(&answer), 200, "{}", String::from_utf8_lossy(&answer));
    assert!(answer.ends_with(b"\"slow\""), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_request_is_found_in_the_log_by_its_id_in_host_and_plugin_lines() {
    let mut site = Site::new();
    site.install_stress("faults");
    site.set("TINYBASE_LOG_FORMAT", "json");
    let server = site.serve();
    let answer = server.client().get("/api/faults/panic_in_future");
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    server.logged(&[&id, "awaited on purpose", "faults"]);
    server.logged(&[&id, "request failed"]);
    server.client().get("/api/faults/log");
    server.logged(&["a line of the plugin", "request_id"]);
    let lines = server.log();
    let of_log: Vec<_> = lines.iter().filter(|line| line.starts_with('{')).collect();
    assert!(of_log.len() >= 4, "{lines:#?}");
    for line in of_log {
        let line: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line.get("level").is_some() && line.get("timestamp").is_some(), "{line}");
    }
}
