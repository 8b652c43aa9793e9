//! `cargo xtask blocked`: many fresh starts of a server whose extensions block, on idle and on busy cores. The test
//! itself is not here.

use anyhow::Result;

use crate::build;
use crate::step;
use crate::workspace::{Profile, Workspace, cargo};

/// The arguments of `blocked`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How often a server is started, with each number of workers, idle and busy
    #[arg(long, default_value_t = 100)]
    starts: u32,
    /// Start the optimised server
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
    test.current_dir(&workspace.root).args(["test", "--locked", "--package", "tinybase-tests"]);
    test.args(["--test", "blocking"]);
    if options.release {
        test.arg("--release");
    }
    test.args(["--", "--nocapture", "no_start_stands_still"]);
    step::run("starts with blocked threads", test.env("BLOCKED_STARTS", options.starts.to_string()))
}
