//! The data for hostile requests: collections that anyone may read and change, with few records of the maximum size and
//! many small ones. It is filled over HTTP and by import, as any user would.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::bench::data;
use crate::bench::tinybase::{Served, Site};
use crate::raw_http::{self, Connection, Origin};
use crate::step;

use super::ANSWER_WAIT_MAX;

/// Characters of the largest text: a record of nearly the largest size.
const TEXT_CHARS: usize = 1_000_000;
/// The number of records of that size.
const LARGE: usize = 20;
/// The number of records that reference one of them, each ten times.
const REFERRING: usize = 200;
/// The number of references of each.
pub(super) const REFERENCES: usize = 10;

/// The data in the server.
pub(crate) struct Stock {
    /// The id of one large record.
    pub(super) large: String,
    /// A text of [`TEXT_CHARS`] letters.
    pub(super) text: String,
}

impl Stock {
    /// Fills a fresh server's folder, with `many` small records, then serves it.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn fill(site: &Site, folder: &Path, many: u32) -> Result<Self> {
        let file = folder.join("data/many.ndjson");
        data::write_wide_records(&file, many)?;
        step::run("fill the collection many", site.command(&["collections", "import", "many"]).arg(&file))?;
        let served = site.serve_with(&[("TINYBASE_RATE_LIMIT_ENABLED", "false")])?;
        let stock = Self::create(&served)?;
        served.process.stop()?;
        Ok(stock)
    }

    fn create(served: &Served) -> Result<Self> {
        let admin = Admin { port: served.port, token: served.sign_in()? };
        admin.collection(
            "large",
            json!([{ "name": "s", "type": "string" }, { "name": "n", "type": "integer" }]),
        )?;
        let references: Vec<_> = (0..REFERENCES)
            .map(|at| json!({ "name": format!("r{at}"), "type": "reference", "collection": "large" }))
            .collect();
        admin.collection("referring", references.into())?;
        // In any engine without backtracking, no repetition in a pattern is more expensive than these.
        let pattern = "[^x]{1,100}[^y]{1,100}z";
        admin.collection("matched", json!([{ "name": "s", "type": "string", "pattern": pattern }]))?;
        admin.collection("ordinary", json!([{ "name": "n", "type": "integer", "index": true }]))?;
        let rules = json!({ "options": { "access": {
            "list": "public", "read": "public", "create": "public", "update": "public", "delete": "public" } } });
        admin.send("PATCH", "/collections/many", &rules)?;
        let text = "a".repeat(TEXT_CHARS);
        let large = admin.create("large", &json!({ "s": text }))?;
        for _ in 1..LARGE {
            admin.create("large", &json!({ "s": text }))?;
        }
        let data: Value = (0..REFERENCES).map(|at| (format!("r{at}"), Value::from(large.as_str()))).collect();
        for _ in 0..REFERRING {
            admin.create("referring", &data)?;
        }
        Ok(Self { large, text })
    }
}

/// The client that fills the server.
pub(crate) struct Admin {
    pub(crate) port: u16,
    pub(crate) token: String,
}

impl Admin {
    /// Creates a collection in which anyone may do anything.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn collection(&self, name: &str, fields: Value) -> Result<()> {
        let access = json!({
            "list": "public", "read": "public", "create": "public", "update": "public", "delete": "public",
        });
        let collection = json!({
            "name": name, "label": name, "schema": { "fields": fields }, "options": { "access": access },
        });
        self.send("POST", "/collections", &collection).map(drop)
    }

    /// Creates a record and returns its id.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn create(&self, collection: &str, data: &Value) -> Result<String> {
        let record =
            self.send("POST", &format!("/collections/{collection}/records"), &json!({ "data": data }))?;
        record["id"].as_str().map(str::to_owned).context("a record has an id")
    }

    /// Sends a request and returns the response's body, null if it is empty.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let request = match body {
            Value::Null => raw_http::with_method(method, &format!("/api{path}")),
            body => raw_http::with_json(method, &format!("/api{path}"), &body.to_string()),
        };
        let request = raw_http::with_token(&request, &self.token);
        let mut connection = Connection::open(Origin::new(raw_http::ORDINARY, ANSWER_WAIT_MAX), self.port)?;
        let mut text = Vec::new();
        let status = connection.send_into(&request, &mut text)?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {}", String::from_utf8_lossy(&text));
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_slice(&text)? })
    }
}
