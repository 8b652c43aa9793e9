//! `cargo xtask test`: all checks that every change must pass, the fastest to fail first. It never skips a failure.

use std::time::Instant;

use anyhow::{Context, Result};
use tinybase_test_postgres::install::Installation;

use crate::build;
use crate::clients;
use crate::fuzz_api;
use crate::step;
use crate::suite::Suite;
use crate::workspace::{Profile, Workspace, cargo};

/// The arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the lints, the documentation's tests, the fuzzing of the API and the generated clients
    #[arg(long)]
    fast: bool,
}

/// Runs every check and every test, and stops at the first step that fails.
///
/// # Errors
/// The first step that failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    // A missing installation is reported or installed now, not after minutes of other steps.
    Installation::find_or_install().context("the suite runs on PostgreSQL too")?;
    let workspace = Workspace::load()?;
    let cargo_in_root = |arguments: &[&str]| {
        let mut command = cargo();
        command.current_dir(&workspace.root).args(arguments);
        command
    };
    step::run("format", &mut cargo_in_root(&["fmt", "--all", "--check"]))?;
    if !options.fast {
        let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        step::run("lint", &mut cargo_in_root(&lint))?;
    }
    build::build_and_stage(&workspace, Profile::Debug)?;
    let suite = Suite::new(&workspace.root);
    let on_sqlite = suite.on_sqlite()?;
    let on_postgres = suite.on_postgres()?;
    if !options.fast {
        // The whole workspace, as above: naming packages would build their dependencies again with other features.
        let doc_tests = ["test", "--workspace", "--locked", "--doc"];
        step::run("documentation's tests", &mut cargo_in_root(&doc_tests))?;
        fuzz_api::bounded(&workspace)?;
        clients::check(&workspace)?;
    }
    println!("==> SQLite: {on_sqlite}; PostgreSQL: {on_postgres}");
    println!("==> all passed in {}", step::seconds(started.elapsed()));
    Ok(())
}
