//! `GET /openapi.json`: the OpenAPI 3.1 document of everything that is mounted now, the host's routes and the plugins'.
//! Routes bring their own operations; what they all have in common is added here. It never decides who may call.

mod complete;

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use super::{Access, OwnRoutes, PluginDispatch, operation::operation};

/// A route as the document tells of it.
#[derive(Debug, Clone)]
pub struct DescribedRoute {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` or `{*name}` for a parameter.
    pub path: String,
    /// Who may call it.
    pub access: Access,
    /// The operation object that the route brings.
    pub operation: Json,
}

struct Document {
    own: Vec<DescribedRoute>,
    plugins: Arc<dyn PluginDispatch>,
}

/// Adds the document's route. It is called when every other route of the host is there.
pub(super) fn routes(own: &mut OwnRoutes, plugins: &Arc<dyn PluginDispatch>) {
    let object = json!({"type": "object"});
    let about = operation("getOpenapi", "system", "This document")
        .answers(200, "OpenAPI 3.1 of everything that is mounted now.", object)
        .answers_empty(304, "The document is still the one whose `ETag` was sent as `If-None-Match`.");
    let itself = DescribedRoute {
        method: Method::GET,
        path: "/openapi.json".to_owned(),
        access: Access::OPEN,
        operation: about.clone().into(),
    };
    let rows = own.iter().map(|route| DescribedRoute {
        method: route.method.clone(),
        path: route.path.to_owned(),
        access: route.access.clone(),
        operation: route.operation.clone(),
    });
    let document = Document { own: rows.chain([itself]).collect(), plugins: Arc::clone(plugins) };
    own.with(Arc::new(document)).route(Method::GET, "/openapi.json", Access::OPEN, answer, about.into());
}

async fn answer(State(document): State<Arc<Document>>, headers: HeaderMap) -> Response {
    let routes = document.own.iter().cloned().chain(document.plugins.described());
    let text = assemble(routes).to_string();
    let tag = format!("\"{}\"", hex(&Sha256::digest(text.as_bytes())[..16]));
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| known.as_bytes() == tag.as_bytes());
    let etag = HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes are a header's value");
    if known {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json), (header::ETAG, etag)], text).into_response()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The document of these routes.
fn assemble(routes: impl Iterator<Item = DescribedRoute>) -> Json {
    let mut paths = Map::new();
    let mut ids = BTreeSet::new();
    for route in routes {
        let path = route.path.replace("{*", "{");
        let mut operation = complete::complete(&route);
        make_unique(&mut operation, &mut ids);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "TinyBase",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Everything that this server has mounted: its own routes and those of its extensions.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": complete::error_schema()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token of a sign-in, or an application token.",
                },
            },
        },
    })
}

/// Clients name their methods by operation ids, so two of the same are told apart by a number.
fn make_unique(operation: &mut Json, ids: &mut BTreeSet<String>) {
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let mut unique = id.clone();
    let mut number = 2;
    while !ids.insert(unique.clone()) {
        unique = format!("{id}{number}");
        number += 1;
    }
    operation["operationId"] = unique.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: Method, path: &str, operation: Json) -> DescribedRoute {
        DescribedRoute {
            method,
            path: path.to_owned(),
            access: Access::viewer("admin:notes:read"),
            operation,
        }
    }

    #[test]
    fn what_a_route_leaves_out_is_added() {
        let document = assemble([route(Method::GET, "/api/notes/{id}/{*rest}", json!({}))].into_iter());
        let operation = &document["paths"]["/api/notes/{id}/{rest}"]["get"];
        assert_eq!(operation["operationId"], "getNotesByIdByRest");
        assert_eq!(operation["tags"], json!(["notes"]));
        assert_eq!(operation["parameters"][0]["name"], "id");
        assert_eq!(operation["parameters"][1]["in"], "path");
        assert_eq!(operation["security"], json!([{"bearer": []}]));
        assert_eq!(operation["x-tinybase-auth"], "viewer");
        assert_eq!(operation["x-tinybase-scope"], "admin:notes:read");
        for status in ["200", "401", "403", "404", "429", "500", "503", "504"] {
            assert!(operation["responses"].get(status).is_some(), "{status}");
        }
        assert!(operation["responses"].get("413").is_none(), "a GET has no body");
    }

    #[test]
    fn what_a_route_brings_stays() {
        let own = json!({
            "operationId": "renameNote",
            "tags": ["mine"],
            "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
            "responses": {"204": {"description": "Renamed."}, "404": {"description": "Mine."}},
        });
        let document = assemble([route(Method::PATCH, "/api/notes/{id}", own)].into_iter());
        let operation = &document["paths"]["/api/notes/{id}"]["patch"];
        assert_eq!(operation["operationId"], "renameNote");
        assert_eq!(operation["tags"], json!(["mine"]));
        assert_eq!(operation["parameters"].as_array().unwrap().len(), 1);
        assert_eq!(operation["responses"]["404"]["description"], "Mine.");
        assert!(operation["responses"].get("200").is_none());
        assert!(operation["responses"].get("413").is_some());
    }

    #[test]
    fn operation_ids_are_unique() {
        let same = || json!({"operationId": "listNotes"});
        let routes = ["/api/a", "/api/b", "/api/c"].map(|path| route(Method::GET, path, same()));
        let document = assemble(routes.into_iter());
        let id = |path: &str| document["paths"][path]["get"]["operationId"].clone();
        assert_eq!([id("/api/a"), id("/api/b"), id("/api/c")], ["listNotes", "listNotes2", "listNotes3"]);
    }
}
