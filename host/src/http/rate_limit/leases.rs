//! What this node holds of the buckets that all nodes share: tokens that it has taken ahead, for a short time. It never
//! takes any itself, and never gives one back: what is left when a lease ends counts as used.
//!
//! Where one who asks rarely meets several nodes, each must not take much ahead, or the bucket runs dry of what nobody uses:
//! so the first lease is a small one, and the next follow what was used.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::buckets::{MINUTE, Taken};

/// How long a lease lasts.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// Into how many leases a bucket is cut at most: as many as follow each other in a minute.
const LEASES_PER_BUCKET: u32 = 20;

/// Leases whose owners need not wait for each other.
const SHARDS: usize = 64;

/// Finds a bucket on every node: a hash of the rule and of who is counted.
pub(super) type Key = [u8; 16];

/// What was taken ahead from one bucket, and what is known of it.
#[derive(Debug)]
pub(super) struct Lease {
    tokens: u32,
    granted: u32,
    ends_at: Instant,
    full_at: Instant,
    /// Before this there is no token, whoever asks.
    empty_until: Instant,
}

/// What came of a request for a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeaseRequest {
    /// The lease decides.
    Answered(Taken),
    /// The shared bucket must be asked for so many tokens.
    Wanted(u32),
}

/// What the shared bucket gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    /// Tokens, as many as were asked for or as there are.
    pub(super) tokens: u32,
    /// After how long the bucket is full.
    pub(super) full_after: Duration,
}

impl Lease {
    fn new(now: Instant) -> Lease {
        Lease { tokens: 0, granted: 0, ends_at: now, full_at: now, empty_until: now }
    }

    /// Takes a token of the lease.
    pub(super) fn take(&mut self, per_minute: u32, nodes: usize, now: Instant) -> LeaseRequest {
        if now < self.empty_until {
            return LeaseRequest::Answered(self.taken(per_minute, now, Some(self.empty_until - now)));
        }
        if self.tokens > 0 && now < self.ends_at {
            self.tokens -= 1;
            return LeaseRequest::Answered(self.taken(per_minute, now, None));
        }
        LeaseRequest::Wanted(self.wanted(per_minute, nodes, now))
    }

    /// How many tokens to take ahead: what the last lease used, twice that where it did not last.
    fn wanted(&self, per_minute: u32, nodes: usize, now: Instant) -> u32 {
        let most = (per_minute / LEASES_PER_BUCKET).max(1);
        // If each node let as many expire all the time, half of what comes back would be left.
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        let least = (most / 2 / nodes).max(1);
        let used = self.granted - self.tokens;
        let wanted = if now < self.ends_at { used.saturating_mul(2) } else { used };
        wanted.clamp(least, most)
    }

    /// Keeps what the shared bucket gave, and takes one token of it.
    pub(super) fn keep(&mut self, granted: Granted, per_minute: u32, now: Instant) -> Taken {
        self.granted = granted.tokens;
        self.tokens = granted.tokens.saturating_sub(1);
        self.ends_at = now + LEASE;
        self.full_at = now + granted.full_after;
        if granted.tokens > 0 {
            return self.taken(per_minute, now, None);
        }
        let wait = (granted.full_after + token(per_minute)).saturating_sub(MINUTE);
        self.empty_until = now + wait;
        self.taken(per_minute, now, Some(wait))
    }

    fn taken(&self, per_minute: u32, now: Instant, refused_for: Option<Duration>) -> Taken {
        let full_after = self.full_at.saturating_duration_since(now);
        let in_bucket = MINUTE.saturating_sub(full_after).as_nanos() / token(per_minute).as_nanos().max(1);
        let in_bucket = u32::try_from(in_bucket).unwrap_or(u32::MAX);
        let remaining = if refused_for.is_some() { 0 } else { in_bucket.saturating_add(self.tokens) };
        Taken { remaining: remaining.min(per_minute), full_after, refused_for }
    }

    /// Whether it says nothing any more.
    fn is_over(&self, now: Instant) -> bool {
        now >= self.ends_at && now >= self.empty_until
    }
}

/// The time that one token takes to come back.
pub(super) fn token(per_minute: u32) -> Duration {
    MINUTE / per_minute.max(1)
}

/// A lease, which one request at a time looks at: those that come meanwhile find what it has taken.
pub(super) type Held = Arc<tokio::sync::Mutex<Lease>>;

/// The leases of this node, of which it keeps so many at most.
#[derive(Debug)]
pub(super) struct Leases {
    shards: Vec<Mutex<HashMap<Key, Held>>>,
    per_shard_max: usize,
}

impl Leases {
    /// A table for about `leases_max`.
    pub(super) fn new(leases_max: usize) -> Leases {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Leases { shards, per_shard_max: leases_max.div_ceil(SHARDS).max(1) }
    }

    /// The lease of a bucket. What others lose where room is short are tokens that they had taken ahead, and no more than
    /// that.
    pub(super) fn of(&self, key: Key, now: Instant) -> Held {
        let mut shard = self.shards[usize::from(key[0]) % SHARDS].lock();
        if let Some(held) = shard.get(&key) {
            return Arc::clone(held);
        }
        if shard.len() >= self.per_shard_max {
            shard.retain(|_, held| held.try_lock().is_ok_and(|lease| !lease.is_over(now)));
        }
        if shard.len() >= self.per_shard_max {
            shard.clear();
        }
        let held = Held::new(tokio::sync::Mutex::new(Lease::new(now)));
        shard.insert(key, Arc::clone(&held));
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(tokens: u32, full_after_seconds: u64) -> Granted {
        Granted { tokens, full_after: Duration::from_secs(full_after_seconds) }
    }

    fn wanted(lease: &mut Lease, per_minute: u32, now: Instant) -> u32 {
        match lease.take(per_minute, 3, now) {
            LeaseRequest::Wanted(wanted) => wanted,
            LeaseRequest::Answered(taken) => panic!("{taken:?}"),
        }
    }

    #[test]
    fn a_small_limit_is_asked_for_one_by_one() {
        let start = Instant::now();
        let mut lease = Lease::new(start);
        for left in (0..10).rev() {
            assert_eq!(wanted(&mut lease, 10, start), 1);
            let taken = lease.keep(granted(1, 60 - 6 * left), 10, start);
            assert_eq!((u64::from(taken.remaining), taken.refused_for), (left, None));
        }
        assert_eq!(wanted(&mut lease, 10, start), 1);
        let refused = lease.keep(granted(0, 60), 10, start);
        assert_eq!(refused.refused_for, Some(Duration::from_secs(6)));
        let later = start + Duration::from_secs(2);
        let LeaseRequest::Answered(refused) = lease.take(10, 3, later) else {
            panic!("an empty bucket is asked again")
        };
        assert_eq!((refused.refused_for, refused.remaining), (Some(Duration::from_secs(4)), 0));
        assert_eq!(wanted(&mut lease, 10, start + Duration::from_secs(6)), 1);
    }

    #[test]
    fn leases_follow_what_is_used() {
        let start = Instant::now();
        let mut lease = Lease::new(start);
        let first = wanted(&mut lease, 12_000, start);
        assert_eq!(first, 100);
        lease.keep(granted(first, 1), 12_000, start);
        for _ in 1..first {
            assert!(matches!(
                lease.take(12_000, 3, start),
                LeaseRequest::Answered(Taken { refused_for: None, .. })
            ));
        }
        assert_eq!(
            wanted(&mut lease, 12_000, start),
            200,
            "one that did not last is followed by a larger one"
        );
        lease.keep(granted(600, 1), 12_000, start);
        for _ in 1..600 {
            lease.take(12_000, 3, start);
        }
        assert_eq!(wanted(&mut lease, 12_000, start), 600, "a twentieth of the bucket is the most");
        lease.keep(granted(600, 1), 12_000, start);
        for _ in 1..150 {
            lease.take(12_000, 3, start);
        }
        assert_eq!(wanted(&mut lease, 12_000, start + LEASE), 150, "what is left of a lease is lost with it");
    }

    #[test]
    fn who_is_forgotten_asks_again() {
        let now = Instant::now();
        let leases = Leases::new(SHARDS);
        let key = |number: u8| [0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let first = leases.of(key(1), now);
        assert!(Arc::ptr_eq(&first, &leases.of(key(1), now)));
        first.try_lock().unwrap().keep(granted(5, 1), 100, now);
        leases.of(key(2), now);
        assert!(!Arc::ptr_eq(&first, &leases.of(key(1), now)), "the table grows");
    }
}
