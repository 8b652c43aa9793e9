//! TinyBase as it is measured: the `dist` build, with every plugin, on its defaults. It never accesses the database
//! directly.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::Plan;
use crate::process::{Running, free_port, guarded};
use crate::step;
use crate::workspace::Profile;

pub(crate) const EMAIL: &str = "bench@example.com";
pub(crate) const PASSWORD: &str = "bench-password";

/// A data folder, and the binary that serves it.
pub(crate) struct Site {
    binary: PathBuf,
    dir: PathBuf,
    log: PathBuf,
    durability: &'static str,
    /// The database's URL, if it is not a file in the folder.
    database_url: Option<String>,
}

/// A running server.
pub(crate) struct Served {
    pub(crate) process: Running,
    pub(crate) port: u16,
    /// The time from the start of the process to the first response.
    pub(crate) start_time: Duration,
}

impl Site {
    /// Initializes a fresh folder with this name.
    ///
    /// # Errors
    /// When `tinybase init` fails.
    pub(crate) fn init(plan: &Plan, name: &str, durability: &'static str) -> Result<Self> {
        Self::init_on(plan, name, durability, None)
    }

    /// Like [`Site::init`], on the database of a PostgreSQL server.
    ///
    /// # Errors
    /// When `tinybase init` fails.
    pub(crate) fn init_on(
        plan: &Plan,
        name: &str,
        durability: &'static str,
        database_url: Option<String>,
    ) -> Result<Self> {
        Self::init_at(plan.workspace.binary(Profile::Dist), &plan.dir, name, durability, database_url)
    }

    /// Like [`Site::init`] with this binary, in the folders `data` and `logs` of `folder`.
    ///
    /// # Errors
    /// When `tinybase init` fails.
    pub(crate) fn init_at(
        binary: PathBuf,
        folder: &Path,
        name: &str,
        durability: &'static str,
        database_url: Option<String>,
    ) -> Result<Self> {
        let site = Self {
            binary,
            dir: folder.join("data").join(name),
            log: folder.join("logs").join(format!("{name}.log")),
            durability,
            database_url,
        };
        let mut init = Command::new(&site.binary);
        init.envs(site.database());
        init.arg("init").arg(&site.dir).args(["--admin-email", EMAIL, "--admin-password", PASSWORD]);
        step::run(&format!("prepare {name}"), &mut init)?;
        Ok(site)
    }

    /// Returns its folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns a command that runs in its folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(&self.dir).envs(self.database());
        command
    }

    fn database(&self) -> Option<(&'static str, &str)> {
        self.database_url.as_deref().map(|url| ("TINYBASE_DB_URL", url))
    }

    /// Starts the server and waits for its first response.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn serve(&self) -> Result<Served> {
        self.serve_with(&[])
    }

    /// Like [`Site::serve`], with these environment variables.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn serve_with(&self, variables: &[(&str, &str)]) -> Result<Served> {
        let port = free_port()?;
        let mut command = guarded(&self.binary);
        command
            .args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()])
            .current_dir(&self.dir)
            .env("TINYBASE_DB_DURABILITY", self.durability)
            // All load comes from one address: it is counted as usual, but with a limit that it cannot reach.
            .env("TINYBASE_RATE_LIMIT_API_PER_MINUTE", "1000000000")
            .envs(self.database())
            .envs(variables.iter().copied());
        let started = Instant::now();
        let mut process = Running::start(&mut command, &self.log)?;
        let start_time = process.wait_for(&format!("http://127.0.0.1:{port}/health"), started)?;
        Ok(Served { process, port, start_time })
    }

    /// Starts `tinybase collections import` of a file, as a process to watch.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn import(&self, collection: &str, file: &Path) -> Result<Running> {
        let mut command = guarded(&self.binary);
        command
            .args(["collections", "import", collection])
            .arg(file)
            .current_dir(&self.dir)
            .envs(self.database());
        Running::start(&mut command, &self.log.with_extension("import.log"))
    }

    /// Like [`Site::import`], into a collection that is created with the schema in a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn import_with(&self, collection: &str, file: &Path, schema: &Path) -> Result<Running> {
        let mut command = guarded(&self.binary);
        command
            .args(["collections", "import", collection])
            .arg(file)
            .arg("--schema")
            .arg(schema)
            .current_dir(&self.dir)
            .envs(self.database());
        Running::start(&mut command, &self.log.with_extension("import.log"))
    }
}

impl Served {
    /// Creates the public collections `items` and `created`, with an index on `n`.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn create_collections(&self) -> Result<()> {
        let base = format!("http://127.0.0.1:{}/api", self.port);
        let token = self.sign_in()?;
        for name in ["items", "created"] {
            let collection = json!({
                "name": name, "label": name,
                "schema": { "fields": [
                    { "name": "title", "type": "string" },
                    { "name": "body", "type": "string" },
                    { "name": "n", "type": "number", "index": true },
                ] },
                "options": { "access": {
                    "list": "public", "read": "public", "create": "public", "update": "public", "delete": "public",
                } },
            });
            ureq::post(format!("{base}/collections"))
                .header("Authorization", format!("Bearer {token}"))
                .send_json(&collection)
                .with_context(|| format!("creating the collection {name}"))?;
        }
        Ok(())
    }
}
