//! What this process loads plugins for, once it has begun to. It never loads one.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{Mutex, Notify};

use super::{LoadError, Purpose, lifecycle::ChangeError, store::Installed};

/// What this process does with plugins.
#[derive(Debug, Default)]
pub(super) struct Process {
    begun: OnceLock<Begun>,
    /// Whoever brings plugins up or takes them down holds it: one at a time.
    pub(super) turn: Mutex<()>,
    /// Tells the follower that this process itself changed what is installed.
    pub(super) woken: Notify,
    stopped: AtomicBool,
    /// What is wanted and could not be brought up, by name: the package's hash, and why.
    failed: parking_lot::Mutex<Failures>,
    /// The id of the change that this process carries out.
    carried: parking_lot::Mutex<Option<String>>,
}

/// What could not be brought up.
pub(super) type Failures = BTreeMap<String, (String, ChangeError)>;

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
        let told = |error: &LoadError| ChangeError {
            code: error.code().to_owned().into(),
            message: error.to_string(),
        };
        let failed = failed.iter().map(|(one, error)| (one.name.clone(), (one.hash.clone(), told(error))));
        *self.failed.lock() = failed.collect();
    }

    /// What could not be brought up.
    pub(super) fn failures(&self) -> Failures {
        self.failed.lock().clone()
    }

    /// Why this one does not run.
    pub(super) fn failure(&self, name: &str) -> ChangeError {
        let known = self.failed.lock().get(name).map(|(_, error)| error.clone());
        known.unwrap_or_else(|| ChangeError {
            code: "not_loaded".into(),
            message: format!("{name} is not loaded"),
        })
    }

    /// Notes that this one runs after all.
    pub(super) fn forget_failure(&self, name: &str) {
        self.failed.lock().remove(name);
    }

    /// Notes which change this process carries out.
    pub(super) fn carry(&self, id: Option<&str>) {
        *self.carried.lock() = id.map(str::to_owned);
    }

    /// Whether this process carries a change out.
    pub(super) fn carries(&self, id: &str) -> bool {
        self.carried.lock().as_deref() == Some(id)
    }
}
