//! The reserve worker. It is held back while the others suffice, since a thread more than the machine has
//! cores takes time from them. It is released as soon as the others stay in plugin code or keep a task
//! waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use super::threads;

/// How long the same calls must occupy all other workers before the reserve is needed.
const STAY: Duration = Duration::from_millis(2);
/// How long a task may wait for a worker before the reserve is needed.
const TASK_WAIT_MAX: Duration = Duration::from_millis(20);
/// How many checks must find the reserve unneeded before it is held back: one second's worth after the start,
/// ten seconds' worth later. The number doubles each time the reserve is needed again soon.
const FIRST_LOOKS: u32 = 20;
const QUIET_LOOKS: u32 = if cfg!(test) { 20 } else { 200 };
const QUIET_LOOKS_MAX: u32 = 8 * QUIET_LOOKS;

/// The number of the current hold, or 0. A process has one runtime.
static HOLD: Mutex<u64> = Mutex::new(0);
static RELEASED: Condvar = Condvar::new();

/// The reserve as the watchdog controls it. Dropping it releases the worker for good.
pub struct Reserve {
    runtime: Handle,
    holds: u64,
    /// The number of checks since it was last needed, and the number after which it is held back.
    quiet: u32,
    quiet_looks: u32,
    probe: Probe,
}

impl Reserve {
    /// Creates the reserve of this runtime.
    pub fn new(runtime: Handle) -> Reserve {
        let probe = Probe::send(&runtime);
        Reserve { runtime, holds: 0, quiet: 0, quiet_looks: FIRST_LOOKS, probe }
    }

    /// Releases the worker if it is needed, and holds it back after it was not needed for a while.
    pub fn look(&mut self) {
        let kept_waiting = self.probe.waited() > TASK_WAIT_MAX;
        // The worker in plugin code may be the one that polled sockets and timers, and sleeping workers do
        // not know about that. A task from outside wakes one of them, which then polls instead.
        self.probe = Probe::send(&self.runtime);
        if kept_waiting || all_stay() {
            self.release();
            return;
        }
        self.quiet = self.quiet.saturating_add(1);
        if self.quiet == self.quiet_looks {
            self.hold();
        }
    }

    fn release(&mut self) {
        if release() {
            let is_soon = self.quiet < 2 * self.quiet_looks;
            let longer = self.quiet_looks.saturating_mul(2).clamp(QUIET_LOOKS, QUIET_LOOKS_MAX);
            self.quiet_looks = if is_soon { longer } else { QUIET_LOOKS };
        }
        self.quiet = 0;
    }

    fn hold(&mut self) {
        self.holds += 1;
        let number = self.holds;
        *HOLD.lock() = number;
        drop(self.runtime.spawn(async move {
            threads::displace();
            let mut hold = HOLD.lock();
            while *hold == number {
                RELEASED.wait(&mut hold);
            }
        }));
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        release();
    }
}

/// Returns whether the worker is held back.
#[cfg(test)]
pub fn is_held() -> bool {
    *HOLD.lock() != 0
}

/// Releases the worker. Returns whether it was held back.
fn release() -> bool {
    let was_held = std::mem::take(&mut *HOLD.lock()) != 0;
    RELEASED.notify_all();
    was_held
}

/// Returns whether all workers allowed in plugin code are there, with calls that take longer than [`STAY`].
fn all_stay() -> bool {
    if !threads::are_all_inside() {
        return false;
    }
    let before = threads::worker_calls();
    thread::sleep(STAY);
    threads::are_all_inside() && threads::worker_calls() == before
}

/// A task that measures how long it waits for a worker.
struct Probe {
    sent: Instant,
    /// The time waited in nanoseconds; 0 while it waits.
    waited: Arc<AtomicU64>,
}

impl Probe {
    fn send(runtime: &Handle) -> Probe {
        let (sent, waited) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let noted = Arc::clone(&waited);
        drop(runtime.spawn(async move {
            let nanos = u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX);
            noted.store(nanos.max(1), Ordering::Relaxed);
        }));
        Probe { sent, waited }
    }

    fn waited(&self) -> Duration {
        match self.waited.load(Ordering::Relaxed) {
            0 => self.sent.elapsed(),
            nanos => Duration::from_nanos(nanos),
        }
    }
}
