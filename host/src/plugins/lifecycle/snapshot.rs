//! A copy of the whole database before an update that changes tables, where the database is a file: for an operator to go
//! back to, whatever the update made of the data. It never restores one.

use std::{fs, io, path::Path};

use jiff::Timestamp;

use super::change::ChangeError;
use crate::plugins::{LoadError, Plugins, store::Installed};

/// The folder in the state folder.
const FOLDER: &str = "snapshots";

impl Plugins {
    /// Takes a snapshot before `installed` is updated, and forgets the oldest ones beyond `extensions.snapshots_kept`.
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
    /// Takes away the snapshots that were made before updates of an extension. Others hold what all tables held then.
    pub(super) fn forget_snapshots(&self, name: &str) -> io::Result<()> {
        let entries = match fs::read_dir(self.state_dir.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // The time before the name has no hyphen, and neither has a name.
            let file = entry.file_name().to_string_lossy().into_owned();
            if file.split('-').nth(1) == Some(name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Their names begin with the time.
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
