//! Code that never returns, or exits or crashes its process: found by the probe, or abandoned by the server. Either way
//! the previous version keeps running, and further changes work.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use tinybase_tests::{Site, fixtures};

use super::{change, install, pulse_version, wait_until};

/// Creates a site with the first version of `pulse`, on which the second misbehaves.
fn site(misbehaviour: &str) -> Site {
    let mut site = Site::new();
    install(&site, "pulse");
    site.set("TINYBASE_PLUGINS_START_TIMEOUT_MS", "1000");
    site.set("STRESS_PULSE", &format!("0.2.0 {misbehaviour}"));
    site
}

fn listed(site: &Site, name: &str) -> Json {
    let listed: Json = serde_json::from_str(&site.done(&["extensions", "list", "--json"])).unwrap();
    listed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

#[test]
fn what_does_not_come_back_in_the_server_is_given_up_and_taken_back() {
    for misbehaviour in ["start loop server", "create park server"] {
        let site = site(misbehaviour);
        let server = site.serve();
        let ran = change(&site, "pulse_2");
        assert!(ran.code == Some(1) && ran.errors.contains("does not come back"), "{misbehaviour}: {ran:?}");
        assert_eq!(pulse_version(&server.client()), "0.1.0", "{misbehaviour}");
        server.logged(&["ERROR", "plugin_stuck", "pulse", "0.2.0"]);
        wait_until("it is told", || listed(&site, "pulse")["nodes"][0]["code"] == "plugin_stuck");
        let told = site.done(&["extensions", "list"]);
        assert!(told.contains("version 0.2.0"), "{told}");
        let tables = site.sql("SELECT count(*) FROM tb_migrations WHERE owner = 'pulse'");
        assert_eq!(tables, "1", "{misbehaviour}: its tables are as before");
        // Other changes and the shutdown are not blocked.
        install(&site, "neighbour");
        assert_eq!(server.client().get("/api/neighbour/hello").status, 200);
        let begun = Instant::now();
        assert!(server.stop().success(), "{misbehaviour}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{misbehaviour}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_plugin_that_never_ends_is_left_behind() {
    let site = site("shut_down park server");
    let mut site = site;
    site.set("TINYBASE_PLUGINS_DRAIN_TIMEOUT_MS", "500");
    let server = site.serve();
    install(&site, "pulse_2");
    assert_eq!(pulse_version(&server.client()), "0.2.0");
    site.done(&["extensions", "rollback", "pulse"]);
    assert_eq!(pulse_version(&server.client()), "0.1.0");
    server.logged(&["ERROR", "plugin_stuck", "shut_down", "0.2.0"]);
    install(&site, "neighbour");
    assert!(server.stop().success());
}

#[test]
fn what_would_harm_a_server_is_refused_by_the_probe() {
    let mut site = site("");
    site.set("TINYBASE_PLUGINS_PROBE_TIMEOUT_MS", "4000");
    site.set("TINYBASE_PLUGINS_PROBE_MEMORY_BYTES_MAX", "1073741824");
    for (misbehaviour, words) in [
        ("create abort", &["`create` of the plugin crashed", "SIGABRT"][..]),
        ("create exit", &["`create` of the plugin ended the process", "exit code 0"]),
        ("start exit", &["`start` of the plugin ended the process"]),
        ("start loop", &["`start` of the plugin did not come back within"]),
        ("shut_down park", &["`shut_down` of the plugin did not come back within"]),
        ("create hog", &["`create` of the plugin crashed", "SIGABRT"]),
    ] {
        site.set("STRESS_PULSE", &format!("0.2.0 {misbehaviour}"));
        let ran = change(&site, "pulse_2");
        assert_eq!(ran.code, Some(1), "{misbehaviour}: {ran:?}");
        for word in words {
            assert!(ran.errors.contains(word), "{misbehaviour}: {word:?} is not in {}", ran.errors);
        }
        assert_eq!(site.sql("SELECT version FROM tb_extensions WHERE name = 'pulse'"), "0.1.0");
    }
}

#[test]
fn what_aborts_while_it_is_made_does_not_reach_the_server() {
    let site = site("create abort");
    let mut server = site.serve();
    let ran = change(&site, "pulse_2");
    assert!(ran.code == Some(1) && ran.errors.contains("crashed the process"), "{ran:?}");
    assert!(server.is_alive());
    assert_eq!(pulse_version(&server.client()), "0.1.0");
}

#[test]
fn what_a_probe_prints_or_leaves_behind_is_in_nobodys_way() {
    let is_left = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let lines = processes.filter_map(|folder| fs::read(folder.join("cmdline")).ok());
        lines.into_iter().any(|line| line == b"sleep\x0086399\0")
    };
    for misbehaviour in ["create print probe", "start leave probe", "create daemon probe"] {
        let site = site(misbehaviour);
        install(&site, "pulse_2");
        assert_eq!(site.sql("SELECT version FROM tb_extensions WHERE name = 'pulse'"), "0.2.0");
    }
    assert!(!is_left(), "what the probe started outlives it");
}

/// Returns a second version whose migration never ends if there is a row; an empty database has none.
fn endless(site: &Site) -> std::path::PathBuf {
    let package = fixtures::stress("pulse_2", site.packages());
    for (engine, script) in [
        (
            "sqlite",
            "CREATE TABLE pulse_more AS WITH RECURSIVE n (i) AS (SELECT beat FROM pulse_heard UNION ALL SELECT i + 1 FROM n) \
             SELECT count(*) AS id FROM n;",
        ),
        ("postgres", "CREATE TABLE pulse_more (id BIGINT); SELECT pg_sleep(3600);"),
    ] {
        fs::write(package.join(format!("migrations/{engine}/0002_more.up.sql")), script).unwrap();
    }
    package
}

#[test]
fn a_migration_that_never_ends_is_taken_back() {
    let mut site = Site::new();
    install(&site, "pulse");
    site.set("TINYBASE_EXTENSIONS_MIGRATION_TIMEOUT_MS", "700");
    let server = site.serve();
    site.sql("INSERT INTO pulse_heard (kind, beat) VALUES ('one', 1)");
    let ran = site.install(&endless(&site));
    assert!(ran.code == Some(1) && ran.errors.contains("migration 2"), "{ran:?}");
    assert_eq!(pulse_version(&server.client()), "0.1.0");
    install(&site, "neighbour");
    assert!(server.stop().success());
}
