//! The parameters and bodies of each route: a fresh object for every call, so that no call depends on an earlier one.
//! It knows every route; an unknown route gets no row.

use serde_json::{Value as Json, json};
use tinybase_tests::site::PASSWORD;

use super::people::{World, email, id_of};

/// A request without its sender.
pub struct Subject {
    /// The path with its parameters filled in.
    pub path: String,
    /// The body; empty if there is none.
    pub body: String,
}

/// Returns whether the route may end the caller's session.
pub fn may_end_the_session(method: &str, pattern: &str) -> bool {
    method != "GET" && ["/logout", "/sessions", "/me"].iter().any(|part| pattern.ends_with(part))
}

/// Returns the request for a route, if the route is known.
pub fn of(world: &mut World<'_>, method: &str, pattern: &str) -> Option<Subject> {
    let path = filled(world, method, pattern)?;
    let body = match method {
        "GET" => None,
        "DELETE" => body(world, method, pattern),
        _ => Some(body(world, method, pattern)?),
    };
    Some(Subject { path, body: body.map(|body| body.to_string()).unwrap_or_default() })
}

/// Returns the path, with a fresh object as its parameter.
fn filled(world: &mut World<'_>, method: &str, pattern: &str) -> Option<String> {
    let name = match (method, pattern) {
        ("DELETE", "/api/collections/{name}") => {
            let name = format!("passing_{}", world.next());
            world.add_collection(&name);
            name
        }
        // Must not delete what later calls need.
        ("DELETE", "/api/admin/extensions/{name}") => "absent".to_owned(),
        (_, path) if path.contains("/extensions/{name}") => "collections".to_owned(),
        _ => "things".to_owned(),
    };
    let id = match pattern.split_once("/{id}").map(|(above, _)| above) {
        None => String::new(),
        Some("/api/collections/{name}/records") => new_record(world),
        Some("/api/admin/users") => new_user(world),
        Some("/api/admin/application-tokens") => new_token(world),
        Some("/api/auth/sessions") => new_session(world),
        Some(_) => return None,
    };
    let path = pattern.replace("{name}", &name).replace("{id}", &id);
    let path = path.replace("{hash}", &"0".repeat(16)).replace("{file}", "page.js");
    (!path.contains('{')).then_some(path)
}

fn new_record(world: &World<'_>) -> String {
    let record = json!({"data": {"title": "one"}});
    id_of(&world.person("user").post("/api/collections/things/records", &record).expect(201))
}

fn new_user(world: &mut World<'_>) -> String {
    let account = json!({"email": email(&format!("made-{}", world.next())), "password": PASSWORD});
    id_of(&world.person("admin").post("/api/admin/users", &account).expect(201))
}

fn new_token(world: &mut World<'_>) -> String {
    let wanted = json!({"name": format!("made {}", world.next())});
    let made = world.person("admin").post("/api/admin/application-tokens", &wanted).expect(201);
    id_of(&made["token"])
}

/// Creates another session of `user`.
fn new_session(world: &World<'_>) -> String {
    let elsewhere = world.server.client().signed_in(&email("user"));
    let sessions = elsewhere.get("/api/auth/sessions").expect(200);
    let own = sessions["sessions"].as_array().unwrap().iter().find(|session| session["current"] == true);
    id_of(own.unwrap())
}

fn body(world: &mut World<'_>, method: &str, pattern: &str) -> Option<Json> {
    if let Some(rest) = pattern.strip_prefix("/api/auth/") {
        return body_of_accounts(world, method, rest);
    }
    let number = world.next();
    Some(match (method, pattern) {
        ("POST", "/api/admin/users") => {
            json!({"email": email(&format!("new-{number}")), "password": PASSWORD})
        }
        ("PATCH", "/api/admin/users/{id}") => json!({"email": email(&format!("changed-{number}"))}),
        ("POST", "/api/admin/application-tokens") => json!({"name": format!("new {number}")}),
        ("PATCH", "/api/admin/application-tokens/{id}") => json!({"name": format!("changed {number}")}),
        ("PATCH", "/api/admin/settings") => json!({"instance_name": format!("name {number}")}),
        ("POST", "/api/admin/extensions") => json!({"source": "collections", "dry_run": true}),
        ("POST", "/api/admin/extensions/{name}/rollback" | "/api/admin/extensions/verify") => json!({}),
        ("PATCH", "/api/admin/extensions/{name}") => json!({"is_enabled": true}),
        ("POST", "/api/collections") => {
            json!({"name": format!("made_{number}"), "label": "Made", "schema": {"fields": []}})
        }
        ("PATCH", "/api/collections/{name}") => json!({"label": format!("Things {number}")}),
        ("POST", "/api/collections/batch") => {
            json!({"operations": [{"op": "create", "collection": "things", "data": {"title": "one"}}]})
        }
        ("POST" | "PATCH" | "PUT", path) if path.starts_with("/api/collections/{name}/records") => {
            json!({"data": {"title": "other"}})
        }
        _ => return None,
    })
}

/// Returns the body for a route below `/api/auth`.
fn body_of_accounts(world: &mut World<'_>, method: &str, rest: &str) -> Option<Json> {
    let user = json!({"email": email("user"), "password": PASSWORD});
    Some(match (method, rest) {
        ("POST", "register") => {
            json!({"email": email(&format!("new-{}", world.next())), "password": PASSWORD})
        }
        ("POST", "login") => user,
        ("POST", "refresh" | "logout") => json!({}),
        ("PATCH", "me") => json!({"current_password": PASSWORD, "password": PASSWORD}),
        ("POST", "password-reset/request" | "login-link/request") => json!({"email": email("user")}),
        ("POST", "password-reset/confirm") => json!({"token": "none", "password": PASSWORD}),
        ("POST", "login-link/confirm") => json!({"token": "none"}),
        ("POST", "mfa/totp/enrol") => json!({"password": PASSWORD}),
        ("POST", "mfa/totp/confirm") => json!({"code": "000000"}),
        ("POST", "mfa/verify") => json!({"mfa_ticket": "none", "code": "000000"}),
        ("POST", "mfa/recovery-codes") | ("DELETE", "mfa/totp") => {
            json!({"password": PASSWORD, "code": "000000"})
        }
        _ => return None,
    })
}
