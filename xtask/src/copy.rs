//! `cargo xtask copy`: copies a large instance from SQLite to PostgreSQL and back, and kills each copy once in the
//! middle. It prints the time of each direction, and never touches a server that it did not start.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tinybase_test_postgres::Database;

use crate::bench::data;
use crate::build;
use crate::postgres;
use crate::process::guarded;
use crate::step;
use crate::workspace::{Profile, Workspace};

/// The collection that is copied.
const COLLECTION: &str = "items";

/// The arguments of `copy`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records to copy
    #[arg(long, default_value_t = 1_000_000)]
    records: u32,
    /// Copy with the optimised program
    #[arg(long)]
    release: bool,
}

/// The result of one direction.
struct Way {
    name: &'static str,
    /// The rows copied before it was killed.
    killed_at: u64,
    /// The time of both runs together, including verification.
    time: Duration,
    report: Value,
}

/// Builds, fills an instance, copies it to PostgreSQL and back, and compares the result with the original.
///
/// # Errors
/// When a step fails, or the result differs.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    let profile = Profile::optimised(options.release);
    build::build_and_stage(&workspace, profile)?;
    let cluster = postgres::start()?;
    let database = Database::create(&cluster.url())?;
    let folder = workspace.target_dir.join("copy");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let site = Site { binary: workspace.binary(profile), dir: folder.join("site") };
    site.fill(&folder, options.records)?;
    let (first, last) = ("sqlite://./tinybase.db", "sqlite://./back.db");
    let there = site.copy("SQLite to PostgreSQL", first, &database.url())?;
    let back = site.copy("PostgreSQL to SQLite", &database.url(), last)?;
    ensure!(there.report["tables"] == back.report["tables"], "what came back is not what went");
    for way in [there, back] {
        let rows = way.report["rows"].as_u64().unwrap_or_default();
        let seconds = way.time.as_secs_f64();
        let per_second = way.time.as_secs_f64().recip() * f64::from(options.records);
        println!(
            "{}: {rows} rows in {seconds:.1} s ({per_second:.0} a second), killed once at {}, all the same on both sides",
            way.name, way.killed_at
        );
    }
    drop(database);
    Ok(cluster.stop()?)
}

struct Site {
    binary: PathBuf,
    dir: PathBuf,
}

impl Site {
    fn fill(&self, folder: &Path, records: u32) -> Result<()> {
        let file = folder.join("records.ndjson");
        data::write_wide_records(&file, records)?;
        let mut init = Command::new(&self.binary);
        step::run("prepare an instance", init.arg("init").arg(&self.dir))?;
        let mut import = self.command(&["collections", "import", COLLECTION]);
        step::run("fill it", import.arg(&file))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = guarded(&self.binary);
        command.args(arguments).current_dir(&self.dir);
        command
    }

    fn copy(&self, name: &'static str, from: &str, to: &str) -> Result<Way> {
        let begun = Instant::now();
        let killed_at = self.copy_and_kill(from, to)?;
        println!("==> {name}: killed after {killed_at} rows");
        let copied = self.copying(from, to).stderr(Stdio::inherit()).output()?;
        if !copied.status.success() {
            bail!("{name} failed ({})", copied.status);
        }
        let report = serde_json::from_slice(&copied.stdout).context("the copy answers JSON")?;
        Ok(Way { name, killed_at, time: begun.elapsed(), report })
    }

    fn copying(&self, from: &str, to: &str) -> Command {
        let mut command = self.command(&["db", "copy", "--json"]);
        command.env("TINYBASE_COPY_FROM", from).env("TINYBASE_COPY_TO", to);
        command
    }

    /// Starts a copy and kills it once it has reported a third of the rows. Returns the last reported number of rows.
    fn copy_and_kill(&self, from: &str, to: &str) -> Result<u64> {
        let mut command = self.copying(from, to);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let errors = child.stderr.take().context("stderr is piped")?;
        let mut copied = 0;
        for line in BufReader::new(errors).lines() {
            let line = line?;
            let Some((done, total)) = told(&line) else { bail!("the copy says: {line}") };
            copied = done;
            if done >= total / 3 {
                break;
            }
        }
        child.kill()?;
        if child.wait()?.code().is_some() {
            bail!("the copy had ended before it could be killed: copy more with --records");
        }
        Ok(copied)
    }
}

/// Parses the two numbers in `1000 of 2000 rows copied`.
fn told(line: &str) -> Option<(u64, u64)> {
    let (done, rest) = line.split_once(" of ")?;
    let (total, _) = rest.split_once(' ')?;
    Some((done.parse().ok()?, total.parse().ok()?))
}
