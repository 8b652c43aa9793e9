//! Adds what all operations of the document have in common: path parameters, access, and the responses that every route
//! may return. It never overrides what the route itself defines.

use http::Method;
use serde_json::{Value as Json, json};

use super::DescribedRoute;
use crate::http::RouteAuth;

/// The responses of any route: status and meaning.
const ANY: &[(&str, &str)] = &[
    ("400", "The request cannot be read, or goes against a rule."),
    ("404", "There is nothing under this path, or nothing that the caller may know of."),
    ("405", "The path does not take this method."),
    ("408", "The request did not arrive within its time."),
    ("422", "Some of what was sent does not fit; every fault is named."),
    ("429", "Asked too often; `Retry-After` says how long to wait, in seconds."),
    ("500", "An error of the server's own; its log tells more under the answer's `X-Request-Id`."),
    ("503", "The server has too much to do at the moment; `Retry-After` says when to ask again."),
    ("504", "The request took longer than it may."),
];

/// The responses of the protocol layer before routing, without a body.
const BODILESS: &[(&str, &str)] = &[
    (
        "414",
        "The address is too long. Where its path alone is, the body is that of an error; otherwise there is none.",
    ),
    ("431", "The head of the request is too large. There is no body."),
];

/// The additional responses of a route that reads a token.
const SIGNED: &[(&str, &str)] = &[
    ("401", "No token was sent where one is needed, or it does not hold."),
    ("403", "The caller may not do this."),
];

/// The additional responses of a route with a body.
const WITH_BODY: &[(&str, &str)] = &[
    ("413", "The body is larger than it may be."),
    ("415", "The body is of a kind that the route does not take."),
];

/// Returns the operation with everything that it left out.
pub(super) fn complete(route: &DescribedRoute) -> Json {
    let mut operation = match &route.operation {
        Json::Object(_) => route.operation.clone(),
        _ => json!({}),
    };
    if !operation["operationId"].is_string() {
        operation["operationId"] = operation_id(&route.method, &route.path).into();
    }
    if !operation["tags"].is_array() {
        operation["tags"] = json!([tag(&route.path)]);
    }
    add_parameters(&mut operation, &route.path);
    add_access(&mut operation, route);
    add_answers(&mut operation, route);
    operation
}

/// Returns the schema of every error.
pub(super) fn error_schema() -> Json {
    let fault = json!({
        "type": "object",
        "required": ["loc", "msg", "type"],
        "properties": {
            "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
            "msg": {"type": "string"},
            "type": {"type": "string"},
        },
    });
    json!({
        "title": "Error",
        "type": "object",
        "required": ["detail", "code"],
        "properties": {
            "detail": {
                "description": "One sentence, or every fault with its place.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": fault}],
            },
            "code": {"type": "string", "description": "A stable word for the kind of error."},
            "details": {"type": "object", "description": "More, for programs."},
        },
    })
}

/// Returns the default operation id: `GET /api/notes/{id}` is `getNotesById`.
fn operation_id(method: &Method, path: &str) -> String {
    let mut id = method.as_str().to_ascii_lowercase();
    for segment in segments(path).skip_while(|segment| *segment == "api") {
        let (by, word) = parameter(segment).map_or(("", segment), |name| ("By", name));
        id.push_str(by);
        for part in word.split(|letter: char| !letter.is_ascii_alphanumeric()) {
            let mut letters = part.chars();
            id.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            id.extend(letters);
        }
    }
    id
}

/// Returns the default group of a route: its first word below `/api`.
fn tag(path: &str) -> &str {
    segments(path).find(|segment| !["api", "admin"].contains(segment)).unwrap_or("system")
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// Returns the name of a segment that is a parameter.
fn parameter(segment: &str) -> Option<&str> {
    Some(segment.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*'))
}

fn add_parameters(operation: &mut Json, path: &str) {
    let known = operation["parameters"].as_array().cloned().unwrap_or_default();
    let is_known = |name: &str| known.iter().any(|known| known["in"] == "path" && known["name"] == name);
    let missing = segments(path).filter_map(parameter).filter(|name| !is_known(name)).map(|name| {
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
    });
    let all: Vec<Json> = missing.chain(known.iter().cloned()).collect();
    if !all.is_empty() {
        operation["parameters"] = all.into();
    }
}

fn add_access(operation: &mut Json, route: &DescribedRoute) {
    let auth = route.access.auth;
    let security = if auth.needs_caller() {
        json!([{"bearer": []}])
    } else if auth == RouteAuth::Anyone {
        // With a token or without.
        json!([{}, {"bearer": []}])
    } else {
        json!([])
    };
    // A route that reads a token itself defines its own.
    if operation["security"].is_null() {
        operation["security"] = security;
    }
    operation["x-tinybase-auth"] = auth.name().into();
    if !route.access.scope.is_empty() {
        operation["x-tinybase-scope"] = Json::from(&*route.access.scope);
    }
}

fn add_answers(operation: &mut Json, route: &DescribedRoute) {
    let mut responses = operation["responses"].as_object().cloned().unwrap_or_default();
    if !responses.keys().any(|status| status.starts_with('2')) {
        responses.insert("200".to_owned(), json!({"description": "Done."}));
    }
    let reads_token = route.access.auth != RouteAuth::Open;
    let has_body = ![Method::GET, Method::HEAD, Method::DELETE].contains(&route.method);
    let signed = SIGNED.iter().filter(|_| reads_token);
    let with_body = WITH_BODY.iter().filter(|_| has_body);
    for (status, _) in ANY.iter().chain(BODILESS).chain(signed).chain(with_body) {
        responses
            .entry(*status)
            .or_insert_with(|| json!({"$ref": format!("#/components/responses/Any{status}")}));
    }
    operation["responses"] = Json::Object(responses);
}

/// Returns the shared responses of all routes, such as `Any404`.
pub(super) fn responses() -> Json {
    let error = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
    let told = ANY.iter().chain(SIGNED).chain(WITH_BODY);
    let with_error = told.map(|(status, about)| (status, json!({"description": about, "content": error})));
    let without = BODILESS.iter().map(|(status, about)| (status, json!({"description": about})));
    let all = with_error.chain(without).map(|(status, response)| (format!("Any{status}"), response));
    Json::Object(all.collect())
}
