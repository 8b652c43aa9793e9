//! The SDK for authors, next to the binary, so that extensions from `tinybase extensions new` build without this
//! repository: a separate workspace with the crates that an extension depends on. It never changes a source file.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::build::copy_tree;
use crate::workspace::Workspace;

/// The crates, by their folders; the first contains the others.
const CRATES: [&str; 4] = ["plugin-api", "plugin-api/abi", "plugin-api/macros", "plugin-api/postgres"];

/// Puts the SDK into `into`.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn stage(workspace: &Workspace, into: &Path) -> Result<()> {
    let from = workspace.root.join(CRATES[0]);
    let crates = into.join(CRATES[0]);
    copy_tree(&from, &crates).with_context(|| format!("copying {}", from.display()))?;
    remove_stale(&from, &crates).with_context(|| format!("tidying {}", crates.display()))?;
    let path = workspace.root.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let manifest = own_workspace(text.parse().context("the workspace's Cargo.toml")?);
    let target = into.join("Cargo.toml");
    // An unchanged file is not touched, so that nothing is rebuilt.
    if fs::read_to_string(&target).is_ok_and(|there| there == manifest) {
        return Ok(());
    }
    fs::write(&target, manifest).with_context(|| format!("writing {}", target.display()))
}

/// Removes files of an earlier staging that are no longer in the crates: a build would find them.
fn remove_stale(from: &Path, staged: &Path) -> io::Result<()> {
    for entry in fs::read_dir(staged)? {
        let entry = entry?;
        let (source, is_dir) = (from.join(entry.file_name()), entry.file_type()?.is_dir());
        match (source.exists(), is_dir) {
            (true, true) => remove_stale(&source, &entry.path())?,
            (true, false) => {}
            (false, true) => fs::remove_dir_all(entry.path())?,
            (false, false) => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Returns the parts of the repository's workspace that the crates inherit, and nothing else.
fn own_workspace(mut root: Table) -> String {
    let mut kept = Table::new();
    if let Some(Value::Table(mut workspace)) = root.remove("workspace") {
        workspace.insert("members".to_owned(), Value::Array(CRATES.map(Value::from).to_vec()));
        workspace.remove("exclude");
        if let Some(Value::Table(dependencies)) = workspace.get_mut("dependencies") {
            dependencies.retain(|_, dependency| is_reachable(dependency));
        }
        kept.insert("workspace".to_owned(), Value::Table(workspace));
    }
    kept.to_string()
}

/// Returns whether a dependency is a crate of the registry or of the SDK.
fn is_reachable(dependency: &Value) -> bool {
    let path = dependency.get("path").and_then(Value::as_str);
    path.is_none_or(|path| CRATES.contains(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crate_holds_no_more_is_staged_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (from, staged) = (dir.path().join("from"), dir.path().join("staged"));
        for file in ["from/src/a.rs", "staged/src/a.rs", "staged/src/b.rs", "staged/old/c.rs"] {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        remove_stale(&from, &staged).unwrap();
        assert!(staged.join("src/a.rs").exists());
        assert!(!staged.join("src/b.rs").exists() && !staged.join("old").exists());
    }

    #[test]
    fn the_sdk_is_a_workspace_of_its_own() {
        let root = "[workspace]\nmembers = [\"host\"]\nexclude = [\"examples\"]\n[workspace.package]\nedition = \"2024\"\n\
                    [workspace.dependencies]\nserde = \"1\"\ntinybase-abi = { path = \"plugin-api/abi\" }\n\
                    tinybase-package = { path = \"package\" }\n[profile.dev]\ndebug = true\n";
        let own: Table = own_workspace(root.parse().unwrap()).parse().unwrap();
        assert_eq!(own.len(), 1);
        let workspace = &own["workspace"];
        assert_eq!(workspace["members"].as_array().unwrap().len(), CRATES.len());
        assert_eq!(workspace["package"]["edition"].as_str(), Some("2024"));
        let names: Vec<&String> = workspace["dependencies"].as_table().unwrap().keys().collect();
        assert_eq!(names, ["serde", "tinybase-abi"]);
        assert!(workspace.get("exclude").is_none());
    }
}
