//! The time that `ValueRef::Now` stands for: the database's clock as this process knows it, so that nodes with
//! different clocks write consistent times. RFC 3339 in UTC with microseconds, never decreasing within a process.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::sql::stored_time;

/// A clock that follows another one and never goes back.
#[derive(Debug)]
pub(super) struct Clock {
    /// How far the database's clock is ahead of this machine's, in microseconds.
    ahead: AtomicI64,
    last: Mutex<Timestamp>,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { ahead: AtomicI64::new(0), last: Mutex::new(Timestamp::UNIX_EPOCH) }
    }

    /// Sets the database's time, in microseconds since 1970, which was requested and received at these times of this
    /// machine.
    pub(super) fn set(&self, database: i64, asked: Timestamp, answered: Timestamp) {
        let middle = i64::midpoint(asked.as_microsecond(), answered.as_microsecond());
        self.ahead.store(database.saturating_sub(middle), Ordering::Relaxed);
    }

    /// Returns the current time in its stored form.
    pub(super) fn tick(&self) -> String {
        stored_time(self.now())
    }

    /// Returns the current time.
    pub(super) fn now(&self) -> Timestamp {
        self.at(Timestamp::now())
    }

    fn at(&self, now: Timestamp) -> Timestamp {
        let now = now.saturating_add(SignedDuration::from_micros(self.ahead.load(Ordering::Relaxed)));
        let mut last = self.last.lock();
        *last = (*last).max(now.expect("the sum of two times saturates"));
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_by_the_databases_clock_and_never_back() {
        let clock = Clock::new();
        let at = |micros| Timestamp::from_microsecond(micros).unwrap();
        clock.set(3_000_000, at(999_000), at(1_001_000));
        assert_eq!(clock.at(at(1_500_000)), at(3_500_000));
        clock.set(1_000_000, at(1_000_000), at(1_000_000));
        assert_eq!(clock.at(at(1_600_000)), at(3_500_000));
        assert_eq!(clock.at(at(3_600_000)), at(3_600_000));
    }
}
