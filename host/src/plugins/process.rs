//! The state of plugin loading in this process, including its purpose. Never loads a plugin.

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
    /// Locked while plugins are loaded or unloaded: one change at a time.
    pub(super) turn: Mutex<()>,
    /// Wakes the reconciler when this process itself changed what is installed.
    pub(super) woken: Notify,
    stopped: AtomicBool,
    /// The wanted extensions that failed to load, by name.
    failed: parking_lot::Mutex<Failures>,
    /// The number of instances of each extension that left service and have not ended yet.
    draining: watch::Sender<BTreeMap<String, usize>>,
    /// The routes of switched-off extensions, by name.
    closed: parking_lot::Mutex<BTreeMap<String, ClosedRoutes>>,
    /// The id of the change that this process is carrying out.
    executing: parking_lot::Mutex<Option<String>>,
}

/// The extensions that failed to load, by name.
pub(super) type Failures = BTreeMap<String, Failure>;

/// Why an extension failed to load.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// The hash of the package.
    pub(super) hash: String,
    /// The error.
    pub(super) error: ChangeError,
    /// Whether a retry may succeed.
    pub(super) outlook: Outlook,
}

/// Whether another attempt to load may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// It will: the failure came from a concurrent change or an unavailable database.
    Passing,
    /// It may.
    Open,
    /// It will not, and would cost another thread.
    Hopeless,
}

#[derive(Debug)]
struct Begun {
    purpose: Purpose,
    safe_mode: bool,
}

impl Process {
    /// Sets what plugins are loaded for. Only the first call has an effect.
    pub(super) fn begin(&self, purpose: Purpose, safe_mode: bool) {
        self.begun.get_or_init(|| Begun { purpose, safe_mode });
    }

    /// Returns what plugins are loaded for.
    pub(super) fn purpose(&self) -> Purpose {
        self.begun.get().map_or(Purpose::Command, |begun| begun.purpose)
    }

    /// Returns whether only built-in extensions are loaded.
    pub(super) fn safe_mode(&self) -> bool {
        self.begun.get().is_some_and(|begun| begun.safe_mode)
    }

    /// Stops all further loading.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    /// Returns whether loading was stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Replaces the recorded load failures.
    pub(super) fn note_failures(&self, failed: &[(Installed, LoadError)]) {
        let failure = |one: &Installed, error: &LoadError| Failure {
            hash: one.hash.clone(),
            error: ChangeError { code: error.code().to_owned().into(), message: error.to_string() },
            outlook: error.outlook(),
        };
        let failed = failed.iter().map(|(one, error)| (one.name.clone(), failure(one, error)));
        *self.failed.lock() = failed.collect();
    }

    /// Returns whether the same failure of this package is already recorded.
    pub(super) fn is_known_failure(&self, one: &Installed, error: &LoadError) -> bool {
        let failed = self.failed.lock();
        failed
            .get(&one.name)
            .is_some_and(|known| known.hash == one.hash && known.error.message == error.to_string())
    }

    /// Records that an instance of this extension has left service.
    pub(super) fn begin_draining(&self, name: &str) {
        self.draining.send_modify(|all| *all.entry(name.to_owned()).or_default() += 1);
    }

    /// Records that it has ended, or that nobody waits for it any more.
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

    /// Returns whether an instance of this extension has left service but not ended yet.
    pub(super) fn is_draining(&self, name: &str) -> bool {
        self.draining.borrow().contains_key(name)
    }

    /// Waits until there is no such instance.
    pub(super) async fn drained(&self, name: &str) {
        let mut draining = self.draining.subscribe();
        // This cannot fail: the sender belongs to `self`.
        let _ = draining.wait_for(|all| !all.contains_key(name)).await;
    }

    /// Returns the load failures.
    pub(super) fn failures(&self) -> Failures {
        self.failed.lock().clone()
    }

    /// Returns why an extension is not running.
    pub(super) fn failure(&self, name: &str) -> ChangeError {
        let known = self.failed.lock().get(name).map(|known| known.error.clone());
        known.unwrap_or_else(|| ChangeError {
            code: "not_loaded".into(),
            message: format!("{name} is not loaded"),
        })
    }

    /// Removes the failure of an extension that runs after all.
    pub(super) fn forget_failure(&self, name: &str) {
        self.failed.lock().remove(name);
    }

    /// Records the routes of an extension that is switched off.
    pub(super) fn close(&self, name: &str, routes: ClosedRoutes) {
        self.closed.lock().insert(name.to_owned(), routes);
    }

    /// Removes the switched-off extensions for which `stays` returns false.
    pub(super) fn keep_closed(&self, stays: impl Fn(&str) -> bool) {
        self.closed.lock().retain(|name, _| stays(name));
    }

    /// Returns the switched-off extensions.
    pub(super) fn closed(&self) -> BTreeMap<String, ClosedRoutes> {
        self.closed.lock().clone()
    }

    /// Sets the change that this process is carrying out.
    pub(super) fn set_executing(&self, id: Option<&str>) {
        *self.executing.lock() = id.map(str::to_owned);
    }

    /// Returns whether this process is carrying out the change `id`.
    pub(super) fn is_executing(&self, id: &str) -> bool {
        self.executing.lock().as_deref() == Some(id)
    }
}
