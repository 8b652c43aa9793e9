//! A server for testing the API against its OpenAPI document: a fresh folder with two accounts and collections with
//! every type of field. It never leaves a process running.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{Running, free_port, guarded};
use crate::step;

const PASSWORD: &str = "correct horse battery";

/// Collections whose records are requested: fields of every type, and rules that depend on the record.
const COLLECTIONS: [&str; 3] = ["authors", "everything", "notes"];

/// A collection that may be changed and deleted.
const SPARE: &str = "spare";

/// An account for a run to sign in with.
pub(crate) struct Account {
    pub(crate) name: &'static str,
    email: &'static str,
    id: String,
}

/// A server with data in it.
pub(crate) struct Site {
    process: Running,
    url: String,
    pub(crate) admin: Account,
    pub(crate) user: Account,
    records: Vec<String>,
}

impl Account {
    /// Returns the environment variables with which the hooks sign in.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        [("FUZZ_EMAIL", self.email.to_owned()), ("FUZZ_PASSWORD", PASSWORD.to_owned())]
    }

    /// Returns the credentials of a client: email and password.
    pub(crate) fn credentials(&self) -> (&'static str, &'static str) {
        (self.email, PASSWORD)
    }
}

impl Site {
    /// Initializes a fresh folder in `dir`, serves it, and fills it.
    ///
    /// # Errors
    /// When the server does not start, or refuses the data.
    pub(crate) fn prepare(binary: &Path, dir: &Path) -> Result<Site> {
        let data = dir.join("data");
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("clearing {}", data.display()))?;
        }
        let admin = Account { name: "admin", email: "admin@example.com", id: String::new() };
        let user = Account { name: "user", email: "user@example.com", id: String::new() };
        let mut init = Command::new(binary);
        init.arg("init").arg(&data).args(["--admin-email", admin.email, "--admin-password", PASSWORD]);
        step::run("prepare a server", &mut init)?;
        let port = free_port()?;
        let mut serve = guarded(binary);
        serve.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]).current_dir(&data);
        // A run is one client that signs in often: rate limits would respond instead of what is to be tested.
        serve.env("TINYBASE_RATE_LIMIT_ENABLED", "false").env("TINYBASE_AUTH_LOGIN_BACKOFF", "false");
        let started = Instant::now();
        let process = Running::start(&mut serve, &dir.join("server.log"))?;
        let url = format!("http://127.0.0.1:{port}");
        let mut site = Site { process, url, admin, user, records: Vec::new() };
        let health = format!("{}/health", site.url);
        site.process.wait_for(&health, started)?;
        site.fill()?;
        Ok(site)
    }

    /// Returns its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the environment variables that the hooks need.
    pub(crate) fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("FUZZ_URL", self.url.clone()),
            ("FUZZ_ACCOUNTS", [self.admin.id.as_str(), &self.user.id].join(",")),
            ("FUZZ_COLLECTIONS", COLLECTIONS.join(",")),
            ("FUZZ_RECORDS", self.records.join(",")),
            ("FUZZ_SPARE", SPARE.to_owned()),
        ]
    }

    /// Returns its OpenAPI document.
    ///
    /// # Errors
    /// When the server does not return it.
    pub(crate) fn document(&self) -> Result<String> {
        let mut answer =
            ureq::get(format!("{}/openapi.json", self.url)).call().context("GET /openapi.json")?;
        Ok(answer.body_mut().read_to_string()?)
    }

    /// Checks that both accounts can still sign in. If not, a run has only tested refusals.
    ///
    /// # Errors
    /// When one cannot.
    pub(crate) fn check(&self) -> Result<()> {
        for account in [&self.admin, &self.user] {
            let answer = self.sign_in(account)?;
            ensure!(
                answer["user_id"] == account.id.as_str(),
                "{} is not who it was: the run destroyed itself",
                account.name
            );
        }
        Ok(())
    }

    /// Stops it gracefully.
    ///
    /// # Errors
    /// When it does not stop.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }

    fn fill(&mut self) -> Result<()> {
        let answer = self.sign_in(&self.admin)?;
        let token = answer["access_token"].as_str().context("a login answers a token")?.to_owned();
        self.admin.id = text(&answer["user_id"])?;
        let user = json!({"email": self.user.email, "password": PASSWORD, "is_admin": false});
        self.user.id = text(&self.post("admin/users", Some(&token), &user)?["id"])?;
        for collection in collections() {
            self.post("collections", Some(&token), &collection)?;
        }
        let author =
            self.post("collections/authors/records", Some(&token), &json!({"data": {"name": "Ada"}}))?;
        let everything = json!({"data": everything_of(&author["id"], &self.user.id)});
        let record = self.post("collections/everything/records", Some(&token), &everything)?;
        let own = text(&self.sign_in(&self.user)?["access_token"])?;
        let note = self.post("collections/notes/records", Some(&own), &json!({"data": {"text": "mine"}}))?;
        self.records =
            [&author, &record, &note].map(|made| text(&made["id"])).into_iter().collect::<Result<_>>()?;
        Ok(())
    }

    fn sign_in(&self, account: &Account) -> Result<Value> {
        let credentials = json!({"email": account.email, "password": PASSWORD});
        self.post("auth/login", None, &credentials).with_context(|| format!("signing in as {}", account.name))
    }

    fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Value> {
        let mut request = ureq::post(format!("{}/api/{path}", self.url));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.send_json(body).with_context(|| format!("POST /api/{path}"))?;
        Ok(answer.body_mut().read_json()?)
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("an answer lacks a text that it must have")?.to_owned())
}

fn collections() -> [Value; 4] {
    let public = json!({"list": "public", "read": "public", "create": "public", "update": "public", "delete": "public"});
    let everything = json!([
        {"name": "title", "type": "string", "required": true, "min_length": 1, "max_length": 40, "description": "What it is called"},
        {"name": "slug", "type": "string", "unique": true, "pattern": "^[a-z]+$"},
        {"name": "year", "type": "integer", "min": -10, "max": 3000, "default": 2000, "index": true},
        {"name": "price", "type": "number", "min": 0},
        {"name": "is_new", "type": "boolean"},
        {"name": "any", "type": "array", "max_length": 5},
        {"name": "words", "type": "list[string]"},
        {"name": "numbers", "type": "list[int]"},
        {"name": "weights", "type": "list[float]"},
        {"name": "flags", "type": "list[bool]"},
        {"name": "extra", "type": "object"},
        {"name": "day", "type": "date", "min": "1900-01-01"},
        {"name": "author", "type": "reference", "collection": "authors", "on_delete": "set_null"},
        {"name": "editor", "type": "reference", "collection": "users", "on_delete": "set_null"},
    ]);
    let notes = json!({
        "list": "owner", "read": "owner_id = @me or text like 'public%'", "create": "auth", "update": "owner", "delete": "admin",
    });
    let of = |name: &str, fields: &Value, options: &Value| json!({"name": name, "label": name, "schema": {"fields": fields}, "options": options});
    let name = json!([{"name": "name", "type": "string"}]);
    let text = json!([{"name": "text", "type": "string", "required": true}]);
    [
        of("authors", &name, &json!({})),
        of("everything", &everything, &json!({"access": public})),
        of("notes", &text, &json!({"access": notes, "unknown_fields": "drop"})),
        of(SPARE, &name, &json!({})),
    ]
}

/// Returns data with a value for each field of the collection `everything`.
fn everything_of(author: &Value, editor: &str) -> Value {
    json!({
        "title": "First", "slug": "first", "year": 1999, "price": 9.5, "is_new": true, "any": [1, "two", null],
        "words": ["a"], "numbers": [1], "weights": [0.5], "flags": [true], "extra": {"deep": {"er": 1}},
        "day": "2026-01-01", "author": author, "editor": editor,
    })
}
