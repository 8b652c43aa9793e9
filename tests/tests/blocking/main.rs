//! An extension that blocks threads, on the real server: everything else goes on, its callers get a response at their
//! deadline, the log names it, and it is switched off once it blocks too many threads.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod starts;

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Server, Site};

/// The timeout of calls of an extension in these tests; the harness sets it.
const CALL_TIMEOUT: Duration = Duration::from_millis(700);

/// How late a response may be on a machine that runs other tests.
const SLACK: Duration = Duration::from_secs(4);

/// Creates a site with an extension that blocks and another one.
fn site(workers: usize, switch: &str) -> Site {
    let mut site = Site::new();
    site.install_stress("neighbour");
    site.install_stress("blocking");
    site.set("TINYBASE_SERVER_WORKER_THREADS", &workers.to_string());
    site.set("TINYBASE_PLUGINS_BLOCKED_AFTER_MS", "300");
    site.set("TINYBASE_PLUGINS_BLOCKED_THREADS_MAX", "32");
    site.set("BLOCKING_SWITCH", switch);
    site
}

/// Checks that everything else is served: the host's own routes, a plugin, the database, new and kept connections.
#[track_caller]
fn all_else_is_well(client: &Client) {
    let begun = Instant::now();
    for _ in 0..3 {
        for path in ["/health", "/ready", "/api/neighbour/hello", "/api/collections", "/api/auth/methods"] {
            let answer = client.get(path);
            assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        }
    }
    assert!(begun.elapsed() < SLACK, "it took {:?}", begun.elapsed());
}

/// Calls a route from a separate thread.
fn call_beside(client: &Client, path: &str) -> thread::JoinHandle<(u16, String, Duration)> {
    let (client, path) = (client.clone(), path.to_owned());
    thread::spawn(move || {
        let begun = Instant::now();
        let answer = client.get(&path);
        (answer.status, answer.code(), begun.elapsed())
    })
}

/// Signals the server to end, which it must do within its shutdown timeout of 1.5 s plus one second.
#[track_caller]
fn ends_in_time(server: Server) {
    let begun = Instant::now();
    let ended = server.stop();
    assert!(ended.success(), "the server ended with {ended}");
    assert!(begun.elapsed() < Duration::from_millis(2_500) + SLACK / 4, "it took {:?}", begun.elapsed());
}

/// Each way to block in a request, and its caller's response.
const REQUESTS: &[(&str, u16, &str)] = &[
    ("sleep", 504, "plugin_timeout"),
    ("spin", 504, "plugin_timeout"),
    ("second_poll", 504, "plugin_timeout"),
    ("after_sleep", 504, "plugin_timeout"),
    ("drop", 504, "plugin_timeout"),
    ("service", 504, "plugin_timeout"),
    ("wake", 504, "plugin_timeout"),
    ("task", 200, ""),
];

#[test]
fn a_request_that_blocks_is_answered_and_stops_nothing_else() {
    for workers in [1, 2] {
        let site = site(workers, "");
        let server = site.serve();
        let client = server.client();
        let calls = REQUESTS.iter().map(|(how, ..)| call_beside(&client, &format!("/api/blocking/{how}")));
        let calls: Vec<_> = calls.collect();
        all_else_is_well(&client);
        for ((how, status, code), call) in REQUESTS.iter().zip(calls) {
            let (found, found_code, time) = call.join().unwrap();
            assert_eq!((found, found_code.as_str()), (*status, *code), "{how} with {workers}");
            assert!(time < CALL_TIMEOUT + SLACK, "{how} with {workers}: {time:?}");
        }
        all_else_is_well(&client);
        server.logged(&["ERROR", "plugin=\"blocking\"", "blocks a thread with a request"]);
        server.logged(&["ERROR", "plugin=\"blocking\"", "blocks a thread with a service"]);
        server.logged(&["ERROR", "plugin=\"blocking\"", "blocks a thread with a task"]);
        ends_in_time(server);
    }
}

/// Returns the value of a metric.
fn figure(client: &Client, series: &str) -> f64 {
    let text = String::from_utf8(client.get("/metrics").body).unwrap();
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{series} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until `holds` returns true, up to the test's time limit.
#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come");
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn listed(admin: &Client) -> Json {
    let list = admin.get("/api/admin/extensions").expect(200);
    let found = list["extensions"].as_array().unwrap().iter().find(|one| one["name"] == "blocking");
    found.expect("it is installed").clone()
}

#[test]
fn who_blocks_a_thread_is_named_until_it_gives_it_back() {
    let site = site(2, "");
    let server = site.serve();
    let admin = server.admin();
    let blocked = call_beside(&admin, "/api/blocking/short");
    server.logged(&["ERROR", "plugin=\"blocking\"", "blocks a thread with a request, for 300 ms"]);
    assert_eq!(blocked.join().unwrap().0, 200, "it came back in time");
    server.logged(&["WARN", "plugin=\"blocking\"", "gave a thread back"]);
    let gauge = r#"tinybase_plugin_blocked_threads{plugin="blocking"}"#;
    eventually("the end of the block", || figure(&admin, gauge) == 0.0);
    assert_eq!(figure(&admin, r#"tinybase_plugin_thread_blocks_total{plugin="blocking"}"#), 1.0);

    assert_eq!(admin.get("/api/blocking/sleep").outcome(), (504, "plugin_timeout".into()));
    assert_eq!(figure(&admin, gauge), 1.0);
    eventually("the word of the node", || listed(&admin)["nodes"][0]["code"] == "threads_blocked");
    let table = site.done(&["extensions", "list"]);
    let line = table.lines().find(|line| line.starts_with("blocking")).unwrap();
    assert!(line.contains("it blocks 1 of this node's threads"), "{table}");
    assert_eq!(listed(&admin)["quarantined_reason"], Json::Null, "one is not too many");
    ends_in_time(server);
}

#[test]
fn an_extension_that_blocks_too_many_threads_is_switched_off_until_it_is_enabled_again() {
    for workers in [1, 2] {
        let mut site = site(workers, "");
        site.set("TINYBASE_PLUGINS_BLOCKED_THREADS_MAX", "3");
        let server = site.serve();
        let (admin, client) = (server.admin(), server.client());
        let blocked: Vec<_> = (0..12).map(|_| call_beside(&client, "/api/blocking/sleep")).collect();
        all_else_is_well(&client);
        for one in blocked {
            let (status, code, _) = one.join().unwrap();
            let expected = [(504, "plugin_timeout"), (503, "extension_switched_off")];
            assert!(expected.contains(&(status, code.as_str())), "{status} {code}");
        }
        all_else_is_well(&client);
        server.logged(&["ERROR", "plugin=\"blocking\"", "is switched off"]);
        let off = (503, "extension_switched_off".to_owned());
        assert_eq!(client.get("/api/blocking/none").outcome(), off);
        eventually("the quarantine", || listed(&admin)["quarantined_reason"].is_string());
        let table = site.done(&["extensions", "list"]);
        assert!(
            table.lines().any(|line| line.starts_with("blocking") && line.contains("switched off")),
            "{table}"
        );
        let audit = admin.get("/api/admin/audit-log?action=extension.quarantine").expect(200);
        assert!(audit.to_string().contains("switched off"), "{audit}");
        eventually("the end of its hooks", || {
            let answer = client.post("/api/neighbour/emit", &json!({"block": "before"}));
            answer.status == 201
        });
        assert_eq!(client.get("/api/blocking/none").outcome(), off, "it is still known");

        admin.patch("/api/admin/extensions/blocking", &json!({"is_enabled": true})).expect(200);
        assert_eq!(client.get("/api/blocking/none").status, 200);
        all_else_is_well(&client);
        ends_in_time(server);
    }
}

#[test]
fn a_hook_that_blocks_refuses_its_event_alone() {
    for workers in [1, 2] {
        let site = site(workers, "");
        let server = site.serve();
        let client = server.client();
        let emit = |block: &str| client.post("/api/neighbour/emit", &json!({"block": block}));
        assert_eq!(emit("after").status, 201);
        all_else_is_well(&client);
        server.logged(&["plugin=\"blocking\"", "blocks a thread with a listener"]);
        assert_eq!(emit("before").outcome(), (504, "plugin_timeout".into()));
        all_else_is_well(&client);
        server.logged(&["plugin=\"blocking\"", "blocks a thread with a hook"]);
        assert_eq!(emit("none").status, 201, "those after it are served");
        ends_in_time(server);
    }
}

#[test]
fn a_streamed_body_that_blocks_is_broken_off() {
    let site = site(1, "");
    let server = site.serve();
    let client = server.client();
    let begun = Instant::now();
    let outcome = client.try_send("GET", "/api/blocking/stream", &[], b"");
    assert!(outcome.is_err(), "it was answered as whole: {outcome:?}");
    assert!(begun.elapsed() < 3 * CALL_TIMEOUT + SLACK, "it took {:?}", begun.elapsed());
    all_else_is_well(&client);
    ends_in_time(server);
}

#[test]
fn what_blocks_without_a_request_stops_nothing_else() {
    for (switch, words) in [("job", "with a job"), ("shut_down", "")] {
        let site = site(1, switch);
        let server = site.serve();
        let client = server.client();
        all_else_is_well(&client);
        if !words.is_empty() {
            server.logged(&["plugin=\"blocking\"", "blocks a thread", words]);
        }
        all_else_is_well(&client);
        ends_in_time(server);
    }
}
