//! Builds the host and its plugins, and stages each plugin where the binary looks for it:
//! `target/<profile>/extensions/<name>/`, and all of them as a registry. It never builds in place: a running server may
//! have the old library mapped.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::registry;
use crate::sdk;
use crate::step;
use crate::workspace::{HOST_PACKAGE, MANIFEST_NAME, Plugin, Profile, Workspace, cargo};

/// The folders of an extension that are shipped with its library, if they exist.
const ASSET_DIRS: [&str; 4] = ["admin", "migrations", "pages", "templates"];

/// A plugin's library that contains this text has SQLite linked into it: two copies in one process drop each other's locks.
const SQLITE_MARK: &[u8] = b"SQLite format 3\0";

/// The arguments of `build`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Build optimised
    #[arg(long)]
    release: bool,
}

/// Builds and stages.
///
/// # Errors
/// When a build fails or a file cannot be written.
pub(crate) fn run(options: &Options) -> Result<()> {
    build_and_stage(&Workspace::load()?, Profile::optimised(options.release))
}

/// Builds the host, the registry's tool and all plugins, stages the plugins, and creates the bundled registry of them.
///
/// It only builds these packages, never the whole workspace: features enabled by a test crate must not end up in a
/// shipped library.
///
/// # Errors
/// When a build fails or a file cannot be written.
pub(crate) fn build_and_stage(workspace: &Workspace, profile: Profile) -> Result<()> {
    let mut command = cargo();
    command.current_dir(&workspace.root).args(["build", "--locked", "--package", HOST_PACKAGE]);
    command.args(["--package", registry::TOOL_PACKAGE]);
    for plugin in &workspace.plugins {
        command.args(["--package", &plugin.package]);
    }
    match profile {
        Profile::Debug => {}
        Profile::Release => drop(command.arg("--release")),
        Profile::Dist => drop(command.args(["--profile", "dist"])),
    }
    step::run("build the host and its plugins", &mut command)?;
    let profile_dir = workspace.profile_dir(profile);
    for plugin in &workspace.plugins {
        stage(plugin, &profile_dir).with_context(|| format!("staging the extension \"{}\"", plugin.name))?;
    }
    sdk::stage(workspace, &profile_dir.join("sdk")).context("staging the SDK")?;
    registry::bundle(workspace, profile)
}

/// Puts one plugin next to the binary.
fn stage(plugin: &Plugin, profile_dir: &Path) -> Result<()> {
    let library = profile_dir.join(&plugin.library);
    let bytes = fs::read(&library).with_context(|| format!("{} was not built", library.display()))?;
    if bytes.windows(SQLITE_MARK.len()).any(|window| window == SQLITE_MARK) {
        bail!(
            "{} has SQLite linked into it; a plugin reaches the database through the host alone",
            plugin.library
        );
    }
    let staged = profile_dir.join("extensions").join(&plugin.name);
    fs::create_dir_all(&staged)?;
    replace(&library, &staged.join(&plugin.library))?;
    replace(&plugin.dir.join(MANIFEST_NAME), &staged.join(MANIFEST_NAME))?;
    for assets in ASSET_DIRS {
        let source = plugin.dir.join(assets);
        if source.is_dir() {
            copy_tree(&source, &staged.join(assets))?;
        }
    }
    println!("    staged {} in {}", plugin.name, staged.display());
    Ok(())
}

/// Copies a folder recursively.
///
/// # Errors
/// Those of the file system.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            replace(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Copies a file under a temporary name and renames it into place, so that processes with the old file open or mapped
/// keep it intact.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let name = to.file_name().context("a file to write has a name")?.to_string_lossy();
    let temporary = to.with_file_name(format!(".{name}.{}", std::process::id()));
    let result = fs::copy(from, &temporary).and_then(|_| fs::rename(&temporary, to));
    if result.is_err() {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    result.with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn whoever_has_the_old_file_open_keeps_it_whole() {
        let dir = std::env::temp_dir().join(format!("xtask-replace-{}", std::process::id()));
        let (old, new) = (dir.join("staged/lib.so"), dir.join("built"));
        fs::create_dir_all(dir.join("staged")).unwrap();
        fs::create_dir_all(&new).unwrap();
        fs::write(&old, "the old library").unwrap();
        fs::write(new.join("lib.so"), "new").unwrap();
        let mut open = fs::File::open(&old).unwrap();
        copy_tree(&new, &dir.join("staged")).unwrap();
        let mut read = String::new();
        open.read_to_string(&mut read).unwrap();
        assert_eq!((read.as_str(), fs::read_to_string(&old).unwrap().as_str()), ("the old library", "new"));
        let names: Vec<_> =
            fs::read_dir(dir.join("staged")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["lib.so"], "nothing temporary is left");
        fs::remove_dir_all(&dir).unwrap();
    }
}
