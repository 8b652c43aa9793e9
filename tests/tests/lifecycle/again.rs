//! An extension that could not be loaded is retried periodically: no change is needed for it.

use std::fs;

use tinybase_tests::Site;

use super::{install, pulse_version, wait_until};

fn site() -> Site {
    let mut site = Site::new();
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    install(&site, "pulse");
    site
}

#[test]
fn what_met_tables_of_another_version_is_loaded_once_they_fit() {
    let site = site();
    let of_another = "'pulse', 2, 'more', 'x', '2026-01-01T00:00:00.000000Z'";
    site.sql(&format!(
        "INSERT INTO tb_migrations (owner, version, title, checksum, applied_at) VALUES ({of_another})"
    ));
    let server = site.serve();
    server.logged(&["not loaded", "migration 2 (more) of pulse"]);
    assert_eq!(pulse_version(&server.client()), "");
    site.sql("DELETE FROM tb_migrations WHERE owner = 'pulse' AND version = 2");
    wait_until("it is loaded", || pulse_version(&server.client()) == "0.1.0");
    server.logged(&["could not be loaded before is loaded now"]);
    // Logged once, however often it was tried.
    let told = server.log().iter().filter(|line| line.contains("not loaded: the database")).count();
    assert_eq!(told, 1);
    assert!(server.stop().success());
}

#[test]
fn what_was_damaged_is_loaded_once_it_is_whole() {
    let site = site();
    let folder = fs::read_dir(site.dir().join(".tinybase/extensions/pulse")).unwrap().next().unwrap();
    let library = folder.unwrap().path().join("libpulse.so");
    let bytes = fs::read(&library).unwrap();
    fs::write(&library, b"no library").unwrap();
    let server = site.serve();
    server.logged(&["not loaded", "its files were changed"]);
    fs::write(&library, bytes).unwrap();
    wait_until("it is loaded", || pulse_version(&server.client()) == "0.1.0");
    assert!(server.stop().success());
}

#[test]
fn what_was_revoked_is_disabled_in_that_version_alone() {
    let site = site();
    let server = site.serve();
    let change = |id: &str, version: &str| {
        let details = format!("{{\"only_version\": \"{version}\", \"although_needed\": true}}");
        site.sql(&format!(
            "INSERT INTO tb_extension_changes (id, kind, name, details, step, who, created_at) \
             VALUES ('{id}', 'disable', 'pulse', '{details}', 'requested', '{{}}', '2026-01-01T00:00:00.000000Z')"
        ));
        let ended = format!(
            "SELECT coalesce(error_code, 'done') FROM tb_extension_changes WHERE id = '{id}' AND ended_at IS NOT NULL"
        );
        wait_until("it has ended", || !site.sql(&ended).is_empty());
        site.sql(&ended)
    };
    assert_eq!(change("x", "0.0.9"), "extension_changed", "it was updated before it could be disabled");
    assert_eq!(pulse_version(&server.client()), "0.1.0");
    assert_eq!(change("y", "0.1.0"), "done");
    assert_eq!(pulse_version(&server.client()), "");
}
