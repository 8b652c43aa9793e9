//! Checks from its own thread what the runtime's threads run, and reacts if plugin code does not return.
//! Never touches a thread.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    Bulkhead,
    reserve::Reserve,
    threads::{self, Note, Noted},
};

/// How often it checks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many checks in a row must find the same call before its plugin counts as slow and, until the call ends,
/// its worker as lost. This is half a second; no well-behaved call runs that long without yielding, even on
/// busy cores. It is not shorter, since moved code runs on changing threads, and each of them keeps memory
/// that others freed.
const LOST_LOOKS: u32 = 10;
/// For how many checks a plugin counts as slow after the last such call: ten seconds.
const SLOW_FOR_LOOKS: u32 = 200;

/// A report of the watchdog.
pub enum Report {
    /// The number of threads that an extension blocks has changed.
    Changed(&'static Bulkhead),
    /// An extension blocks too many threads and is no longer called.
    SwitchedOff(&'static Bulkhead),
}

/// Watches until it is dropped.
pub struct Watchdog {
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Starts to watch the threads of this runtime. A thread counts as blocked after `blocked_after`. An
    /// extension that blocks `threads_max` threads is switched off, unless that is 0.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn start(
        runtime: Handle,
        blocked_after: Duration,
        threads_max: usize,
        report: impl Fn(Report) + Send + 'static,
    ) -> std::io::Result<Watchdog> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let looks = blocked_after.as_millis().div_ceil(LOOK_EVERY.as_millis());
        let mut watch = Watch {
            reserve: Reserve::new(runtime),
            blocked_looks: u32::try_from(looks).unwrap_or(u32::MAX).max(1),
            threads_max,
            seen: HashMap::new(),
            slow: HashMap::new(),
            report: Box::new(report),
        };
        let stopped = Arc::clone(&is_stopped);
        threads::set_watched(true);
        let thread = thread::Builder::new().name("tinybase-watchdog".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                watch.look();
                thread::park_timeout(LOOK_EVERY);
            }
        })?;
        Ok(Watchdog { is_stopped, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        threads::set_watched(false);
        self.is_stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of the thread was logged, and does not matter here.
            let _ = thread.join();
        }
    }
}

/// A call on a thread, and how often it was seen there.
struct Seen {
    noted: Noted,
    /// The number of checks that saw it in its own code, and of all that saw it.
    looks: u32,
    stays: u32,
    is_blocked: bool,
}

impl Seen {
    fn look_again(&mut self, noted: Noted, blocked_looks: u32) {
        self.noted = noted;
        self.stays += 1;
        // Time spent in the host does not count for the plugin.
        self.looks += u32::from(!noted.in_host);
        if self.looks >= blocked_looks && !self.is_blocked {
            self.is_blocked = true;
            note_blocked(&noted, blocked_looks);
        }
    }
}

struct Watch {
    reserve: Reserve,
    blocked_looks: u32,
    threads_max: usize,
    /// The calls seen, by the address of the thread's note.
    seen: HashMap<usize, Seen>,
    /// The number of checks for which a plugin still counts as slow.
    slow: HashMap<u16, u32>,
    report: Box<dyn Fn(Report) + Send>,
}

impl Watch {
    fn look(&mut self) {
        let mut blocked: HashMap<u16, usize> = HashMap::new();
        let mut lost = 0;
        for note in threads::notes() {
            let Some(&Seen { noted, looks, stays, is_blocked }) = self.look_at(note) else { continue };
            // The host's own code may not return either; then no plugin is to blame.
            lost += usize::from(noted.is_worker && stays >= LOST_LOOKS);
            if looks >= LOST_LOOKS {
                self.slow.insert(noted.plugin, SLOW_FOR_LOOKS);
            }
            if is_blocked {
                *blocked.entry(noted.plugin).or_default() += 1;
            }
        }
        self.reserve.look();
        threads::note_lost(lost);
        for bulkhead in Bulkhead::all() {
            self.settle(bulkhead, blocked.get(&bulkhead.number()).copied().unwrap_or_default());
        }
        threads::wake_waiting();
    }

    /// Returns the plugin call that a thread runs, with how often it was seen and whether it is blocked.
    fn look_at(&mut self, note: &'static Note) -> Option<&Seen> {
        let (place, noted) = (std::ptr::from_ref(note).addr(), note.read());
        let before = self.seen.get(&place);
        let is_same = before.is_some_and(|seen| noted.plugin != 0 && noted.call == seen.noted.call);
        if !is_same && let Some(before) = self.seen.remove(&place) {
            note_returned(&before);
        }
        if noted.plugin == 0 {
            return None;
        }
        let blocked_looks = self.blocked_looks;
        let new = Seen { noted, looks: 0, stays: 0, is_blocked: false };
        let seen = self.seen.entry(place).or_insert(new);
        if is_same {
            seen.look_again(noted, blocked_looks);
        }
        Some(seen)
    }

    /// Updates a plugin's state from the number of threads that it blocks.
    fn settle(&mut self, bulkhead: &'static Bulkhead, blocked: usize) {
        let left = self.slow.get_mut(&bulkhead.number());
        let is_slow = left.is_some_and(|left| {
            *left = left.saturating_sub(1);
            *left > 0
        });
        if is_slow != bulkhead.is_slow() {
            bulkhead.set_slow(is_slow);
        }
        let has_changed = blocked != bulkhead.blocked();
        if has_changed {
            bulkhead.set_blocked(blocked);
        }
        if self.threads_max > 0 && blocked >= self.threads_max && !bulkhead.is_off() {
            bulkhead.switch_off();
            tracing::error!(
                plugin = bulkhead.name(),
                blocked,
                "the extension is switched off: it blocks {blocked} threads; enable it again once it is repaired, and \
                 restart the server to get the threads back"
            );
            (self.report)(Report::SwitchedOff(bulkhead));
        } else if has_changed {
            (self.report)(Report::Changed(bulkhead));
        }
    }
}

fn note_blocked(noted: &Noted, looks: u32) {
    let Some(bulkhead) = Bulkhead::find(noted.plugin) else { return };
    bulkhead.count_blocked();
    let millis = u128::from(looks) * LOOK_EVERY.as_millis();
    tracing::error!(
        plugin = bulkhead.name(),
        "the extension blocks a thread with {}, for {millis} ms and more: its code must not wait or compute for long",
        noted.work.name()
    );
}

fn note_returned(seen: &Seen) {
    let Some(bulkhead) = Bulkhead::find(seen.noted.plugin).filter(|_| seen.is_blocked) else { return };
    let millis = u128::from(seen.looks) * LOOK_EVERY.as_millis();
    tracing::warn!(plugin = bulkhead.name(), "the extension gave a thread back after {millis} ms");
}
