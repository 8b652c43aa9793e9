//! The state of one plugin's threads, and the server resources that it may still use. The watchdog sets the
//! state; calls read it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tinybase_abi::error::RawError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::metrics::stats::{self, PluginMetrics};

/// The maximum number of threads for plugin code that was moved away from the workers, for all plugins
/// together.
pub const MOVED_THREADS_MAX: usize = 64;

static MOVED: Semaphore = Semaphore::const_new(MOVED_THREADS_MAX);
static ALL: Mutex<Vec<&'static Bulkhead>> = Mutex::new(Vec::new());
/// The number of bulkheads that can be found without a lock.
const NUMBERED_MAX: usize = 1024;
/// The first bulkheads by number, for code that must not lock.
static NUMBERED: [OnceLock<&'static Bulkhead>; NUMBERED_MAX] = [const { OnceLock::new() }; NUMBERED_MAX];

/// Isolates the effects of one plugin on threads. It lives as long as the process, like the plugin's library.
pub struct Bulkhead {
    number: u16,
    name: String,
    /// Whether it was seen to occupy a thread for long. Its code then runs on threads other than the workers.
    is_slow: AtomicBool,
    is_off: AtomicBool,
    blocked: AtomicUsize,
    moved: Arc<Semaphore>,
    metrics: &'static PluginMetrics,
}

/// The right to run plugin code on a thread that is not a worker.
pub struct MovedPermit {
    _own: OwnedSemaphorePermit,
    _all: SemaphorePermit<'static>,
}

impl Bulkhead {
    /// Creates the bulkhead of a plugin about to be created. At most `threads_max` threads run its code after
    /// it was seen to block.
    pub fn leak(name: &str, threads_max: usize) -> &'static Bulkhead {
        let mut all = ALL.lock();
        let bulkhead: &'static Bulkhead = Box::leak(Box::new(Bulkhead {
            // Further plugins share a number and are not isolated from each other; nobody loads so many.
            number: u16::try_from(all.len() + 1).unwrap_or(u16::MAX),
            name: name.to_owned(),
            is_slow: AtomicBool::new(false),
            is_off: AtomicBool::new(false),
            blocked: AtomicUsize::new(0),
            moved: Arc::new(Semaphore::new(threads_max)),
            metrics: stats::plugin(name),
        }));
        if let Some(place) = NUMBERED.get(all.len()) {
            let _ = place.set(bulkhead);
        }
        all.push(bulkhead);
        bulkhead
    }

    /// Returns the bulkhead with this number.
    pub fn find(number: u16) -> Option<&'static Bulkhead> {
        ALL.lock().get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Returns the bulkhead with this number, without a lock.
    pub(super) fn of_number(number: u16) -> Option<&'static Bulkhead> {
        NUMBERED.get(usize::from(number).checked_sub(1)?)?.get().copied()
    }

    /// Returns the bulkheads of all plugins ever created.
    pub fn all() -> Vec<&'static Bulkhead> {
        ALL.lock().clone()
    }

    /// Returns its number, from 1.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Returns the extension's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether its code runs on threads other than the workers.
    pub fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    pub(super) fn set_slow(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Ordering::Relaxed);
    }

    /// Returns the number of threads it blocks.
    pub fn blocked(&self) -> usize {
        self.blocked.load(Ordering::Relaxed)
    }

    pub(super) fn set_blocked(&self, threads: usize) {
        let before = self.blocked.swap(threads, Ordering::Relaxed);
        let step = i64::try_from(threads).unwrap_or(i64::MAX) - i64::try_from(before).unwrap_or(i64::MAX);
        self.metrics.blocked_threads.step(step);
    }

    pub(super) fn count_blocked(&self) {
        self.metrics.blocked.add_one();
    }

    /// Returns whether it is no longer called.
    pub fn is_off(&self) -> bool {
        self.is_off.load(Ordering::Relaxed)
    }

    /// Stops all further calls.
    pub(super) fn switch_off(&self) {
        self.is_off.store(true, Ordering::Relaxed);
        // Waiting callers get an error at once.
        self.moved.close();
    }

    /// Waits for the right to run its code on a thread that is not a worker. Returns `None` if it is switched
    /// off.
    pub(super) async fn permit(&self) -> Option<MovedPermit> {
        let own = Arc::clone(&self.moved).acquire_owned().await.ok()?;
        let all = MOVED.acquire().await.ok()?;
        Some(MovedPermit { _own: own, _all: all })
    }
}

/// Returns the error of every call to an extension that is switched off.
pub fn switched_off(extension: &str) -> RawError {
    let message = format!(
        "the extension {extension} is switched off, since it blocked the server's threads; an admin can enable it again"
    );
    RawError::new(503, "extension_switched_off", message)
}
