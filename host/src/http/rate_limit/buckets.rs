//! Token buckets in a table of fixed size. It identifies a bucket only by a number, and never knows its subject.
//!
//! A bucket is stored as one moment: when it will be full again. A request moves that moment forward by the time that
//! one token takes to come back. It is refused if the moment would be further ahead than a whole bucket takes to fill.
//! A full bucket therefore need not be stored. If a set is full, the bucket that will be full first is dropped:
//! subjects that are refused now are forgotten last, however many others come.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The number of buckets that share a lock and compete for the same room.
const BUCKETS_PER_SET: usize = 8;

/// The time in which an empty bucket fills.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    key: u64,
    /// When it is full, in nanoseconds since the table was created; a time in the past is a full bucket.
    full_at: u64,
}

/// The table of buckets.
#[derive(Debug)]
pub(super) struct Buckets {
    sets: Vec<Mutex<[Bucket; BUCKETS_PER_SET]>>,
    made_at: Instant,
}

/// The result of a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// The tokens that are left.
    pub(super) remaining: u32,
    /// The time until the bucket is full.
    pub(super) full_after: Duration,
    /// The time until there is a token, if there was none.
    pub(super) refused_for: Option<Duration>,
}

impl Buckets {
    /// Creates a table for `buckets_max` buckets, rounded up to a power of two.
    pub(super) fn new(buckets_max: usize, now: Instant) -> Buckets {
        let sets = buckets_max.div_ceil(BUCKETS_PER_SET).next_power_of_two();
        Buckets { sets: (0..sets).map(|_| Mutex::default()).collect(), made_at: now }
    }

    /// Takes a token from the bucket `key`, which gains `per_minute` tokens per minute up to the same capacity. `key`
    /// must be uniformly distributed.
    pub(super) fn take(&self, key: u64, per_minute: u32, now: Instant) -> Taken {
        let minute = nanoseconds(MINUTE);
        let token = minute / u64::from(per_minute.max(1));
        let now = nanoseconds(now.saturating_duration_since(self.made_at));
        // The length is a power of two; the key's other bits distinguish the buckets of a set.
        let set = usize::try_from(key).unwrap_or(usize::MAX) & (self.sets.len() - 1);
        let mut set = self.sets[set].lock();
        let bucket = match set.iter().position(|bucket| bucket.key == key) {
            Some(at) => &mut set[at],
            None => {
                let first_full = set.iter_mut().min_by_key(|bucket| bucket.full_at);
                let bucket = first_full.expect("a set has buckets");
                *bucket = Bucket { key, full_at: 0 };
                bucket
            }
        };
        let full_at = bucket.full_at.max(now) + token;
        let refused_for = full_at.saturating_sub(now).checked_sub(minute).filter(|wait| *wait > 0);
        if refused_for.is_none() {
            bucket.full_at = full_at;
        }
        let full_after = bucket.full_at.saturating_sub(now);
        Taken {
            remaining: u32::try_from(minute.saturating_sub(full_after) / token).unwrap_or(u32::MAX),
            full_after: Duration::from_nanos(full_after),
            refused_for: refused_for.map(Duration::from_nanos),
        }
    }
}

/// Saturates after 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let start = Instant::now();
        let buckets = Buckets::new(64, start);
        for left in (0..10).rev() {
            let taken = buckets.take(7, 10, start);
            assert_eq!((taken.remaining, taken.refused_for), (left, None));
        }
        let refused = buckets.take(7, 10, start);
        assert_eq!(refused.refused_for, Some(Duration::from_secs(6)));
        assert_eq!(refused.full_after, MINUTE);
        assert_eq!(buckets.take(8, 10, start).refused_for, None);
        assert_eq!(buckets.take(7, 10, start + Duration::from_secs(6)).refused_for, None);
        assert!(buckets.take(7, 10, start + Duration::from_secs(6)).refused_for.is_some());
        assert_eq!(buckets.take(7, 10, start + Duration::from_secs(600)).remaining, 9);
    }

    #[test]
    fn a_million_others_push_out_nobody_who_is_refused() {
        let now = Instant::now();
        let buckets = Buckets::new(20_000, now);
        let hasher = RandomState::new();
        let hard_triers = 0..200u32;
        let key = |trier: u32| hasher.hash_one(trier);
        for trier in hard_triers.clone() {
            while buckets.take(key(trier), 10, now).refused_for.is_none() {}
        }
        for other in 1_000..1_001_000u32 {
            let _ = buckets.take(key(other), 10, now);
        }
        assert_eq!(buckets.sets.len() * BUCKETS_PER_SET, 32_768, "the table does not grow");
        let refused = hard_triers.filter(|trier| buckets.take(key(*trier), 10, now).refused_for.is_some());
        assert_eq!(refused.count(), 200);
    }

    #[test]
    fn a_limit_of_a_billion_still_counts() {
        let now = Instant::now();
        let taken = Buckets::new(1, now).take(1, 1_000_000_000, now);
        assert_eq!((taken.remaining, taken.refused_for), (999_999_999, None));
    }
}
