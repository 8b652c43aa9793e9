//! Selects the requests that get a row: those that failed, were refused, changed something or were slow, and a sample
//! of the others. Each kind has a limit per second. It never waits, locks or allocates.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::{Method, StatusCode};

use crate::config;

/// Decides which requests are kept.
#[derive(Debug)]
pub struct Sampler {
    since: Instant,
    slow: Duration,
    failed: Allowance,
    refused: Allowance,
    changes: Allowance,
    slow_reads: Allowance,
    reads: Allowance,
}

/// The decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It gets a row.
    Kept,
    /// It is skipped: only a sample of its kind is kept.
    Passed,
    /// It would get a row, but the limit of its kind for this second is reached.
    Dropped,
}

impl Sampler {
    /// Creates the sampler from the configuration.
    pub fn new(config: &config::RequestLog) -> Sampler {
        let most = config.rows_per_second_max;
        Sampler {
            since: Instant::now(),
            slow: Duration::from_millis(config.slow_ms),
            failed: Allowance::new(most),
            refused: Allowance::new(most),
            changes: Allowance::new(most),
            slow_reads: Allowance::new(most),
            reads: Allowance::new(config.reads_per_second_max),
        }
    }

    /// Decides whether a request that began at `started` and took `time` is kept.
    pub(super) fn verdict(
        &self,
        method: &Method,
        status: StatusCode,
        started: Instant,
        time: Duration,
    ) -> Verdict {
        let second = (started + time).saturating_duration_since(self.since).as_secs() as u32;
        let allowance = if status.is_server_error() {
            &self.failed
        } else if status.is_client_error() {
            &self.refused
        } else if !method.is_safe() {
            &self.changes
        } else if time >= self.slow {
            &self.slow_reads
        } else {
            let kept = self.reads.take(second);
            return if kept { Verdict::Kept } else { Verdict::Passed };
        };
        if allowance.take(second) { Verdict::Kept } else { Verdict::Dropped }
    }
}

/// A limit per second. The upper half is the second, the lower half the number taken in it.
#[derive(Debug)]
struct Allowance {
    taken: AtomicU64,
    most: u32,
}

impl Allowance {
    fn new(most: u32) -> Allowance {
        Allowance { taken: AtomicU64::new(0), most }
    }

    /// Takes one. If none is left, this costs one load of a cache line that nobody writes until the next second.
    fn take(&self, second: u32) -> bool {
        let next = |taken: u64| {
            // Another thread may be one second ahead.
            let (known, count) = ((taken >> 32) as u32, taken as u32);
            let (second, count) = if second > known { (second, 0) } else { (known, count) };
            (count < self.most).then(|| u64::from(second) << 32 | u64::from(count + 1))
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_kind_so_many_a_second_are_kept() {
        let config = config::RequestLog {
            rows_per_second_max: 2,
            reads_per_second_max: 1,
            slow_ms: 100,
            ..config::RequestLog::default()
        };
        let keep = Sampler::new(&config);
        let (fast, slow) = (Duration::from_millis(1), Duration::from_millis(100));
        let (get, post) = (Method::GET, Method::POST);
        let kinds = [
            (&get, StatusCode::BAD_GATEWAY, fast, 2, Verdict::Dropped),
            (&get, StatusCode::NOT_FOUND, fast, 2, Verdict::Dropped),
            (&post, StatusCode::CREATED, fast, 2, Verdict::Dropped),
            (&get, StatusCode::OK, slow, 2, Verdict::Dropped),
            (&get, StatusCode::OK, fast, 1, Verdict::Passed),
        ];
        for second in [0, 1, 7] {
            for (method, status, time, most, beyond) in &kinds {
                let started = keep.since + Duration::from_secs(second);
                let told: Vec<_> = (0..4).map(|_| keep.verdict(method, *status, started, *time)).collect();
                let kept = told.iter().filter(|verdict| **verdict == Verdict::Kept).count();
                assert_eq!((kept, told[3]), (*most, *beyond), "{method} {status} {time:?} in {second}");
            }
        }
    }

    #[test]
    fn nothing_is_taken_of_none_and_a_late_thread_takes_of_the_new_second() {
        assert!(!Allowance::new(0).take(1));
        let one = Allowance::new(1);
        assert_eq!([one.take(5), one.take(4), one.take(5), one.take(6)], [true, false, false, true]);
    }
}
