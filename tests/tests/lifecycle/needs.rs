//! Extensions that depend on one that does not run: they are left out with it, report the reason, and come back with
//! it.

use std::fs;

use serde_json::{Value as Json, json};
use tinybase_tests::{Server, Site, fixtures};

use super::{install, pulse_version, wait_until};

/// Creates a site with `leaning`, and `pulse`, which it needs.
fn site() -> Site {
    let mut site = Site::new();
    // Under load, a call may take longer than the other tests allow.
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    install(&site, "pulse");
    install(&site, "leaning");
    site
}

fn serves_leaning(server: &Server) -> bool {
    server.client().get("/api/leaning").status == 200
}

/// Returns an extension as shown by `extensions list`.
fn listed(site: &Site, name: &str) -> Json {
    let listed: Json = serde_json::from_str(&site.done(&["extensions", "list", "--json"])).unwrap();
    listed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

/// Checks that `leaning` is left out, and that this is reported everywhere.
#[track_caller]
fn is_left_out(site: &Site, server: &Server, code: &str, reason: &str) {
    assert!(!serves_leaning(server));
    assert_eq!(pulse_version(&server.client()), "");
    server.logged(&["not loaded", "leaning needs the extension pulse", reason]);
    wait_until("it is told", || listed(site, "leaning")["state"] == "failed");
    let node = server.admin().get("/api/admin/extensions/leaning").expect(200)["nodes"][0].clone();
    assert_eq!((&node["state"], &node["code"]), (&json!("failed"), &json!(code)), "{node}");
    for told in [node["message"].as_str().unwrap(), &site.done(&["extensions", "info", "leaning"])] {
        assert!(told.contains("leaning needs the extension pulse") && told.contains(reason), "{told}");
    }
}

#[track_caller]
fn both_come_back(server: &Server) {
    assert_eq!(pulse_version(&server.client()), "0.1.0");
    wait_until("what needs it comes back with it", || serves_leaning(server));
}

#[test]
fn what_needs_a_failed_extension_is_left_out_until_that_runs() {
    let site = site();
    let library = || {
        let folder = fs::read_dir(site.dir().join(".tinybase/extensions/pulse")).unwrap().next().unwrap();
        folder.unwrap().path().join("libpulse.so")
    };
    let bytes = fs::read(library()).unwrap();
    fs::write(library(), b"no library").unwrap();
    let server = site.serve();
    is_left_out(&site, &server, "dependency_not_loaded", "is not loaded: its files were changed");

    // It cannot be enabled either.
    site.done(&["extensions", "disable", "leaning"]);
    let ran = site.run(&["extensions", "enable", "leaning"]);
    let told =
        "leaning needs the extension pulse in a version ^0.1, which is not loaded: its files were changed";
    assert!(ran.code == Some(1) && ran.errors.contains(told), "{ran:?}");
    assert_eq!(listed(&site, "leaning")["state"], "disabled");

    fs::write(library(), bytes).unwrap();
    site.done(&["extensions", "enable", "pulse"]);
    site.done(&["extensions", "enable", "leaning"]);
    both_come_back(&server);
    assert_eq!(listed(&site, "leaning")["state"], "enabled");
}

#[test]
fn what_needs_a_quarantined_extension_is_left_out_until_that_is_enabled() {
    let site = site();
    site.sql("UPDATE tb_extensions SET quarantined_reason = 'it took the server down' WHERE name = 'pulse'");
    let server = site.serve();
    is_left_out(&site, &server, "dependency_missing", "is quarantined");
    site.done(&["extensions", "enable", "pulse"]);
    both_come_back(&server);
    wait_until("it is told", || listed(&site, "leaning")["state"] == "enabled");
}

#[test]
fn what_needs_a_missing_extension_is_left_out_until_that_is_installed() {
    let site = site();
    site.sql("DELETE FROM tb_extensions WHERE name = 'pulse'");
    let server = site.serve();
    is_left_out(&site, &server, "dependency_missing", "is not installed");
    let ran = site.install(&fixtures::stress("pulse", site.packages()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    both_come_back(&server);
}

#[test]
fn what_runs_leaves_with_what_it_needs() {
    let site = site();
    let server = site.serve();
    assert!(serves_leaning(&server));
    // Like a change by another node.
    site.sql(
        "UPDATE tb_extensions SET is_enabled = 0, updated_at = '2030-01-01T00:00:00Z' WHERE name = 'pulse'",
    );
    wait_until("both leave", || pulse_version(&server.client()).is_empty() && !serves_leaning(&server));
    is_left_out(&site, &server, "dependency_missing", "is disabled");
    site.done(&["extensions", "enable", "pulse"]);
    both_come_back(&server);
}
