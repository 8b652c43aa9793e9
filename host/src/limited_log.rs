//! Limits log lines that callers can cause at will: at most one per interval and kind, with the number of occurrences
//! since the last one. It writes none itself.

use std::{
    collections::HashMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// The minimum interval between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(5);
/// The maximum number of kinds with their own lines; further ones share one. Extensions choose their own codes.
const KINDS_MAX: usize = 64;
const OTHERS: &str = "";

/// When the last line of each kind was written, and how many were suppressed since.
pub(crate) struct LimitedLog(LazyLock<Mutex<HashMap<String, Kind>>>);

struct Kind {
    written: Instant,
    left_out: u64,
}

impl LimitedLog {
    /// Returns an empty log.
    pub(crate) const fn new() -> LimitedLog {
        LimitedLog(LazyLock::new(Mutex::default))
    }

    /// Returns how many occurrences of this kind the line that is due represents; `None` if none is due.
    pub(crate) fn due(&self, kind: &str) -> Option<u64> {
        self.due_at(kind, Instant::now())
    }

    fn due_at(&self, kind: &str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock();
        let is_full = kinds.len() >= KINDS_MAX;
        let kind = if is_full && !kinds.contains_key(kind) { OTHERS } else { kind };
        let Some(known) = kinds.get_mut(kind) else {
            kinds.insert(kind.to_owned(), Kind { written: now, left_out: 0 });
            return Some(1);
        };
        if now.saturating_duration_since(known.written) < INTERVAL {
            known.left_out += 1;
            return None;
        }
        known.written = now;
        Some(std::mem::take(&mut known.left_out) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_some_seconds_stands_for_those_that_were_left_out() {
        let (log, begun) = (LimitedLog::new(), Instant::now());
        assert_eq!(log.due_at("overloaded", begun), Some(1));
        for _ in 0..1_000 {
            assert_eq!(log.due_at("overloaded", begun + INTERVAL / 2), None);
        }
        assert_eq!(log.due_at("db_busy", begun + INTERVAL / 2), Some(1), "each kind has a line");
        assert_eq!(log.due_at("overloaded", begun + INTERVAL), Some(1_001));
        assert_eq!(log.due_at("overloaded", begun + INTERVAL * 2), Some(1));
    }

    #[test]
    fn kinds_have_a_limit() {
        let (log, now) = (LimitedLog::new(), Instant::now());
        for kind in 0..1_000 {
            log.due_at(&kind.to_string(), now);
        }
        assert_eq!(log.0.lock().len(), KINDS_MAX + 1);
    }
}
