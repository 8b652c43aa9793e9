//! Undoes a failed change: first rows and tables together, then running plugins, then files.

use tinybase_abi::codec::BatchWriter;

use super::{
    change::{ChangeError, Kind},
    crash_point::crash_point,
    executor::{ChangeExecutor, Tables, push_row},
    journal::Step,
};
use crate::{
    audit::Actor,
    plugins::{
        LoadError, Plugins,
        package::Package,
        store::{self, Installed},
    },
};

impl ChangeExecutor<'_> {
    /// Undoes the change and ends it with this error.
    pub(super) async fn undo(&mut self, error: &ChangeError) -> Result<(), ChangeError> {
        let before = self.entry.details.before.clone();
        let is_reverted = self.entry.step >= Step::Migrated;
        self.entry.error = Some(error.clone());
        if is_reverted {
            self.revert(before.as_ref()).await?;
        } else {
            let mut batch = BatchWriter::default();
            self.journal.push_undone(&mut batch, &self.entry);
            self.plugins.store.apply(batch).await?;
        }
        self.entry.step = Step::Undone;
        crash_point();
        // Before the first generation, no running plugins have to be changed.
        if is_reverted && self.plugins.shared.current.load().number > 0 {
            let outcome = self.plugins.reconcile().await?;
            self.plugins.drain(outcome.leaving);
        }
        self.end_undone().await
    }

    /// Deletes the files of the undone change, and ends it.
    pub(super) async fn end_undone(&mut self) -> Result<(), ChangeError> {
        if self.entry.to_hash.is_some() {
            let row = self.plugins.store.find(&self.entry.name).await?;
            let kept = row.map_or_else(Vec::new, |row| {
                [Some(row.hash), row.previous_hash].into_iter().flatten().collect()
            });
            self.plugins.forget_packages(&self.entry.name, &kept).await;
        }
        crash_point();
        let error = self.entry.error.clone();
        self.end(error.as_ref()).await
    }

    async fn revert(&mut self, before: Option<&Installed>) -> Result<(), ChangeError> {
        let packages = self.packages(before).await;
        let tables = match (&packages, self.entry.kind) {
            (Ok((Some(package), _)), Kind::Install | Kind::Update | Kind::Enable) => {
                Tables::Down(package, self.entry.details.tables_before)
            }
            (Ok((_, Some(package))), Kind::Rollback) => Tables::Up(package),
            _ => Tables::Stay,
        };
        let reverted = self.plugins.apply_with_tables(&self.entry.name, self.way_back(before), tables).await;
        crash_point();
        let Err(problem) = packages.map(drop).and(reverted) else { return Ok(()) };
        let plugin = self.entry.name.as_str();
        tracing::error!(
            plugin,
            code = &*problem.code,
            "its tables could not be brought back as they were: {problem}"
        );
        // The row is restored all the same: what ran before keeps running, and the log says what remains to
        // be done by hand.
        self.plugins.apply_with_tables(plugin, self.way_back(before), Tables::Stay).await
    }

    /// Returns a batch that restores the row and marks the change as undone.
    fn way_back(&self, before: Option<&Installed>) -> BatchWriter {
        let mut batch = BatchWriter::default();
        push_row(&mut batch, &self.entry.name, before);
        self.journal.push_undone(&mut batch, &self.entry);
        let action = match self.entry.kind {
            Kind::Install => Kind::Uninstall,
            Kind::Update => Kind::Rollback,
            Kind::Rollback => Kind::Update,
            Kind::Enable => Kind::Disable,
            Kind::Disable | Kind::Uninstall => Kind::Enable,
        };
        let after = self.entry.details.before.as_ref().map(|before| Installed {
            is_enabled: matches!(self.entry.kind, Kind::Enable) || before.is_enabled,
            version: self.entry.to_version.clone().unwrap_or_default(),
            hash: self.entry.to_hash.clone().unwrap_or_default(),
            ..before.clone()
        });
        store::push_entry(&mut batch, &Actor::system(), action.action(), after.as_ref(), before);
        batch
    }

    /// Returns the package of the change, and the previous one.
    async fn packages(
        &self,
        before: Option<&Installed>,
    ) -> Result<(Option<Package>, Option<Package>), ChangeError> {
        let to = match (&self.entry.to_version, &self.entry.to_hash) {
            (Some(version), Some(hash)) => {
                Some(self.plugins.package_at(&self.entry.name, version, hash).await?)
            }
            _ => None,
        };
        let before = match before {
            Some(before) => Some(self.plugins.package_of(before).await?),
            None => None,
        };
        Ok((to, before))
    }
}

impl Plugins {
    /// Returns the package of an installed extension from this machine, even if its files were changed.
    pub(super) async fn package_of(&self, installed: &Installed) -> Result<Package, ChangeError> {
        self.package_at(&installed.name, &installed.version, &installed.hash).await
    }

    async fn package_at(&self, name: &str, version: &str, hash: &str) -> Result<Package, ChangeError> {
        self.fetch(name, version, hash).await?;
        let folder = self.folder_of(name, &store::folder_name(version, hash));
        let read = tokio::task::spawn_blocking(move || Package::read(&folder));
        let package = read.await.map_err(|error| LoadError::Panicked(error.to_string()))?;
        Ok(package.map_err(LoadError::from)?)
    }
}
