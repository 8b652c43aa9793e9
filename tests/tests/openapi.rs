//! The OpenAPI document of a running server: it includes everything that is mounted, and is consistent.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tinybase_tests::Site;

/// Returns each operation, such as `GET /health`, with its object.
fn operations(document: &Json) -> Vec<(String, &Json)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter()
            .map(move |(method, operation)| (format!("{} {path}", method.to_ascii_uppercase()), operation))
    });
    each.collect()
}

#[test]
fn the_document_holds_what_is_mounted_and_tells_who_may_call_it() {
    let site = Site::new();
    site.install_stress("mailbox");
    let server = site.serve();
    let client = server.client();
    let document = &client.get("/openapi.json").expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(document);
    let routes: BTreeSet<&str> = operations.iter().map(|(route, _)| route.as_str()).collect();
    for route in [
        "GET /health",
        "GET /openapi.json",
        "POST /api/auth/login",
        "GET /api/admin/users",
        "GET /api/admin/audit-log",
        "GET /api/collections/{name}/records",
        "PATCH /api/collections/{name}/records/{id}",
        "GET /api/mailbox",
    ] {
        assert!(routes.contains(route), "{route} is not in {routes:?}");
    }
    let mut ids = BTreeSet::new();
    for (route, operation) in &operations {
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(!id.is_empty() && ids.insert(id), "{route} has no id of its own: {id:?}");
        assert!(operation["responses"]["500"].is_object(), "{route}");
        assert!(operation["tags"][0].is_string(), "{route}");
        let described = operation["parameters"]
            .as_array()
            .map_or(0, |parameters| parameters.iter().filter(|parameter| parameter["in"] == "path").count());
        assert_eq!(described, route.matches('{').count(), "{route}: parameters of the path");
    }
    let of = |wanted: &str| operations.iter().find(|(route, _)| route == wanted).unwrap().1;
    assert_eq!(of("GET /api/admin/users")["x-tinybase-auth"], "viewer");
    assert_eq!(of("GET /api/admin/users")["x-tinybase-scope"], "admin:users:read");
    assert_eq!(of("GET /health")["security"], serde_json::json!([]));
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_it_is_not_sent_twice() {
    let site = Site::new();
    let server = site.serve();
    let client = server.client();
    let answer = client.get("/openapi.json");
    let document = answer.expect(200);
    let text = document.to_string();
    let mut references = 0;
    for rest in text.split("\"$ref\":\"#").skip(1) {
        let pointer = rest.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} is not in the document");
        references += 1;
    }
    assert!(references > 100, "{references}");
    let etag = answer.headers["etag"].to_str().unwrap();
    for (known, status) in [
        (etag.to_owned(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"another\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"another\"".to_owned(), 200),
    ] {
        let head = format!(
            "GET /openapi.json HTTP/1.1\r\nhost: t\r\nconnection: close\r\nif-none-match: {known}\r\n\r\n"
        );
        assert_eq!(client.raw(head.as_bytes()).0, status, "{known}");
    }
    for named in ["User", "ApplicationToken", "AuditEntry"] {
        assert!(document["components"]["schemas"].get(named).is_some(), "{named} is no schema of its own");
    }
}

#[test]
fn each_collection_is_described_as_it_is_now() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let document = || server.client().get("/openapi.json").expect(200);
    let (list, one) = ("/api/collections/movies/records", "/api/collections/movies/records/{id}");
    assert!(document()["paths"].get(list).is_none());
    let title = json!({"name": "title", "type": "string", "required": true, "max_length": 9});
    let movies = json!({"name": "movies", "label": "Movies", "schema": {"fields": [title]}});
    admin.post("/api/collections", &movies).expect(201);

    let made = document();
    let ids = [(list, "get"), (list, "post"), (one, "get"), (one, "patch"), (one, "put"), (one, "delete")]
        .map(|(path, method)| made["paths"][path][method]["operationId"].clone());
    assert_eq!(
        json!(ids),
        json!([
            "listMoviesRecords",
            "createMoviesRecord",
            "getMoviesRecord",
            "changeMoviesRecord",
            "replaceMoviesRecord",
            "deleteMoviesRecord",
        ])
    );
    assert_eq!(made["paths"][list]["get"]["x-tinybase-scope"], "collections:read:movies");
    let schemas = &made["components"]["schemas"];
    assert_eq!(schemas["MoviesInput"]["required"], json!(["title"]));
    assert_eq!(schemas["MoviesData"]["properties"]["title"]["maxLength"], 9);
    assert!(made["paths"].get("/api/collections/{name}/records").is_some(), "the routes themselves stay");

    let year = json!({"name": "year", "type": "integer"});
    admin.patch("/api/collections/movies", &json!({"schema": {"fields": [title, year]}})).expect(200);
    let changed = document();
    assert_eq!(changed["components"]["schemas"]["MoviesData"]["properties"]["year"]["type"][0], "integer");

    admin.delete("/api/collections/movies").expect(204);
    let gone = document();
    assert!(gone["paths"].get(list).is_none(), "{list} is still there");
    assert!(gone["components"]["schemas"].get("MoviesData").is_none());
}

#[test]
fn no_more_collections_are_described_than_the_operator_wants() {
    let mut site = Site::new();
    site.set("TINYBASE_OPENAPI_DESCRIBED_MAX", "2");
    let server = site.serve();
    let admin = server.admin();
    for name in ["one", "two", "three"] {
        let fields = json!([{"name": "text", "type": "string"}]);
        admin
            .post("/api/collections", &json!({"name": name, "label": name, "schema": {"fields": fields}}))
            .expect(201);
    }
    let document = server.client().get("/openapi.json").expect(200);
    let described = |path: &&String| path.starts_with("/api/collections/") && path.ends_with("/aggregate");
    let told = document["paths"].as_object().unwrap().keys().filter(described).count();
    // Two of the three collections, and the route for any collection.
    assert_eq!(told, 3);
}

#[test]
fn what_a_disabled_extension_served_is_gone() {
    let site = Site::new();
    site.install_stress("mailbox");
    let server = site.serve();
    let path = "/api/mailbox";
    assert!(server.client().get("/openapi.json").expect(200)["paths"].get(path).is_some());
    server.stop();
    site.done(&["extensions", "disable", "mailbox"]);
    let server = site.serve();
    let document = server.client().get("/openapi.json").expect(200).clone();
    assert!(document["paths"].get(path).is_none(), "{path} is still there");
    assert!(document["paths"].get("/health").is_some());
}
