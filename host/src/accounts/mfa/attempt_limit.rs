//! The wait after too many wrong codes of a user, regardless of challenges and addresses. It never sees a code, and
//! never delays recovery codes: those cannot be guessed, and let the owner in meanwhile.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The number of wrong codes in a row before any wait.
pub(super) const FREE_FAILURES_MAX: u32 = 10;

/// The first wait; each further failure doubles it.
pub(super) const FIRST_WAIT_SECONDS: u64 = 30;

/// The longest wait. At one guess an hour, of which three in a million are right, guessing takes decades.
pub(super) const WAIT_SECONDS_MAX: u64 = 3600;

/// How long a user's failures are remembered after the last one.
pub(super) const MEMORY_SECONDS: u64 = 24 * 3600;

/// The maximum number of remembered users; those with the fewest failures are dropped first.
const USERS_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    last_at_seconds: u64,
}

impl Failures {
    fn wait_ends_at(self) -> u64 {
        match self.count.checked_sub(FREE_FAILURES_MAX) {
            None => 0,
            Some(beyond) => {
                let wait = FIRST_WAIT_SECONDS.saturating_mul(1 << beyond.min(20));
                self.last_at_seconds + wait.min(WAIT_SECONDS_MAX)
            }
        }
    }
}

/// The failures of all users.
#[derive(Debug, Default)]
pub(super) struct AttemptLimit {
    by_user: Mutex<HashMap<String, Failures>>,
}

impl AttemptLimit {
    /// Counts an attempt as failed before it is checked, so that concurrent attempts gain nothing.
    ///
    /// # Errors
    /// The seconds to wait, if the attempt must not be checked.
    pub(super) fn take_try(&self, user_id: &str, now_seconds: u64) -> Result<(), u64> {
        let mut by_user = self.by_user.lock();
        if by_user.len() >= USERS_MAX && !by_user.contains_key(user_id) {
            forget(&mut by_user, now_seconds);
        }
        let failures = by_user.entry(user_id.to_owned()).or_default();
        if failures.last_at_seconds + MEMORY_SECONDS <= now_seconds {
            *failures = Failures::default();
        }
        let wait = failures.wait_ends_at().saturating_sub(now_seconds);
        if wait > 0 {
            return Err(wait);
        }
        failures.count = failures.count.saturating_add(1);
        failures.last_at_seconds = now_seconds;
        Ok(())
    }

    /// Resets a user's failures after a correct code.
    pub(super) fn succeeded(&self, user_id: &str) {
        self.by_user.lock().remove(user_id);
    }
}

fn forget(by_user: &mut HashMap<String, Failures>, now_seconds: u64) {
    by_user.retain(|_, failures| failures.last_at_seconds + MEMORY_SECONDS > now_seconds);
    if by_user.len() >= USERS_MAX {
        let mut counts = by_user.values().map(|failures| failures.count).collect::<Vec<_>>();
        counts.sort_unstable();
        let middle = counts[counts.len() / 2];
        by_user.retain(|_, failures| failures.count > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_an_hour_and_end_with_a_right_code() {
        let attempt_limit = AttemptLimit::default();
        let mut now = 1_000_000;
        for _ in 0..FREE_FAILURES_MAX {
            attempt_limit.take_try("u1", now).unwrap();
        }
        for wait in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            assert_eq!(attempt_limit.take_try("u1", now), Err(wait));
            assert_eq!(attempt_limit.take_try("u1", now + wait - 1), Err(1));
            attempt_limit.take_try("u2", now).unwrap();
            attempt_limit.succeeded("u2");
            now += wait;
            attempt_limit.take_try("u1", now).unwrap();
        }
        attempt_limit.succeeded("u1");
        attempt_limit.take_try("u1", now).unwrap();
        attempt_limit.take_try("u1", now).unwrap();
    }

    #[test]
    fn failures_are_forgotten_after_a_day() {
        let attempt_limit = AttemptLimit::default();
        for _ in 0..FREE_FAILURES_MAX {
            attempt_limit.take_try("u1", 5).unwrap();
        }
        attempt_limit.take_try("u1", 5).unwrap_err();
        for _ in 0..FREE_FAILURES_MAX {
            attempt_limit.take_try("u1", 5 + MEMORY_SECONDS).unwrap();
        }
    }

    #[test]
    fn memory_is_bounded_and_the_hardest_guessed_are_kept() {
        let attempt_limit = AttemptLimit::default();
        for _ in 0..FREE_FAILURES_MAX {
            attempt_limit.take_try("guessed", 0).unwrap();
        }
        for user in 0..3 * USERS_MAX {
            attempt_limit.take_try(&user.to_string(), 1).unwrap();
        }
        assert!(attempt_limit.by_user.lock().len() <= USERS_MAX);
        attempt_limit.take_try("guessed", 2).unwrap_err();
    }
}
