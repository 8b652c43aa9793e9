//! Checks periodically, while the server serves, whether a registry revoked an installed version. Logs it, or
//! has the lifecycle disable the extension. Installs nothing, and an unreachable registry changes nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::AbortHandle;

use super::{Finding, InstallError, RegistrySet, audit, open};
use crate::{
    audit::Actor,
    config::{Config, Revoked},
    metrics::stats::EXTENSIONS,
    plugins::{Plugins, lifecycle::Change, store::Installed},
};

/// The first check comes within this time. A server that was down must not wait long, and many servers that
/// start at once must not send requests at once.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(60);
/// The first delay before a failed check is retried. It doubles with each further failure, up to the
/// interval.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// The maximum part of an interval by which a check comes early.
const JITTER: f64 = 0.1;

/// The periodic check. It ends when this is dropped.
pub struct Watch(AbortHandle);

impl Watch {
    /// Starts the check if registries are configured. The bundled registry is as old as the program, and
    /// revokes nothing that came with it. Returns `None` if there is nothing to check, or
    /// `extensions.audit_interval_ms` is 0. Must be called within the runtime.
    pub fn start(config: Arc<Config>, plugins: Arc<Plugins>) -> Option<Watch> {
        let interval = Duration::from_millis(config.extensions.audit_interval_ms);
        if interval.is_zero() || config.extensions.registries.is_empty() {
            return None;
        }
        let mut looks = Looks { config, plugins, failing: BTreeSet::new(), told: BTreeSet::new() };
        let job = tokio::spawn(async move {
            tokio::time::sleep(rand::random_range(Duration::ZERO..=interval.min(FIRST_LOOK_MAX))).await;
            let mut failed = 0;
            loop {
                failed = if looks.look().await { 0 } else { failed + 1 };
                tokio::time::sleep(early(wait_after(failed, interval))).await;
            }
        });
        Some(Watch(job.abort_handle()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the time until the next check, after `failed` failures in a row.
fn wait_after(failed: u32, interval: Duration) -> Duration {
    match failed {
        0 => interval,
        failed => RETRY_FIRST.saturating_mul(1_u32.checked_shl(failed - 1).unwrap_or(u32::MAX)).min(interval),
    }
}

fn early(wait: Duration) -> Duration {
    wait.mul_f64(1.0 - rand::random::<f64>() * JITTER)
}

/// The state kept between checks.
struct Looks {
    config: Arc<Config>,
    plugins: Arc<Plugins>,
    /// What failed in the last check, so that each failure is logged once.
    failing: BTreeSet<String>,
    /// The revoked versions that were logged: name and version.
    told: BTreeSet<(String, String)>,
}

impl Looks {
    /// Checks and acts on the findings. Returns whether every registry was reached and every action
    /// succeeded.
    async fn look(&mut self) -> bool {
        let registry_set = open(&self.config).await;
        let unopened = registry_set.failures.iter().map(|one| (one.registry.clone(), one.to_string()));
        let mut faults: Vec<(String, String)> = unopened.collect();
        match self.act(&registry_set).await {
            Ok(undone) => faults.extend(undone),
            Err(error) => faults.push((error.code.to_string(), error.to_string())),
        }
        let is_whole = faults.is_empty();
        if is_whole { &EXTENSIONS.audits } else { &EXTENSIONS.audit_faults }.add_one();
        self.tell_faults(faults);
        is_whole
    }

    /// Logs revoked extensions and disables them if configured. Returns those that could not be disabled,
    /// with the reason.
    async fn act(&mut self, registry_set: &RegistrySet) -> Result<Vec<(String, String)>, InstallError> {
        let installed = self.plugins.store().all().await?;
        let findings = audit(registry_set, &installed);
        let revoked = revoked(&findings, &installed);
        let count = revoked.len().try_into().unwrap_or(i64::MAX);
        if registry_set.failures.is_empty() {
            EXTENSIONS.revoked.store(count, Ordering::Relaxed);
            self.told.retain(|(name, version)| {
                revoked.iter().any(|finding| (&finding.name, &finding.version) == (name, version))
            });
        } else {
            // Revocations are not forgotten while their registry is unreachable.
            EXTENSIONS.revoked.fetch_max(count, Ordering::Relaxed);
        }
        let mut undone = Vec::new();
        for Finding { name, version, message, .. } in revoked {
            if self.told.insert((name.clone(), version.clone())) {
                tracing::warn!(
                    plugin = name,
                    version,
                    "a registry revoked an extension that is enabled: {message}"
                );
            }
            if self.config.extensions.revoked == Revoked::Warn {
                continue;
            }
            let change = Change::Disable { name: name.clone(), revoked: Some(version.clone()) };
            match self.plugins.change(change, &Actor::system()).await {
                Ok(_) => {
                    EXTENSIONS.revoked.fetch_sub(1, Ordering::Relaxed);
                    EXTENSIONS.disabled.add_one();
                    tracing::warn!(plugin = name, version, "it is disabled, since a registry revoked it");
                }
                Err(error) => undone.push((name.clone(), format!("{name} could not be disabled: {error}"))),
            }
        }
        Ok(undone)
    }

    /// Logs each failure once, and when all are over.
    fn tell_faults(&mut self, faults: Vec<(String, String)>) {
        for (what, words) in &faults {
            if self.failing.contains(what) {
                tracing::debug!("the look for what was revoked still fails: {words}");
            } else {
                tracing::warn!("the look for what was revoked failed, and is tried again: {words}");
            }
        }
        let is_over = faults.is_empty() && !self.failing.is_empty();
        self.failing = faults.into_iter().map(|(what, _)| what).collect();
        if is_over {
            tracing::info!("the look for what was revoked succeeds again");
        }
    }
}

/// Returns the findings about revoked versions that are still enabled.
pub fn revoked<'f>(findings: &'f [Finding], installed: &[Installed]) -> Vec<&'f Finding> {
    let is_enabled =
        |finding: &&Finding| installed.iter().any(|one| one.name == finding.name && one.is_enabled);
    findings.iter().filter(|finding| finding.kind == "revoked").filter(is_enabled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_failed_is_taken_again_sooner() {
        let day = Duration::from_secs(86_400);
        let minutes = |failed| wait_after(failed, day).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 11, 12, 40].map(minutes), [1_440, 1, 2, 4, 1_024, 1_440, 1_440]);
        assert_eq!(wait_after(3, Duration::from_millis(50)), Duration::from_millis(50));
    }

    #[test]
    fn a_look_comes_a_little_early_and_never_late() {
        let wait = Duration::from_secs(100);
        for _ in 0..100 {
            let early = early(wait);
            assert!(early <= wait && early >= wait.mul_f64(0.9), "{early:?}");
        }
    }
}
