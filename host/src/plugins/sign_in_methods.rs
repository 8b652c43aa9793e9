//! The list of sign-in methods: the password, and what extensions offer through the service `identity@1`. An
//! extension's response is never trusted, and an extension that fails or hangs is left out. Never signs
//! anybody in.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tinybase_abi::{bytes::Bytes, error::RawError};

use super::{Plugins, generation::Service};
use crate::{
    http::{Access, HostRoutes, extract::json_response},
    isolation::Work,
};

/// The service through which an extension offers sign-in methods, and its major version.
const SERVICE: (&str, u16) = ("identity", 1);

/// How long an extension may take to return its sign-in methods. A login page waits for it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// The maximum number of methods per extension.
const METHODS_MAX: usize = 16;
const ID_BYTES_MAX: usize = 40;
const LABEL_CHARS_MAX: usize = 80;
const URL_BYTES_MAX: usize = 2048;

/// A sign-in method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SignInMethod {
    id: String,
    label: String,
    #[serde(default)]
    start_url: Option<String>,
}

impl SignInMethod {
    fn fault(&self) -> Option<&'static str> {
        let is_id =
            |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"_-".contains(&letter);
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX || !self.id.bytes().all(is_id) {
            return Some("an id is made of a-z, 0-9, _ and -");
        }
        let label = self.label.trim();
        if label.is_empty() || label.chars().count() > LABEL_CHARS_MAX || label.contains(char::is_control) {
            return Some("a label is one line of text");
        }
        let is_url = |url: &String| {
            let is_path = url.starts_with('/') && !url.starts_with("//") && !url.starts_with("/\\");
            let printable = url.bytes().all(|byte| byte.is_ascii_graphic());
            (is_path || url.starts_with("https://")) && printable && url.len() <= URL_BYTES_MAX
        };
        (!self.start_url.iter().all(is_url)).then_some("a start_url is a path of this server or an https URL")
    }
}

/// Adds the route that lists the sign-in methods.
pub fn routes(own: &mut HostRoutes, plugins: Arc<Plugins>) {
    own.with(plugins).route(Method::GET, "/api/auth/methods", Access::OPEN, list, operation());
}

async fn list(State(plugins): State<Arc<Plugins>>) -> Response {
    let mut methods = vec![SignInMethod { id: "password".into(), label: "Password".into(), start_url: None }];
    for offered in plugins.offered_methods().await {
        if !methods.iter().any(|known| known.id == offered.id) {
            methods.push(offered);
        }
    }
    json_response(StatusCode::OK, &json!({"methods": methods}))
}

impl Plugins {
    async fn offered_methods(&self) -> Vec<SignInMethod> {
        let generation = self.shared.current.load_full();
        let timeout = ANSWER_TIME_MAX.min(self.shared.limits.call_timeout);
        let asked = generation.services_of(SERVICE.0, SERVICE.1).iter().map(async |service| {
            let answer = ask(service, timeout).await;
            let told = answer.and_then(|answer| read(&answer));
            told.unwrap_or_else(|problem| {
                let plugin = service.plugin.name();
                tracing::warn!(plugin, "its ways to sign in are left out of the list: {problem}");
                Vec::new()
            })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

async fn ask(service: &Service, timeout: Duration) -> Result<Bytes, String> {
    let words = |error: RawError| error.words().message;
    let offered = service.plugin.offered().ok_or("it offers no services")?;
    let position = service.position;
    let call = move || offered.call(position, "methods", Bytes::from("{}"));
    service.plugin.bounded(timeout, Work::Service, call).await.map_err(words)
}

fn read(answer: &[u8]) -> Result<Vec<SignInMethod>, String> {
    let methods: Vec<SignInMethod> = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if methods.len() > METHODS_MAX {
        return Err(format!("there are more than {METHODS_MAX}"));
    }
    match methods.iter().find_map(SignInMethod::fault) {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(methods),
    }
}

fn operation() -> Json {
    let method = json!({
        "type": "object",
        "required": ["id", "label", "start_url"],
        "properties": {
            "id": {"type": "string"},
            "label": {"type": "string"},
            "start_url": {"type": ["string", "null"], "description": "Where it begins; null for the password"},
        },
    });
    let answer = json!({
        "type": "object",
        "required": ["methods"],
        "properties": {"methods": {"type": "array", "items": method}},
    });
    json!({
        "operationId": "listSignInMethods",
        "summary": "The ways to sign in: the password, and what extensions offer",
        "tags": ["accounts"],
        "responses": {"200": {
            "description": "Every way, the password first",
            "content": {"application/json": {"schema": answer}},
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_never_believed() {
        let one = |id: &str, label: &str, url: Json| {
            read(json!([{"id": id, "label": label, "start_url": url}]).to_string().as_bytes())
        };
        assert!(one("google", "Sign in with Google", json!("/api/oauth/google/start")).is_ok());
        assert!(one("code", "One-time code", Json::Null).is_ok());
        assert!(one("sso", "Company", json!("https://sso.example.org/start?x=1")).is_ok());
        for url in
            ["javascript:alert(1)", "//evil.example", "/\\evil.example", "http://x", "", "/a b", "https://é"]
        {
            assert!(one("x", "X", json!(url)).is_err(), "{url}");
        }
        for (id, label) in [("", "X"), ("X", "X"), ("a b", "X"), ("x", ""), ("x", " "), ("x", "a\nb")] {
            assert!(one(id, label, Json::Null).is_err(), "{id:?} {label:?}");
        }
        assert!(
            one(&"x".repeat(41), "X", Json::Null).is_err() && one("x", &"é".repeat(81), Json::Null).is_err()
        );
        let many = vec![json!({"id": "x", "label": "X"}); METHODS_MAX + 1];
        assert!(read(Json::from(many).to_string().as_bytes()).is_err());
        for other in ["", "{}", "null", "[1]", "[{\"id\": \"x\"}]"] {
            assert!(read(other.as_bytes()).is_err(), "{other}");
        }
    }
}
