//! Which plugin each thread of the runtime runs, and how many workers are in plugin code. Does not know what
//! plugins do there.
//!
//! A thread records what it runs in a word of its own, which no other thread writes. The only number shared
//! between threads is how many workers are in plugin code.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Work;

// From low to high: the plugin's number, the purpose of the call, whether the plugin has called the host,
// whether the thread is a worker, and a count that identifies the call.
const PLUGIN_BITS: u64 = 0xffff;
const WORK_SHIFT: u32 = 16;
const WORK_BITS: u64 = 0x7;
const HOST_BIT: u64 = 1 << 19;
const WORKER_BIT: u64 = 1 << 20;
const COUNT_SHIFT: u32 = 21;
const CALL_BITS: u64 = (1 << COUNT_SHIFT) - 1;

/// A number on its own cache lines.
#[repr(align(128))]
struct Shared(AtomicUsize);

/// How many workers are in plugin code.
static INSIDE: Shared = Shared(AtomicUsize::new(0));
/// How many workers may be in plugin code.
static INSIDE_MAX: Shared = Shared(AtomicUsize::new(usize::MAX));
/// Calls that wait for a worker to leave plugin code: started ones, which may hold resources that others wait
/// for, and new ones.
static BEGUN: Queue = Queue { waiting: Shared(AtomicUsize::new(0)), left: Notify::const_new() };
static NEW: Queue = Queue { waiting: Shared(AtomicUsize::new(0)), left: Notify::const_new() };
/// Whether a watchdog checks the workers and records lost ones.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);
/// Whether all workers that may be in plugin code have been there for long, so that waiting for one is
/// useless.
static IS_SPENT: AtomicBool = AtomicBool::new(false);
/// The notes of all threads ever started. A new thread reuses the note of one that ended.
static NOTES: Mutex<Vec<&'static Note>> = Mutex::new(Vec::new());

thread_local! {
    static NOTE: Cell<Option<&'static Note>> = const { Cell::new(None) };
}

/// The record of what one thread runs.
#[repr(align(128))]
pub struct Note {
    word: AtomicU64,
    is_taken: AtomicBool,
}

/// What a thread runs, read from its note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    /// The plugin's number; 0 for none.
    pub plugin: u16,
    /// The purpose of the call.
    pub work: Work,
    /// Whether it occupies a worker.
    pub is_worker: bool,
    /// Whether the plugin has called the host, so that host code is running.
    pub in_host: bool,
    /// Distinguishes this call on this thread from all others.
    pub call: u64,
}

impl Note {
    /// Returns what the thread runs now.
    pub fn read(&self) -> Noted {
        let word = self.word.load(Ordering::Acquire);
        let work = usize::try_from((word >> WORK_SHIFT) & WORK_BITS).unwrap_or_default();
        Noted {
            plugin: u16::try_from(word & PLUGIN_BITS).unwrap_or_default(),
            work: Work::ALL[work.min(Work::ALL.len() - 1)],
            is_worker: word & WORKER_BIT != 0,
            in_host: word & HOST_BIT != 0,
            call: word >> COUNT_SHIFT,
        }
    }

    fn enter(&self, plugin: u16, work: Work, is_worker: bool) -> u64 {
        let before = self.word.load(Ordering::Relaxed);
        let count = (before >> COUNT_SHIFT).wrapping_add(1);
        let worker = if is_worker { WORKER_BIT } else { before & WORKER_BIT };
        let call = u64::from(plugin) | ((work as u64) << WORK_SHIFT) | worker;
        self.word.store((count << COUNT_SHIFT) | call, Ordering::Release);
        before
    }

    fn leave(&self, before: u64) {
        let count = self.word.load(Ordering::Relaxed) & !CALL_BITS;
        self.word.store(count | (before & CALL_BITS), Ordering::Release);
    }
}

/// Registers a new thread of the runtime.
pub fn thread_started() {
    let mut notes = NOTES.lock();
    let free = notes.iter().copied().find(|note| !note.is_taken.load(Ordering::Relaxed));
    let note = free.unwrap_or_else(|| {
        let note: &'static Note =
            Box::leak(Box::new(Note { word: AtomicU64::new(0), is_taken: AtomicBool::new(true) }));
        notes.push(note);
        note
    });
    note.is_taken.store(true, Ordering::Relaxed);
    NOTE.set(Some(note));
}

/// Unregisters a thread that ends.
pub fn thread_stopped() {
    if let Some(note) = NOTE.take() {
        note.leave(0);
        note.is_taken.store(false, Ordering::Relaxed);
    }
}

/// Sets how many workers may be in plugin code at once: one less than there are.
pub fn set_inside_max(workers: usize) {
    INSIDE_MAX.0.store(workers, Ordering::Relaxed);
}

/// Returns whether only the last worker is left, according to the watchdog.
pub fn is_spent() -> bool {
    IS_SPENT.load(Ordering::Relaxed)
}

/// Records whether a watchdog runs.
pub fn set_watched(is_watched: bool) {
    IS_WATCHED.store(is_watched, Ordering::Relaxed);
    wake_waiting();
}

/// Returns whether a watchdog runs. Without one, lost workers are not detected.
pub fn is_watched() -> bool {
    IS_WATCHED.load(Ordering::Relaxed)
}

/// Records how many workers have been in plugin code for long.
pub fn note_lost(workers: usize) {
    IS_SPENT.store(workers >= INSIDE_MAX.0.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// Returns whether the maximum number of workers is in plugin code.
pub fn are_all_inside() -> bool {
    INSIDE.0.load(Ordering::Relaxed) >= INSIDE_MAX.0.load(Ordering::Relaxed)
}

/// Returns the calls that workers run, by thread.
pub fn worker_calls() -> Vec<(usize, u64)> {
    let notes = NOTES.lock();
    let noted = notes.iter().enumerate().map(|(place, note)| (place, note.read()));
    noted
        .filter(|(_, noted)| noted.plugin != 0 && noted.is_worker)
        .map(|(place, noted)| (place, noted.call))
        .collect()
}

/// Returns the notes of all threads.
pub fn notes() -> Vec<&'static Note> {
    NOTES.lock().clone()
}

/// Whether a thread may enter plugin code.
pub enum Way {
    /// It may enter directly.
    Open(Inside),
    /// It may not enter directly: it is the last worker, which stays outside.
    Last,
}

/// A thread in plugin code. Dropping it leaves plugin code.
pub struct Inside {
    note: Option<&'static Note>,
    before: u64,
    is_counted: bool,
}

/// Enters plugin code, unless no worker would be left outside. Threads outside the runtime may always enter.
pub fn enter(plugin: u16, work: Work) -> Way {
    let Some(note) = NOTE.get() else {
        return Way::Open(Inside { note: None, before: 0, is_counted: false });
    };
    // A thread that is already inside was counted when it entered.
    let is_counted = note.word.load(Ordering::Relaxed) & PLUGIN_BITS == 0;
    if is_counted && INSIDE.0.fetch_add(1, Ordering::AcqRel) >= INSIDE_MAX.0.load(Ordering::Relaxed) {
        INSIDE.0.fetch_sub(1, Ordering::AcqRel);
        return Way::Last;
    }
    Way::Open(Inside { note: Some(note), before: note.enter(plugin, work, is_counted), is_counted })
}

/// Returns what this thread runs, if it runs a plugin. Does not lock or allocate.
pub fn own() -> Option<Noted> {
    NOTE.get().map(Note::read).filter(|noted| noted.plugin != 0)
}

/// Enters plugin code on a thread that is not, or no longer, a worker.
pub fn enter_outside(plugin: u16, work: Work) -> Inside {
    let note = NOTE.get();
    Inside { note, before: note.map_or(0, |note| note.enter(plugin, work, false)), is_counted: false }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let Some(note) = self.note else { return };
        note.leave(self.before);
        if self.is_counted {
            INSIDE.0.fetch_sub(1, Ordering::SeqCst);
            if let Some(queue) = [&BEGUN, &NEW].into_iter().find(|queue| queue.is_used()) {
                queue.left.notify_one();
            }
        }
    }
}

/// Calls that wait for a worker to leave plugin code.
struct Queue {
    waiting: Shared,
    left: Notify,
}

impl Queue {
    fn is_used(&self) -> bool {
        self.waiting.0.load(Ordering::SeqCst) > 0
    }
}

/// Counts a waiting call until it is dropped.
struct Waits(&'static Queue);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits until a worker leaves plugin code or the watchdog has checked. `is_new` says whether the call is new
/// or has started. Started calls come first.
pub async fn worker_out(is_new: bool) {
    let queue = if is_new { &NEW } else { &BEGUN };
    queue.waiting.0.fetch_add(1, Ordering::SeqCst);
    let _waits = Waits(queue);
    let left = queue.left.notified();
    let has_room = INSIDE.0.load(Ordering::SeqCst) < INSIDE_MAX.0.load(Ordering::Relaxed);
    if has_room && !(is_new && BEGUN.is_used()) {
        return;
    }
    left.await;
}

/// Wakes all calls that wait for a worker. After a check of the watchdog, they may be able to continue
/// without one.
pub fn wake_waiting() {
    for queue in [&BEGUN, &NEW] {
        if queue.is_used() {
            queue.left.notify_waiters();
        }
    }
}

/// Returns whether started calls are waiting, so that a new call must wait for them.
pub fn begun_ones_wait() -> bool {
    BEGUN.is_used()
}

/// Marks host code called by a plugin. Dropping it returns to plugin code.
pub struct InHost(Option<&'static Note>);

/// Marks the code that follows as the host's, so that its time does not count for the plugin.
pub fn in_host() -> InHost {
    let note = NOTE.get().filter(|note| {
        let word = note.word.load(Ordering::Relaxed);
        word & PLUGIN_BITS != 0 && word & HOST_BIT == 0
    });
    if let Some(note) = note {
        note.word.store(note.word.load(Ordering::Relaxed) | HOST_BIT, Ordering::Release);
    }
    InHost(note)
}

impl Drop for InHost {
    fn drop(&mut self) {
        if let Some(note) = self.0 {
            note.word.store(note.word.load(Ordering::Relaxed) & !HOST_BIT, Ordering::Release);
        }
    }
}

/// Makes every task woken by this thread available to other workers. The task that a worker woke last waits
/// in a slot of its own, where it would stay while the worker is blocked; a further task pushes it out. Must
/// be called between code that may wake a task and plugin code.
pub fn displace() {
    if NOTE.get().is_some() {
        drop(tokio::spawn(std::future::ready(())));
    }
}

/// Does the same if this thread is in plugin code, and nothing otherwise.
pub fn displace_inside() {
    if NOTE.get().is_some_and(|note| note.word.load(Ordering::Relaxed) & PLUGIN_BITS != 0) {
        displace();
    }
}

/// Awaits host work for a plugin that polls it, and leaves no task behind that only this thread can run.
pub async fn displacing<F: Future>(work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(move |context| {
        let polled = {
            let _host = in_host();
            work.as_mut().poll(context)
        };
        displace_inside();
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers are per process; nextest runs each test in a process of its own.
    #[test]
    fn all_workers_but_one_go_into_plugin_code() {
        set_inside_max(2);
        let enters = || {
            thread_started();
            let way = enter(7, Work::Hook);
            let is_open = matches!(way, Way::Open(_));
            let noted = NOTE.get().expect("the thread was taken in").read();
            (way, is_open, noted)
        };
        let (first, is_open, noted) = enters();
        assert!(is_open);
        assert_eq!((noted.plugin, noted.work, noted.in_host), (7, Work::Hook, false));
        // A nested call does not count again.
        let nested = enter(8, Work::Service);
        assert!(matches!(nested, Way::Open(_)));
        let note = NOTE.get().expect("the thread was taken in");
        assert_eq!(note.read().plugin, 8);
        {
            let _host = in_host();
            assert!(note.read().in_host);
        }
        assert!(!note.read().in_host);
        drop(nested);
        assert_eq!((note.read().plugin, note.read().work), (7, Work::Hook));

        let others = std::thread::spawn(move || {
            let (second, is_open, _) = enters();
            assert!(is_open);
            let third = std::thread::spawn(move || enters().1).join().expect("it does not panic");
            assert!(!third, "the last worker stays outside");
            drop(second);
            std::thread::spawn(move || enters().1).join().expect("it does not panic")
        });
        assert!(others.join().expect("it does not panic"), "a place that was left is taken again");
        drop(first);
        assert_eq!(note.read().plugin, 0);
    }
}
