//! Recovers changes that were interrupted by a crash or power cut. A process that may carry out changes
//! claims them, and completes or undoes them. Either way, the old or the new version serves afterwards.

use super::{
    change::{ChangeError, Kind},
    executor::ChangeExecutor,
    journal::{Entry, Step},
};
use crate::{
    db::Engine,
    plugins::{LoadError, Plugins, quarantine::Loading, store::Installed},
};

/// A claimed change that the extension's row already contains.
pub(in crate::plugins) struct Unfinished(Entry);

fn interrupted(entry: &Entry, how: &str) -> ChangeError {
    let (kind, name) = (entry.kind.name(), &entry.name);
    ChangeError::new(
        "change_interrupted",
        format!("the {kind} of {name} was interrupted and taken back: {how}"),
    )
}

impl Plugins {
    /// Claims an unfinished change before anything is loaded. Undoes it at once if it was not recorded in the
    /// extension's row yet, or if its package took a process down while loading. Such a package is removed
    /// from `killed`.
    pub(in crate::plugins) async fn take_over(
        &self,
        killed: &mut Vec<Loading>,
    ) -> Result<Option<Unfinished>, LoadError> {
        let Some(entry) = self.abandoned().await? else { return Ok(None) };
        let is_killer = |activation: &Loading| {
            activation.name == entry.name && Some(&activation.hash) == entry.to_hash.as_ref()
        };
        let is_killed = killed.iter().any(is_killer);
        killed.retain(|activation| !is_killer(activation));
        if !is_killed && entry.is_recorded() {
            return Ok(Some(Unfinished(entry)));
        }
        let how = if is_killed {
            "the process went down while it was loaded or started"
        } else {
            "it had not come far"
        };
        self.take_back(entry, how).await?;
        Ok(None)
    }

    async fn take_back(&self, entry: Entry, how: &str) -> Result<(), ChangeError> {
        if entry.step == Step::Undone {
            // Only its files remain to be deleted.
            return ChangeExecutor { plugins: self, journal: self.journal(), entry }.end_undone().await;
        }
        let error = interrupted(&entry, how);
        tracing::warn!(plugin = entry.name, "{error}");
        ChangeExecutor { plugins: self, journal: self.journal(), entry }.undo(&error).await
    }

    /// Returns whether an open change rolls back to this package. Its tables may then still be those of the
    /// newer version.
    pub(in crate::plugins) async fn is_being_rolled_back_to(
        &self,
        installed: &Installed,
    ) -> Result<bool, LoadError> {
        let open = self.journal().open().await?;
        Ok(open.is_some_and(|entry| {
            let is_this = entry.name == installed.name && entry.to_hash.as_ref() == Some(&installed.hash);
            entry.kind == Kind::Rollback && entry.is_recorded() && is_this
        }))
    }

    /// Returns whether a change is in progress anywhere.
    pub(in crate::plugins) async fn is_change_open(&self) -> Result<bool, LoadError> {
        Ok(self.journal().open().await?.is_some())
    }

    /// Claims and returns the open change, if the process that carried it out is gone.
    async fn abandoned(&self) -> Result<Option<Entry>, LoadError> {
        if !self.change_lock.is_held() {
            return Ok(None);
        }
        let journal = self.journal();
        let Some(entry) = journal.open().await?.filter(|entry| entry.carrier.is_some()) else {
            return Ok(None);
        };
        if self.process.is_executing(&entry.id) {
            return Ok(None);
        }
        // With SQLite, only the process with the folder's lock carries out changes. A change that this
        // process gave up also counts as abandoned.
        let is_alone = self.shared.database.engine() == Engine::Sqlite;
        let is_mine = entry.carrier.as_deref() == Some(self.nodes.id());
        let is_gone = is_alone || is_mine || journal.is_abandoned(&entry).await?;
        Ok(if is_gone && journal.claim(&entry).await? { Some(entry) } else { None })
    }

    /// Completes a claimed change after the installed extensions were loaded, or undoes it.
    pub(in crate::plugins) async fn finish(&self, Unfinished(entry): Unfinished) -> Result<(), LoadError> {
        let mut executor = ChangeExecutor { plugins: self, journal: self.journal(), entry };
        let (kind, plugin) = (executor.entry.kind, executor.entry.name.clone());
        let is_up = match kind {
            Kind::Disable => true,
            Kind::Uninstall => {
                executor.remove().await?;
                true
            }
            _ => self.is_up(&executor.entry).await?,
        };
        if !is_up {
            self.take_back(executor.entry, "it did not come up").await?;
            return Ok(());
        }
        if kind == Kind::Rollback
            && let Err(error) = executor.finish_rollback().await
        {
            self.take_back(executor.entry, &error.message).await?;
            return Ok(());
        }
        if let Some(row) = self.store.find(&plugin).await? {
            let kept: Vec<String> = [Some(row.hash), row.previous_hash].into_iter().flatten().collect();
            self.forget_packages(&plugin, &kept).await;
        }
        executor.end(None).await?;
        tracing::info!(plugin, change = kind.name(), "a change that was interrupted is complete");
        Ok(())
    }

    /// Returns whether the new version of a change runs here, or does not have to.
    pub(super) async fn is_up(&self, entry: &Entry) -> Result<bool, ChangeError> {
        let row = self.store.find(&entry.name).await?;
        if !row.as_ref().is_some_and(|one| self.is_served(one)) {
            return Ok(true);
        }
        let current = self.shared.current.load();
        Ok(current
            .active_plugin(&entry.name)
            .is_some_and(|active| Some(active.hash()) == entry.to_hash.as_deref()))
    }

    /// Claims and completes a change that another node left unfinished, while this node serves.
    pub(in crate::plugins) async fn recover(&self) -> Result<(), LoadError> {
        let Some(entry) = self.abandoned().await? else { return Ok(()) };
        let _turn = self.process.turn.lock().await;
        if !entry.is_recorded() {
            return Ok(self.take_back(entry, "it had not come far").await?);
        }
        let followed = self.reconcile().await?;
        self.drain(followed.leaving);
        self.finish(Unfinished(entry)).await
    }
}

impl ChangeExecutor<'_> {
    /// Completes a rollback whose older version runs here: waits for the other nodes, then reverts the
    /// tables.
    async fn finish_rollback(&mut self) -> Result<(), ChangeError> {
        if self.entry.step >= Step::Reverted {
            return Ok(());
        }
        self.step(Step::Swapped).await?;
        self.wait_for_others().await?;
        self.step(Step::Drained).await?;
        self.revert_tables().await
    }
}
