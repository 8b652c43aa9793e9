//! Misbehaving plugins on the real server: each fault ends as a clear log line and the right status. The server stays
//! up, and another plugin is unaffected.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Server, Site, fixtures};

/// Checks that the other plugin responds as before.
#[track_caller]
fn neighbour_is_well(client: &Client) {
    let answer = client.get("/api/neighbour/hello");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"\"hello\"".as_slice()));
}

/// Starts a server with a good plugin and the faulty one, whose switch is set to `switch`.
fn with_switch(switch: &str) -> (Site, Server) {
    let mut site = Site::new();
    site.install_stress("neighbour");
    site.install_stress("faults");
    site.set("STRESS_SWITCH", switch);
    let server = site.serve();
    (site, server)
}

/// The faults while the plugin is created or started, and the log's words for them.
const LIFE: &[(&str, &[&str])] = &[
    ("panic_in_create", &["create failed", "created on purpose", "plugin_panicked"]),
    ("error_in_create", &["create failed", "it is not in the mood", "no_mood"]),
    ("hang_in_create", &["create took longer than 3000 ms"]),
    ("panic_before_start", &["start"]),
    ("panic_in_start", &["start failed", "started on purpose", "plugin_panicked"]),
    ("error_in_start", &["start failed", "it is not in the mood"]),
    ("hang_in_start", &["start took longer than 3000 ms"]),
    ("registration_not_utf8", &["what the plugin registers is malformed"]),
    ("registration_not_json", &["what the plugin registers is malformed"]),
    ("registration_endless", &["more than 1000 routes"]),
    ("route_undeclared", &["POST /api/auth/login", "its manifest does not declare"]),
    ("route_taken", &["/api/neighbour/hello"]),
    ("route_malformed", &["/api/faults/{a}{b}"]),
    ("method_malformed", &["/api/faults/x"]),
    ("service_undeclared", &["mail@1", "`offers`"]),
];

#[test]
fn a_plugin_that_fails_to_start_is_left_out_and_named() {
    let mut site = Site::new();
    site.install_stress("neighbour");
    site.install_stress("faults");
    for (switch, words) in LIFE {
        site.set("STRESS_SWITCH", switch);
        let server = site.serve();
        let line = server.logged(&[&["not loaded", "faults"], *words].concat());
        assert!(line.contains("ERROR"), "{switch}: {line}");
        let client = server.client();
        neighbour_is_well(&client);
        assert_eq!(client.get("/api/faults/none").outcome(), (404, "not_found".into()), "{switch}");
        let ended = server.stop();
        assert!(ended.success(), "{switch}: the server ended with {ended}");
    }
    let listed = site.done(&["extensions", "list"]);
    assert!(!listed.contains("quarantined"), "what fails in time is no danger: {listed}");
}

#[test]
fn a_plugin_that_fails_while_it_ends_does_not_keep_the_server() {
    for switch in ["panic_in_drop", "panic_in_shut_down", "hang_in_shut_down"] {
        let (_site, server) = with_switch(switch);
        let client = server.client();
        neighbour_is_well(&client);
        assert_eq!(client.get("/api/faults/none").status, 200);
        let ended = server.stop();
        assert!(ended.success(), "{switch}: the server ended with {ended}");
    }
}

/// Waits until a request has crashed the server.
fn crash(mut server: Server, fault: &str) {
    let answer = server.client().try_send("GET", &format!("/api/faults/{fault}"), &[], b"");
    assert!(answer.is_err(), "{fault}: {answer:?}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.is_alive() {
        assert!(Instant::now() < deadline, "{fault}: the server lives");
        std::thread::yield_now();
    }
}

/// Returns the extension's error code on the node that started last; a stopped node may be listed for a while.
fn code_of(extension: &Json) -> Json {
    extension["nodes"].as_array().and_then(|nodes| nodes.last()).unwrap()["code"].clone()
}

#[test]
fn what_took_the_server_down_in_a_request_is_named_at_the_next_start() {
    let mut site = Site::new();
    site.install_stress("neighbour");
    site.install_stress("faults");
    site.set("TINYBASE_PLUGINS_CRASHES_MAX", "3");
    let mut server = site.serve();
    let quiet = server.admin().get("/api/admin/extensions/faults").expect(200);
    assert_eq!(code_of(&quiet), json!(null), "{quiet}");
    for (count, (fault, cause)) in
        [("abort", "SIGABRT"), ("overflow", "SIGSEGV"), ("exit", "exit")].into_iter().enumerate()
    {
        crash(server, fault);
        server = site.serve();
        let line = server.logged(&["took the server down", "faults", cause]);
        assert!(line.contains("ERROR") && line.contains("a request"), "{line}");
        neighbour_is_well(&server.client());
        let extension = server.admin().get("/api/admin/extensions/faults").expect(200);
        if count < 2 {
            assert_eq!(server.client().get("/api/faults/none").status, 200, "{fault}");
            assert_eq!(code_of(&extension), "server_crashed", "{extension}");
            let metrics = String::from_utf8(server.admin().get("/metrics").body).unwrap();
            let figure = format!("tinybase_plugin_crashes{{plugin=\"faults\"}} {}", count + 1);
            assert!(metrics.contains(&figure), "{metrics}");
        } else {
            assert_eq!(server.client().get("/api/faults/none").status, 404, "three times are enough");
            let reason = extension["quarantined_reason"].as_str().unwrap();
            assert!(reason.contains("took the server down 3 times"), "{reason}");
        }
    }
    // A kill from outside blames no extension, and enabling it again resets the count to zero.
    server.admin().patch("/api/admin/extensions/faults", &json!({"is_enabled": true})).expect(200);
    server.kill();
    let server = site.serve();
    assert_eq!(server.client().get("/api/faults/none").status, 200);
    let extension = server.admin().get("/api/admin/extensions/faults").expect(200);
    assert_eq!(code_of(&extension), json!(null), "{extension}");
    assert!(!server.log().iter().any(|line| line.contains("took the server down")));
    assert!(server.stop().success());
}

/// The last part of the path, and the status and code of the response.
const REQUESTS: &[(&str, u16, &str)] = &[
    ("none", 200, ""),
    ("no_such_fault", 404, "no_such_fault"),
    ("panic_before_future", 500, "plugin_panicked"),
    ("panic_in_future", 500, "plugin_panicked"),
    ("panic_payload", 500, "plugin_panicked"),
    ("panic_after_drop_of_request", 500, "plugin_panicked"),
    ("panic_unguarded", 500, "plugin_panicked"),
    ("panic_in_drop", 504, "plugin_timeout"),
    ("hang", 504, "plugin_timeout"),
    ("caller_gone", 504, "plugin_timeout"),
    ("status_9999", 502, "plugin_answer_invalid"),
    ("status_0", 502, "plugin_answer_invalid"),
    ("status_100", 502, "plugin_answer_invalid"),
    ("header_name_newline", 502, "plugin_answer_invalid"),
    ("header_value_newline", 502, "plugin_answer_invalid"),
    ("header_cut", 502, "plugin_answer_invalid"),
    ("cookie_long", 502, "plugin_answer_invalid"),
    ("header_endless", 502, "plugin_answer_invalid"),
    ("header_length", 200, ""),
    ("error_not_utf8", 400, "invalid_error"),
    ("error_cut", 400, "invalid_error"),
    ("error_status_0", 502, "plugin_answer_invalid"),
    ("error_status_200", 502, "plugin_answer_invalid"),
    ("error_code_odd", 400, "invalid_error"),
    ("error_details_garbage", 422, "odd"),
    ("body_100_mb", 502, "plugin_answer_too_large"),
    ("undeclared", 500, "capability_missing"),
];

#[test]
fn a_cookie_of_an_extension_stays_on_its_paths_and_away_from_scripts() {
    let (_site, server) = with_switch("");
    let answer = server.client().get("/api/faults/cookie");
    assert_eq!(answer.headers["set-cookie"], "sid=1; Path=/api/faults; HttpOnly; SameSite=Lax");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[test]
fn a_fault_in_a_request_is_answered_and_hurts_no_other() {
    let (_site, server) = with_switch("");
    let client = server.client();
    for method in ["GET", "POST"] {
        for (fault, status, code) in REQUESTS {
            let answer = client.send(method, &format!("/api/faults/{fault}"), b"");
            let told = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
            assert_eq!(answer.outcome(), (*status, (*code).to_owned()), "{method} {fault}: {told}");
            assert!(!answer.headers.contains_key("set-cookie"), "{fault} smuggled a header");
            neighbour_is_well(&client);
        }
    }
    for (words, level) in [
        (&["faults", "handled on purpose"], "ERROR"),
        (&["faults", "awaited on purpose"], "ERROR"),
        (&["faults", "too large"], "ERROR"),
    ] {
        let line = server.logged(words);
        assert!(line.contains(level), "{line}");
    }
    assert!(server.stop().success());
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_a_whole_one() {
    let (_site, server) = with_switch("");
    let client = server.client();
    for fault in ["stream_error", "stream_panic", "stream_hang"] {
        let path = format!("/api/faults/{fault}");
        let outcome = client.try_send("GET", &path, &[], b"");
        assert!(outcome.is_err(), "{fault} was answered as whole: {outcome:?}");
        neighbour_is_well(&client);
    }
    assert!(server.stop().success());
}

#[test]
fn what_a_plugin_was_not_given_is_refused_by_name() {
    let site = Site::new();
    site.install_stress("neighbour");
    let server = site.serve();
    let client = server.client();
    let answer = client.get("/api/neighbour/undeclared");
    assert_eq!(answer.outcome(), (500, "capability_missing".into()));
    server.logged(&["neighbour", "«storage»"]);
    for sql in [
        "DELETE FROM tb_users",
        "UPDATE tb_users SET is_admin = 1",
        "DROP TABLE tb_users",
        "CREATE TABLE other_table (x)",
        "CREATE TRIGGER neighbour_x AFTER INSERT ON tb_users BEGIN DELETE FROM tb_users; END",
        "ATTACH DATABASE 'other.db' AS other",
        "PRAGMA writable_schema = 1",
        "VACUUM INTO 'copy.db'",
        "COMMIT",
    ] {
        let answer = client.send("POST", "/api/neighbour/steal", sql.as_bytes());
        assert_eq!(answer.status, 500, "{sql}: {}", String::from_utf8_lossy(&answer.body));
    }
    assert!(server.admin().get("/api/auth/me").status == 200, "the accounts are as they were");
    neighbour_is_well(&client);
}

/// A fixture, the environment of its installation, and words of the refusal.
#[test]
fn a_library_that_is_no_plugin_is_refused_before_it_is_installed() {
    let mut site = Site::new();
    site.install_stress("neighbour");
    let folder = site.packages().to_owned();
    for (name, words) in [
        ("no_root", ["not_an_extension", "not a TinyBase extension"]),
        ("other_major", ["abi_major_unsupported", "ABI 99"]),
        ("other_version", ["abi_major_unsupported", "ABI 2"]),
        ("other_layout", ["abi_layout_differs", "another layout"]),
    ] {
        refused(&site, &fixtures::stress(name, &folder), &words);
    }
    refused(&site, &fixtures::aborting(&folder), &["panic_aborts", "panic = \"abort\""]);
    let on_load = fixtures::stress("on_load", &folder);
    refused(&site, &on_load, &["not_an_extension"]);
    for (load, words) in [
        ("exit", ["ended the process", "exit code 0"]),
        ("abort", ["crashed the process", "SIGABRT"]),
        ("hang", ["did not load within", "5000 ms"]),
    ] {
        site.set("STRESS_LOAD", load);
        refused(&site, &on_load, &words);
    }
    let text = folder.join("text");
    std::fs::create_dir_all(&text).unwrap();
    std::fs::write(text.join("extension.toml"), "name = \"text\"\nversion = \"0.1.0\"\nabi = 1\n").unwrap();
    std::fs::write(text.join("libtinybase_text.so"), "no library").unwrap();
    refused(&site, &text, &["not_a_library"]);
    let server = site.serve();
    neighbour_is_well(&server.client());
}

#[track_caller]
fn refused(site: &Site, package: &std::path::Path, words: &[&str]) {
    let ran = site.install(package);
    assert_eq!(ran.code, Some(1), "{}: {ran:?}", package.display());
    assert_eq!(ran.errors.lines().count(), 1, "one clear line: {}", ran.errors);
    for word in words {
        assert!(ran.errors.contains(word), "{}: {}", package.display(), ran.errors);
    }
    assert!(!site.done(&["extensions", "list"]).contains(package.file_name().unwrap().to_str().unwrap()));
}

#[test]
fn a_library_changed_after_it_was_installed_is_not_opened() {
    let site = Site::new();
    site.install_stress("neighbour");
    site.install_stress("faults");
    let installed = walk(&site.dir().join(".tinybase/extensions/faults"));
    let library = installed.iter().find(|path| path.ends_with("libfaults.so")).expect("it is installed");
    let mut bytes = std::fs::read(library).unwrap();
    bytes.push(0);
    std::fs::write(library, bytes).unwrap();
    let server = site.serve();
    server.logged(&["faults", "not loaded", "changed after it was installed"]);
    neighbour_is_well(&server.client());
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_plugin_that_kills_the_server_is_quarantined_at_the_next_start() {
    for switch in ["exit_in_create", "abort_in_create", "exit_in_start"] {
        let mut site = Site::new();
        site.install_stress("neighbour");
        site.install_stress("faults");
        site.set("STRESS_SWITCH", switch);
        let ran = site.serve_in_vain();
        assert!(!ran.out.contains("serving"), "{switch}: {ran:?}");
        let server = site.serve();
        server.logged(&["ERROR", "faults", "quarantined"]);
        neighbour_is_well(&server.client());
        assert_eq!(server.client().get("/api/faults/none").status, 404);
        assert!(server.stop().success());
        let listed = site.done(&["extensions", "list"]);
        assert!(
            listed.lines().any(|line| line.starts_with("faults") && line.contains("quarantined")),
            "{listed}"
        );

        site.set("STRESS_SWITCH", "");
        site.done(&["extensions", "enable", "faults"]);
        let server = site.serve();
        assert_eq!(server.client().get("/api/faults/none").status, 200, "it was given another chance");
    }
}

#[test]
fn safe_mode_starts_without_what_was_installed_by_hand() {
    let mut site = Site::new();
    site.install_stress("neighbour");
    site.install_stress("faults");
    site.set("STRESS_SWITCH", "exit_in_create");
    let server = site.serve_with(&["--safe-mode"]);
    assert_eq!(server.client().get("/api/neighbour/hello").status, 404);
    assert_eq!(server.client().get("/api/collections").status, 200, "what came with the server serves");
}

/// A fault in an event that the other plugin emits, and the status and code of its request.
const HOOKS: &[(&str, u16, &str)] = &[
    ("before_refuse", 409, "refused"),
    ("before_panic_early", 500, "plugin_panicked"),
    ("before_panic_unguarded", 500, "plugin_panicked"),
    ("before_panic", 500, "plugin_panicked"),
    ("before_hang", 504, "plugin_timeout"),
    ("before_payload_garbage", 502, "plugin_answer_invalid"),
    ("before_statements_garbage", 502, "plugin_answer_invalid"),
    ("after_panic_early", 201, ""),
    ("after_panic_unguarded", 201, ""),
    ("after_panic", 201, ""),
    ("after_hang", 201, ""),
    ("none", 201, ""),
];

#[test]
fn a_hook_that_fails_refuses_its_event_alone() {
    let (_site, server) = with_switch("");
    let client = server.client();
    for (fault, status, code) in HOOKS {
        let started = Instant::now();
        let answer = client.post("/api/neighbour/emit", &json!({"fault": fault}));
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.outcome(), (*status, (*code).to_owned()), "{fault}: {told}");
        assert!(started.elapsed() < Duration::from_secs(5), "{fault} held the request");
        neighbour_is_well(&client);
    }
    server.logged(&["plugin=\"faults\"", "nothing to catch it"]);
    // After the uncaught panic the listener is still notified.
    server.logged(&["a listener failed", "listened on purpose"]);
    server.logged(&["plugin=\"faults\"", "a hook's answer is malformed"]);
    assert!(server.stop().success());
}
