//! Remembers which tokens were verified, and the epoch of every user who has one there, so that a request costs one
//! lookup and no signature check. It never verifies a token itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::Caller;

/// Above how many epochs those that nobody holds are swept out, at first.
const SWEEP_AT_MIN: usize = 1024;

/// A user's epoch, shared by all of the user's tokens in the cache. It only rises.
pub(super) type Epoch = Arc<AtomicI64>;

/// A token is kept by its SHA-256: of fixed size, and of no use to a reader of memory.
type TokenHash = [u8; 32];

#[derive(Clone)]
struct Entry {
    caller: Arc<Caller>,
    expires_at_seconds: u64,
    token_epoch: i64,
    user_epoch: Epoch,
    generation: u64,
}

#[derive(Default)]
struct Epochs {
    by_user: HashMap<Box<str>, Weak<AtomicI64>>,
    sweep_at: usize,
}

/// Verified tokens and the epochs of their users.
pub(super) struct TokenCache {
    entries: Cache<TokenHash, Entry>,
    epochs: Mutex<Epochs>,
    generation: AtomicU64,
    foreign_changes: AtomicU64,
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TokenCache({} tokens)", self.entries.len())
    }
}

/// A load that began before something changed must not be kept: it carries the generation of its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Generation(u64);

impl TokenCache {
    pub(super) fn new(entries_max: usize) -> TokenCache {
        TokenCache {
            entries: Cache::new(entries_max),
            epochs: Mutex::default(),
            generation: AtomicU64::new(0),
            foreign_changes: AtomicU64::new(0),
        }
    }

    /// Forgets every token if another process has changed the data since the last call.
    pub(super) fn note_foreign_changes(&self, number: u64) {
        if self.foreign_changes.load(Ordering::Acquire) != number {
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.foreign_changes.store(number, Ordering::Release);
        }
    }

    /// Whose token this is, if it was verified before and nothing has ended it since.
    pub(super) fn get(&self, token: &str, now_seconds: u64) -> Option<Arc<Caller>> {
        let entry = self.entries.get(&hash(token))?;
        let good = entry.expires_at_seconds > now_seconds
            && entry.user_epoch.load(Ordering::Acquire) == entry.token_epoch
            && entry.generation == self.generation.load(Ordering::Acquire);
        good.then_some(entry.caller)
    }

    /// To be taken before the user is read from the database.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// The user's epoch as this process knows it; take it before the user is read from the database, so that whoever
    /// raises it meanwhile finds it here.
    pub(super) fn epoch(&self, user_id: &str) -> Epoch {
        let mut epochs = self.epochs.lock();
        if let Some(epoch) = epochs.by_user.get(user_id).and_then(Weak::upgrade) {
            return epoch;
        }
        if epochs.by_user.len() >= epochs.sweep_at.max(SWEEP_AT_MIN) {
            epochs.by_user.retain(|_, epoch| epoch.strong_count() > 0);
            epochs.sweep_at = 2 * epochs.by_user.len();
        }
        let epoch = Arc::new(AtomicI64::new(i64::MIN));
        epochs.by_user.insert(user_id.into(), Arc::downgrade(&epoch));
        epoch
    }

    /// Remembers a verified token of the epoch `token_epoch`.
    pub(super) fn insert(
        &self,
        token: &str,
        caller: Arc<Caller>,
        expires_at_seconds: u64,
        token_epoch: i64,
        user_epoch: Epoch,
        generation: Generation,
    ) {
        let entry = Entry { caller, expires_at_seconds, token_epoch, user_epoch, generation: generation.0 };
        self.entries.insert(hash(token), entry);
    }

    /// Ends every token of the user whose epoch is below `epoch`. To be called once the database has it.
    pub(super) fn raise(&self, user_id: &str, epoch: i64) {
        let known = self.epochs.lock().by_user.get(user_id).and_then(Weak::upgrade);
        if let Some(known) = known {
            known.fetch_max(epoch, Ordering::AcqRel);
        }
    }
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(cache: &TokenCache, token: &str, user_id: &str, epoch: i64) {
        let generation = cache.generation();
        let user_epoch = cache.epoch(user_id);
        user_epoch.fetch_max(epoch, Ordering::AcqRel);
        let caller = Caller { epoch, ..Caller::of_test(user_id) };
        cache.insert(token, Arc::new(caller), 100, epoch, user_epoch, generation);
    }

    #[test]
    fn a_raised_epoch_ends_every_token_of_that_user_and_no_other() {
        let cache = TokenCache::new(64);
        for (token, user) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
            put(&cache, token, user, 3);
        }
        assert_eq!(cache.get("a1", 0).unwrap().user_id, "a");
        cache.raise("a", 4);
        assert!(cache.get("a1", 0).is_none() && cache.get("a2", 0).is_none());
        assert!(cache.get("b1", 0).is_some());
        put(&cache, "a3", "a", 4);
        assert!(cache.get("a3", 0).is_some());
    }

    #[test]
    fn an_epoch_raised_while_the_user_is_read_is_not_lost() {
        let cache = TokenCache::new(64);
        let generation = cache.generation();
        let user_epoch = cache.epoch("a");
        cache.raise("a", 4);
        user_epoch.fetch_max(3, Ordering::AcqRel);
        let caller = Caller { epoch: 3, ..Caller::of_test("a") };
        cache.insert("a1", Arc::new(caller), 100, 3, user_epoch, generation);
        assert!(cache.get("a1", 0).is_none());
    }

    #[test]
    fn a_token_ends_with_its_time_and_with_a_foreign_change() {
        let cache = TokenCache::new(64);
        put(&cache, "a1", "a", 0);
        assert!(cache.get("a1", 99).is_some() && cache.get("a1", 100).is_none());
        cache.note_foreign_changes(0);
        assert!(cache.get("a1", 99).is_some());
        cache.note_foreign_changes(1);
        assert!(cache.get("a1", 99).is_none());
    }

    #[test]
    fn epochs_that_nobody_holds_are_swept_out() {
        let cache = TokenCache::new(16);
        for user in 0..20 * SWEEP_AT_MIN {
            put(&cache, &format!("t{user}"), &format!("u{user}"), 0);
        }
        let known = cache.epochs.lock().by_user.len();
        assert!(known <= 2 * SWEEP_AT_MIN, "{known} epochs are kept for 16 tokens");
    }
}
