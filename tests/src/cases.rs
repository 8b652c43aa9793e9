//! Tests as data: `.case` files of requests and expected responses, updated by `UPDATE_EXPECT=1`.
//!
//! A step is `> METHOD PATH [as NAME]`, an optional JSON body, `< STATUS`, and the response's body. Values that differ
//! from run to run are replaced by placeholders: `<id-1>`, `<time>`, `<token>`. A request may use an id from an earlier
//! response. `NAME` is `admin`, a user who is registered on first use or was created before, or the placeholder of an
//! application token from an earlier response, such as `<application-token-1>`.

use std::{collections::HashMap, fmt::Write, fs, path::Path};

use regex_lite::{Captures, Regex};
use serde_json::Value as Json;

use crate::{Client, Server};

/// One request, and the expected response.
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

/// The placeholders for values that differ from run to run.
struct Words {
    patterns: Vec<(Regex, &'static str)>,
    numbered: [Numbered; 2],
}

/// Values that differ from run to run and are distinguished by a number.
struct Numbered {
    pattern: Regex,
    word: &'static str,
    values: Vec<String>,
}

impl Numbered {
    fn hide(&mut self, text: &str) -> String {
        let (values, name) = (&mut self.values, self.word);
        let hidden = self.pattern.replace_all(text, |found: &Captures<'_>| {
            let known = values.iter().position(|value| *value == found[0]);
            let number = known.unwrap_or_else(|| {
                values.push(found[0].to_owned());
                values.len() - 1
            });
            word(name, number)
        });
        hidden.into_owned()
    }

    fn show(&self, text: String) -> String {
        let shown = self.values.iter().enumerate();
        shown.fold(text, |text, (number, value)| text.replace(&word(self.word, number), value))
    }
}

fn word(name: &str, number: usize) -> String {
    format!("<{name}-{}>", number + 1)
}

impl Words {
    fn new() -> Words {
        let pattern = |text| Regex::new(text).expect("the pattern is right");
        let numbered = |text, word| Numbered { pattern: pattern(text), word, values: Vec::new() };
        Words {
            patterns: vec![
                (pattern(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
                (pattern(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "<token>"),
                (pattern(r"tbr_[\w-]{20,}"), "<refresh-token>"),
                (pattern(r#""request_id":( ?)"[0-9a-f]{16}""#), "\"request_id\":$1\"<request>\""),
                (pattern(r#""id":( ?)\d+(,\s*)"at":"#), "\"id\":$1<number>$2\"at\":"),
                (pattern(r#""id":( ?)\d+(,\s*)"changed_at":"#), "\"id\":$1<number>$2\"changed_at\":"),
                (pattern(r#""next_cursor": "\d+""#), "\"next_cursor\": \"<number>\""),
            ],
            numbered: [
                numbered(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "id"),
                numbered(r"tba_[\w-]{43}", "application-token"),
            ],
        }
    }

    fn hide(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (pattern, word) in &self.patterns {
            text = pattern.replace_all(&text, *word).into_owned();
        }
        self.numbered.iter_mut().fold(text, |text, numbered| numbered.hide(&text))
    }

    fn show(&self, text: &str) -> String {
        self.numbered.iter().fold(text.to_owned(), |text, numbered| numbered.show(text))
    }
}

/// Runs one file against a server.
///
/// # Errors
/// The first step with an unexpected response.
pub fn run(server: &Server, path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).unwrap();
    let mut words = Words::new();
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut updated = String::new();
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    for step in parse(&text) {
        let client = client(server, step.caller.as_deref(), &words, &mut clients);
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

fn client<'c>(
    server: &Server,
    name: Option<&str>,
    words: &Words,
    clients: &'c mut HashMap<String, Client>,
) -> &'c Client {
    let name = name.unwrap_or("nobody");
    clients.entry(name.to_owned()).or_insert_with(|| match name {
        "nobody" => server.client(),
        "admin" => server.admin(),
        token if token.starts_with('<') => server.client().with_token(&words.show(token)),
        user => server.client().joined(&format!("{user}@example.com")),
    })
}

/// Formats JSON with one entry of the outermost value per line.
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
