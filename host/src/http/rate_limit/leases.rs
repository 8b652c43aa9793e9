//! This node's leases on the buckets that all nodes share: tokens taken in advance, for a short time. It never takes
//! tokens itself, and never returns one: what is left when a lease ends counts as used.
//!
//! A subject with few requests rarely reaches several nodes. Each node must then not take many tokens in advance, or
//! unused ones drain the bucket. The first lease is therefore small, and later ones follow the usage.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::buckets::{MINUTE, Taken};

/// The duration of a lease.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// The maximum number of leases per bucket: as many as follow each other in a minute.
const LEASES_PER_BUCKET: u32 = 20;

/// The number of parts of the table with separate locks.
const SHARDS: usize = 64;

/// The key of a bucket on every node: a hash of the rule and the subject.
pub(super) type Key = [u8; 16];

/// The tokens taken in advance from one bucket, and the known state of that bucket.
#[derive(Debug)]
pub(super) struct Lease {
    tokens: u32,
    granted: u32,
    ends_at: Instant,
    full_at: Instant,
    /// Until then the bucket has no token, on any node.
    empty_until: Instant,
}

/// The result of a request for a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LeaseRequest {
    /// The lease decides.
    Answered(Taken),
    /// This many tokens are needed from the shared bucket.
    Wanted(u32),
}

/// What the shared bucket granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    /// The number of tokens: as many as requested or available.
    pub(super) tokens: u32,
    /// The time until the bucket is full.
    pub(super) full_after: Duration,
}

impl Lease {
    fn new(now: Instant) -> Lease {
        Lease { tokens: 0, granted: 0, ends_at: now, full_at: now, empty_until: now }
    }

    /// Takes a token from the lease.
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

    /// Returns the number of tokens to take in advance: what the last lease used, or twice that if it ran out early.
    fn wanted(&self, per_minute: u32, nodes: usize, now: Instant) -> u32 {
        let most = (per_minute / LEASES_PER_BUCKET).max(1);
        // If each node let this many expire every time, half of the refill would still be left.
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        let least = (most / 2 / nodes).max(1);
        let used = self.granted - self.tokens;
        let wanted = if now < self.ends_at { used.saturating_mul(2) } else { used };
        wanted.clamp(least, most)
    }

    /// Stores what the shared bucket granted, and takes one of those tokens.
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

    /// Returns whether it has expired.
    fn is_over(&self, now: Instant) -> bool {
        now >= self.ends_at && now >= self.empty_until
    }
}

/// Returns the time that one token takes to come back.
pub(super) fn token(per_minute: u32) -> Duration {
    MINUTE / per_minute.max(1)
}

/// A lease behind a lock. Concurrent requests wait, and then find the tokens that the first one took.
pub(super) type Held = Arc<tokio::sync::Mutex<Lease>>;

/// The leases of this node, up to a limit.
#[derive(Debug)]
pub(super) struct Leases {
    shards: Vec<Mutex<HashMap<Key, Held>>>,
    per_shard_max: usize,
}

impl Leases {
    /// Creates a table for about `leases_max` leases.
    pub(super) fn new(leases_max: usize) -> Leases {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Leases { shards, per_shard_max: leases_max.div_ceil(SHARDS).max(1) }
    }

    /// Returns the lease of a bucket. If the table is full, others lose only the tokens they had taken in advance.
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
