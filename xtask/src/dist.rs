//! `cargo xtask dist`: one folder and one archive that run on a machine without Rust. It never ships what the build did not stage.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::process::{self, Running};
use crate::registry;
use crate::step;
use crate::workspace::{Profile, Workspace, cargo};

/// What is shipped beside the binary, where it is there.
const PAPERS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// What `dist` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to put the folder and the archive
    #[arg(long, default_value = "dist")]
    out: std::path::PathBuf,
}

/// Builds, packs, and tries the packed binary without anything of the build around it.
///
/// # Errors
/// When the build fails, a file cannot be written, or the packed binary does not start.
pub(crate) fn run(options: &Options) -> Result<()> {
    let workspace = Workspace::load()?;
    build::build_and_stage(&workspace, Profile::Dist)?;
    let name = format!("tinybase-{}-{}", workspace.version, target_triple()?);
    let out = std::env::current_dir()?.join(&options.out);
    let folder = out.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    pack(&workspace, &folder)?;
    try_alone(&folder)?;
    let archive = format!("{name}.tar.gz");
    step::run("archive", Command::new("tar").current_dir(&out).args(["-czf", &archive, &name]))?;
    println!("==> {} and {archive} beside it", folder.display());
    Ok(())
}

/// Copies the binaries, the staged extensions, the registry of them and the papers.
fn pack(workspace: &Workspace, folder: &Path) -> Result<()> {
    let binary = workspace.binary(Profile::Dist);
    for binary in [binary, registry::tool(workspace, Profile::Dist)] {
        let name = binary.file_name().context("the binary has a name")?;
        fs::copy(&binary, folder.join(name)).with_context(|| format!("copying {}", binary.display()))?;
    }
    let place = Path::new(registry::FOLDER);
    build::copy_tree(&workspace.profile_dir(Profile::Dist).join(place), &folder.join(place))?;
    for plugin in &workspace.plugins {
        let place = Path::new("extensions").join(&plugin.name);
        build::copy_tree(&workspace.profile_dir(Profile::Dist).join(&place), &folder.join(&place))?;
    }
    build::copy_tree(&workspace.profile_dir(Profile::Dist).join("sdk"), &folder.join("sdk"))?;
    for paper in PAPERS {
        let source = workspace.root.join(paper);
        if source.exists() {
            fs::copy(&source, folder.join(paper)).with_context(|| format!("copying {paper}"))?;
        }
    }
    Ok(())
}

/// Runs the packed binary with no environment, far from the build: it initialises, comes up, and a bundled plugin answers.
fn try_alone(folder: &Path) -> Result<()> {
    let place = std::env::temp_dir().join(format!("tinybase-dist-{}", std::process::id()));
    fs::create_dir_all(&place)?;
    let result = try_in(folder, &place);
    fs::remove_dir_all(&place)?;
    result.context("the packed binary does not run by itself")
}

fn try_in(folder: &Path, place: &Path) -> Result<()> {
    let mut verify = Command::new(folder.join(registry::TOOL_PACKAGE));
    step::run(
        "verify the packed registry",
        verify.env_clear().arg("verify").arg(folder.join(registry::FOLDER)),
    )?;
    let binary = folder.join("tinybase");
    let mut init = Command::new(&binary);
    step::run(
        "initialise with the packed binary, no environment",
        init.env_clear().current_dir(place).arg("init"),
    )?;
    let port = process::free_port()?;
    let mut serve = process::guarded(&binary);
    serve.env_clear().current_dir(place).args(["serve", "--port", &port.to_string()]);
    let mut server = Running::start(&mut serve, &place.join("serve.log"))?;
    let url = format!("http://127.0.0.1:{port}/api/collections");
    let started = Instant::now();
    if let Err(error) = server.wait_for(&url, started) {
        let log = fs::read_to_string(place.join("serve.log")).unwrap_or_default();
        bail!("{error:#}; it says: {log}");
    }
    server.stop()
}

/// The target that cargo builds for here, such as `x86_64-unknown-linux-gnu`.
fn target_triple() -> Result<String> {
    let output = cargo().arg("-vV").output().context("cargo cannot be started")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(host) = text.lines().find_map(|line| line.strip_prefix("host: ")) else {
        bail!("cargo -vV names no host target");
    };
    Ok(host.to_owned())
}
