//! `cargo xtask postgres`: a temporary PostgreSQL server for tests that are run by hand, and for `cargo xtask test`. It
//! never touches another server, and leaves nothing behind.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tinybase_test_postgres::{Cluster, URL_VARIABLE};

use crate::step;

/// The arguments of `postgres`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to run with the server's URL in TINYBASE_TEST_POSTGRES_URL; without it the server runs until Ctrl-C
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Starts a server and stops it after the command, or on a signal.
///
/// # Errors
/// When PostgreSQL is missing and cannot be installed, does not start, or the command fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    // Registered before the server starts: from now on Ctrl-C ends the command, and then stops the server gracefully.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let cluster = start()?;
    let Some((program, arguments)) = options.command.split_first() else {
        println!("    {URL_VARIABLE}={}", cluster.url());
        println!("==> it runs until Ctrl-C");
        signals.forever().next();
        return Ok(cluster.stop()?);
    };
    let status = Command::new(program)
        .args(arguments)
        .env(URL_VARIABLE, cluster.url())
        .status()
        .with_context(|| format!("{program} cannot be started"))?;
    cluster.stop()?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}

/// Starts a server for tests.
///
/// # Errors
/// When PostgreSQL is missing and cannot be installed, or does not start.
pub(crate) fn start() -> Result<Cluster> {
    let started = Instant::now();
    let cluster = Cluster::start().context("a PostgreSQL for the tests")?;
    println!(
        "==> PostgreSQL: started in {} in {}",
        cluster.folder().display(),
        step::seconds(started.elapsed())
    );
    Ok(cluster)
}
