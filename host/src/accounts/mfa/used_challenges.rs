//! Tracks tried and used challenges in memory, for a process that is the only one on its database. Its size is bounded,
//! and it reads no clock.

use std::collections::HashMap;

use parking_lot::Mutex;
use uuid::Uuid;

use super::challenges::{Challenge, WRONG_CODES_MAX};

/// The maximum number of remembered challenges; those that expire first are dropped first. Each required one valid
/// first factor.
const TRIED_TICKETS_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct Tried {
    tries: u32,
    used: bool,
    expires_at_seconds: u64,
}

/// The challenges that were tried.
#[derive(Debug, Default)]
pub(super) struct UsedChallenges {
    tried: Mutex<HashMap<Uuid, Tried>>,
}

impl UsedChallenges {
    /// Counts an attempt. Returns false if the challenge was used or has no attempts left.
    pub(super) fn take_try(&self, challenge: &Challenge, now_seconds: u64) -> bool {
        let mut tried = self.tried.lock();
        if tried.len() >= TRIED_TICKETS_MAX && !tried.contains_key(&challenge.id) {
            forget(&mut tried, now_seconds);
        }
        let entry = tried.entry(challenge.id).or_default();
        entry.expires_at_seconds = challenge.expires_at_seconds;
        if entry.used || entry.tries >= WRONG_CODES_MAX {
            return false;
        }
        entry.tries += 1;
        true
    }

    /// Marks a challenge as used. Returns false if another request was first.
    pub(super) fn use_up(&self, challenge: &Challenge) -> bool {
        let mut tried = self.tried.lock();
        let entry = tried.entry(challenge.id).or_default();
        entry.expires_at_seconds = challenge.expires_at_seconds;
        !std::mem::replace(&mut entry.used, true)
    }

    /// Makes a used challenge usable again.
    pub(super) fn give_back(&self, challenge: &Challenge) {
        if let Some(entry) = self.tried.lock().get_mut(&challenge.id) {
            entry.used = false;
        }
    }
}

/// Makes room: drops expired challenges; if there are none, drops the half that expires first.
fn forget(tried: &mut HashMap<Uuid, Tried>, now_seconds: u64) {
    tried.retain(|_, entry| entry.expires_at_seconds > now_seconds);
    if tried.len() >= TRIED_TICKETS_MAX {
        let mut ends = tried.values().map(|entry| entry.expires_at_seconds).collect::<Vec<_>>();
        ends.sort_unstable();
        let middle = ends[ends.len() / 2];
        tried.retain(|_, entry| entry.expires_at_seconds > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(now_seconds: u64) -> Challenge {
        Challenge::new("u1", 7, "mark".into(), "password", now_seconds)
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let challenges = UsedChallenges::default();
        for seconds in 0..TRIED_TICKETS_MAX {
            assert!(challenges.take_try(&challenge((seconds / 100) as u64), 1));
        }
        let last = challenge(100);
        assert!(challenges.take_try(&last, 1) && challenges.use_up(&last));
        assert!(challenges.tried.lock().len() <= TRIED_TICKETS_MAX);
        assert!(!challenges.take_try(&last, 1));
        assert!(challenges.take_try(&challenge(500), 400));
    }
}
