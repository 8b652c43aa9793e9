//! `cargo xtask fuzz-api`: runs schemathesis against a live server, as admin, as user and anonymously, with the
//! server's own OpenAPI document. No response may be a 5xx or differ from the document. It never skips an operation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::api_site::{Account, Site};
use crate::build;
use crate::step;
use crate::workspace::{Profile, Workspace};

/// The tested releases. Others may find more, or need other hooks.
const REQUIREMENTS: [&str; 2] = ["schemathesis==4.32.*", "openapi-spec-validator==0.9.*"];

/// The checks on every response.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// What schemathesis cannot know about this server.
const HOOKS: &str = include_str!("hooks.py");

/// Generated requests per operation, in addition to those that cover its parameters one by one.
const EXAMPLES_BOUNDED: u32 = 12;
const EXAMPLES_LONG: u32 = 400;

/// The arguments of `fuzz-api`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many requests to make up for each operation and caller
    #[arg(long, default_value_t = EXAMPLES_LONG)]
    examples: u32,
    /// Makes the same requests as another run with this seed; a new one each time where left out
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the long test, with a different seed each time.
///
/// # Errors
/// When a response differs from the document, or something cannot be started.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    build::build_and_stage(&workspace, Profile::Debug)?;
    fuzz(&workspace, options.examples, options.seed)
}

/// Runs the bounded test in `cargo xtask test`, the same each time. The workspace must be built.
///
/// # Errors
/// As [`run`].
pub(crate) fn bounded(workspace: &Workspace) -> Result<()> {
    fuzz(workspace, EXAMPLES_BOUNDED, Some(1))
}

fn fuzz(workspace: &Workspace, examples: u32, seed: Option<u64>) -> Result<()> {
    let dir = workspace.target_dir.join("fuzz");
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let programs = install(&dir)?;
    let hooks = dir.join("hooks.py");
    fs::write(&hooks, HOOKS).with_context(|| format!("writing {}", hooks.display()))?;
    let site = Site::prepare(&workspace.binary(Profile::Debug), &dir)?;
    let document = dir.join("openapi.json");
    fs::write(&document, site.document()?).with_context(|| format!("writing {}", document.display()))?;
    let mut validate = Command::new(programs.join("openapi-spec-validator"));
    step::run("hold the document against OpenAPI 3.1", validate.args(["--schema", "3.1.0"]).arg(&document))?;
    for caller in [Some(&site.admin), Some(&site.user), None] {
        let name = caller.map_or("nobody", |account| account.name);
        let mut command = Command::new(programs.join("schemathesis"));
        command.current_dir(&dir).env("SCHEMATHESIS_HOOKS", &hooks);
        command.envs(site.variables()).envs(caller.map(Account::variables).into_iter().flatten());
        command.arg("run").arg(format!("{}/openapi.json", site.url())).args([
            "--phases",
            "coverage,fuzzing",
            "--checks",
            CHECKS,
            "--max-examples",
            &examples.to_string(),
            "--continue-on-failure",
            "--generation-database",
            "none",
            // Warnings are about rules of this server that a schema cannot express: they do not make a response wrong.
            "--warnings",
            "off",
        ]);
        command.args(seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
        step::run(&format!("fuzz the API as {name}"), &mut command)?;
        site.check()?;
    }
    site.stop()
}

/// Installs both in a separate environment if they are missing, and returns the folder of their programs.
fn install(dir: &Path) -> Result<PathBuf> {
    step::python_environment(dir, &["schemathesis", "openapi-spec-validator"], &REQUIREMENTS)
}
