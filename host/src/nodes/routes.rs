//! `GET /api/admin/nodes`: lists the nodes that serve the database. It changes nothing.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::Nodes;
use crate::{
    error::ApiError,
    http::{
        Access, HostRoutes,
        extract::json_response,
        operation::{operation, schema},
    },
};

/// The scope that an application token needs to list the nodes.
const READ: &str = "admin:nodes:read";

/// Adds the route.
pub fn routes(own: &mut HostRoutes, nodes: Arc<Nodes>) {
    own.with(nodes).route(Method::GET, "/api/admin/nodes", Access::viewer(READ), list, list_operation());
}

async fn list(State(nodes): State<Arc<Nodes>>) -> Result<Response, ApiError> {
    let answer = json!({"nodes": nodes.list().await?, "extension_rights": nodes.extension_rights().name()});
    Ok(json_response(StatusCode::OK, &answer))
}

fn list_operation() -> Json {
    let node = schema::object(&[
        ("id", schema::id()),
        ("name", schema::text()),
        ("address", schema::text()),
        ("version", schema::text()),
        ("started_at", schema::time()),
        ("seen_at", schema::time()),
        ("uptime_seconds", schema::integer(0)),
        ("is_self", schema::flag()),
    ]);
    let nodes = schema::object(&[
        ("nodes", schema::list(schema::named("Node", node))),
        ("extension_rights", schema::one_of(&["authorizer", "roles", "text"])),
    ]);
    operation("listNodes", "administration", "The nodes that serve this database")
        .describe(
            "The longest-serving first; `is_self` is the one that answers. One that ends leaves the list at once, one that \
             is lost after `node.timeout_ms`. `extension_rights` is what keeps extensions' statements to their own tables: \
             SQLite's `authorizer`, `roles` of PostgreSQL and the text of statements, or where the server lets no roles be \
             made the `text` alone.",
        )
        .answers(200, "The nodes.", nodes)
        .into()
}
