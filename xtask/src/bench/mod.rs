//! `cargo xtask bench`: TinyBase and PocketBase in one run, figure by figure, as a table of measured values and
//! targets. It never tunes either server: both run on their defaults, on the same data, with the same connections.

mod boundary;
pub(crate) mod data;
mod extensions;
mod figures;
mod hostile;
mod imports;
mod load;
mod paced;
mod pocketbase;
mod postgres;
mod report;
mod sign_in;
pub(crate) mod tinybase;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::workspace::{Profile, Workspace};
use report::{Report, Row};

/// The arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// One short round on less data: shows that everything runs, the figures are rough
    #[arg(long)]
    quick: bool,
    /// What to measure: TinyBase on SQLite beside PocketBase, or on PostgreSQL beside bare statements
    #[arg(long, value_enum, default_value = "sqlite")]
    engine: Engine,
    /// Measure these alone, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Figure>,
    /// Write the table into docs/performance.md
    #[arg(long)]
    update_docs: bool,
    /// Use what is built already
    #[arg(long)]
    no_build: bool,
}

/// What holds the data.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// Returns the name of the file with the single measurements.
    fn result(self) -> &'static str {
        match self {
            Engine::Sqlite => "result.json",
            Engine::Postgres => "result-postgres.json",
        }
    }
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Figure {
    /// Read one record
    Read,
    /// Create one record, with both durabilities
    Create,
    /// List 30 with the exact total
    List,
    /// Filter and sort on an indexed field
    Filter,
    /// Resident memory after the load
    Memory,
    /// From the start to the first answer
    Start,
    /// Import a million records
    Import,
    /// The same with one indexed and one unique field, beside SQLite itself
    Imports,
    /// Read one record while full scans run
    Scans,
    /// Read one record with a token, and while a hundred people sign in
    SignIn,
    /// One call through the plugin boundary, one event without a subscriber
    Boundary,
    /// Install an extension, start with fifty, and requests while one comes and goes
    Extensions,
    /// Memory and `/health` beside requests that try to stop the server
    Hostile,
    /// Delete a record on which ten thousand others depend
    Cascade,
}

/// The extent and the place of the measurements.
pub(crate) struct Plan {
    pub(crate) workspace: Workspace,
    /// `target/bench`: tools, data, logs and results.
    pub(crate) dir: PathBuf,
    pub(crate) rounds: usize,
    /// The duration of one load.
    pub(crate) load_time: Duration,
    /// The number of records in the collection that is read, listed and filtered.
    pub(crate) stored_records: u32,
    /// The number of records that are imported, and scanned.
    pub(crate) import_records: u32,
    only: Vec<Figure>,
}

impl Plan {
    fn new(options: &Options) -> Result<Self> {
        let workspace = Workspace::load()?;
        let dir = workspace.target_dir.join("bench");
        for stale in ["data", "logs"] {
            let stale = dir.join(stale);
            if stale.exists() {
                fs::remove_dir_all(&stale).with_context(|| format!("clearing {}", stale.display()))?;
            }
            fs::create_dir_all(&stale).with_context(|| format!("creating {}", stale.display()))?;
        }
        Ok(Self {
            workspace,
            dir,
            rounds: if options.quick { 1 } else { 3 },
            load_time: Duration::from_secs(if options.quick { 2 } else { 5 }),
            stored_records: 100_000,
            import_records: if options.quick { 100_000 } else { 1_000_000 },
            only: options.only.clone(),
        })
    }

    /// Returns whether `figure` was requested.
    pub(crate) fn wants(&self, figure: Figure) -> bool {
        self.only.is_empty() || self.only.contains(&figure)
    }

    fn wants_load(&self) -> bool {
        [Figure::Read, Figure::Create, Figure::List, Figure::Filter, Figure::Memory, Figure::Start]
            .iter()
            .any(|figure| self.wants(*figure))
    }
}

/// Measures, prints the table, and writes `target/bench/result.json`.
///
/// # Errors
/// When a tool cannot be installed, or a figure could not be measured at all. A missed target is no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    let plan = Plan::new(options)?;
    if !options.no_build {
        build::build_and_stage(&plan.workspace, Profile::Dist)?;
    }
    if options.engine == Engine::Postgres {
        load::install_wrk()?;
        return finish(&plan, options, taken("PostgreSQL", postgres::rows(&plan)));
    }
    let mut rows = Vec::new();
    if plan.wants_load() {
        load::install_wrk()?;
        pocketbase::install(&plan)?;
        rows.extend(side_by_side(&plan));
    }
    if plan.wants(Figure::Import) || plan.wants(Figure::Scans) {
        load::install_wrk()?;
        rows.extend(taken("import and scans", figures::import_and_scans(&plan)));
    }
    if plan.wants(Figure::Imports) {
        rows.extend(taken("imports beside SQLite", imports::rows(&plan)));
    }
    if plan.wants(Figure::SignIn) {
        load::install_wrk()?;
        rows.extend(taken("signing in", sign_in::rows(&plan)));
    }
    if plan.wants(Figure::Boundary) {
        rows.extend(taken("plugin boundary", boundary::rows(&plan)));
    }
    if plan.wants(Figure::Extensions) {
        rows.extend(taken("extensions", extensions::rows(&plan)));
    }
    if plan.wants(Figure::Hostile) {
        rows.extend(taken("hostile requests", hostile::rows(&plan)));
    }
    if plan.wants(Figure::Cascade) {
        rows.extend(taken("cascade", hostile::cascade(&plan)));
    }
    finish(&plan, options, rows)
}

fn finish(plan: &Plan, options: &Options, rows: Vec<Row>) -> Result<()> {
    let report = Report::new(plan, options, rows);
    println!("\n{}", report.markdown());
    report.write_json(&plan.dir.join(options.engine.result()))?;
    if options.update_docs {
        report.update_docs(&plan.workspace.root.join("docs/performance.md"))?;
    }
    let failed = report.failed();
    if failed > 0 {
        bail!(
            "{failed} figures could not be taken; the servers' logs are in {}",
            plan.dir.join("logs").display()
        );
    }
    Ok(())
}

/// Measures the figures that need both servers under load.
fn side_by_side(plan: &Plan) -> Vec<Row> {
    match figures::Pair::start(plan) {
        Ok(pair) => pair.measure(plan),
        Err(error) => vec![Row::failed("everything beside PocketBase", &error)],
    }
}

/// Returns the rows, or one row with the error.
fn taken(what: &str, rows: Result<Vec<Row>>) -> Vec<Row> {
    rows.unwrap_or_else(|error| vec![Row::failed(what, &error)])
}
