//! Revocations by a registry while the server runs: they are noticed periodically, the extension is disabled or
//! reported, and an unreachable registry does no harm.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Registry, Server, Site, fixtures};

/// The maximum wait for background work.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", WAIT_MAX.as_secs());
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Creates a site that frequently checks a registry with `pulse` and `leaning`, which needs it; both are installed from
/// there.
fn site(registry: &Registry, variables: &[(&str, &str)]) -> (Site, Server) {
    let mut site = Site::new();
    // Under load, a call may take longer than the other tests allow.
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    site.set("TINYBASE_PLUGINS_START_TIMEOUT_MS", "10000");
    registry.configure(&mut site);
    site.set("TINYBASE_EXTENSIONS_AUDIT_INTERVAL_MS", "100");
    for (name, value) in variables {
        site.set(name, value);
    }
    let leaning = fixtures::stress("leaning", site.packages());
    registry.publish(&site, &fixtures::stress("pulse", site.packages()));
    registry.publish(&site, &leaning);
    let server = site.serve();
    site.done(&["extensions", "install", "leaning", "--yes"]);
    assert!(serves(&server, "pulse") && serves(&server, "leaning"));
    (site, server)
}

fn serves(server: &Server, name: &str) -> bool {
    server.client().get(&format!("/api/{name}")).status == 200
}

fn listed(site: &Site, name: &str) -> Json {
    let listed: Json = serde_json::from_str(&site.done(&["extensions", "list", "--json"])).unwrap();
    listed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone()
}

fn revoke_pulse(registry: &Registry) {
    registry.done(&["revoke", "packages", "pulse", "0.1.0", "--reason", "lets anybody read"]);
}

/// Returns a metric of `/metrics`.
fn figure(admin: &Client, name: &str) -> f64 {
    let answer = admin.get("/metrics");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line =
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.trim().parse().unwrap()
}

fn looks(admin: &Client, outcome: &str) -> f64 {
    figure(admin, &format!("tinybase_extensions_audits_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn what_was_revoked_is_disabled_while_the_server_serves() {
    let registry = Registry::start(&["pulse", "leaning"]);
    let (site, server) = site(&registry, &[]);
    let admin = server.admin();
    wait_until("it looks", || looks(&admin, "done") > 0.0);
    assert_eq!(figure(&admin, "tinybase_extensions_revoked "), 0.0);
    revoke_pulse(&registry);
    wait_until("it is disabled", || !serves(&server, "pulse"));
    assert!(!serves(&server, "leaning"), "it needs what was revoked");
    server.logged(&["WARN", "a registry revoked an extension", "pulse", "lets anybody read"]);
    server.logged(&["WARN", "it is disabled, since a registry revoked it", "pulse"]);
    wait_until("it is counted", || figure(&admin, "tinybase_extensions_revoked_disabled_total ") == 1.0);
    assert_eq!(figure(&admin, "tinybase_extensions_revoked "), 0.0);

    let log = admin.get("/api/admin/audit-log?action=extension.disable").expect(200);
    let entry = &log["entries"][0];
    assert_eq!((&entry["actor_kind"], &entry["target_id"]), (&json!("system"), &json!("pulse")), "{log}");
    let journal = "SELECT kind, name FROM tb_extension_changes WHERE kind = 'disable' AND error_code IS NULL";
    assert_eq!(site.sql(journal), "disable|pulse");
    assert_eq!(listed(&site, "pulse")["state"], "disabled");
    wait_until("what needs it says so", || listed(&site, "leaning")["state"] == "failed");
    let looks_before = looks(&admin, "done");
    wait_until("it looks on", || looks(&admin, "done") > looks_before + 1.0);
    assert_eq!(site.sql(journal), "disable|pulse", "once is enough");

    // It cannot be enabled by hand, or installed from elsewhere.
    let ran = site.run(&["extensions", "enable", "pulse"]);
    assert!(ran.code == Some(1) && ran.errors.contains("was revoked: lets anybody read"), "{ran:?}");
    let enabled = admin.patch("/api/admin/extensions/pulse", &json!({"is_enabled": true}));
    assert_eq!(enabled.outcome(), (400, "extension_revoked".into()));
    let folder = site.packages().join("pulse").display().to_string();
    let ran = site.run(&["extensions", "install", "--yes", &folder]);
    assert!(ran.code == Some(1) && ran.errors.contains("was revoked"), "{ran:?}");
    assert_eq!(listed(&site, "pulse")["state"], "disabled");
    assert_eq!(site.run(&["extensions", "audit"]).code, Some(0), "what is disabled does not run");
}

#[test]
fn an_operator_may_only_want_to_be_told() {
    let registry = Registry::start(&["pulse", "leaning"]);
    let (site, server) = site(&registry, &[("TINYBASE_EXTENSIONS_REVOKED", "warn")]);
    let admin = server.admin();
    revoke_pulse(&registry);
    server.logged(&["WARN", "a registry revoked an extension", "pulse", "lets anybody read"]);
    wait_until("it is counted", || figure(&admin, "tinybase_extensions_revoked ") == 1.0);
    let before = looks(&admin, "done");
    wait_until("it looks on", || looks(&admin, "done") > before + 2.0);
    assert!(serves(&server, "pulse") && serves(&server, "leaning"));
    let told = server.log().iter().filter(|line| line.contains("a registry revoked an extension")).count();
    assert_eq!(told, 1, "it is told once");
    assert_eq!(figure(&admin, "tinybase_extensions_revoked_disabled_total "), 0.0);
    drop(server);

    let mut site = site;
    site.set("TINYBASE_EXTENSIONS_AUDIT_INTERVAL_MS", "0");
    site.set("TINYBASE_EXTENSIONS_REVOKED", "disable");
    let server = site.serve();
    assert_eq!(looks(&server.admin(), "done"), 0.0);
    assert!(serves(&server, "pulse"), "nobody looks");
    // The command does, and a dependent extension does not prevent it.
    assert_eq!(site.run(&["extensions", "audit"]).code, Some(1), "nothing is done about it yet");
    let ran = site.run(&["extensions", "audit", "--disable-revoked"]);
    assert!(ran.code == Some(0) && ran.out.contains("lets anybody read"), "it is repaired: {ran:?}");
    assert!(!serves(&server, "pulse") && !serves(&server, "leaning"));
    assert_eq!(site.run(&["extensions", "audit", "--disable-revoked"]).code, Some(0));
}

#[test]
fn a_registry_that_fails_is_told_of_once_and_looked_at_again() {
    let registry = Registry::start(&["pulse", "leaning"]);
    let (_site, server) = site(&registry, &[]);
    let admin = server.admin();
    let (metadata, away) = (registry.files().join("metadata"), registry.files().join("away"));
    fs::rename(&metadata, &away).unwrap();
    let failed = "the look for what was revoked failed, and is tried again";
    server.logged(&["WARN", failed, "acme"]);
    wait_until("it looks on", || looks(&admin, "failed") > 3.0);
    assert_eq!(server.log().iter().filter(|line| line.contains(failed)).count(), 1, "it is told once");
    assert!(serves(&server, "pulse") && serves(&server, "leaning"), "nothing was changed");
    fs::rename(&away, &metadata).unwrap();
    server.logged(&["the look for what was revoked succeeds again"]);
    revoke_pulse(&registry);
    wait_until("it is disabled", || !serves(&server, "pulse"));
}

#[test]
fn a_registry_without_its_root_hides_no_other() {
    let registry = Registry::start(&["pulse", "leaning"]);
    let (mut site, server) = site(&registry, &[]);
    drop(server);
    let both = format!("other=http://127.0.0.1:1,acme={}", registry.url());
    site.set("TINYBASE_EXTENSIONS_REGISTRIES", &both);
    let server = site.serve();
    server.logged(&["WARN", "the look for what was revoked failed", "other", "no root of trust"]);
    revoke_pulse(&registry);
    wait_until("it is disabled", || !serves(&server, "pulse"));
    let audited = server.admin().get("/api/admin/registries/audit").expect(200);
    assert!(audited["findings"].as_array().unwrap().iter().any(|one| one["kind"] == "revoked"), "{audited}");
    assert!(audited["failures"][0].as_str().unwrap().contains("no root of trust"), "{audited}");
    // An explicit choice is different: the first registry may offer it.
    let ran = site.run(&["extensions", "install", "pulse", "--yes"]);
    assert!(ran.code == Some(1) && ran.errors.contains("no root of trust"), "{ran:?}");
}

#[test]
fn the_checks_answer_over_http_what_the_commands_print() {
    let registry = Registry::start(&["pulse", "leaning"]);
    let (site, server) = site(&registry, &[("TINYBASE_EXTENSIONS_REVOKED", "warn")]);
    let admin = server.admin();
    let printed = |arguments: &[&str]| -> Json { serde_json::from_str(&site.run(arguments).out).unwrap() };
    let verify = |query: &str| admin.post(&format!("/api/admin/extensions/verify{query}"), &json!({}));
    let whole = verify("").expect(200);
    assert_eq!(whole["extensions"], printed(&["extensions", "verify", "--json"]));
    assert!(whole["extensions"].as_array().unwrap().iter().all(|one| one["problem"].is_null()), "{whole}");
    let folder = fs::read_dir(site.dir().join(".tinybase/extensions/leaning")).unwrap().next().unwrap();
    fs::write(folder.unwrap().path().join("libleaning.so"), b"no library").unwrap();
    let one = verify("?name=leaning").expect(200);
    assert_eq!(one["extensions"], printed(&["extensions", "verify", "leaning", "--json"]));
    assert_eq!(one["extensions"][0]["problem"], "its files were changed");
    assert_eq!(verify("?name=absent").outcome(), (404, "extension_not_installed".into()));

    let audit = || admin.get("/api/admin/registries/audit");
    revoke_pulse(&registry);
    let found = audit().expect(200);
    assert_eq!(found["findings"], printed(&["extensions", "audit", "--json"]));
    let revoked = found["findings"].as_array().unwrap().iter().find(|one| one["kind"] == "revoked").unwrap();
    assert!(revoked["name"] == "pulse" && revoked["message"].as_str().unwrap().contains("lets anybody read"));
    assert_eq!(found["failures"], json!([]));
    fs::rename(registry.files().join("metadata"), registry.files().join("away")).unwrap();
    let found = audit().expect(200);
    assert!(found["failures"][0].as_str().unwrap().contains("acme"), "{found}");
}

#[test]
fn a_rollback_brings_no_revoked_version_back() {
    let registry = Registry::start(&["pulse", "leaning"]);
    let mut site = Site::new();
    registry.configure(&mut site);
    registry.publish(&site, &fixtures::stress("pulse", site.packages()));
    site.done(&["extensions", "install", "pulse", "--yes"]);
    registry.publish(&site, &fixtures::stress("pulse_2", site.packages()));
    site.done(&["extensions", "update", "--yes"]);
    revoke_pulse(&registry);
    for arguments in
        [&["extensions", "rollback", "pulse"][..], &["extensions", "rollback", "pulse", "--dry-run"]]
    {
        let ran = site.run(arguments);
        assert!(ran.code == Some(1) && ran.errors.contains("pulse 0.1.0 was revoked"), "{ran:?}");
    }
    assert_eq!(site.sql("SELECT version FROM tb_extensions WHERE name = 'pulse'"), "0.2.0");
    let server = site.serve();
    let refused = server.admin().post("/api/admin/extensions/pulse/rollback", &json!({}));
    assert_eq!(refused.outcome(), (400, "extension_revoked".into()));
}
