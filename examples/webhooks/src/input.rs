//! Validates a client's input for a hook. Every error names its field. It stores nothing.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use tinybase_plugin_api::prelude::*;

use crate::hook::Hook;

const URL_BYTES_MAX: usize = 2048;
const DESCRIPTION_CHARS_MAX: usize = 500;
const COLLECTIONS_MAX: usize = 100;
const HEADERS_MAX: usize = 10;
const HEADER_BYTES_MAX: usize = 1024;
/// Headers that the delivery sets itself.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// A field that may be missing (`None`) or null (`Some(None)`), which are different.
type Field<T> = Option<Option<T>>;

/// The fields that a client may send. A missing field leaves the value unchanged. Only `collections` and `headers`
/// may be null.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Input {
    #[serde(deserialize_with = "given")]
    url: Field<String>,
    #[serde(deserialize_with = "given")]
    description: Field<String>,
    // Null means all collections.
    #[serde(deserialize_with = "given")]
    collections: Field<Vec<String>>,
    #[serde(deserialize_with = "given")]
    events: Field<Vec<String>>,
    // Merged into the existing headers: null removes one header, or all of them.
    #[serde(deserialize_with = "given")]
    headers: Field<BTreeMap<String, Option<String>>>,
    #[serde(deserialize_with = "given")]
    include_record: Field<bool>,
    #[serde(deserialize_with = "given")]
    is_active: Field<bool>,
}

fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Field<T>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

/// Merges headers into others, like a JSON merge patch. Names ignore case.
fn lay_over(headers: &mut Vec<(String, String)>, changes: BTreeMap<String, Option<String>>) {
    for (name, value) in changes {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        headers.extend(value.map(|value| (name, value)));
    }
    headers.sort();
}

/// Returns whether all names are different, ignoring case.
fn are_different<'a>(names: impl Iterator<Item = &'a String>) -> bool {
    let mut seen = BTreeSet::new();
    names.into_iter().all(|name| seen.insert(name.to_ascii_lowercase()))
}

/// The errors found so far.
#[derive(Default)]
struct Faults(Vec<Json>);

impl Faults {
    fn check(&mut self, holds: bool, field: &str, message: &str) {
        if !holds {
            self.0.push(json!({"loc": ["body", field], "msg": message, "type": "value_error"}));
        }
    }
}

impl Input {
    /// Applies the fields to a hook.
    ///
    /// # Errors
    /// 422 `webhook_invalid` with every error.
    pub(crate) fn put_into(self, hook: &mut Hook) -> Result<()> {
        let mut faults = Faults::default();
        self.check(&mut faults);
        hook.url = self.url.flatten().unwrap_or(std::mem::take(&mut hook.url));
        faults.check(!hook.url.is_empty(), "url", "it is required");
        hook.description = self.description.flatten().unwrap_or(std::mem::take(&mut hook.description));
        if let Some(collections) = self.collections {
            hook.collections = collections.filter(|names| !names.is_empty());
        }
        hook.events = self.events.flatten().unwrap_or(std::mem::take(&mut hook.events));
        match self.headers {
            Some(Some(changes)) => lay_over(&mut hook.headers, changes),
            Some(None) => hook.headers.clear(),
            None => {}
        }
        faults.check(hook.headers.len() <= HEADERS_MAX, "headers", "there are 10 at most");
        hook.include_record = self.include_record.flatten().unwrap_or(hook.include_record);
        let was_active = hook.is_active;
        hook.is_active = self.is_active.flatten().unwrap_or(was_active);
        if hook.is_active && !was_active {
            hook.forget_failures();
        }
        if faults.0.is_empty() {
            return Ok(());
        }
        Err(Error::unprocessable("webhook_invalid", "the hook has faults")
            .with_details(Json::Array(faults.0)))
    }

    fn check(&self, faults: &mut Faults) {
        for (field, is_null) in [
            ("url", self.url == Some(None)),
            ("description", self.description == Some(None)),
            ("events", self.events == Some(None)),
            ("include_record", self.include_record == Some(None)),
            ("is_active", self.is_active == Some(None)),
        ] {
            faults.check(!is_null, field, "it may not be null: leave it out, and it stays as it is");
        }
        if let Some(Some(url)) = &self.url {
            let message =
                "it is an absolute http or https URL without user, password and fragment, 2048 bytes at most";
            faults.check(is_url(url), "url", message);
        }
        if let Some(Some(description)) = &self.description {
            let fits = description.chars().count() <= DESCRIPTION_CHARS_MAX && !description.contains('\0');
            faults.check(fits, "description", "it has 500 characters at most, and no NUL");
        }
        if let Some(Some(names)) = &self.collections {
            let fit = names.len() <= COLLECTIONS_MAX && names.iter().all(|name| is_collection(name));
            faults.check(
                fit,
                "collections",
                "they are names of collections, 100 at most; null or none is all of them",
            );
        }
        if let Some(Some(events)) = &self.events {
            let known = |event: &String| matches!(event.as_str(), "create" | "update" | "delete");
            let fit = !events.is_empty() && events.len() <= 3 && events.iter().all(known);
            faults.check(fit, "events", "they are one or more of create, update and delete");
        }
        if let Some(Some(headers)) = &self.headers {
            let fits = |(name, value): (&String, &Option<String>)| {
                is_header(name, value.as_deref().unwrap_or_default())
            };
            let fit = headers.iter().all(fits) && are_different(headers.keys());
            let message = "a name is letters, digits and -, none of the delivery's own such as content-type or webhook-id, and comes \
                           once; a value is up to 1024 visible characters, or null to take the header away";
            faults.check(fit, "headers", message);
        }
    }
}

fn is_url(url: &str) -> bool {
    let Ok(parsed) = url.parse::<http::Uri>() else { return false };
    let is_http = matches!(parsed.scheme_str(), Some("http" | "https"));
    let names_server = parsed
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    is_http && names_server && url.len() <= URL_BYTES_MAX && !url.contains('#')
}

fn is_collection(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_header(name: &str, value: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let is_name = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !lower.starts_with("webhook-")
        && !RESERVED.contains(&lower.as_str());
    is_name && value.len() <= HEADER_BYTES_MAX && value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}
