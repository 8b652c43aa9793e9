//! The bundled registry: the staged extensions, packed, signed and put next to the binary as `registry/`. Its keys are
//! generated in the target folder and never shipped: users trust the registry as much as the program, and no further.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step;
use crate::workspace::{Profile, Workspace};

/// The package of the registry's tool.
pub(crate) const TOOL_PACKAGE: &str = "tinybase-registry";

/// The folder next to the binary.
pub(crate) const FOLDER: &str = "registry";

/// The publisher of the bundled extensions.
const PUBLISHER: &str = "tinybase";

/// The registry is used as long as the program it is shipped with, so its signatures must not expire before.
const LIFETIME: &str = "3650d";

/// Returns the path of the tool's binary.
pub(crate) fn tool(workspace: &Workspace, profile: Profile) -> PathBuf {
    workspace.profile_dir(profile).join(format!("{TOOL_PACKAGE}{}", std::env::consts::EXE_SUFFIX))
}

/// Rebuilds the registry from the staged extensions. The keys stay the same between builds, so that its publisher does
/// not change.
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

/// Runs the tool. Its output is only shown if it fails.
fn quiet(tool: &Path, arguments: &[&Path], more: &[&str]) -> Result<()> {
    step::quiet("sign the bundled registry", Command::new(tool).args(arguments).args(more))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}
