//! Snapshots: copies of the whole database before updates that change tables, if the database is a file. An
//! operator can restore one, whatever the update did to the data. Never restores one itself.

use std::{fs, io, path::Path};

use jiff::Timestamp;

use super::change::ChangeError;
use crate::plugins::{LoadError, Plugins, store::Installed};

/// The snapshots' folder in the state folder.
const FOLDER: &str = "snapshots";

impl Plugins {
    /// Takes a snapshot before `installed` is updated, and deletes the oldest ones beyond
    /// `extensions.snapshots_kept`.
    pub(super) async fn snapshot_before(&self, installed: &Installed) -> Result<(), ChangeError> {
        let kept = self.shared.limits.snapshots_kept;
        if kept == 0 {
            return Ok(());
        }
        let folder = self.state_dir.join(FOLDER);
        fs::create_dir_all(&folder)
            .map_err(|error| LoadError::file(&folder.display().to_string(), &error))?;
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        let into = folder.join(format!("{time}-{}-{}.db", installed.name, installed.version));
        if !self.shared.database.snapshot(into.clone()).await? {
            return Ok(());
        }
        tracing::info!(plugin = installed.name, "the database is copied to {}", into.display());
        forget_oldest(&folder, kept)
            .map_err(|error| LoadError::file(&folder.display().to_string(), &error).into())
    }
}

impl Plugins {
    /// Deletes the snapshots made before updates of an extension. Those made for other extensions still
    /// contain its tables.
    pub(super) fn forget_snapshots(&self, name: &str) -> io::Result<()> {
        let entries = match fs::read_dir(self.state_dir.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // Neither the time before the name nor the name contains a hyphen.
            let file = entry.file_name().to_string_lossy().into_owned();
            if file.split('-').nth(1) == Some(name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Deletes the oldest snapshots. Their names begin with the time.
fn forget_oldest(folder: &Path, kept: usize) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.path());
    }
    names.retain(|path| path.extension().is_some_and(|ending| ending == "db"));
    names.sort();
    let surplus = names.len().saturating_sub(kept);
    names[..surplus].iter().try_for_each(fs::remove_file)
}
