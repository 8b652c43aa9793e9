//! An instance with data of every kind, the databases that it is copied to, and the checks for equality.

use std::{fmt::Write, fs};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tinybase_test_postgres::{Database, server_url};
use tinybase_tests::{
    Site,
    site::{ADMIN_EMAIL, PASSWORD},
};

/// The collections, the referenced one first.
const COLLECTIONS: [&str; 2] = ["places", "visits"];

/// The variable with the database URL.
const URL: &str = "TINYBASE_DB_URL";

/// The databases of the copies, in order.
pub(crate) struct Places {
    urls: Vec<String>,
    spares: TempDir,
    server: Option<String>,
    _databases: Vec<Database>,
}

impl Places {
    /// Goes from SQLite to PostgreSQL, to PostgreSQL again, and back, if there is a server; otherwise to SQLite and
    /// back.
    pub(crate) fn new() -> Places {
        let server = server_url();
        let mut urls = vec!["sqlite://./tinybase.db".to_owned()];
        let mut databases = Vec::new();
        match &server {
            Some(server) => {
                databases = (0..2).map(|_| Database::create(server).unwrap()).collect();
                urls.extend(databases.iter().map(Database::url));
            }
            None => urls.push("sqlite://./second.db".to_owned()),
        }
        urls.push("sqlite://./last.db".to_owned());
        Places { urls, spares: tempfile::tempdir().unwrap(), server, _databases: databases }
    }

    /// Returns the database in which the instance is created.
    pub(crate) fn first(&self) -> &str {
        &self.urls[0]
    }

    /// Returns each copy as a pair: from a database to the next.
    pub(crate) fn ways(&self) -> impl Iterator<Item = (&str, &str)> {
        self.urls.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str()))
    }

    /// Returns an unused database with the engine of `like`, and its owner, which must be kept as long as the database
    /// is used.
    pub(crate) fn spare(&self, like: &str) -> (String, Option<Database>) {
        match &self.server {
            Some(server) if like.starts_with("postgres") => {
                let database = Database::create(server).unwrap();
                (database.url(), Some(database))
            }
            _ => {
                let number = fs::read_dir(self.spares.path()).unwrap().count();
                (format!("sqlite://{}/spare{number}.db", self.spares.path().display()), None)
            }
        }
    }
}

/// Creates a fresh folder with an instance on SQLite, whatever engine the other tests use.
pub(crate) fn on_sqlite() -> Site {
    let mut site = Site::new();
    site.set(URL, "sqlite://./tinybase.db");
    site.done(&["init", "--admin-email", ADMIN_EMAIL, "--admin-password", PASSWORD]);
    site
}

/// Fills an instance: collections that reference each other and themselves, records with unusual values, users,
/// settings, an application token, history.
pub(crate) fn filled(site: &mut Site, rows: usize) {
    let server = site.serve();
    let admin = server.admin();
    let user = server.client().registered("someone@example.com");
    let places = json!({"name": "places", "label": "Places", "schema": {"fields": [
        {"name": "code", "type": "string", "unique": true},
        {"name": "size", "type": "number"},
        {"name": "count", "type": "integer", "index": true},
        {"name": "open", "type": "boolean"},
        {"name": "day", "type": "date", "index": true},
        {"name": "within", "type": "reference", "collection": "places", "on_delete": "set_null"},
    ]}});
    admin.post("/api/collections", &places).expect(201);
    let visits = json!({"name": "visits", "label": "Visits", "options": {"access": {"list": "owner"}}, "schema": {"fields": [
        {"name": "place", "type": "reference", "collection": "places", "on_delete": "cascade"},
        {"name": "by", "type": "reference", "collection": "users"},
        {"name": "note", "type": "string"},
    ]}});
    admin.post("/api/collections", &visits).expect(201);
    admin.patch("/api/admin/settings", &json!({"app_name": "Copied"}));
    admin
        .post("/api/admin/application-tokens", &json!({"name": "t", "scopes": ["collections:read"]}))
        .expect(201);
    let me = user.get("/api/auth/me").expect(200)["id"].clone();
    let odd = [
        r#"{"code":"\u00e9\u0301 \ud83d\ude00","size":1.50,"count":-9007199254740993,"open":true,"day":"2026-02-28"}"#,
        r#"{"code":"","size":0.1,"open":false}"#,
        r#"{"code":"tab\there","size":-0.0}"#,
    ];
    for data in odd {
        let body = format!(r#"{{"data":{data}}}"#);
        let answer = admin.send("POST", "/api/collections/places/records", body.as_bytes());
        assert_eq!(answer.status, 201, "{data}: {}", String::from_utf8_lossy(&answer.body));
    }
    let first =
        admin.post("/api/collections/places/records", &json!({"data": {"code": "first"}})).expect(201);
    let first = first["id"].as_str().unwrap().to_owned();
    let visit = json!({"data": {"place": first, "by": me, "note": "mine"}});
    user.post("/api/collections/visits/records", &visit);
    admin.post("/api/collections/visits/records", &visit).expect(201);
    // A deleted record leaves a gap in the numbers.
    let gone = admin.post("/api/collections/places/records", &json!({"data": {"code": "gone"}})).expect(201);
    let gone = format!("/api/collections/places/records/{}", gone["id"].as_str().unwrap());
    assert_eq!(admin.delete(&gone).status, 204);
    assert!(server.stop().success());
    import(
        site,
        "places",
        rows,
        |number| json!({"code": format!("p{number:07}"), "size": number, "count": number, "within": first}),
    );
    import(site, "visits", rows, |number| json!({"place": first, "note": format!("note {number} ü")}));
}

/// Works on another database for a while.
pub(crate) fn on(site: &mut Site, url: &str, work: impl FnOnce(&Site)) {
    site.set(URL, url);
    work(site);
    site.set(URL, "sqlite://./tinybase.db");
}

fn import(site: &Site, name: &str, rows: usize, record: impl Fn(usize) -> Json) {
    let mut lines = String::new();
    for number in 0..rows {
        writeln!(lines, "{}", record(number)).unwrap();
    }
    let file = site.packages().join(format!("{name}.ndjson"));
    fs::write(&file, lines).unwrap();
    site.done(&["collections", "import", name, &file.to_string_lossy()]);
}

/// Returns every collection of a database, as exported.
pub(crate) fn exported(site: &mut Site, url: &str) -> Vec<String> {
    site.set(URL, url);
    let export = |name: &&str| site.done(&["collections", "export", name, "--format", "ndjson", "--whole"]);
    let exported = COLLECTIONS.iter().map(export).collect();
    site.set(URL, "sqlite://./tinybase.db");
    exported
}

/// Serves every database of the copies and checks that all are the same: who may sign in, what is counted, listed,
/// sorted, logged and set; whether indexes, constraints and triggers match the schemas.
pub(crate) fn serves_the_same(site: &mut Site, places: &Places) {
    let first = seen(site, places.first());
    for (_, url) in places.ways() {
        assert_eq!(seen(site, url), first, "behind {url}");
    }
}

fn seen(site: &mut Site, url: &str) -> Vec<Json> {
    site.set(URL, url);
    let server = site.serve();
    let user = server.client().signed_in("someone@example.com");
    let admin = server.admin();
    let read = |path: &str| admin.get(path).expect(200);
    let status = read("/api/admin/collections/status");
    assert_eq!(status["healthy"], true, "{status}");
    let mut seen = vec![
        status,
        read("/api/collections"),
        read("/api/collections/places/records?limit=7&sort=-count"),
        read("/api/collections/places/aggregate?sum=count"),
        read("/api/admin/settings"),
        read("/api/admin/application-tokens"),
        read("/api/admin/audit-log?action=collection.create"),
        user.get("/api/collections/visits/records").json(),
    ];
    let twice = admin.post("/api/collections/places/records", &json!({"data": {"code": "first"}}));
    seen.push(json!([twice.status, twice.code()]));
    let first = read("/api/collections/places/records?filter=code%20%3D%20%22first%22");
    let first = first["items"][0]["id"].as_str().unwrap_or_default().to_owned();
    let deleted = admin.delete(&format!("/api/collections/places/records/{first}"));
    seen.push(json!(deleted.status));
    seen.push(read("/api/collections/visits/records"));
    seen.push(read("/api/admin/collections/status"));
    let added =
        admin.post("/api/collections/places/records", &json!({"data": {"code": "added"}})).expect(201);
    seen.push(added["data"].clone());
    seen.push(
        read("/api/collections/places/records?limit=1&filter=code%20%3D%20%22added%22")["items"][0]["data"]
            .clone(),
    );
    assert!(server.stop().success());
    site.set(URL, "sqlite://./tinybase.db");
    seen
}
