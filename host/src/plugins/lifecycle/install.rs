//! Installs, updates and rolls back extensions. A package is verified, copied into place, probed and started;
//! a rollback restores the previous version.

use std::path::PathBuf;

use serde::Serialize;
use tinybase_abi::codec::BatchWriter;

use super::{
    change::{Change, ChangeError, Kind},
    checks,
    crash_point::crash_point,
    executor::{ChangeExecutor, Tables},
    journal::{Entry, Step},
};
use crate::{
    audit::Actor,
    db::migrations::Migration,
    plugins::{
        LoadError, Plugins, install, migrations,
        package::Package,
        probe,
        store::{self, Installed},
    },
};

impl ChangeExecutor<'_> {
    /// Installs or updates an extension.
    pub(super) async fn install_or_update(&mut self) -> Result<(), ChangeError> {
        self.step(Step::Verified).await?;
        let package = self.package_at_hand().await?;
        let before = self.plugins.store.find(&self.entry.name).await?;
        let is_enabled = before.as_ref().is_none_or(|before| before.is_enabled);
        checks::check_package(&package, &self.plugins.store.all().await?, is_enabled)?;
        self.plugins.check_tables_left(&package.manifest.name).await?;
        self.note_before(before.clone(), &package).await?;
        let changes_tables = self.check_way_back(&package)?;
        let package = self.put_into_place(&package).await?;
        if let Some(before) = before.as_ref().filter(|_| changes_tables) {
            self.plugins.snapshot_before(before).await?;
        }
        let mut after = Installed {
            is_enabled,
            origin: self.entry.details.origin.clone(),
            ..Installed::of_package(&package)
        };
        if let Some(before) = before {
            after.installed_at.clone_from(&before.installed_at);
            let is_same = before.hash == after.hash;
            (after.previous_version, after.previous_hash, after.previous_origin) = if is_same {
                (before.previous_version, before.previous_hash, before.previous_origin)
            } else {
                (Some(before.version), Some(before.hash), Some(before.origin))
            };
        }
        self.prepare_others().await?;
        self.activate(&package, &after, Tables::Up(&package)).await?;
        self.tidy(&after).await;
        Ok(())
    }

    /// Returns what a rollback restores, if it is allowed.
    async fn previous(&mut self) -> Result<Previous, ChangeError> {
        let before = self.plugins.installed(&self.entry.name).await?;
        let (Some(version), Some(hash)) = (before.previous_version.clone(), before.previous_hash.clone())
        else {
            let told = format!("{} has no version before {} to go back to", before.name, before.version);
            return Err(ChangeError::new("no_previous_version", told));
        };
        (self.entry.to_version, self.entry.to_hash) = (Some(version), Some(hash));
        let package = self.package_at_hand().await?;
        checks::check_package(&package, &self.plugins.store.all().await?, before.is_enabled)?;
        let current = self.plugins.package_of(&before).await?;
        self.note_before(Some(before.clone()), &current).await?;
        let applied = self.entry.details.tables_before;
        let target = self.version_of_tables(&package)?.min(applied);
        let steps =
            migrations::of(&current, self.plugins.shared.database.engine()).map_err(LoadError::from)?;
        let reverted =
            steps.get(target as usize..(applied as usize).min(steps.len())).unwrap_or(&[]).to_vec();
        checks::check_way_back(&before.name, &reverted)?;
        Ok(Previous { before, package, reverted })
    }

    /// Restores the previous version.
    pub(super) async fn roll_back(&mut self) -> Result<(), ChangeError> {
        self.step(Step::Verified).await?;
        let Previous { before, package, .. } = self.previous().await?;
        let package = self.put_into_place(&package).await?;
        let after = Installed {
            is_enabled: before.is_enabled,
            installed_at: before.installed_at.clone(),
            origin: before.previous_origin.unwrap_or_default(),
            ..Installed::of_package(&package)
        };
        self.prepare_others().await?;
        // The newer version keeps its tables until it has ended; only then are they reverted. Until then, the
        // older version works on the newer tables, as it did during the update.
        self.activate(&package, &after, Tables::Stay).await?;
        self.revert_tables().await?;
        self.tidy(&after).await;
        Ok(())
    }

    /// Reverts the tables to the restored version, after the newer version has ended on every node.
    pub(super) async fn revert_tables(&mut self) -> Result<(), ChangeError> {
        self.wait_for_drained().await?;
        let before = self.entry.details.before.clone();
        let before = before.ok_or_else(|| ChangeError::not_installed(&self.entry.name))?;
        let current = self.plugins.package_of(&before).await?;
        let package = self.package_at_hand().await?;
        let target = self.version_of_tables(&package)?.min(self.entry.details.tables_before);
        crash_point();
        let mut batch = BatchWriter::default();
        self.journal.push_step(&mut batch, &self.entry, Step::Reverted);
        let name = self.entry.name.clone();
        self.plugins.apply_with_tables(&name, batch, Tables::Down(&current, target)).await?;
        self.entry.step = Step::Reverted;
        crash_point();
        Ok(())
    }

    /// Returns the newest table version that a package knows.
    fn version_of_tables(&self, package: &Package) -> Result<u32, ChangeError> {
        let steps =
            migrations::of(package, self.plugins.shared.database.engine()).map_err(LoadError::from)?;
        Ok(steps.last().map_or(0, |newest| newest.version))
    }

    /// Checks that the migrations of an update can be reverted, so that a rollback stays possible. Returns
    /// whether there are any.
    fn check_way_back(&self, package: &Package) -> Result<bool, ChangeError> {
        if self.entry.kind == Kind::Install {
            return Ok(false);
        }
        let steps =
            migrations::of(package, self.plugins.shared.database.engine()).map_err(LoadError::from)?;
        let new = steps.get(self.entry.details.tables_before as usize..).unwrap_or(&[]);
        checks::check_way_back(&self.entry.name, new)?;
        Ok(!new.is_empty())
    }

    /// Returns the package of the change from wherever it is available, after checking its hash.
    async fn package_at_hand(&self) -> Result<Package, ChangeError> {
        let (version, hash) = (self.entry.to_version.clone(), self.entry.to_hash.clone());
        let (version, hash) = (version.unwrap_or_default(), hash.unwrap_or_default());
        let placed = self.plugins.folder_of(&self.entry.name, &store::folder_name(&version, &hash));
        if let Some(source) = self.entry.details.source.clone()
            && let Some(package) = read(source, &hash).await?
        {
            return Ok(package);
        }
        self.plugins.fetch(&self.entry.name, &version, &hash).await?;
        read(placed, &hash).await?.ok_or_else(|| {
            let told = format!(
                "the files of {} {version} are not on this machine any more: install it again",
                self.entry.name
            );
            ChangeError::new("package_missing", told)
        })
    }

    /// Copies the package into place and probes it there.
    async fn put_into_place(&mut self, package: &Package) -> Result<Package, ChangeError> {
        self.step(Step::Unpacked).await?;
        let name = &package.manifest.name;
        let target = self
            .plugins
            .folder_of(name, &store::folder_name(&package.manifest.version.to_string(), &package.hash));
        let (source, to) = (package.clone(), target.clone());
        let placed = tokio::task::spawn_blocking(move || {
            install::place(&source, &to)?;
            Ok::<_, LoadError>(Package { folder: to, ..source })
        });
        let package = placed.await.map_err(|error| LoadError::Panicked(error.to_string()))??;
        self.plugins.archive(&package).await?;
        crash_point();
        self.step(Step::Probed).await?;
        let limits = self.plugins.shared.limits.probe;
        let probed = tokio::task::spawn_blocking(move || probe::probe(&target, limits));
        probed.await.map_err(|error| LoadError::Panicked(error.to_string()))??;
        Ok(package)
    }

    /// Deletes the files of versions that are no longer needed for a rollback. Deletion failures are ignored;
    /// leftovers are harmless.
    async fn tidy(&self, after: &Installed) {
        let kept = [Some(&after.hash), after.previous_hash.as_ref()];
        let kept: Vec<String> = kept.into_iter().flatten().cloned().collect();
        self.plugins.forget_packages(&after.name, &kept).await;
    }
}

/// What a rollback restores.
struct Previous {
    /// The installed extension.
    before: Installed,
    /// The previous version.
    package: Package,
    /// The applied migrations that the previous version does not know.
    reverted: Vec<Migration>,
}

/// What a rollback would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RollbackPlan {
    /// The extension.
    pub name: String,
    /// The installed version.
    pub from_version: String,
    /// The version that would be restored.
    pub version: String,
    /// The migrations that would be reverted, newest first.
    pub reverted_migrations: Vec<u32>,
}

impl Plugins {
    /// Returns what a rollback would do, after all checks that it makes before it changes anything.
    ///
    /// # Errors
    /// Why it would be refused.
    pub async fn rollback_plan(&self, name: &str) -> Result<RollbackPlan, ChangeError> {
        let change = Change::Rollback { name: name.to_owned() };
        let entry = Entry::new(&change, None, &Actor::command());
        let mut executor = ChangeExecutor { plugins: self, journal: self.journal(), entry };
        let way = executor.previous().await?;
        let reverted = way.reverted.iter().rev().map(|step| step.version).collect();
        Ok(RollbackPlan {
            name: name.to_owned(),
            from_version: way.before.version,
            version: way.package.manifest.version.to_string(),
            reverted_migrations: reverted,
        })
    }
}

/// Reads the package in a folder. Returns `None` if the folder is missing or contains another package.
async fn read(folder: PathBuf, hash: &str) -> Result<Option<Package>, ChangeError> {
    if hash.is_empty() || !folder.exists() {
        return Ok(None);
    }
    let read = tokio::task::spawn_blocking(move || Package::read(&folder));
    let package =
        read.await.map_err(|error| LoadError::Panicked(error.to_string()))?.map_err(LoadError::from)?;
    Ok(Some(package).filter(|package| package.hash == hash))
}
