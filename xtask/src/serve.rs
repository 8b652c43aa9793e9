//! `cargo xtask serve`: from a fresh clone to a running server in one command. It never touches existing data.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::build;
use crate::step;
use crate::workspace::{Profile, Workspace};

/// The folder that is served, in the current directory.
const DATA_DIR: &str = "tinybase-data";

/// The arguments of `serve`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to `tinybase serve`, such as --port 9000
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds, initializes once, and is replaced by the server process.
///
/// # Errors
/// When the build or the initialization fails, or the server cannot be started.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    build::build_and_stage(&workspace, Profile::Release)?;
    let binary = workspace.binary(Profile::Release);
    let data_dir = std::env::current_dir()?.join(DATA_DIR);
    if !data_dir.join("tinybase.toml").exists() {
        fs::create_dir_all(&data_dir).with_context(|| format!("creating {}", data_dir.display()))?;
        // Without a terminal it asks no questions: the first login creates the admin.
        step::run(
            "initialise ./tinybase-data",
            Command::new(&binary).arg("init").arg(&data_dir).stdin(Stdio::null()),
        )?;
    }
    println!("==> serving {}", data_dir.display());
    let error = Command::new(&binary).arg("serve").args(&options.arguments).current_dir(&data_dir).exec();
    Err(error).with_context(|| format!("{} cannot be started", binary.display()))
}
