//! Carries out a change, step by step. A failed change is undone, and what ran before keeps running.

use std::sync::Arc;

use tinybase_abi::codec::BatchWriter;
use tokio::task::JoinHandle;

use super::{
    change::{ChangeError, Changed, Kind},
    checks,
    crash_point::crash_point,
    journal::{self, Entry, Journal, RENEW_EVERY, Step},
};
use crate::{
    db::{SqlOwner, migrations::Migrator},
    http::etag::IfMatch,
    plugins::{
        LoadError, Plugins, Purpose,
        activation::version_among,
        active_plugin::{ActivePlugin, DrainingPlugin},
        dependencies, migrations,
        package::Package,
        store::{self, Installed},
    },
};

/// A change that this process carries out.
pub(super) struct ChangeExecutor<'p> {
    pub(super) plugins: &'p Plugins,
    pub(super) journal: Journal,
    pub(super) entry: Entry,
}

/// What happens to an extension's tables together with its row.
pub(super) enum Tables<'m> {
    /// They stay unchanged.
    Stay,
    /// The missing migrations of the package are applied.
    Up(&'m Package),
    /// The migrations of the package above this version are reverted.
    Down(&'m Package, u32),
}

impl Plugins {
    /// Carries out a change that this process has claimed. This process carries out one change at a time.
    pub(super) async fn execute(&self, entry: Entry) -> Result<Changed, ChangeError> {
        let journal = self.journal();
        let _alive = Alive::of(&journal, &entry.id);
        let _turn = self.process.turn.lock().await;
        let mut executor = ChangeExecutor { plugins: self, journal, entry };
        let (kind, name) = (executor.entry.kind.name(), executor.entry.name.clone());
        let outcome = match executor.run().await {
            Ok(()) => executor.end(None).await,
            Err(error) => {
                self.log_failure(&executor.entry, &error);
                executor.undo(&error).await?;
                Err(error)
            }
        };
        self.process.woken.notify_one();
        if outcome.is_ok() {
            self.process.forget_failure(&name);
            tracing::info!(
                plugin = name,
                change = kind,
                version = executor.entry.to_version,
                "the change is done"
            );
        }
        outcome.map(|()| executor.changed())
    }
}

impl Plugins {
    /// Logs a failure in a server. A command reports it itself.
    fn log_failure(&self, entry: &Entry, error: &ChangeError) {
        if self.process.purpose() == Purpose::Serve {
            let (plugin, change) = (entry.name.as_str(), entry.kind.name());
            tracing::error!(plugin, change, code = &*error.code, "the change failed: {error}");
        }
    }
}

impl ChangeExecutor<'_> {
    async fn run(&mut self) -> Result<(), ChangeError> {
        self.check_match().await?;
        match self.entry.kind {
            Kind::Install | Kind::Update => self.install_or_update().await,
            Kind::Rollback => self.roll_back().await,
            Kind::Enable => self.enable().await,
            Kind::Disable => self.disable().await,
            Kind::Uninstall => self.uninstall().await,
        }
    }

    /// Refuses the change if the extension is no longer in the state that the client saw. No other change can
    /// start while this one is open.
    async fn check_match(&self) -> Result<(), ChangeError> {
        let if_match = IfMatch::kept(self.entry.details.if_match.clone());
        if if_match.header().is_none() {
            return Ok(());
        }
        let installed = self.plugins.installed(&self.entry.name).await?;
        if_match.check(&installed.tag()).map_err(|_| {
            let told = "somebody changed it since it was read: read it again, and change what is there now";
            ChangeError::new("precondition_failed", told)
        })
    }

    pub(super) fn changed(&self) -> Changed {
        let Entry { id, kind, name, from_version, to_version, .. } = &self.entry;
        let (id, name) = (id.clone(), name.clone());
        Changed { id, kind: *kind, name, from_version: from_version.clone(), to_version: to_version.clone() }
    }

    pub(super) async fn step(&mut self, step: Step) -> Result<(), ChangeError> {
        self.journal.step(&mut self.entry, step).await
    }

    pub(super) async fn end(&mut self, error: Option<&ChangeError>) -> Result<(), ChangeError> {
        // The lock file must be current when waiting processes see the end of the change.
        self.plugins.write_lock_file().await;
        self.journal.end(&self.entry, error).await?;
        crash_point();
        Ok(())
    }

    async fn enable(&mut self) -> Result<(), ChangeError> {
        let plugins = self.plugins;
        self.step(Step::Verified).await?;
        let before = plugins.installed(&self.entry.name).await?;
        let after = Installed { is_enabled: true, quarantined_reason: None, ..before.clone() };
        let package = plugins.verified(&before).await?;
        let installed = plugins.store.all().await?;
        checks::check_prefix(&before.name, installed.iter().map(|other| other.name.as_str()))?;
        dependencies::check_needs(&package.manifest, &installed)?;
        self.note_before(Some(before), &package).await?;
        self.prepare_others().await?;
        self.activate(&package, &after, Tables::Up(&package)).await
    }

    async fn disable(&mut self) -> Result<(), ChangeError> {
        self.step(Step::Verified).await?;
        let before = self.plugins.installed(&self.entry.name).await?;
        if self.entry.details.only_version.as_ref().is_some_and(|only| *only != before.version) {
            let told =
                format!("{} is of version {} by now; nothing was changed", before.name, before.version);
            return Err(ChangeError::new("extension_changed", told));
        }
        if !self.entry.details.although_needed {
            dependencies::check_not_needed(&before.name, &self.plugins.store.all().await?)?;
        }
        let after = Installed { is_enabled: false, quarantined_reason: None, ..before.clone() };
        self.entry.details.before = Some(before);
        self.record(Some(&after), Tables::Stay).await?;
        self.take_out().await
    }

    async fn uninstall(&mut self) -> Result<(), ChangeError> {
        self.step(Step::Verified).await?;
        let before = self.plugins.installed(&self.entry.name).await?;
        dependencies::check_not_needed(&before.name, &self.plugins.store.all().await?)?;
        // Taken out of service on every node before any of its data is deleted.
        let after = Installed { is_enabled: false, ..before.clone() };
        self.entry.details.before = Some(before);
        self.record(Some(&after), Tables::Stay).await?;
        self.take_out().await?;
        self.remove().await
    }

    /// Takes the extension and its dependents out of service, here and on every node.
    async fn take_out(&mut self) -> Result<(), ChangeError> {
        self.step(Step::Swapped).await?;
        let name = self.entry.name.clone();
        let mut active_plugins = self.plugins.shared.current.load().active_plugins.clone();
        active_plugins.retain(|active| active.name() != name);
        leave_out_dependents(&mut active_plugins);
        let leaving = self.swap(active_plugins).await?;
        if let Err(error) = self.wait_for_others().await {
            // It stays disabled: a slow node takes it out of service as soon as it can.
            tracing::warn!(plugin = name, code = &*error.code, "{error}");
        }
        self.drain(leaving).await
    }

    /// Waits for plugins that left service to end, at most as long as configured.
    pub(super) async fn drain(&mut self, leaving: Vec<DrainingPlugin>) -> Result<(), ChangeError> {
        self.step(Step::Drained).await?;
        let timeout = self.plugins.shared.limits.drain_timeout;
        futures_util::future::join_all(leaving.into_iter().map(|one| one.drained(timeout))).await;
        Ok(())
    }

    pub(super) async fn swap(
        &mut self,
        active_plugins: Vec<Arc<ActivePlugin>>,
    ) -> Result<Vec<DrainingPlugin>, ChangeError> {
        let leaving = self.plugins.swap_in(active_plugins).map_err(LoadError::from)?;
        crash_point();
        Ok(leaving)
    }

    /// Records the state that an undo or rollback restores.
    pub(super) async fn note_before(
        &mut self,
        before: Option<Installed>,
        package: &Package,
    ) -> Result<(), ChangeError> {
        self.entry.details.tables_before =
            super::checks::tables_version(&*self.plugins.shared.database, package).await?;
        self.entry.details.before = before;
        Ok(())
    }

    /// Starts the plugin of `package`, changes the row and the tables, and swaps the plugin in. If `after` is
    /// not to be loaded, only the row and the tables change.
    pub(super) async fn activate(
        &mut self,
        package: &Package,
        after: &Installed,
        tables: Tables<'_>,
    ) -> Result<(), ChangeError> {
        let plugins = self.plugins;
        let mut active_plugins = plugins.shared.current.load().active_plugins.clone();
        let place = active_plugins.iter().position(|active| active.name() == package.manifest.name);
        let runs = place.is_some_and(|place| active_plugins[place].hash() == package.hash);
        if !plugins.is_served(after) || runs {
            self.record(Some(after), tables).await?;
            self.step(Step::Swapped).await?;
            self.wait_for_others().await?;
            return self.step(Step::Drained).await;
        }
        let old = place.map(|place| active_plugins.remove(place));
        let why = |name: &str| plugins.process.failures().remove(name).map(|failure| failure.error.message);
        dependencies::check_runs(&package.manifest, |name| version_among(&active_plugins, name), why)?;
        let mut failed = None;
        let before_start = async {
            let recorded = self.record(Some(after), tables).await;
            let started = match recorded {
                Ok(()) => self.step(Step::Started).await,
                Err(error) => Err(error),
            };
            // Loading can only return load errors, so the original error is kept separately.
            started.map_err(|error| {
                let message = error.message.clone();
                failed = Some(error);
                LoadError::Panicked(message)
            })
        };
        let brought = plugins.load_and_start(package, &active_plugins, before_start).await;
        let active = brought.map_err(|error| failed.take().unwrap_or_else(|| error.into()))?;
        drop(old);
        match place {
            Some(place) => active_plugins.insert(place, active),
            None => active_plugins.push(active),
        }
        self.step(Step::Swapped).await?;
        let leaving = self.swap(active_plugins).await?;
        self.wait_for_others().await?;
        self.drain(leaving).await
    }

    /// Changes the row, the tables and the step atomically.
    pub(super) async fn record(
        &mut self,
        after: Option<&Installed>,
        tables: Tables<'_>,
    ) -> Result<(), ChangeError> {
        crash_point();
        let before = self.entry.details.before.clone();
        let mut batch = BatchWriter::default();
        self.journal.push_step(&mut batch, &self.entry, Step::Migrated);
        push_row(&mut batch, &self.entry.name, after);
        let action = self.entry.kind.action();
        store::push_entry(&mut batch, &self.entry.who, action, before.as_ref(), after);
        self.plugins.apply_with_tables(&self.entry.name, batch, tables).await?;
        self.entry.step = Step::Migrated;
        crash_point();
        Ok(())
    }
}

/// Removes plugins whose dependencies are missing, and their dependents.
fn leave_out_dependents(active_plugins: &mut Vec<Arc<ActivePlugin>>) {
    loop {
        let lacks = |active: &Arc<ActivePlugin>| {
            let runs = |name: &str| version_among(active_plugins, name);
            dependencies::check_runs(active.plugin().manifest(), runs, |_| None).is_err()
        };
        let Some(place) = active_plugins.iter().position(lacks) else { return };
        active_plugins.remove(place);
    }
}

/// Adds statements to a batch that write the row, or delete it if `after` is `None`.
pub(super) fn push_row(batch: &mut BatchWriter, name: &str, after: Option<&Installed>) {
    match after {
        Some(after) => store::push_put(batch, after),
        None => store::push_remove(batch, name),
    }
}

impl Plugins {
    /// Applies a batch of the host and changes an extension's tables, atomically.
    pub(super) async fn apply_with_tables(
        &self,
        name: &str,
        batch: BatchWriter,
        tables: Tables<'_>,
    ) -> Result<(), ChangeError> {
        let database = &*self.shared.database;
        let (package, target) = match tables {
            Tables::Stay => return self.store.apply(batch).await.map_err(journal::lost),
            Tables::Up(package) => (package, None),
            Tables::Down(package, version) => (package, Some(version)),
        };
        let steps = migrations::of(package, database.engine()).map_err(LoadError::from)?;
        let migrator = Migrator::of_extension(database, name, steps)?;
        let way = migrator.way(target).await?;
        if way.is_empty() {
            return self.store.apply(batch).await.map_err(journal::lost);
        }
        let mut transaction = database.begin(&SqlOwner::Host, self.shared.limits.migration_timeout).await?;
        // The same order as on a node that loads the extension: its row, then its tables.
        self.store.hold_row(&mut *transaction, name, &package.hash).await?;
        // Without a commit, everything is rolled back.
        migrator.go(&mut *transaction, &way).await?;
        transaction.apply(batch.finish()).await.map_err(journal::lost)?;
        Ok(transaction.commit().await?)
    }
}

/// Renews the claim on a change until this is dropped.
struct Alive(JoinHandle<()>);

impl Alive {
    fn of(journal: &Journal, id: &str) -> Alive {
        let (journal, id) = (journal.clone(), id.to_owned());
        Alive(tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                if let Err(error) = journal.renew(&id).await {
                    tracing::warn!(%error, "that a change is being carried out could not be announced");
                }
            }
        }))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}
