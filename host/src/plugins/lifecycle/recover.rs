//! A change that was interrupted, by a crash or a power cut: whoever may carry changes out takes it over, and completes it
//! or takes it back. Either way an instance is left in which the old or the new version serves.

use super::{
    change::{ChangeError, Kind},
    executor::ChangeExecutor,
    journal::{Entry, Step},
};
use crate::{
    db::Engine,
    plugins::{LoadError, Plugins, quarantine::Loading, store::Installed},
};

/// A change that was taken over, whose rows say already what is wanted.
pub(in crate::plugins) struct Unfinished(Entry);

fn interrupted(entry: &Entry, how: &str) -> ChangeError {
    let (kind, name) = (entry.kind.name(), &entry.name);
    ChangeError::new(
        "change_interrupted",
        format!("the {kind} of {name} was interrupted and taken back: {how}"),
    )
}

impl Plugins {
    /// Takes over what was left unfinished, before anything is loaded. What had not come far is taken back at once, and so
    /// is what took a process down while it was loaded: `killed`, from which it is taken off.
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
            // Only its files were left to be taken away.
            return ChangeExecutor { plugins: self, journal: self.journal(), entry }.end_undone().await;
        }
        let error = interrupted(&entry, how);
        tracing::warn!(plugin = entry.name, "{error}");
        ChangeExecutor { plugins: self, journal: self.journal(), entry }.undo(&error).await
    }

    /// Whether a change under way brings this package back, whose tables are still those of the newer version then.
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

    /// Whether a change is under way anywhere.
    pub(in crate::plugins) async fn is_change_open(&self) -> Result<bool, LoadError> {
        Ok(self.journal().open().await?.is_some())
    }

    /// The open change, where whoever carried it out is gone; it is this process's then.
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
        // On SQLite whoever holds the folder's lock is the only one; and what this process has given up is its own.
        let is_alone = self.shared.database.engine() == Engine::Sqlite;
        let is_mine = entry.carrier.as_deref() == Some(self.nodes.id());
        let is_gone = is_alone || is_mine || journal.is_abandoned(&entry).await?;
        Ok(if is_gone && journal.claim(&entry).await? { Some(entry) } else { None })
    }

    /// Completes a change that was taken over, now that what the rows say is loaded, or takes it back.
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

    /// Whether what a change brings runs here, where it is to run.
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

    /// Takes over and finishes what another node left unfinished, while this one serves.
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
    /// What is left of a rollback of which the older version runs here: everywhere else too, and then the tables.
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
