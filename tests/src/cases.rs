//! Tests as data: `.case` files of requests and the answers that are expected, refreshed by `UPDATE_EXPECT=1`.
//!
//! A step is `> METHOD PATH [as NAME]`, an optional JSON body, `< STATUS`, and the answer's body. What differs from run to
//! run stands as a word: `<id-1>`, `<time>`, `<token>`; a request may name an id that an answer showed before. `NAME` is
//! `admin`, or a user who is registered on first use.

use std::{collections::HashMap, fmt::Write, fs, path::Path};

use regex_lite::{Captures, Regex};
use serde_json::Value as Json;

use crate::{Client, Server};

/// One request, and the answer that is expected.
#[derive(Debug, Default)]
struct Step {
    comment: String,
    method: String,
    path: String,
    caller: Option<String>,
    body: String,
    expected: String,
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut comment = String::new();
    let mut in_answer = true;
    for line in text.lines() {
        if let Some(request) = line.strip_prefix("> ") {
            let mut words = request.split(' ');
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (method, path, as_word, name) = (word(), word(), word(), word());
            assert!(as_word.is_empty() || as_word == "as", "a request is `> METHOD PATH [as NAME]`: {line}");
            let caller = (!name.is_empty()).then_some(name);
            steps.push(Step {
                comment: std::mem::take(&mut comment),
                method,
                path,
                caller,
                ..Step::default()
            });
            in_answer = false;
        } else if line.starts_with('#') || (line.is_empty() && in_answer) {
            writeln!(comment, "{line}").unwrap();
        } else {
            in_answer |= line.starts_with("< ");
            let step = steps.last_mut().expect("a case begins with a request");
            let part = if in_answer { &mut step.expected } else { &mut step.body };
            writeln!(part, "{line}").unwrap();
        }
    }
    steps
}

/// Words for what differs from run to run.
struct Words {
    patterns: Vec<(Regex, &'static str)>,
    id: Regex,
    ids: Vec<String>,
}

impl Words {
    fn new() -> Words {
        let pattern = |text| Regex::new(text).expect("the pattern is right");
        Words {
            patterns: vec![
                (pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
                (pattern(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "<token>"),
                (pattern(r"tbr_[\w-]{20,}"), "<refresh-token>"),
                (pattern(r#""request_id":( ?)"[0-9a-f]{16}""#), "\"request_id\":$1\"<request>\""),
                (pattern(r#""id":( ?)\d+(,\s*)"at":"#), "\"id\":$1<number>$2\"at\":"),
                (pattern(r#""next_cursor": "\d+""#), "\"next_cursor\": \"<number>\""),
            ],
            id: pattern(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
            ids: Vec::new(),
        }
    }

    fn hide(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (pattern, word) in &self.patterns {
            text = pattern.replace_all(&text, *word).into_owned();
        }
        let ids = &mut self.ids;
        let hidden = self.id.replace_all(&text, |found: &Captures<'_>| {
            let known = ids.iter().position(|id| *id == found[0]);
            let number = known.unwrap_or_else(|| {
                ids.push(found[0].to_owned());
                ids.len() - 1
            });
            format!("<id-{}>", number + 1)
        });
        hidden.into_owned()
    }

    fn show(&self, text: &str) -> String {
        let shown = self.ids.iter().enumerate().rev();
        shown.fold(text.to_owned(), |text, (number, id)| text.replace(&format!("<id-{}>", number + 1), id))
    }
}

/// Runs one file against a server.
///
/// # Errors
/// The first step whose answer is not the one that is expected.
pub fn run(server: &Server, path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let mut words = Words::new();
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut updated = String::new();
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    for step in parse(&text) {
        let client = client(server, step.caller.as_deref(), &mut clients);
        let answer =
            client.send(&step.method, &words.show(&step.path), words.show(&step.body).trim().as_bytes());
        let mut actual = format!("< {}\n", answer.status);
        match serde_json::from_slice::<Json>(&answer.body) {
            Ok(body) => writeln!(actual, "{}", words.hide(&pretty(&body))).unwrap(),
            Err(_) if answer.body.is_empty() => {}
            Err(_) => writeln!(actual, "{}", String::from_utf8_lossy(&answer.body)).unwrap(),
        }
        if !update && actual != step.expected {
            let (file, Step { method, path, expected, .. }) = (path.display(), step);
            return Err(format!("{file}: {method} {path}\nexpected {expected}\nanswered {actual}"));
        }
        let caller = step.caller.map(|name| format!(" as {name}")).unwrap_or_default();
        write!(updated, "{}> {} {}{caller}\n{}{actual}", step.comment, step.method, step.path, step.body)
            .unwrap();
    }
    if update && updated != text {
        fs::write(path, updated).unwrap();
    }
    Ok(())
}

fn client<'c>(server: &Server, name: Option<&str>, clients: &'c mut HashMap<String, Client>) -> &'c Client {
    let name = name.unwrap_or("nobody");
    clients.entry(name.to_owned()).or_insert_with(|| match name {
        "nobody" => server.client(),
        "admin" => server.admin(),
        user => server.client().registered(&format!("{user}@example.com")),
    })
}

/// JSON with one entry of the outermost value a line, and the rest on that line.
fn pretty(body: &Json) -> String {
    let entries: Vec<String> = match body {
        Json::Object(fields) => fields.iter().map(|(name, value)| format!("  {name:?}: {value}")).collect(),
        Json::Array(items) => items.iter().map(|item| format!("  {item}")).collect(),
        other => return other.to_string(),
    };
    let (open, close) = if body.is_object() { ('{', '}') } else { ('[', ']') };
    if entries.is_empty() {
        format!("{open}{close}")
    } else {
        format!("{open}\n{}\n{close}", entries.join(",\n"))
    }
}
