//! The bundled registry: the staged extensions, packed, signed and put beside the binary as `registry/`. Its keys are made in the
//! target folder and never shipped: whoever has the program trusts the registry as much as the program, and no further.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;
use crate::workspace::{Profile, Workspace};

/// The package that is the registry's tool.
pub(crate) const TOOL_PACKAGE: &str = "tinybase-registry";

/// The folder beside the binary.
pub(crate) const FOLDER: &str = "registry";

/// Who publishes what comes with the host.
const PUBLISHER: &str = "tinybase";

/// The registry is as old as the program that it came with, so its signatures outlive it.
const LIFETIME: &str = "3650d";

/// The tool's binary.
pub(crate) fn tool(workspace: &Workspace, profile: Profile) -> PathBuf {
    workspace.profile_dir(profile).join(format!("{TOOL_PACKAGE}{}", std::env::consts::EXE_SUFFIX))
}

/// Makes the registry again from what is staged. The keys stay from one build to the next, so that its publisher does not change.
///
/// # Errors
/// When the tool fails or a file cannot be written.
pub(crate) fn bundle(workspace: &Workspace, profile: Profile) -> Result<()> {
    let dir = workspace.profile_dir(profile);
    let (draft, packages) = (dir.join("registry.draft"), dir.join("registry.packages"));
    remove(&draft)?;
    remove(&packages)?;
    fs::create_dir_all(&packages)?;
    let run = |arguments: &[&Path], more: &[&str]| quiet(&tool(workspace, profile), arguments, more);
    let keys = dir.join("registry.keys");
    let mut options = vec![format!("--keys={}", keys.display())];
    for role in ["root", "targets", "publisher", "snapshot", "timestamp"] {
        options.push(format!("--{role}-expires={LIFETIME}"));
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    run(&["init".as_ref(), &draft], &[&["--reuse-keys"], &options[..]].concat())?;
    for plugin in &workspace.plugins {
        let staged = dir.join("extensions").join(&plugin.name);
        run(&["pack".as_ref(), &staged], &["--out", &packages.to_string_lossy()])?;
    }
    let names: Vec<&str> = workspace.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    run(&["delegate".as_ref(), &draft], &[&names[..], &["--publisher", PUBLISHER], &options[..]].concat())?;
    let mut archives = vec![PathBuf::from("publish"), draft.clone()];
    for entry in fs::read_dir(&packages)? {
        archives.push(entry?.path());
    }
    run(&archives.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &options)?;
    fs::remove_file(draft.join(".lock")).context("the tool locks what it changes")?;
    let registry = dir.join(FOLDER);
    remove(&registry)?;
    fs::rename(&draft, &registry).with_context(|| format!("putting {} in place", registry.display()))?;
    remove(&packages)?;
    println!("    bundled {} in {}", names.join(", "), registry.display());
    Ok(())
}

/// Runs the tool, of which nothing is shown unless it fails.
fn quiet(tool: &Path, arguments: &[&Path], more: &[&str]) -> Result<()> {
    step::quiet("sign the bundled registry", Command::new(tool).args(arguments).args(more))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}
