//! The examples, built outside of the workspace like third-party extensions, and loaded by the real server.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::fs;

use serde_json::json;
use tinybase_tests::{
    Site,
    fixtures::{Toolchain, example, nightly, test_example},
    profile_dir,
    third_party::build_extension,
};

#[test]
fn the_examples_pass_their_own_tests() {
    test_example("notes");
    test_example("audit");
    test_example("webhooks");
    test_example("search");
}

/// Two copies of SQLite in one process drop each other's locks, and a plugin must not contain a second runtime or
/// server.
#[test]
fn no_plugin_links_what_is_the_hosts_alone() {
    let site = Site::new();
    let staged = fs::read_dir(profile_dir().join("extensions")).expect("the build staged the extensions");
    let mut packages: Vec<_> =
        staged.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    assert!(!packages.is_empty());
    packages.extend(
        ["notes", "audit", "webhooks", "search"].map(|name| example(name, Toolchain::Same, site.packages())),
    );
    for package in packages {
        let files = fs::read_dir(&package).unwrap().map(|entry| entry.unwrap().path());
        let library = files.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "so"));
        let library =
            fs::read(library.unwrap_or_else(|| panic!("{} has no library", package.display()))).unwrap();
        let holds = |word: &[u8]| memchr::memmem::find(&library, word).is_some();
        assert!(holds(b"_1as_0lib_1header"), "{}: the search finds what is there", package.display());
        for word in ["sqlite3_prepare", "SQLite format 3", "tokio-runtime-worker", "hyper-util", "sqlx"] {
            assert!(!holds(word.as_bytes()), "{} links what holds {word:?}", package.display());
        }
    }
}

#[test]
fn the_readme_example_serves() {
    let site = Site::new();
    assert_eq!(site.install(&example("notes", Toolchain::Same, site.packages())).code, Some(0));
    let server = site.serve();
    let ada = server.client().registered("ada@example.com");
    assert_eq!(ada.post("/api/notes", &json!({"text": "buy milk"})).status, 201);
    assert_eq!(ada.get("/api/notes").expect(200)["notes"][0]["text"], "buy milk");
    assert_eq!(server.client().get("/api/notes").status, 401);
    drop(server);
    assert_eq!(site.done(&["notes", "count"]).trim(), "1 notes");
}

#[test]
fn an_example_is_built_as_any_version() {
    let site = Site::new();
    for version in ["0.1.1", "2.0.0"] {
        let package = build_extension("notes", version);
        let ran = site.install(&package);
        assert_eq!(ran.code, Some(0), "{version}: {ran:?}");
        let listed = site.done(&["extensions", "list", "--json"]);
        assert!(listed.contains(&format!("\"version\": \"{version}\"")), "{version}: {listed}");
    }
}

#[test]
fn the_audit_example_serves() {
    audit(Toolchain::Same);
}

#[test]
fn the_audit_example_built_by_nightly_serves() {
    match nightly() {
        Ok(()) => audit(Toolchain::Nightly),
        Err(reason) => eprintln!("skipped: {reason}"),
    }
}

/// Routes, hooks that refuse and hooks that commit with the change, listeners, settings, migrations, the command.
fn audit(toolchain: Toolchain) {
    let site = Site::new();
    let ran = site.install(&example("audit", toolchain, site.packages()));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let server = site.serve();
    let admin = server.admin();
    let schema = json!({"fields": [{"name": "text", "type": "string", "required": true}]});
    let posts = json!({"name": "posts", "label": "Posts", "schema": schema, "options": {"access": {"create": "auth"}}});
    admin.post("/api/collections", &posts).expect(201);
    let ada = server.client().registered("ada@example.com");
    let records = "/api/collections/posts/records";
    let record = ada.post(records, &json!({"data": {"text": "one"}})).expect(201);
    let path = format!("{records}/{}", record["id"].as_str().unwrap());
    ada.patch(&path, &json!({"data": {"text": "two"}})).expect(200);
    assert_eq!(ada.delete(&path).status, 204);
    assert_eq!(
        ada.post(records, &json!({"data": {"text": 3}})).status,
        400,
        "a refused change counts for nothing"
    );

    assert_eq!(admin.get("/api/audit/changes").expect(200), json!({"changes": {"posts": 3}}));
    let wanted = json!(["record.delete", "record.update", "record.create"]);
    let entries = || {
        let page = admin.get("/api/audit/entries?limit=1000").expect(200);
        page["entries"].as_array().unwrap().clone()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let topics = || {
        let of_records = entries().into_iter().filter(|entry| entry["subject"] == "posts");
        of_records.map(|entry| entry["topic"].clone()).collect::<serde_json::Value>()
    };
    while topics() != wanted {
        assert!(std::time::Instant::now() < deadline, "told so far: {}", topics());
    }
    let by_ada = entries().into_iter().filter(|entry| entry["email"] == "ada@example.com").count();
    assert!(by_ada >= 3, "{:?}", entries());
    assert!(entries().iter().any(|entry| entry["topic"] == "user.login"), "{:?}", entries());
    let settings = "/api/audit/settings";
    assert_eq!(admin.get(settings).expect(200), json!({"forbidden_words": [], "retention_days": 30}));
    for bad in [
        json!({"retention_days": 0}),
        json!({"retention_days": "x"}),
        json!({"forbidden_words": [7]}),
        json!({"x": 1}),
    ] {
        let refused = admin.patch(settings, &bad);
        assert!(
            (400..500).contains(&refused.status) && !refused.code().is_empty(),
            "{bad}: {}",
            refused.status
        );
    }
    let changed = admin.patch(settings, &json!({"forbidden_words": ["spam"]})).expect(200);
    assert_eq!(changed, json!({"forbidden_words": ["spam"], "retention_days": 30}));
    assert_eq!(
        ada.post(records, &json!({"data": {"text": "Buy SPAM"}})).outcome(),
        (400, "forbidden_word".into())
    );
    assert_eq!(admin.get(records).expect(200)["total"], 0, "what a hook refuses is not stored");
    assert_eq!(ada.get("/api/audit/entries").status, 403);
    assert_eq!(server.client().get("/api/audit/entries").status, 401);
    drop(server);

    let file = site.dir().join("entries.ndjson");
    site.done(&["audit", "export", file.to_str().unwrap()]);
    let lines = std::fs::read_to_string(&file).unwrap();
    assert!(lines.lines().count() >= 3);
    let wrong = site.run(&["audit", "export", "x", "--format", "csv"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}
