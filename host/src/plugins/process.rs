//! What this process loads plugins for, once it has begun to. It never loads one.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Mutex, Notify, watch};

use super::{LoadError, Purpose, lifecycle::ChangeError, store::Installed, switch_off::ClosedRoutes};

/// What this process does with plugins.
#[derive(Debug, Default)]
pub(super) struct Process {
    begun: OnceLock<Begun>,
    /// Whoever brings plugins up or takes them down holds it: one at a time.
    pub(super) turn: Mutex<()>,
    /// Tells the follower that this process itself changed what is installed.
    pub(super) woken: Notify,
    stopped: AtomicBool,
    /// What is wanted and could not be brought up, by name.
    failed: parking_lot::Mutex<Failures>,
    /// How many instances of each extension have left service and not ended yet.
    draining: watch::Sender<BTreeMap<String, usize>>,
    /// The routes of what was switched off, by name.
    closed: parking_lot::Mutex<BTreeMap<String, ClosedRoutes>>,
    /// The id of the change that this process carries out.
    executing: parking_lot::Mutex<Option<String>>,
}

/// What could not be brought up, by name.
pub(super) type Failures = BTreeMap<String, Failure>;

/// Why one could not be brought up.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// Of the package.
    pub(super) hash: String,
    /// Why.
    pub(super) error: ChangeError,
    /// What trying again may come to.
    pub(super) outlook: Outlook,
}

/// What comes of trying again to bring up what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It met a change by somebody else, or a database that was not there: it will do.
    Passing,
    /// It may do.
    Open,
    /// Another thread would be lost.
    Hopeless,
}

#[derive(Debug)]
struct Begun {
    purpose: Purpose,
    safe_mode: bool,
}

impl Process {
    /// Notes what plugins are loaded for; what was noted first holds.
    pub(super) fn begin(&self, purpose: Purpose, safe_mode: bool) {
        self.begun.get_or_init(|| Begun { purpose, safe_mode });
    }

    /// What plugins are loaded for.
    pub(super) fn purpose(&self) -> Purpose {
        self.begun.get().map_or(Purpose::Command, |begun| begun.purpose)
    }

    /// Whether none but those that came with this program are loaded.
    pub(super) fn safe_mode(&self) -> bool {
        self.begun.get().is_some_and(|begun| begun.safe_mode)
    }

    /// Notes that nothing is brought up any more.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// Whether nothing is to be brought up any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Notes what could not be brought up, instead of what was noted before.
    pub(super) fn note_failures(&self, failed: &[(Installed, LoadError)]) {
        let failure = |one: &Installed, error: &LoadError| Failure {
            hash: one.hash.clone(),
            error: ChangeError { code: error.code().to_owned().into(), message: error.to_string() },
            outlook: error.outlook(),
        };
        let failed = failed.iter().map(|(one, error)| (one.name.clone(), failure(one, error)));
        *self.failed.lock() = failed.collect();
    }

    /// Whether the same was noted of this package before.
    pub(super) fn is_known_failure(&self, one: &Installed, error: &LoadError) -> bool {
        let failed = self.failed.lock();
        failed
            .get(&one.name)
            .is_some_and(|known| known.hash == one.hash && known.error.message == error.to_string())
    }

    /// Notes that an instance of this extension has left service.
    pub(super) fn begin_draining(&self, name: &str) {
        self.draining.send_modify(|all| *all.entry(name.to_owned()).or_default() += 1);
    }

    /// Notes that it has ended, or is not waited for any longer.
    pub(super) fn end_draining(&self, name: &str) {
        self.draining.send_modify(|all| {
            if let Some(count) = all.get_mut(name).filter(|count| **count > 1) {
                *count -= 1;
            } else {
                all.remove(name);
            }
        });
        self.woken.notify_one();
    }

    /// Whether an instance of this extension has left service and not ended yet.
    pub(super) fn is_draining(&self, name: &str) -> bool {
        self.draining.borrow().contains_key(name)
    }

    /// Waits until none is.
    pub(super) async fn drained(&self, name: &str) {
        let mut draining = self.draining.subscribe();
        // The sender is this one's own.
        let _ = draining.wait_for(|all| !all.contains_key(name)).await;
    }

    /// What could not be brought up.
    pub(super) fn failures(&self) -> Failures {
        self.failed.lock().clone()
    }

    /// Why this one does not run.
    pub(super) fn failure(&self, name: &str) -> ChangeError {
        let known = self.failed.lock().get(name).map(|known| known.error.clone());
        known.unwrap_or_else(|| ChangeError {
            code: "not_loaded".into(),
            message: format!("{name} is not loaded"),
        })
    }

    /// Notes that this one runs after all.
    pub(super) fn forget_failure(&self, name: &str) {
        self.failed.lock().remove(name);
    }

    /// Notes that an extension is switched off, and which routes it had.
    pub(super) fn close(&self, name: &str, routes: ClosedRoutes) {
        self.closed.lock().insert(name.to_owned(), routes);
    }

    /// Forgets those for which `stays` does not hold.
    pub(super) fn keep_closed(&self, stays: impl Fn(&str) -> bool) {
        self.closed.lock().retain(|name, _| stays(name));
    }

    /// What is switched off.
    pub(super) fn closed(&self) -> BTreeMap<String, ClosedRoutes> {
        self.closed.lock().clone()
    }

    /// Sets which change this process executes.
    pub(super) fn set_executing(&self, id: Option<&str>) {
        *self.executing.lock() = id.map(str::to_owned);
    }

    /// Whether this process executes a change.
    pub(super) fn is_executing(&self, id: &str) -> bool {
        self.executing.lock().as_deref() == Some(id)
    }
}
