//! The pace at which a client receives the bytes that are ready for it. The sender of the bytes records it; the task
//! that waits for the client checks it periodically. It never ends anything itself.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::Limits;

/// The longest time between two checks.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The progress of the bytes for one client. Only one task writes at a time, so plain loads and stores are enough.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Whether bytes are waiting for the client.
    is_waiting: AtomicBool,
    taken: AtomicU64,
    /// How often the client has received everything.
    caught_up: AtomicU32,
}

impl Pace {
    /// Records that the client received this many bytes.
    pub(super) fn took(&self, bytes: usize) {
        self.taken.store(self.taken.load(Ordering::Relaxed).wrapping_add(bytes as u64), Ordering::Relaxed);
    }

    /// Records that bytes are waiting for the client.
    pub(super) fn wait(&self) {
        self.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Records that nothing waits for the client: the server is next.
    pub(super) fn catch_up(&self) {
        if self.is_waiting.load(Ordering::Relaxed) {
            self.caught_up.store(self.caught_up.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            self.is_waiting.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Relaxed)
    }
}

/// The last observation of a [`Pace`].
#[derive(Debug)]
pub(super) struct PaceJudge {
    caught_up: u32,
    /// The bytes at the last check; `still_since` is the time since which there were no more.
    taken: u64,
    still_since: Instant,
    /// The bytes at the start of the interval in which a client must receive enough.
    taken_first: u64,
    since: Instant,
}

impl PaceJudge {
    pub(super) fn new(now: Instant) -> PaceJudge {
        PaceJudge { caught_up: 0, taken: 0, still_since: now, taken_first: 0, since: now }
    }

    /// Returns the fault if the client receives nothing for too long, or too little.
    pub(super) fn judge(&mut self, pace: &Pace, now: Instant, limits: &Limits) -> Option<&'static str> {
        let (taken, caught_up) = (pace.taken.load(Ordering::Relaxed), pace.caught_up.load(Ordering::Relaxed));
        if !pace.is_waiting() || caught_up != self.caught_up {
            *self = PaceJudge { caught_up, taken, still_since: now, taken_first: taken, since: now };
            return None;
        }
        if taken != self.taken {
            (self.taken, self.still_since) = (taken, now);
        } else if now.duration_since(self.still_since) >= limits.response_stall_timeout {
            return Some("the client takes no bytes");
        }
        let time = now.duration_since(self.since);
        if time >= limits.response_rate_grace {
            let wanted = u128::from(limits.response_rate_bytes_per_second_min) * time.as_millis() / 1000;
            if u128::from(taken.wrapping_sub(self.taken_first)) < wanted {
                return Some("the client takes the answer too slowly");
            }
            (self.taken_first, self.since) = (taken, now);
        }
        None
    }
}

/// Returns the time until the next check.
pub(super) fn look_interval(limits: &Limits) -> Duration {
    LOOK_INTERVAL
        .min(limits.response_stall_timeout / 2)
        .min(limits.response_rate_grace / 2)
        .max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a client: for each second the bytes it receives, and whether those were all.
    fn fate(seconds: impl IntoIterator<Item = (usize, bool)>) -> Option<(u64, &'static str)> {
        let limits = Limits {
            response_stall_timeout: Duration::from_secs(5),
            response_rate_grace: Duration::from_secs(10),
            response_rate_bytes_per_second_min: 1000,
            ..Limits::default()
        };
        let (begun, pace) = (Instant::now(), Pace::default());
        let mut judge = PaceJudge::new(begun);
        for (second, (bytes, is_all)) in seconds.into_iter().enumerate() {
            pace.took(bytes);
            if is_all {
                pace.catch_up();
            } else {
                pace.wait();
            }
            let now = begun + Duration::from_secs(second as u64);
            if let Some(why) = judge.judge(&pace, now, &limits) {
                return Some((second as u64, why));
            }
        }
        None
    }

    #[test]
    fn a_client_is_too_slow_by_what_it_takes() {
        let stalled = Some((5, "the client takes no bytes"));
        assert_eq!(fate(std::iter::repeat_n((0, false), 100)), stalled);
        assert_eq!(fate(std::iter::repeat_n((2_000, false), 100)), None);
        let slow = fate(std::iter::repeat_n((900, false), 100));
        assert_eq!(slow, Some((10, "the client takes the answer too slowly")));
        // A fast start does not make up for a slow rest.
        let quick_first = [(1 << 30, false)].into_iter().chain(std::iter::repeat_n((1, false), 100));
        assert_eq!(fate(quick_first).map(|(_, why)| why), Some("the client takes the answer too slowly"));
        // A client that has received everything is waiting for the server.
        assert_eq!(fate(std::iter::repeat_n((1, true), 100)), None);
        assert_eq!(fate([(0, false), (1, true), (0, false), (1, true)].into_iter().cycle().take(100)), None);
    }
}
