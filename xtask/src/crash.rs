//! `cargo xtask crash`: the crash test alone, with any number of kills. The test itself is not here.

use anyhow::Result;

use crate::build;
use crate::step;
use crate::workspace::{Profile, Workspace, cargo};

/// The arguments of `crash`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often the server is killed
    #[arg(long, default_value_t = 25)]
    rounds: u32,
    /// Kill the optimised server
    #[arg(long)]
    release: bool,
}

/// Builds, stages and runs the test.
///
/// # Errors
/// When the build or the test fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    build::build_and_stage(&workspace, Profile::optimised(options.release))?;
    let mut test = cargo();
    test.current_dir(&workspace.root).args([
        "test",
        "--locked",
        "--package",
        "tinybase-tests",
        "--test",
        "crash",
    ]);
    if options.release {
        test.arg("--release");
    }
    test.args(["--", "--nocapture"]).env("CRASH_ROUNDS", options.rounds.to_string());
    step::run("crash test", &mut test)
}
