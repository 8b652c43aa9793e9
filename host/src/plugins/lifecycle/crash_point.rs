//! Crash points: where a test that covers all steps of a change ends this process, as a power cut would. They
//! do nothing in release builds.

/// Ends the process if `STRESS_CRASH_AT` is the number of this crash point, counted from 1.
#[cfg(debug_assertions)]
pub(super) fn crash_point() {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static LAST: OnceLock<Option<u64>> = OnceLock::new();
    let last = *LAST.get_or_init(|| std::env::var("STRESS_CRASH_AT").ok()?.parse().ok());
    if last == Some(PASSED.fetch_add(1, Ordering::SeqCst) + 1) {
        std::process::abort();
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
pub(super) fn crash_point() {}
