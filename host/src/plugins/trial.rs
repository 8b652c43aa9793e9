//! What the probe process does with an extension: everything a server would, on a substitute host. The
//! substitute is a real host on a fresh SQLite database with the extension's migrations, whatever the
//! server's engine is. It reaches no other server, runs no other extensions and has no data of the instance.
//! So an error that the extension *returns* there proves little and is no reason to refuse it. The probe
//! finds what would harm a server: code that crashes, exits or never returns, and registrations that are
//! refused.

use std::time::Duration;

use super::{
    LoadError, Plugins, active_plugin::ActivePlugin, generation::Generation, library, package::Package,
    probe::Phase,
};

/// Opens the library of a package and checks its descriptor, before anything else is done with it.
///
/// # Errors
/// Why no server may load it.
pub fn open(package: &Package) -> Result<(), LoadError> {
    library::check_descriptor(&library::open_verified(&package.library())?, package)
}

impl Plugins {
    /// Creates, migrates, starts and ends the plugin of a package within `timeout`. Calls `note` before each
    /// phase.
    ///
    /// # Errors
    /// Why no server may load it.
    pub async fn try_out(
        &self,
        package: &Package,
        timeout: Duration,
        note: impl Fn(Phase),
    ) -> Result<(), LoadError> {
        note(Phase::Create);
        let plugin = match library::create(&self.shared, package).await {
            Ok(plugin) => plugin,
            Err(error) => return harmful(error, Phase::Create),
        };
        let active = ActivePlugin::new(plugin, &package.hash);
        Generation::default().join(&active, self.shared.limits)?;
        note(Phase::Migrate);
        // If they fail, a server rolls back their transaction.
        let migrated = self.migrate_empty(package).await;
        note(Phase::Start);
        if let Err(error) = library::start(active.plugin(), timeout / 2).await {
            harmful(error, Phase::Start)?;
        }
        if let Err(error) = migrated {
            tracing::debug!("its migrations fail on an empty SQLite database: {error}");
        }
        note(Phase::ShutDown);
        drop(active);
        let mut alive = self.shared.alive.subscribe();
        let ended = tokio::time::timeout(timeout, alive.wait_for(|alive| *alive == 0)).await.is_ok();
        let is_stuck = !ended || !self.shared.stuck.lock().is_empty();
        let timeout = self.shared.limits.call_timeout;
        if is_stuck {
            harmful(LoadError::Stuck { step: "shut_down", timeout }, Phase::ShutDown)
        } else {
            Ok(())
        }
    }
}

/// Ignores returned errors and waits that can be ended, since they are harmless.
fn harmful(error: LoadError, phase: Phase) -> Result<(), LoadError> {
    match error {
        LoadError::Plugin { .. } | LoadError::Slow { .. } => Ok(()),
        LoadError::Stuck { timeout, .. } => {
            Err(LoadError::Probe { code: "probe_timeout".to_owned(), message: phase.timeout_words(timeout) })
        }
        other => Err(other),
    }
}
