//! Keeps this process in line with what is installed and enabled while the server serves. Applies changes
//! made by other processes, and retries failures until the desired plugins run. Never changes what is
//! desired.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    LoadError, Plugins,
    active_plugin::DrainingPlugin,
    lifecycle::{Participation, Said},
    process::Outlook,
    store::Installed,
};

/// How often to check for any external change. This runs no statement.
const GLANCE_EVERY: Duration = Duration::from_millis(100);
/// How often the rows are read without a sign of a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The first delay before a failure is retried. It doubles each time, and is at least four times the duration
/// of an attempt.
const RETRY_MIN: Duration = Duration::from_millis(500);
/// The delay before retrying a failure that came from a concurrent change.
const PASSING_RETRY: Duration = Duration::from_millis(100);
/// The maximum delay before a retry.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// Reconciles until the server stops.
pub(super) async fn run(plugins: Plugins, rows: Vec<Installed>) {
    let mut faults = Faults::default();
    let mut state = State { rows, ..State::default() };
    state.plan_retry(&plugins, Duration::ZERO);
    faults.note(plugins.report_what_runs(&mut state).await);
    let mut watch = Watch::of(&plugins);
    while !plugins.process.is_stopped() {
        watch.changed(&plugins, state.retry_at).await;
        faults.note(plugins.run_once(&mut state).await);
    }
}

/// What this node has applied and reported.
#[derive(Default)]
struct State {
    /// The rows applied last.
    rows: Vec<Installed>,
    /// When to retry applying them, if that failed.
    retry_at: Option<Instant>,
    /// The number of failed attempts.
    attempts: u32,
    /// What was reported to the node that carries out a change.
    said: Said,
    /// The last reported state of the extensions.
    told: Option<Vec<String>>,
}

impl State {
    /// Schedules the next attempt; `took` is the duration of the last one.
    fn plan_retry(&mut self, plugins: &Plugins, took: Duration) {
        if plugins.agrees_with(&self.rows) {
            (self.retry_at, self.attempts) = (None, 0);
            return;
        }
        let wait = match plugins.process.failures().values().any(|one| one.outlook == Outlook::Passing) {
            true => PASSING_RETRY,
            false => RETRY_MIN * 2u32.saturating_pow(self.attempts.min(16)),
        };
        self.attempts += 1;
        self.retry_at = Some(Instant::now() + wait.max(took * 4).min(RETRY_MAX));
    }
}

/// Detects when there is something to do.
struct Watch {
    changes: u64,
    looked: Instant,
}

impl Watch {
    fn of(plugins: &Plugins) -> Watch {
        Watch { changes: plugins.shared.database.external_change_count(), looked: Instant::now() }
    }

    /// Waits until something may have changed or a retry is due.
    async fn changed(&mut self, plugins: &Plugins, due: Option<Instant>) {
        loop {
            tokio::select! {
                () = plugins.process.woken.notified() => break,
                () = tokio::time::sleep(GLANCE_EVERY) => {}
            }
            let now = plugins.shared.database.external_change_count();
            let is_due = due.is_some_and(|due| Instant::now() >= due);
            if now != self.changes || is_due || self.looked.elapsed() >= LOOK_EVERY {
                self.changes = now;
                break;
            }
        }
        self.looked = Instant::now();
    }
}

/// Logs only the first of several failures in a row.
#[derive(Default)]
struct Faults {
    failing: bool,
}

impl Faults {
    fn note(&mut self, outcome: Result<(), LoadError>) {
        if let Err(error) = &outcome {
            if self.failing {
                tracing::debug!(%error, "what is installed still cannot be followed");
            } else {
                tracing::warn!(%error, "what is installed and enabled cannot be followed");
            }
        }
        self.failing = outcome.is_err();
    }
}

impl Plugins {
    /// Carries out requested changes, participates in changes by other nodes, and applies their results.
    async fn run_once(&self, state: &mut State) -> Result<(), LoadError> {
        // The process that had the lock may have ended.
        self.change_lock.take().map_err(|error| LoadError::file("the lock of changes", &error))?;
        self.recover().await?;
        if self.change_lock.is_held() {
            self.serve_requests().await?;
        }
        let part = self.participate(&mut state.said).await?;
        if matches!(part, Participation::Wait) {
            return Ok(());
        }
        let turn = self.process.turn.lock().await;
        if !self.process.is_stopped() {
            self.reconcile_if_changed(state).await?;
        }
        drop(turn);
        self.report_what_runs(state).await?;
        if let Participation::ReconcileAndReport(entry) = part {
            self.report_reconciled(&entry, &mut state.said).await?;
        }
        Ok(())
    }

    /// Applies the rows if they differ from the ones applied last, or if a retry is due.
    async fn reconcile_if_changed(&self, state: &mut State) -> Result<(), LoadError> {
        let rows = self.store.all().await?;
        let is_new = !is_same(&rows, &state.rows);
        if is_new {
            state.attempts = 0;
        } else if self.agrees_with(&rows) {
            (state.retry_at, state.attempts) = (None, 0);
            return Ok(());
        } else if state.retry_at.is_some_and(|due| Instant::now() < due) {
            return Ok(());
        }
        let begun = Instant::now();
        let outcome = self.reconcile().await?;
        for gone in state.rows.iter().filter(|one| outcome.rows.iter().all(|other| other.name != one.name)) {
            self.forget_packages(&gone.name, &[]).await;
            if self.journal().is_purged(&gone.name).await? {
                self.forget_data(&gone.name);
            }
        }
        state.rows = outcome.rows;
        state.plan_retry(self, begun.elapsed());
        self.write_lock_file().await;
        let told = if is_new {
            "what is installed or enabled has changed"
        } else {
            "what could not be loaded before is loaded now"
        };
        if is_new || state.retry_at.is_none() {
            tracing::info!(extensions = ?self.loaded(), "{told}");
        }
        self.drain(outcome.leaving);
        Ok(())
    }

    /// Reports what runs here, unless it was reported already.
    async fn report_what_runs(&self, state: &mut State) -> Result<(), LoadError> {
        let now = self.what_runs();
        if state.told.as_ref() != Some(&now) {
            self.report_state().await?;
            state.told = Some(now);
        }
        Ok(())
    }

    /// Waits in the background for plugins that left service to end.
    pub(super) fn drain(&self, leaving: Vec<DrainingPlugin>) {
        let timeout = self.shared.limits.drain_timeout;
        for one in leaving {
            let (process, name) = (Arc::clone(&self.process), one.name().to_owned());
            process.begin_draining(&name);
            tokio::spawn(async move {
                one.drained(timeout).await;
                process.end_draining(&name);
            });
        }
    }
}

/// Returns whether both want the same.
fn is_same(some: &[Installed], others: &[Installed]) -> bool {
    let is_same = |(one, other): (&Installed, &Installed)| {
        one.is_wanted() == other.is_wanted()
            && (&one.name, &one.hash, &one.updated_at) == (&other.name, &other.hash, &other.updated_at)
    };
    some.len() == others.len() && some.iter().zip(others).all(is_same)
}
