//! Caches verified tokens, so that a request costs one lookup and no signature check. All of a user's tokens are
//! dropped when anything about the user changes. It never verifies a token itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::Caller;

/// The initial number of users' counters above which unused ones are removed.
const SWEEP_AT_MIN: usize = 1024;

/// How often this process has changed a user; shared by all of the user's tokens in the cache.
type Changes = Arc<AtomicU64>;

/// The SHA-256 of a token: of fixed size, and useless to a reader of memory.
type TokenHash = [u8; 32];

#[derive(Clone)]
struct Entry {
    caller: Arc<Caller>,
    expires_at_seconds: u64,
    mark: Mark,
}

#[derive(Default)]
struct Users {
    changes: HashMap<Box<str>, Weak<AtomicU64>>,
    sweep_at: usize,
}

/// Verified tokens, and the change counters of their users.
pub(super) struct TokenCache {
    entries: Cache<TokenHash, Entry>,
    users: Mutex<Users>,
    generation: AtomicU64,
    external_change_count: AtomicU64,
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TokenCache({} tokens)", self.entries.len())
    }
}

/// The counters at one moment. Data read after it are valid until one of the counters changes.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    changes: Changes,
    seen: u64,
    generation: u64,
}

impl TokenCache {
    pub(super) fn new(entries_max: usize) -> TokenCache {
        TokenCache {
            entries: Cache::new(entries_max),
            users: Mutex::default(),
            generation: AtomicU64::new(0),
            external_change_count: AtomicU64::new(0),
        }
    }

    /// Drops every token if another process has changed the data since the last call.
    pub(super) fn note_foreign_changes(&self, number: u64) {
        if self.external_change_count.load(Ordering::Acquire) != number {
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.external_change_count.store(number, Ordering::Release);
        }
    }

    /// Returns the owner of a token, if it was verified before and nothing has changed since.
    pub(super) fn get(&self, token: &str, now_seconds: u64) -> Option<Arc<Caller>> {
        let entry = self.entries.get(&hash(token))?;
        let good = entry.expires_at_seconds > now_seconds
            && entry.mark.changes.load(Ordering::Acquire) == entry.mark.seen
            && entry.mark.generation == self.generation.load(Ordering::Acquire);
        good.then_some(entry.caller)
    }

    /// Takes a mark, to be called before the user is read from the database. Any later change invalidates what was
    /// read.
    pub(super) fn mark(&self, user_id: &str) -> Mark {
        let generation = self.generation.load(Ordering::Acquire);
        let changes = self.changes_of(user_id);
        let seen = changes.load(Ordering::Acquire);
        Mark { changes, seen, generation }
    }

    fn changes_of(&self, user_id: &str) -> Changes {
        let mut users = self.users.lock();
        if let Some(changes) = users.changes.get(user_id).and_then(Weak::upgrade) {
            return changes;
        }
        if users.changes.len() >= users.sweep_at.max(SWEEP_AT_MIN) {
            users.changes.retain(|_, changes| changes.strong_count() > 0);
            users.sweep_at = 2 * users.changes.len();
        }
        let changes = Changes::default();
        users.changes.insert(user_id.into(), Arc::downgrade(&changes));
        changes
    }

    /// Caches a token that was verified with data read after `mark` was taken.
    pub(super) fn insert(&self, token: &str, caller: Arc<Caller>, expires_at_seconds: u64, mark: Mark) {
        self.entries.insert(hash(token), Entry { caller, expires_at_seconds, mark });
    }

    /// Drops all of the user's tokens, so that each is verified against the database again. Call this once the change
    /// is in the database.
    pub(super) fn changed(&self, user_id: &str) {
        let known = self.users.lock().changes.get(user_id).and_then(Weak::upgrade);
        if let Some(known) = known {
            known.fetch_add(1, Ordering::AcqRel);
        }
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &TokenCache, token: &str, user_id: &str) {
        let mark = cache.mark(user_id);
        cache.insert(token, Arc::new(Caller::of_test(user_id)), 100, mark);
    }

    #[test]
    fn a_change_of_a_user_forgets_every_token_of_that_user_and_no_other() {
        let cache = TokenCache::new(64);
        for (token, user) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            put(&cache, token, user);
        }
        assert_eq!(cache.get("a1", 0).unwrap().user_id, "a");
        cache.changed("a");
        assert!(cache.get("a1", 0).is_none() && cache.get("a2", 0).is_none());
        assert!(cache.get("b1", 0).is_some());
        put(&cache, "a1", "a");
        assert!(cache.get("a1", 0).is_some() && cache.get("a2", 0).is_none());
    }

    #[test]
    fn a_change_while_the_user_is_read_is_not_lost() {
        let cache = TokenCache::new(64);
        let mark = cache.mark("a");
        cache.changed("a");
        cache.insert("a1", Arc::new(Caller::of_test("a")), 100, mark);
        assert!(cache.get("a1", 0).is_none());
    }

    #[test]
    fn a_token_ends_with_its_time_and_with_a_foreign_change() {
        let cache = TokenCache::new(64);
        put(&cache, "a1", "a");
        assert!(cache.get("a1", 99).is_some() && cache.get("a1", 100).is_none());
        cache.note_foreign_changes(0);
        assert!(cache.get("a1", 99).is_some());
        cache.note_foreign_changes(1);
        assert!(cache.get("a1", 99).is_none());
    }

    #[test]
    fn counters_that_nobody_holds_are_swept_out() {
        let cache = TokenCache::new(16);
        for user in 0..20 * SWEEP_AT_MIN {
            put(&cache, &format!("t{user}"), &format!("u{user}"));
        }
        let known = cache.users.lock().changes.len();
        assert!(known <= 2 * SWEEP_AT_MIN, "{known} counters are kept for 16 tokens");
    }
}
