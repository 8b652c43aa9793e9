//! What a swap does not affect: requests in progress, other plugins' jobs, queues and instances.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    thread,
};

use serde_json::json;
use tinybase_test_postgres::sqlite_only;
use tinybase_tests::Site;

use super::{install, pulse, pulse_version, wait_until};

#[test]
fn a_running_server_takes_up_what_is_installed_and_enabled() {
    let site = Site::new();
    let server = site.serve();
    let client = server.client();
    assert_eq!(pulse_version(&client), "");
    install(&site, "pulse");
    wait_until("the first version serves", || pulse_version(&client) == "0.1.0");
    let paths = client.get("/openapi.json").expect(200)["paths"].clone();
    assert!(paths.get("/api/pulse").is_some(), "the description follows");
    let first = pulse(&client)["instance"].clone();

    // A request in progress ends in the instance where it began.
    thread::scope(|scope| {
        let slow = scope.spawn(|| server.client().get("/api/pulse/slow/600").expect(200)["version"].clone());
        install(&site, "pulse_2");
        wait_until("the second version serves", || pulse_version(&client) == "0.2.0");
        assert!(["0.1.0", "0.2.0"].contains(&slow.join().unwrap().as_str().unwrap()));
    });
    let second = pulse(&client)["instance"].clone();
    assert_ne!(first, second);

    // Changes of another extension restart nothing.
    let runs = pulse(&client)["runs"].as_u64().unwrap();
    install(&site, "neighbour");
    wait_until("the neighbour serves", || client.get("/api/neighbour/hello").status == 200);
    site.done(&["extensions", "disable", "neighbour"]);
    wait_until("the neighbour is gone", || client.get("/api/neighbour/hello").status == 404);
    wait_until("its job runs on", || pulse(&client)["runs"].as_u64().unwrap() > runs);
    assert_eq!(pulse(&client)["instance"], second);

    site.done(&["extensions", "disable", "pulse"]);
    wait_until("it is gone", || pulse_version(&client).is_empty());
    site.done(&["extensions", "enable", "pulse"]);
    wait_until("it is back", || pulse_version(&client) == "0.2.0");
    assert_ne!(pulse(&client)["instance"], second);
    assert!(server.stop().success());
}

#[test]
fn no_event_is_lost_or_told_twice_by_swaps() {
    let site = Site::new();
    install(&site, "beater");
    install(&site, "pulse");
    let server = site.serve();
    let client = server.client();
    let (ended, beats) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let beat = beats.fetch_add(1, Ordering::Relaxed);
                server.client().post(&format!("/api/beater/{beat}"), &json!({})).expect(200);
            }
        });
        wait_until("events flow", || beats.load(Ordering::Relaxed) > 20);
        for (name, version) in [("pulse_2", "0.2.0"), ("neighbour", "0.2.0")] {
            install(&site, name);
            wait_until("it is swapped", || pulse_version(&client) == version);
            let passed = beats.load(Ordering::Relaxed) + 20;
            wait_until("events flow on", || beats.load(Ordering::Relaxed) > passed);
        }
        ended.store(true, Ordering::Relaxed);
    });
    let all: Vec<i64> = (0..beats.load(Ordering::Relaxed)).collect();
    for kind in ["told", "kept"] {
        let heard = || client.get(&format!("/api/pulse/heard/{kind}")).expect(200);
        wait_until("every event was heard", || heard().as_array().unwrap().len() >= all.len());
        assert_eq!(heard(), json!(all), "{kind}");
    }
}

#[test]
fn no_request_fails_while_extensions_come_and_go() {
    let site = Site::new();
    install(&site, "neighbour");
    let server = site.serve();
    let (ended, answered) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        for path in ["/api/neighbour/hello", "/api/collections", "/api/auth/methods"] {
            let (server, ended, answered) = (&server, &ended, &answered);
            scope.spawn(move || {
                let client = server.client();
                while !ended.load(Ordering::Relaxed) {
                    assert_eq!(client.get(path).status, 200, "{path}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..3 {
            install(&site, "pulse");
            install(&site, "pulse_2");
            site.done(&["extensions", "rollback", "pulse"]);
            site.done(&["extensions", "disable", "pulse"]);
            site.done(&["extensions", "enable", "pulse"]);
            site.done(&["extensions", "uninstall", "pulse", "--yes"]);
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(answered.load(Ordering::Relaxed) > 100);
    let client = server.client();
    assert_eq!(pulse_version(&client), "");
    // Its data stayed, and is used again when it comes back.
    install(&site, "pulse");
    client.get("/api/pulse/heard/told").expect(200);
    assert!(server.stop().success());
}

#[test]
fn a_rollback_fails_no_request_and_loses_nothing_in_hand() {
    let mut site = Site::new();
    site.set("STRESS_PULSE_FLUSH", "1");
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    install(&site, "pulse");
    let server = site.serve();
    install(&site, "pulse_2");
    let (ended, answered) = (AtomicBool::new(false), AtomicI64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let client = server.client();
                while !ended.load(Ordering::Relaxed) {
                    let answer = client.get("/api/pulse/more");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("requests are under way", || answered.load(Ordering::Relaxed) > 20);
        site.done(&["extensions", "rollback", "pulse"]);
        let passed = answered.load(Ordering::Relaxed) + 20;
        wait_until("they go on", || answered.load(Ordering::Relaxed) > passed);
        ended.store(true, Ordering::Relaxed);
    });
    let kinds = "SELECT kind FROM pulse_heard WHERE kind IN ('flushed', 'lost')";
    assert_eq!(site.sql(kinds), "flushed", "its last words found its table");
    assert_eq!(site.sql("SELECT max(version) FROM tb_migrations WHERE owner = 'pulse'"), "1");
    assert!(server.stop().success());
}

#[test]
fn the_lock_file_says_what_is_installed() {
    let site = Site::new();
    let server = site.serve();
    let locked = || std::fs::read_to_string(site.dir().join("tinybase.lock")).unwrap_or_default();
    assert!(locked().contains("[extensions.collections]"), "{}", locked());
    install(&site, "pulse");
    assert!(locked().contains("[extensions.pulse]\nversion = \"0.1.0\"\nhash = \""), "{}", locked());
    install(&site, "pulse_2");
    assert!(locked().contains("[extensions.pulse]\nversion = \"0.2.0\"\nhash = \""), "{}", locked());
    site.done(&["extensions", "uninstall", "pulse", "--purge", "--yes"]);
    assert!(!locked().contains("pulse"), "{}", locked());
    assert_eq!(site.sql("SELECT count(*) FROM tb_migrations WHERE owner = 'pulse'"), "0");
    assert!(server.stop().success());
}

#[test]
fn an_update_that_changes_tables_leaves_a_copy_of_before() {
    if sqlite_only("a file that is copied") {
        return;
    }
    let mut site = Site::new();
    site.set("TINYBASE_EXTENSIONS_SNAPSHOTS_KEPT", "2");
    let server = site.serve();
    install(&site, "pulse");
    let folder = site.dir().join(".tinybase/snapshots");
    assert!(!folder.exists(), "a first version has nothing before it");
    for _ in 0..3 {
        install(&site, "pulse_2");
        site.done(&["extensions", "rollback", "pulse"]);
    }
    let mut copies: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    copies.sort();
    assert_eq!(copies.len(), 2, "{copies:?}");
    for copy in copies {
        assert!(copy.to_string_lossy().ends_with("-pulse-0.1.0.db"), "{}", copy.display());
        let copy = rusqlite::Connection::open(copy).unwrap();
        let count = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'pulse%'"), 1);
        assert_eq!(count("SELECT count(*) FROM tb_extensions"), 2);
    }
    std::fs::write(folder.join("20260101T000000.000000Z-other-0.1.0-pulse.db"), "another's").unwrap();
    site.done(&["extensions", "uninstall", "pulse", "--purge", "--yes"]);
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        left,
        ["20260101T000000.000000Z-other-0.1.0-pulse.db"],
        "what was purged is in none of its own"
    );
    assert!(server.stop().success());
}
