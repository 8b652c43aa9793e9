//! Makes this process run what is installed and enabled. Running plugins stay as they are. New ones are
//! verified, created, migrated and started, then all are swapped in at once. An extension is left out if one
//! of its dependencies does not run.
//!
//! Never changes what is installed or enabled, except to quarantine an extension that took the server down.

use std::{future::Future, sync::Arc, time::Duration};

use semver::Version;
use tokio::time::Instant;

use super::{
    LoadError, Plugins, Purpose,
    active_plugin::{ActivePlugin, DrainingPlugin},
    dependencies,
    generation::{Generation, JoinError},
    library,
    lifecycle::{Unfinished, check_prefix},
    manifest::Manifest,
    migrations, outbox,
    package::Package,
    probe,
    process::Outlook,
    quarantine::Loading,
    reconciler,
    store::{Desired, Installed},
    switch_off,
};
use crate::db::{
    SqlOwner,
    migrations::{MigrateError, Migrator},
};

/// How long a server waits for a command that is carrying out a change or about to exit.
const HOLD_WAIT_MAX: Duration = Duration::from_secs(10);
const HOLD_LOOK_EVERY: Duration = Duration::from_millis(20);

/// The outcome of a reconciliation.
#[derive(Default)]
pub(super) struct ReconcileOutcome {
    /// The wanted extensions that failed to load, with the reason. If an older version was running, it keeps
    /// running.
    pub failed: Vec<(Installed, LoadError)>,
    /// The plugins that left service.
    pub leaving: Vec<DrainingPlugin>,
    /// The rows that were applied.
    pub rows: Vec<Installed>,
}

impl Plugins {
    /// Loads everything that is enabled and swaps it in as a generation. An extension that fails is logged
    /// and left out; only a failing database or disk is an error.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, purpose: Purpose, safe_mode: bool) -> Result<(), LoadError> {
        self.process.begin(purpose, safe_mode);
        if purpose == Purpose::Serve {
            self.acquire_change_lock().await?;
        }
        let _turn = self.process.turn.lock().await;
        let unfinished = self.recover_from_crash().await?;
        if purpose == Purpose::Serve {
            self.look_for_crashes().await?;
        }
        for installed in self.store.all().await?.iter().filter(|installed| installed.is_enabled) {
            if let Some(reason) = &installed.quarantined_reason {
                tracing::error!(plugin = installed.name, "not loaded, since it is quarantined: {reason}");
            }
        }
        self.swap_in(Vec::new())?;
        let outcome = self.reconcile().await?;
        for (_, error) in outcome.failed {
            if matches!(error, LoadError::Database(_) | LoadError::File { .. }) {
                return Err(error);
            }
        }
        if let Some(unfinished) = unfinished {
            self.finish(unfinished).await?;
        }
        if purpose == Purpose::Serve {
            self.sweep().await?;
            self.write_lock_file().await;
            tokio::spawn(outbox::run(Arc::clone(&self.shared)));
            tokio::spawn(reconciler::run(self.clone(), outcome.rows));
        }
        Ok(())
    }

    /// Applies what is currently installed and enabled. Failures are logged and listed in the outcome.
    pub(super) async fn reconcile(&self) -> Result<ReconcileOutcome, LoadError> {
        let desired = self.store.desired().await?;
        let all: Vec<Installed> = desired.iter().map(|one| one.installed.clone()).collect();
        self.process.keep_closed(|name| {
            all.iter().any(|one| one.name == name && one.is_enabled && one.quarantined_reason.is_some())
        });
        let wanted = dependencies::in_order(all.iter().filter(|one| self.is_served(one)).cloned().collect());
        let current = self.shared.current.load_full();
        let runs =
            |one: &Installed| current.active_plugin(&one.name).filter(|active| active.hash() == one.hash);
        // Running plugins come before new ones.
        let mut others: Vec<Arc<ActivePlugin>> = wanted.iter().filter_map(|one| runs(one).cloned()).collect();
        let mut outcome = ReconcileOutcome::default();
        for installed in &wanted {
            let needs = |manifest: &Manifest| check_needs(manifest, &all, &others, &outcome.failed);
            let loaded = match runs(installed) {
                Some(active) => needs(active.plugin().manifest()).map(|()| None),
                None => {
                    let desired = desired.iter().find(|one| one.installed.name == installed.name);
                    let desired = desired.expect("what is wanted is among what is installed");
                    self.load_one(desired, &needs, &others).await.map(Some)
                }
            };
            match loaded {
                Ok(active) => others.extend(active),
                Err(error) => {
                    let plugin = installed.name.as_str();
                    self.log_not_loaded(installed, &error);
                    let before = current.active_plugin(plugin);
                    let before = before.filter(|before| needs(before.plugin().manifest()).is_ok()).cloned();
                    others.retain(|active| active.name() != plugin);
                    others.extend(before);
                    outcome.failed.push((installed.clone(), error));
                }
            }
        }
        let place = |active: &Arc<ActivePlugin>| wanted.iter().position(|one| one.name == active.name());
        others.sort_by_key(place);
        self.process.note_failures(&outcome.failed);
        if !is_same(&others, &current.active_plugins) {
            outcome.leaving = self.swap_in(others)?;
        }
        outcome.rows = all;
        Ok(outcome)
    }

    /// Logs why an extension is not loaded. Repeated failures for the same reason are logged at debug level.
    fn log_not_loaded(&self, installed: &Installed, error: &LoadError) {
        let (plugin, code) = (installed.name.as_str(), error.code());
        if self.process.is_known_failure(installed, error) {
            tracing::debug!(plugin, code, "still not loaded: {error}");
        } else {
            tracing::error!(plugin, code, "not loaded: {error}");
        }
    }

    /// Returns whether the running plugins match these rows, ignoring extensions that are known to fail on
    /// every retry.
    pub(super) fn agrees_with(&self, rows: &[Installed]) -> bool {
        let (current, failures) = (self.shared.current.load(), self.process.failures());
        let served: Vec<&Installed> = rows.iter().filter(|one| self.is_served(one)).collect();
        let is_up = |one: &&Installed| {
            let runs = current.active_plugin(&one.name).is_some_and(|active| active.hash() == one.hash);
            let known = failures.get(&one.name).filter(|failure| failure.hash == one.hash);
            runs && known.is_none() || known.is_some_and(|failure| failure.outlook == Outlook::Hopeless)
        };
        let is_wanted = |active: &Arc<ActivePlugin>| served.iter().any(|one| one.name == active.name());
        served.iter().all(is_up) && current.active_plugins.iter().all(is_wanted)
    }

    /// Swaps these plugins in as the active generation. Returns the plugins that left service.
    pub(super) fn swap_in(
        &self,
        active_plugins: Vec<Arc<ActivePlugin>>,
    ) -> Result<Vec<DrainingPlugin>, JoinError> {
        let mut next = Generation::to_serve();
        for active in &active_plugins {
            next.join(active, self.shared.limits)?;
        }
        for (name, routes) in self.process.closed() {
            if next.active_plugin(&name).is_none() {
                switch_off::close(&mut next.routes, &name, &routes);
            }
        }
        next.activate(self.shared.limits, self.process.purpose() == Purpose::Serve);
        let next = Arc::new(next);
        let current = self.shared.current.swap(Arc::clone(&next));
        self.shared.bus.count_listeners(&next);
        self.shared.bus.outbox_wake.notify_one();
        Ok(current.leaving(&next))
    }

    /// Deletes the files of versions that are no longer needed for a rollback, unless a change is in
    /// progress.
    async fn sweep(&self) -> Result<(), LoadError> {
        if self.is_change_open().await? {
            return Ok(());
        }
        for one in self.store.all().await? {
            if !one.is_builtin {
                self.archive_if_missing(&one).await?;
            }
            let kept: Vec<String> = [Some(one.hash), one.previous_hash].into_iter().flatten().collect();
            self.forget_packages(&one.name, &kept).await;
        }
        Ok(())
    }

    /// Acquires the right to carry out changes. If another process keeps it too long, this process only
    /// follows.
    async fn acquire_change_lock(&self) -> Result<(), LoadError> {
        let deadline = Instant::now() + HOLD_WAIT_MAX;
        while !self.change_lock.take().map_err(|error| LoadError::file("the lock of changes", &error))? {
            if Instant::now() >= deadline {
                tracing::warn!(
                    "another process has this folder: it carries out what is changed of extensions, this one follows"
                );
                break;
            }
            tokio::time::sleep(HOLD_LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Looks for leftovers of a crashed process: an unfinished change and the packages it was loading. A
    /// package that took a process down is quarantined, or rolled back together with its change.
    async fn recover_from_crash(&self) -> Result<Option<Unfinished>, LoadError> {
        let file = |error| LoadError::file("the load marker", &error);
        let mut killed = self.marker.found().map_err(file)?;
        let unfinished = self.take_over(&mut killed).await?;
        for Loading { name, hash } in killed {
            let reason = "the server went down while it was loaded or started; install a version that works, or enable \
                          it again to try once more";
            let known = self.store.all().await?;
            if known.iter().any(|installed| installed.name == name && installed.hash == hash) {
                self.store.quarantine(&name, reason).await?;
            }
        }
        self.marker.clear_found().map_err(file)?;
        Ok(unfinished)
    }

    async fn load_one(
        &self,
        desired: &Desired,
        check_needs: &(dyn Fn(&Manifest) -> Result<(), LoadError> + Sync),
        others: &[Arc<ActivePlugin>],
    ) -> Result<Arc<ActivePlugin>, LoadError> {
        let package = self.verified(&desired.installed).await?;
        check_needs(&package.manifest)?;
        check_prefix(&desired.installed.name, others.iter().map(|active| active.name()))?;
        self.load_and_start(&package, others, self.migrate(&package, desired)).await
    }

    /// Returns the package of an installed extension, after checking its files against the installed hash.
    /// Probes it if that was not done yet.
    pub(super) async fn verified(&self, installed: &Installed) -> Result<Package, LoadError> {
        // A joining node does not have the packages yet that were installed on other nodes.
        self.fetch(&installed.name, &installed.version, &installed.hash).await?;
        let folder = self.folder_of(&installed.name, &installed.folder_name());
        let limits = self.shared.limits.probe;
        let (hash, probed) =
            (installed.hash.clone(), installed.probed_hash.as_ref() == Some(&installed.hash));
        let read = tokio::task::spawn_blocking(move || {
            let package = Package::read(&folder)?;
            if package.hash != hash {
                return Err(LoadError::FilesChanged);
            }
            if !probed {
                probe::probe(&folder, limits)?;
            }
            Ok(package)
        });
        let package = read.await.map_err(|error| LoadError::Panicked(error.to_string()))??;
        if !probed {
            self.store.note_probed(&installed.name, &installed.hash).await?;
        }
        Ok(package)
    }

    /// Creates the plugin of a package, checks it against `others`, awaits `before_start`, and starts it. It
    /// does not serve anything yet.
    pub(super) async fn load_and_start(
        &self,
        package: &Package,
        others: &[Arc<ActivePlugin>],
        before_start: impl Future<Output = Result<(), LoadError>>,
    ) -> Result<Arc<ActivePlugin>, LoadError> {
        let file = |error| LoadError::file("the load marker", &error);
        let loading = Loading { name: package.manifest.name.clone(), hash: package.hash.clone() };
        let marker = self.marker.set(&loading).map_err(file)?;
        let active = self.create_and_start(package, others, before_start).await;
        marker.clear().map_err(file)?;
        active
    }

    async fn create_and_start(
        &self,
        package: &Package,
        others: &[Arc<ActivePlugin>],
        before_start: impl Future<Output = Result<(), LoadError>>,
    ) -> Result<Arc<ActivePlugin>, LoadError> {
        let limits = self.shared.limits;
        let active = ActivePlugin::new(library::create(&self.shared, package).await?, &package.hash);
        let mut trial = Generation::default();
        for other in others.iter().chain([&active]) {
            trial.join(other, limits)?;
        }
        drop(trial);
        before_start.await?;
        library::start(active.plugin(), limits.start_timeout).await?;
        Ok(active)
    }

    /// Applies the missing migrations of an installed package, provided it is still the installed one: an
    /// outdated node must not change tables that another node has rolled back.
    async fn migrate(&self, package: &Package, desired: &Desired) -> Result<(), LoadError> {
        let (database, name) = (&*self.shared.database, package.manifest.name.as_str());
        let migrator = Migrator::of_extension(database, name, migrations::of(package, database.engine())?)?;
        let missing = match migrator.missing(&desired.applied) {
            Err(MigrateError::Unknown { .. }) if self.is_being_rolled_back_to(&desired.installed).await? => {
                return Ok(());
            }
            missing => missing?,
        };
        if missing.is_empty() {
            return Ok(());
        }
        let mut transaction = database.begin(&SqlOwner::Host, self.shared.limits.migration_timeout).await?;
        if !self.store.hold_row(&mut *transaction, name, &package.hash).await? {
            return Err(LoadError::MovedOn);
        }
        // Migrations that another node has applied in the meantime are skipped.
        migrator.go(&mut *transaction, &missing).await?;
        transaction.commit().await?;
        tracing::info!(plugin = name, migrations = missing.len(), "its tables are up to date");
        Ok(())
    }

    /// Applies the missing migrations of a package to a database that nobody else uses.
    pub(super) async fn migrate_empty(&self, package: &Package) -> Result<(), LoadError> {
        let database = &*self.shared.database;
        let migrations = migrations::of(package, database.engine())?;
        Migrator::of_extension(database, &package.manifest.name, migrations)?.upgrade(None).await?;
        Ok(())
    }
}

/// Checks that everything `manifest` needs is enabled and runs among `others`. `failed` gives the reason for
/// what does not run.
fn check_needs(
    manifest: &Manifest,
    installed: &[Installed],
    others: &[Arc<ActivePlugin>],
    failed: &[(Installed, LoadError)],
) -> Result<(), LoadError> {
    dependencies::check_needs(manifest, installed)?;
    let why =
        |name: &str| failed.iter().find(|(one, _)| one.name == name).map(|(_, error)| error.to_string());
    Ok(dependencies::check_runs(manifest, |name| version_among(others, name), why)?)
}

/// Returns the version of the extension `name` among these plugins.
pub(super) fn version_among(active_plugins: &[Arc<ActivePlugin>], name: &str) -> Option<Version> {
    let active = active_plugins.iter().find(|active| active.name() == name)?;
    Some(active.plugin().manifest().version.clone())
}

fn is_same(some: &[Arc<ActivePlugin>], others: &[Arc<ActivePlugin>]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
}
