//! The test setup: a host with the extension and a folder for files, and the operations on both.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tinybase_collections::plugin::Collections;
use tinybase_plugin_api::testkit::TestHost;

pub(crate) struct Bench {
    pub(crate) host: TestHost<Collections>,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench { host: TestHost::start(env!("CARGO_MANIFEST_DIR")), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn make(&self, name: &str, fields: &Value) {
        let access = json!({"create": "public", "update": "public", "delete": "public"});
        let body =
            json!({"name": name, "label": name, "schema": {"fields": fields}, "options": {"access": access}});
        let answer = self.host.post("/api/collections").admin().json(&body).send();
        assert_eq!(answer.status(), 201, "{}", answer.json());
    }

    pub(crate) fn create(&self, collection: &str, data: &Value) -> Value {
        let target = format!("/api/collections/{collection}/records");
        let answer = self.host.post(&target).user("u1").json(&json!({"data": data})).send();
        assert_eq!(answer.status(), 201, "{}", answer.json());
        answer.json()
    }

    /// Returns every record, the oldest first.
    pub(crate) fn records(&self, collection: &str) -> Vec<Value> {
        let target = format!("/api/collections/{collection}/records?sort_order=asc&limit=1000");
        self.host.get(&target).admin().send().json()["records"].as_array().unwrap().clone()
    }

    pub(crate) fn data(&self, collection: &str) -> Vec<Value> {
        self.records(collection).iter().map(|record| record["data"].clone()).collect()
    }

    /// Imports text as a file with this name; returns the exit code and the printed errors. A refusal returns 1.
    pub(crate) fn import(
        &self,
        collection: &str,
        file: &str,
        text: impl AsRef<[u8]>,
        more: Value,
    ) -> (u32, Vec<String>) {
        fs::write(self.path(file), text).unwrap();
        let mut arguments = json!({"name": collection, "file": self.path(file)});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        match self.host.command("import", &arguments) {
            Ok(outcome) => (outcome.exit_code, outcome.errors),
            Err(fault) => (1, vec![fault.message().to_owned()]),
        }
    }

    pub(crate) fn types(&self, collection: &str) -> Vec<(String, String)> {
        let schema =
            self.host.get(&format!("/api/collections/{collection}")).admin().send().json()["schema"].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        schema["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| (text(&field["name"]), text(&field["type"])))
            .collect()
    }
}

/// A file format.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) format: &'static str,
    pub(crate) delimiter: Option<&'static str>,
    pub(crate) whole: bool,
}

impl Bench {
    /// Exports a collection and imports the file into a copy of it, which must then be equal.
    pub(crate) fn round_trip(&self, collection: &str, fields: &Value, form: &Form) {
        let (file, copy) = (self.path("export"), "copy");
        let mut arguments =
            json!({"name": collection, "file": file, "format": form.format, "whole": form.whole});
        if let Some(delimiter) = form.delimiter {
            arguments["delimiter"] = delimiter.into();
        }
        assert_eq!(self.host.command("export", &arguments).unwrap().exit_code, 0);
        self.make(copy, fields);
        arguments["name"] = copy.into();
        let outcome = self.host.command("import", &arguments).unwrap();
        assert_eq!(outcome.exit_code, 0, "{collection} {form:?}: {:?}", outcome.errors);
        let own = ["id", "owner_id", "created_at", "updated_at"];
        let parts = || own.iter().filter(|_| form.whole).chain(&["data"]);
        let told = |record: &Value| parts().map(|part| record[part].clone()).collect::<Vec<_>>();
        let [before, after] =
            [collection, copy].map(|name| self.records(name).iter().map(told).collect::<Vec<_>>());
        assert_eq!(after, before, "{collection} {form:?}");
        let deleted = self.host.request("DELETE", "/api/collections/copy").admin().send();
        assert_eq!(deleted.status(), 204);
    }
}

pub(crate) fn none() -> Value {
    json!({})
}
