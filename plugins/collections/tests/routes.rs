//! The routes, as data: each `tests/cases/*.case` is a conversation with a fresh extension, the same on SQLite and
//! PostgreSQL.
//!
//! ```text
//! # a comment
//! admin POST /api/collections          who (anon, admin, editor, or a user's id), method, target
//! > if-match: "1-abc"                  headers
//! {"name": …}                          a body, on one line
//! < 201 {"id": "$id", …}               the status and, where it matters, the whole body
//! ```
//! In an expected body `"$name"` matches any value and stores it for later use, in requests too; `"$_"` matches any
//! value; `"…"` as an object's last member allows further members. `UPDATE_EXPECT=1` writes the actual responses into
//! the file.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::{collections::HashMap, fs, path::Path};

use serde_json::Value;
use tinybase_collections::plugin::Collections;
use tinybase_plugin_api::testkit::TestHost;

struct Talk {
    host: TestHost<Collections>,
    names: HashMap<String, String>,
}

impl Talk {
    fn fill(&self, text: &str) -> String {
        let mut parts = text.split('$');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|char: char| !char.is_ascii_alphanumeric()).unwrap_or(part.len());
            match self.names.get(&part[..end]) {
                Some(value) => out.push_str(value),
                None => out.extend(["$", &part[..end]]),
            }
            out.push_str(&part[end..]);
        }
        out
    }

    fn say(
        &self,
        who: &str,
        method: &str,
        target: &str,
        headers: &[String],
        body: &str,
    ) -> (u16, String, String) {
        let mut request = self.host.request(method, &self.fill(target));
        request = match who {
            "anon" => request,
            "admin" => request.admin(),
            "editor" => request.role("e1", "editor"),
            user => request.user(user),
        };
        for header in headers {
            let (name, value) = header.split_once(": ").expect("a header is name: value");
            request = request.header(name, &self.fill(value));
        }
        let answer = request.body(self.fill(body)).send();
        let tag = answer.header("etag").unwrap_or_default().to_owned();
        (answer.status(), String::from_utf8(answer.body().to_vec()).unwrap(), tag)
    }

    fn fits(&mut self, expected: &Value, found: &Value) -> bool {
        match (expected, found) {
            (Value::String(name), _) if name == "$_" => true,
            (Value::String(name), found) if name.starts_with('$') => {
                let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
                *self.names.entry(name[1..].to_owned()).or_insert_with(|| text.clone()) == text
            }
            (Value::Array(expected), Value::Array(found)) => {
                expected.len() == found.len()
                    && expected.iter().zip(found).all(|(expected, found)| self.fits(expected, found))
            }
            (Value::Object(expected), Value::Object(found)) => {
                let open = expected.contains_key("…");
                let names = expected.keys().filter(|name| *name != "…");
                let all = names
                    .clone()
                    .all(|name| found.get(name).is_some_and(|found| self.fits(&expected[name], found)));
                all && (open || names.count() == found.len())
            }
            _ => expected == found,
        }
    }
}

fn run(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut talk = Talk { host: TestHost::start(env!("CARGO_MANIFEST_DIR")), names: HashMap::new() };
    let (mut faults, mut out) = (Vec::new(), String::new());
    let (mut request, mut headers, mut body) = (String::new(), Vec::new(), String::new());
    for (at, line) in text.lines().enumerate() {
        let Some(expected) = line.strip_prefix("< ") else {
            match line {
                _ if line.starts_with('#') || line.is_empty() => {}
                _ if line.starts_with("> ") => headers.push(line[2..].to_owned()),
                _ if line.starts_with(['{', '[', '"', '!']) => body = line.trim_start_matches('!').to_owned(),
                _ => (request, headers, body) = (line.to_owned(), Vec::new(), String::new()),
            }
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mut words = request.splitn(3, ' ');
        let (who, method, target) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let (status, found, tag) = talk.say(who, method, target, &headers, &body);
        talk.names.insert("etag".to_owned(), tag);
        let (expected_status, expected_body) = expected.split_once(' ').unwrap_or((expected, ""));
        let body_fits = expected_body.is_empty() || {
            let expected: Value = serde_json::from_str(&talk.fill(expected_body))
                .unwrap_or_else(|error| panic!("line {}: {error}", at + 1));
            serde_json::from_str(&found).is_ok_and(|found| talk.fits(&expected, &found))
        };
        let fits = status.to_string() == expected_status && body_fits;
        if fits {
            out.push_str(line);
        } else {
            faults.push(format!(
                "{}:{}: {request}\n  expected {expected}\n  found    {status} {found}",
                path.display(),
                at + 1
            ));
            out.push_str(&format!("< {status} {found}"));
        }
        out.push('\n');
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, out).unwrap();
    }
    faults
}

#[test]
fn every_conversation_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "case"));
    paths.sort();
    assert!(!paths.is_empty(), "there are no cases");
    let faults: Vec<String> = paths.iter().flat_map(|path| run(path)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
