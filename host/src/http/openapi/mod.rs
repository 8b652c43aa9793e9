//! `GET /openapi.json`: the OpenAPI 3.1 document of all mounted routes, the host's and the plugins'. Routes provide
//! their own operations; their common parts are added here. It never decides who may call.

mod complete;
mod generators;
mod named;
mod parts;

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use self::parts::Parts;
use super::{
    Access, HostRoutes, PluginDispatch,
    operation::{operation, schema},
};

/// A route as described in the document.
#[derive(Debug, Clone, PartialEq)]
pub struct DescribedRoute {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` or `{*name}` for parameters.
    pub path: String,
    /// Who may call it.
    pub access: Access,
    /// The operation object of the route.
    pub operation: Json,
}

struct Document {
    own: Vec<DescribedRoute>,
    plugins: Arc<dyn PluginDispatch>,
    /// The maximum number of items of its data that an extension describes individually.
    described_max: usize,
    latest: Mutex<Arc<Latest>>,
}

/// The last assembled document. It is valid until the generation or a part changes.
#[derive(Default)]
struct Latest {
    generation: u64,
    parts: Parts,
    text: Bytes,
    tag: Option<HeaderValue>,
}

/// Adds the document's route. Must be called after all other routes of the host were added.
pub(super) fn routes(own: &mut HostRoutes, plugins: &Arc<dyn PluginDispatch>, described_max: usize) {
    let object = json!({"type": "object"});
    let about = operation("getOpenapi", "system", "This document")
        .header("if-none-match", schema::text(), "The `ETag` of the document that the client has.")
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
    let document = Document {
        own: rows.chain([itself]).collect(),
        plugins: Arc::clone(plugins),
        described_max,
        latest: Mutex::default(),
    };
    own.with(Arc::new(document)).route(Method::GET, "/openapi.json", Access::OPEN, answer, about.into());
}

async fn answer(State(document): State<Arc<Document>>, headers: HeaderMap) -> Response {
    let latest = document.current().await;
    let etag = latest.tag.clone().expect("a document that was put together has a tag");
    // A response that is compressed on its way has a weak ETag.
    let is_known = |known: &str| {
        let known = known.trim();
        known == "*" || known.trim_start_matches("W/").as_bytes() == etag.as_bytes()
    };
    let mut known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|known| known.to_str().ok());
    if known.any(|known| known.split(',').any(is_known)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response();
    }
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json), (header::ETAG, etag)], latest.text.clone()).into_response()
}

impl Document {
    async fn current(&self) -> Arc<Latest> {
        let latest = Arc::clone(&self.latest.lock());
        let generation = self.plugins.generation();
        let nothing = Parts::new();
        // A part was checked against the routes of its generation.
        let known = if latest.generation == generation { &latest.parts } else { &nothing };
        let answers = self.plugins.collect(parts::TOPIC, parts::question(known, self.described_max)).await;
        let told = parts::read(answers, known, &*self.plugins);
        if latest.tag.is_some() && latest.generation == generation && parts::are_same(&latest.parts, &told) {
            return latest;
        }
        let made = Arc::new(self.put_together(generation, told));
        *self.latest.lock() = Arc::clone(&made);
        made
    }

    fn put_together(&self, generation: u64, parts: Parts) -> Latest {
        let (described, schemas) = parts::together(&parts);
        let routes = self.own.iter().cloned().chain(self.plugins.described()).chain(described);
        let text = assemble(routes, schemas).to_string();
        let tag = format!("\"{}\"", hex(&Sha256::digest(text.as_bytes())[..16]));
        let tag = HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes are a header's value");
        Latest { generation, parts, text: text.into(), tag: Some(tag) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Assembles the document of these routes. Of two routes with the same path and method, the first is kept.
fn assemble(routes: impl Iterator<Item = DescribedRoute>, mut schemas: Map<String, Json>) -> Json {
    schemas.insert("Error".to_owned(), complete::error_schema());
    generators::adapt_all(&mut schemas);
    let mut paths = Map::new();
    let mut ids = BTreeSet::new();
    for route in routes {
        let path = route.path.replace("{*", "{");
        let method = route.method.as_str().to_ascii_lowercase();
        let item = paths.entry(path).or_insert_with(|| json!({}));
        if item.get(&method).is_none() {
            let mut operation = complete::complete(&route);
            generators::adapt_operation(&mut operation);
            make_unique(&mut operation, &mut ids);
            named::name_schemas(&mut operation, &mut schemas);
            item[method] = operation;
        }
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
            "schemas": schemas,
            "responses": complete::responses(),
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

/// Makes operation ids unique with a number, because clients name their methods by them.
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

    fn assemble_alone(routes: impl Iterator<Item = DescribedRoute>) -> Json {
        assemble(routes, Map::new())
    }

    #[test]
    fn what_a_route_leaves_out_is_added() {
        let document = assemble_alone([route(Method::GET, "/api/notes/{id}/{*rest}", json!({}))].into_iter());
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
        let document = assemble_alone([route(Method::PATCH, "/api/notes/{id}", own)].into_iter());
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
        let document = assemble_alone(routes.into_iter());
        let id = |path: &str| document["paths"][path]["get"]["operationId"].clone();
        assert_eq!([id("/api/a"), id("/api/b"), id("/api/c")], ["listNotes", "listNotes2", "listNotes3"]);
    }
}
