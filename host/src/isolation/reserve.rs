//! The worker that is held back while the others suffice: a thread more than the machine has cores for takes time from them.
//! It is there as soon as the others stay in plugin code.

use std::{thread, time::Duration};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use super::threads;

/// How long the same calls must hold all other workers before the reserve is wanted.
const STAY: Duration = Duration::from_millis(2);
/// After how many looks without that it is held back again: two seconds.
const QUIET_LOOKS: u32 = 40;

/// The number of the hold that is in force, or 0. A process has one runtime.
static HOLD: Mutex<u64> = Mutex::new(0);
static RELEASED: Condvar = Condvar::new();

/// The watchdog's side of it. Dropped, the worker is released for good.
pub struct Reserve {
    runtime: Handle,
    holds: u64,
    quiet_looks: u32,
}

impl Reserve {
    /// A reserve of this runtime, held back from the first look on.
    pub fn new(runtime: Handle) -> Reserve {
        Reserve { runtime, holds: 0, quiet_looks: QUIET_LOOKS }
    }

    /// Releases the worker where the others stay in plugin code, and holds it back once they have not for a while.
    pub fn look(&mut self) {
        if all_stay() {
            self.quiet_looks = 0;
            release();
            return;
        }
        self.quiet_looks = self.quiet_looks.saturating_add(1);
        if self.quiet_looks >= QUIET_LOOKS && *HOLD.lock() == 0 {
            self.hold();
        }
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

/// Whether the worker is held back.
#[cfg(test)]
pub fn is_held() -> bool {
    *HOLD.lock() != 0
}

fn release() {
    *HOLD.lock() = 0;
    RELEASED.notify_all();
}

/// Whether all workers that may be in plugin code are there with calls that take longer than a moment.
fn all_stay() -> bool {
    if !threads::are_all_inside() {
        return false;
    }
    let before = threads::worker_calls();
    thread::sleep(STAY);
    threads::are_all_inside() && threads::worker_calls() == before
}
