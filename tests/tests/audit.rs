//! The audit log on the real server: entries of extensions, and of the command line's changes of extensions.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Site, site::PASSWORD};

/// Returns the entries whose actions begin with a prefix, oldest first.
fn entries(admin: &Client, actions: &str) -> Vec<Json> {
    let page = admin.get(&format!("/api/admin/audit-log?action={actions}")).expect(200);
    page["entries"].as_array().unwrap().iter().rev().cloned().collect()
}

#[test]
fn a_change_of_an_extension_and_its_entry_are_kept_together_or_not_at_all() {
    let site = Site::new();
    site.install_stress("neighbour");
    let server = site.serve();
    let ada = server.client().registered("ada@example.com");
    for (fate, status) in
        [("refused", 400), ("rolled_back", 200), ("dropped", 200), ("kept", 200), ("recorded", 200)]
    {
        let answer = ada.post(&format!("/api/neighbour/notes/{fate}"), &json!({}));
        assert_eq!(answer.status, status, "{fate}: {}", String::from_utf8_lossy(&answer.body));
    }
    server.client().post("/api/neighbour/notes/nobody", &json!({})).expect(200);
    let entries = entries(&server.admin(), "neighbour.*");
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            ["action", "target_id", "actor_kind", "actor_name"].map(|name| entry[name].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ["neighbour.watch", "kept", "extension", "neighbour"],
            ["neighbour.note", "kept", "user", "ada@example.com"],
            ["neighbour.note", "recorded", "user", "ada@example.com"],
            ["neighbour.watch", "nobody", "extension", "neighbour"],
            ["neighbour.note", "nobody", "nobody", ""],
        ]
    );
    assert_eq!(entries[2]["change"]["short"], 1, "what fits is kept");
    assert_eq!(entries[2]["change"]["_cut"]["fields"], 1);
    assert_eq!(entries[4]["address"], "127.0.0.1");
}

#[test]
fn what_happens_to_an_extension_is_told_with_whoever_did_it() {
    let mut site = Site::new();
    site.install_stress("faults");
    site.done(&["extensions", "disable", "faults"]);
    site.done(&["extensions", "disable", "faults"]);
    site.done(&["extensions", "enable", "faults"]);
    site.set("STRESS_SWITCH", "exit_in_create");
    site.serve_in_vain();
    let server = site.serve();
    let entries = entries(&server.admin(), "extension.*");
    let told: Vec<_> = entries
        .iter()
        .filter(|entry| entry["target_id"] == "faults")
        .map(|entry| {
            assert_eq!((&entry["target_kind"], &entry["request_id"]), (&json!("extension"), &Json::Null));
            [&entry["action"], &entry["actor_kind"], &entry["change"]["is_enabled"]["to"]].map(Json::clone)
        })
        .collect();
    assert_eq!(
        told,
        [
            [json!("extension.install"), json!("command"), json!(true)],
            [json!("extension.disable"), json!("command"), json!(false)],
            [json!("extension.enable"), json!("command"), json!(true)],
            [json!("extension.quarantine"), json!("system"), Json::Null],
        ]
    );
    let installed_by_init = entries.iter().find(|entry| entry["target_id"] == "collections").unwrap();
    assert_eq!(installed_by_init["change"]["is_builtin"]["to"], true);
    let stopped = server.stop();
    assert!(stopped.success());
}

#[test]
fn an_admin_who_is_made_at_the_command_line_is_told_of() {
    let site = Site::new();
    let server = site.serve();
    let _ = server.client().registered("ada@example.com");
    for email in ["eve@example.com", "ada@example.com"] {
        site.done(&["admin", "add", email, PASSWORD]);
    }
    let entries = entries(&server.admin(), "user.*");
    let told: Vec<_> = entries
        .iter()
        .map(|entry| json!([entry["action"], entry["actor_kind"], entry["change"]["role"]]))
        .collect();
    let made = |kind: &str, role: &str| json!(["user.create", kind, {"from": null, "to": role}]);
    let promoted = json!(["user.update", "command", {"from": "user", "to": "admin"}]);
    assert_eq!(told, [made("command", "admin"), made("nobody", "user"), made("command", "admin"), promoted]);
    let words = json!(entries).to_string();
    assert!(!words.contains(PASSWORD) && !words.contains("argon2"), "{words}");
}
