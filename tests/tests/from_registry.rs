//! Third-party extensions, from their source to their removal: built outside of the workspace, packed, published to a
//! fresh registry served over HTTP, installed by name into a running server, used, upgraded, rolled back, disabled and
//! uninstalled.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tinybase_tests::{
    Client, Registry, Site,
    fixtures::{Toolchain, example, nightly},
    third_party::build_extension,
};

/// The maximum wait for background work.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Polls until `done` returns a value.
fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn site(registry: &Registry) -> Site {
    let mut site = Site::new();
    // Under load, a call may take longer than the other tests allow.
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    site.set("TINYBASE_PLUGINS_START_TIMEOUT_MS", "10000");
    registry.configure(&mut site);
    site
}

fn listed(site: &Site, name: &str) -> Option<Json> {
    let listed: Json = serde_json::from_str(&site.done(&["extensions", "list", "--json"])).unwrap();
    listed.as_array().unwrap().iter().find(|extension| extension["name"] == name).cloned()
}

fn version(site: &Site, name: &str) -> String {
    listed(site, name).map_or_else(String::new, |extension| extension["version"].as_str().unwrap().to_owned())
}

/// Creates a collection that is indexed by the search, with one record that the search finds.
fn use_search(admin: &Client) {
    let schema = json!({"fields": [{"name": "title", "type": "string"}]});
    admin.post("/api/collections", &json!({"name": "posts", "label": "Posts", "schema": schema})).expect(201);
    let index = json!({"fields": ["title"]}).to_string();
    assert!(admin.send("PUT", "/api/search/indexes/posts", index.as_bytes()).status < 300);
    admin.post("/api/collections/posts/records", &json!({"data": {"title": "A quick fox"}})).expect(201);
    wait("the search finds it", || {
        let found = admin.get("/api/search/posts?q=fox");
        (found.status == 200 && found.json()["hits"].as_array().is_some_and(|hits| hits.len() == 1))
            .then_some(())
    });
}

fn add_hook(admin: &Client) -> String {
    let hook = admin.post("/api/webhooks", &json!({"url": "https://example.org/in"})).expect(201);
    hook["id"].as_str().unwrap().to_owned()
}

/// Returns whether the API description has paths with this prefix.
fn describes(client: &Client, prefix: &str) -> bool {
    let document = client.get("/openapi.json").expect(200);
    document["paths"].as_object().unwrap().keys().any(|path| path.starts_with(prefix))
}

#[test]
fn two_extensions_go_their_whole_way() {
    whole_way(&[
        ("webhooks", build_extension("webhooks", "0.1.0")),
        ("search", build_extension("search", "0.1.0")),
    ]);
}

#[test]
fn two_extensions_built_by_nightly_go_their_whole_way() {
    if let Err(reason) = nightly() {
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let built = |name: &'static str| (name, example(name, Toolchain::Nightly, folder.path()));
    whole_way(&[built("webhooks"), built("search")]);
}

fn whole_way(packages: &[(&str, std::path::PathBuf)]) {
    let registry = Registry::start(&["webhooks", "search"]);
    let site = site(&registry);
    let server = site.serve();
    let admin = server.admin();
    assert_eq!(admin.get("/api/webhooks").status, 404);
    for (_, package) in packages {
        registry.publish(&site, package);
    }
    let found = site.done(&["extensions", "search", "record"]);
    assert!(found.contains("webhooks") && found.contains("acme/acme"), "{found}");

    // Into the running server, one by the command line and one over HTTP.
    let installed = site.done(&["extensions", "install", "webhooks", "--yes"]);
    assert!(installed.contains("http") && installed.contains("installed webhooks 0.1.0"), "{installed}");
    let planned =
        admin.post("/api/admin/extensions", &json!({"source": "search", "dry_run": true})).expect(200);
    assert_eq!(planned["plan"][0]["name"], "search");
    assert_eq!(admin.get("/api/search/indexes").status, 404, "a dry run changes nothing");
    let search = admin.post("/api/admin/extensions", &json!({"source": "search@^0.1"})).expect(201);
    assert_eq!((&search["registry"], &search["publisher"]), (&json!("acme"), &json!("acme")));
    let lock = std::fs::read_to_string(site.dir().join("tinybase.lock")).unwrap();
    assert!(lock.contains("webhooks") && lock.contains("publisher = \"acme\""), "{lock}");

    use_search(&admin);
    let hook = add_hook(&admin);
    serves_its_page(&server.client(), &search);
    a_new_version_and_back(&registry, &site, &admin, &hook);
    off_on_and_gone(&site, &admin, &hook);
}

fn a_new_version_and_back(registry: &Registry, site: &Site, admin: &Client, hook: &str) {
    registry.publish(site, &build_extension("webhooks", "0.2.0"));
    assert!(site.done(&["extensions", "check-updates"]).contains("0.2.0"));
    let updated = site.done(&["extensions", "update", "--yes"]);
    assert!(updated.contains("updated webhooks 0.1.0 → 0.2.0"), "{updated}");
    assert_eq!(version(site, "webhooks"), "0.2.0");
    assert_eq!(admin.get(&format!("/api/webhooks/{hook}")).expect(200)["id"], json!(hook));
    let rolled = site.done(&["extensions", "rollback", "webhooks"]);
    assert!(rolled.contains("0.2.0 → 0.1.0"), "{rolled}");
    assert_eq!(version(site, "webhooks"), "0.1.0");
    assert_eq!(admin.get(&format!("/api/webhooks/{hook}")).expect(200)["id"], json!(hook));
    assert!(site.done(&["extensions", "verify"]).contains("as installed"));
    // Its origin is still known, and therefore also newer versions.
    let one = admin.get("/api/admin/extensions/webhooks").expect(200);
    assert_eq!((&one["registry"], &one["publisher"]), (&json!("acme"), &json!("acme")));
    let lock = std::fs::read_to_string(site.dir().join("tinybase.lock")).unwrap();
    let locked = lock.split("[extensions.webhooks]").nth(1).unwrap();
    for kept in [
        "version = \"0.1.0\"",
        "registry = \"acme\"",
        "publisher = \"acme\"",
        "publisher_keys",
        "archive_sha256",
    ] {
        assert!(locked.contains(kept), "{kept}: {lock}");
    }
    let planned = site.done(&["extensions", "update", "--dry-run", "--json"]);
    let planned: Json = serde_json::from_str(&planned).unwrap();
    assert_eq!(
        (&planned["plan"][0]["name"], &planned["plan"][0]["version"]),
        (&json!("webhooks"), &json!("0.2.0"))
    );
    // Bundled extensions are only listed on request.
    let names = |query: &str| -> Vec<String> {
        let listed = admin.get(&format!("/api/admin/extensions{query}")).expect(200);
        assert_eq!(listed["total"], listed["extensions"].as_array().unwrap().len());
        listed["extensions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(names(""), ["webhooks", "search"]);
    assert_eq!(names("?include_builtin=false"), ["webhooks", "search"]);
    assert!(names("?include_builtin=true").contains(&"collections".to_owned()));
}

/// Disables, enables and uninstalls it. Its data stays until it is purged.
fn off_on_and_gone(site: &Site, admin: &Client, hook: &str) {
    let change =
        |enabled: bool| admin.patch("/api/admin/extensions/webhooks", &json!({"is_enabled": enabled}));
    assert_eq!(change(false).expect(200)["is_enabled"], false);
    assert_eq!(admin.get("/api/webhooks").status, 404);
    assert!(!describes(admin, "/api/webhooks"));
    change(true).expect(200);
    assert_eq!(admin.get(&format!("/api/webhooks/{hook}")).expect(200)["id"], json!(hook));
    admin.delete("/api/admin/extensions/webhooks").expect(204);
    assert_eq!(admin.get("/api/webhooks").status, 404);
    site.done(&["extensions", "install", "webhooks@=0.1.0", "--yes"]);
    assert_eq!(admin.get(&format!("/api/webhooks/{hook}")).expect(200)["id"], json!(hook), "its data stayed");
    site.done(&["extensions", "uninstall", "webhooks", "--purge", "--yes"]);
    site.done(&["extensions", "uninstall", "search", "--purge", "--yes"]);
    assert_eq!((listed(site, "webhooks"), listed(site, "search")), (None, None));
    let tables = match site.database_url() {
        Some(_) => {
            "SELECT tablename FROM pg_tables WHERE tablename LIKE 'webhooks\\_%' OR tablename LIKE 'search\\_%'"
        }
        None => {
            "SELECT name FROM sqlite_schema WHERE name LIKE 'webhooks\\_%' ESCAPE '\\' OR name LIKE 'search\\_%' ESCAPE '\\'"
        }
    };
    assert_eq!(site.sql(tables), "");
    assert_eq!(admin.get("/api/collections/posts/records").status, 200, "what else there is goes on");
}

/// Checks that the module of its admin page is served without a token, and that nothing else in its folder is served.
fn serves_its_page(client: &Client, search: &Json) {
    let url = search["pages"][0]["url"].as_str().unwrap();
    let page = client.get(url);
    assert_eq!(page.status, 200, "{url}");
    let folder = url.rsplit_once('/').unwrap().0;
    for elsewhere in ["extension.toml", "..%2fextension.toml", "nothing.js"] {
        assert_eq!(client.get(&format!("{folder}/{elsewhere}")).status, 404, "{elsewhere}");
    }
}

#[test]
fn what_must_not_be_installed_is_refused_by_name() {
    let registry = Registry::start(&["notes", "webhooks"]);
    let mut site = site(&registry);
    let server = site.serve();
    let admin = server.admin();
    let install = |source: &str| admin.post("/api/admin/extensions", &json!({"source": source})).outcome();
    assert_eq!(install("notes"), (404, "unknown_extension".into()));
    assert_eq!(install("/etc/passwd"), (400, "source_invalid".into()));
    registry.publish(&site, &build_extension("notes", "0.1.0"));
    assert_eq!(install("notes@^2"), (400, "version_not_found".into()));
    assert_eq!(install("notes"), (201, String::new()));

    registry.publish(&site, &build_extension("notes", "0.1.1"));
    registry.done(&["revoke", "packages", "notes", "0.1.1", "--reason", "lets anybody read"]);
    assert_eq!(install("notes@=0.1.1"), (400, "extension_revoked".into()));
    registry.done(&["revoke", "packages", "notes", "0.1.0", "--reason", "lets anybody read"]);
    let audited = site.run(&["extensions", "audit", "--disable-revoked"]);
    assert_eq!((audited.code, audited.out.contains("lets anybody read")), (Some(0), true), "{audited:?}");
    assert_eq!(admin.get("/api/notes").status, 404, "what was revoked is disabled");

    registry.done(&["rotate", "packages", "publisher", "acme"]);
    registry.publish(&site, &build_extension("notes", "2.0.0"));
    assert_eq!(install("notes@^2"), (400, "publisher_changed".into()));
    let accepted = json!({"source": "notes@^2", "accept_publisher": true});
    assert_eq!(admin.post("/api/admin/extensions", &accepted).status, 201);

    let nobody = server.client();
    let ada = server.client().registered("ada@example.com");
    for (client, status) in [(&nobody, 401), (&ada, 403)] {
        assert_eq!(client.get("/api/admin/extensions").status, status);
        assert_eq!(client.post("/api/admin/extensions", &json!({"source": "notes"})).status, status);
        assert_eq!(client.delete("/api/admin/extensions/notes").status, status);
    }
    site.set("TINYBASE_EXTENSIONS_REGISTRIES", "other=http://127.0.0.1:1");
    let ran = site.run(&["extensions", "install", "webhooks", "--yes"]);
    assert!(ran.code == Some(1) && ran.errors.contains("root of trust"), "{ran:?}");
}

#[test]
fn operators_compose_a_set() {
    let mut site = Site::new();
    site.set("TINYBASE_EXTENSIONS_SET", "minimal");
    let server = site.serve();
    let admin = server.admin();
    assert_eq!(admin.get("/api/collections").status, 404);
    assert!(!describes(&admin, "/api/collections"));
    assert_eq!(admin.get("/api/admin/users").status, 200, "accounts and administration need no extension");
    drop(server);
    site.set("TINYBASE_EXTENSIONS_SET", "data");
    assert_eq!(site.serve().admin().get("/api/collections").status, 200);
    site.set("TINYBASE_EXTENSIONS_SET", "colections");
    let ran = site.serve_in_vain();
    assert!(ran.errors.contains("colections"), "{ran:?}");
}
