//! Delays for password guessing: per account and client network, and per account over all networks. A waiting client is
//! refused before any password is checked. It never knows whether the account exists.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{clock::Clock, error::ApiError};

/// The number of wrong passwords for one account from one network before any wait.
pub(super) const FAILURES_FREE: u32 = 5;

/// The wait after the first failure that causes one; each further failure doubles it.
pub(super) const WAIT_MIN: Duration = Duration::from_secs(2);

/// The longest wait for one network.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(900);

/// The time without a failure after which a network starts from zero.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The number of wrong passwords for one account within [`ACCOUNT_WINDOW`], from all networks, above which strangers
/// have to wait.
pub(super) const ACCOUNT_FAILURES_MAX: f64 = 50.0;

/// The time over which an account's failures are counted.
pub(super) const ACCOUNT_WINDOW: Duration = Duration::from_secs(3600);

/// How long a stranger waits before each attempt on a guarded account.
pub(super) const STRANGER_WAIT: Duration = Duration::from_secs(60);

/// The maximum number of accounts, and of networks of accounts, that are remembered. Beyond it, those with the fewest
/// failures are dropped.
const ENTRIES_MAX: usize = 20_000;

/// An attempt to sign in to an account from a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Attempt {
    account: u64,
    network: IpAddr,
}

/// What a failure triggered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Burst {
    /// This network has to wait for this account from now on.
    OfNetwork,
    /// Strangers have to wait for this account from now on.
    OfAccount,
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    failures: u32,
    free_at: Instant,
    last_at: Instant,
}

/// A count of failures that drains away over [`ACCOUNT_WINDOW`].
#[derive(Debug, Clone, Copy)]
struct Level {
    failures: f64,
    at: Instant,
}

#[derive(Debug, Default)]
struct State {
    tries: HashMap<Attempt, Tries>,
    accounts: HashMap<u64, Level>,
}

/// The state of all waits.
#[derive(Debug)]
pub(super) struct Backoff {
    enabled: bool,
    clock: Clock,
    /// Emails are kept as hashes keyed per process: they have a fixed size, and collisions cannot be chosen.
    hasher: RandomState,
    state: Mutex<State>,
}

impl Backoff {
    pub(super) fn new(enabled: bool, clock: Clock) -> Backoff {
        Backoff { enabled, clock, hasher: RandomState::new(), state: Mutex::default() }
    }

    /// Returns the same rules with another clock.
    pub(super) fn with_clock(self, clock: Clock) -> Backoff {
        Backoff { clock, ..self }
    }

    /// Returns an attempt for the account with this email from this address.
    pub(super) fn attempt(&self, email: &str, address: IpAddr) -> Attempt {
        Attempt { account: self.hasher.hash_one(email), network: network(address) }
    }

    /// Returns whether the account is guarded, so that it matters which networks are known to it.
    pub(super) fn is_throttled(&self, attempt: Attempt) -> bool {
        let now = self.clock.instant();
        let state = self.state.lock();
        self.enabled && state.accounts.get(&attempt.account).is_some_and(|level| is_full(level.at(now)))
    }

    /// Admits an attempt, or refuses it with the time to wait. `is_stranger` is true if the account is guarded and does
    /// not know the network.
    ///
    /// # Errors
    /// 429 `login_backoff`.
    pub(super) fn admit(&self, attempt: Attempt, is_stranger: bool) -> Result<(), ApiError> {
        if !self.enabled {
            return Ok(());
        }
        let now = self.clock.instant();
        let mut state = self.state.lock();
        if is_stranger && !state.tries.contains_key(&attempt) {
            state.make_room(now);
            let held = Tries { failures: 0, free_at: now + STRANGER_WAIT, last_at: now };
            state.tries.insert(attempt, held);
        }
        state.wait(attempt, now)
    }

    /// Counts a wrong password, and returns what it triggered.
    ///
    /// # Errors
    /// 429 `login_backoff` if concurrent failures mean that this attempt should not have been admitted. It is not
    /// counted, and its outcome is not reported.
    pub(super) fn failed(&self, attempt: Attempt, is_stranger: bool) -> Result<Option<Burst>, ApiError> {
        if !self.enabled {
            return Ok(None);
        }
        let now = self.clock.instant();
        let mut state = self.state.lock();
        state.wait(attempt, now)?;
        state.make_room(now);
        let tries = state.tries.entry(attempt).or_insert(Tries { failures: 0, free_at: now, last_at: now });
        if now.saturating_duration_since(tries.last_at) >= FORGOTTEN_AFTER {
            tries.failures = 0;
        }
        tries.failures = tries.failures.saturating_add(1);
        tries.last_at = now;
        let stranger_wait = if is_stranger { STRANGER_WAIT } else { Duration::ZERO };
        tries.free_at = now + wait_after(tries.failures).max(stranger_wait);
        let begins = tries.failures == FAILURES_FREE;
        let level = state.accounts.entry(attempt.account).or_insert(Level { failures: 0.0, at: now });
        let before = level.at(now);
        *level = Level { failures: before + 1.0, at: now };
        let guarded = !is_full(before) && is_full(before + 1.0);
        Ok(if guarded { Some(Burst::OfAccount) } else { begins.then_some(Burst::OfNetwork) })
    }

    /// Resets the network's failures after a correct password.
    ///
    /// # Errors
    /// As [`Backoff::failed`]: concurrent guesses get only as many results as sequential ones would.
    pub(super) fn succeeded(&self, attempt: Attempt) -> Result<(), ApiError> {
        if !self.enabled {
            return Ok(());
        }
        let mut state = self.state.lock();
        state.wait(attempt, self.clock.instant())?;
        state.tries.remove(&attempt);
        Ok(())
    }
}

impl State {
    fn wait(&self, attempt: Attempt, now: Instant) -> Result<(), ApiError> {
        let wait = self.tries.get(&attempt).map(|tries| tries.free_at.saturating_duration_since(now));
        match wait {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(has_to_wait(wait)),
        }
    }

    /// Makes room for one more network and one more account. Drops expired entries; if there are none, drops the half
    /// with the fewest failures.
    fn make_room(&mut self, now: Instant) {
        if self.tries.len() >= ENTRIES_MAX {
            self.tries.retain(|_, tries| {
                now < tries.free_at || now.saturating_duration_since(tries.last_at) < FORGOTTEN_AFTER
            });
        }
        if self.tries.len() >= ENTRIES_MAX {
            // Among equals the latest stay, so that a crowd of equal entries is not dropped all at once.
            let rank = |tries: &Tries| (tries.failures, tries.last_at);
            let mut ranks: Vec<_> = self.tries.values().map(rank).collect();
            ranks.sort_unstable();
            let middle = ranks[ranks.len() / 2];
            self.tries.retain(|_, tries| rank(tries) > middle);
        }
        if self.accounts.len() >= ENTRIES_MAX {
            // Non-negative floats sort like their bits.
            let rank = |level: &Level| (level.at(now).to_bits(), level.at);
            let mut ranks: Vec<_> = self.accounts.values().map(rank).collect();
            ranks.sort_unstable();
            let middle = ranks[ranks.len() / 2];
            self.accounts.retain(|_, level| rank(level) > middle);
        }
    }
}

impl Level {
    fn at(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.failures - elapsed * ACCOUNT_FAILURES_MAX / ACCOUNT_WINDOW.as_secs_f64()).max(0.0)
    }
}

/// Returns a 429 with the time to wait, at least one second.
pub(super) fn has_to_wait(wait: Duration) -> ApiError {
    let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
    ApiError::too_many(
        "login_backoff",
        "too many wrong passwords for this account; wait as long as Retry-After says, then try again",
        seconds.max(1),
    )
}

/// Returns whether the failures have reached the limit. Part of one may have drained away since it was counted.
pub(super) fn is_full(failures: f64) -> bool {
    failures > ACCOUNT_FAILURES_MAX - 1.0
}

fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(FAILURES_FREE) {
        None => Duration::ZERO,
        Some(doublings) => WAIT_MIN.saturating_mul(1 << doublings.min(20)).min(WAIT_MAX),
    }
}

/// Returns the network of an address. For IPv6 it is the /64, because clients own a whole /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & !u128::from(u64::MAX)).to_be_bytes()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u32 = 50;

    const NOWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    fn backoff() -> (Clock, Backoff) {
        let clock = Clock::default();
        (clock.clone(), Backoff::new(true, clock))
    }

    fn from(backoff: &Backoff, number: u32) -> Attempt {
        backoff.attempt("ada@example.org", IpAddr::from(number.to_be_bytes()))
    }

    fn seconds(refused: Result<(), ApiError>) -> u64 {
        let Err(refused) = refused else { return 0 };
        assert_eq!((refused.status.as_u16(), &*refused.code), (429, "login_backoff"));
        refused.headers.unwrap()["retry-after"].to_str().unwrap().parse().unwrap()
    }

    /// Fails often enough to guard the account, each time from a different network.
    fn login_throttle(backoff: &Backoff) {
        for number in 0..MANY - 1 {
            assert_eq!(backoff.failed(from(backoff, number), false).unwrap(), None);
        }
        assert!(!backoff.is_throttled(from(backoff, 0)));
        assert_eq!(backoff.failed(from(backoff, MANY), false).unwrap(), Some(Burst::OfAccount));
        assert!(backoff.is_throttled(from(backoff, 0)));
    }

    #[test]
    fn waits_double_after_five_failures_and_end_with_a_success() {
        let (clock, backoff) = backoff();
        let attempt = from(&backoff, 1);
        let mut waits = Vec::new();
        for failure in 1..=20 {
            let expected = (failure == 5).then_some(Burst::OfNetwork);
            let burst = backoff.failed(attempt, false).unwrap();
            assert!(burst == expected || failure > 5, "{failure}: {burst:?}");
            let wait = seconds(backoff.admit(attempt, false));
            waits.push(wait);
            clock.advance(Duration::from_secs(wait));
            backoff.admit(attempt, false).unwrap();
        }
        assert_eq!(waits[..8], [0, 0, 0, 0, 2, 4, 8, 16]);
        assert_eq!(waits[13..], [900; 7]);
        backoff.succeeded(attempt).unwrap();
        for _ in 1..FAILURES_FREE {
            backoff.failed(attempt, false).unwrap();
        }
        backoff.admit(attempt, false).unwrap();
    }

    #[test]
    fn a_failure_is_forgotten_after_an_hour() {
        let (clock, backoff) = backoff();
        let attempt = from(&backoff, 1);
        for _ in 0..FAILURES_FREE {
            backoff.failed(attempt, false).unwrap();
        }
        clock.advance(FORGOTTEN_AFTER);
        assert_eq!(backoff.failed(attempt, false).unwrap(), None);
        backoff.admit(attempt, false).unwrap();
    }

    #[test]
    fn another_network_and_another_account_do_not_wait() {
        let (_, backoff) = backoff();
        let attempt = from(&backoff, 1);
        for _ in 0..FAILURES_FREE {
            backoff.failed(attempt, false).unwrap();
        }
        assert_eq!(seconds(backoff.admit(attempt, false)), 2);
        backoff.admit(from(&backoff, 2), false).unwrap();
        let other = Attempt { network: attempt.network, ..backoff.attempt("bob@example.org", NOWHERE) };
        backoff.admit(other, false).unwrap();
    }

    #[test]
    fn of_guesses_at_once_only_the_first_are_answered() {
        let (_, backoff) = backoff();
        let attempt = from(&backoff, 1);
        for _ in 0..100 {
            backoff.admit(attempt, false).unwrap();
        }
        let answered = (0..100).filter(|_| backoff.failed(attempt, false).is_ok()).count();
        assert_eq!(answered, 5);
        assert_eq!(seconds(backoff.succeeded(attempt)), 2, "a right guess is told to who should wait");
    }

    #[test]
    fn strangers_wait_for_a_guarded_account_and_get_their_turn() {
        let (clock, backoff) = backoff();
        login_throttle(&backoff);
        let (owner, stranger) = (from(&backoff, 1000), from(&backoff, 2000));
        backoff.admit(owner, false).unwrap();
        assert_eq!(seconds(backoff.admit(stranger, true)), 60);
        clock.advance(Duration::from_secs(59));
        assert_eq!(seconds(backoff.admit(stranger, true)), 1, "asking again makes the wait no longer");
        clock.advance(Duration::from_secs(1));
        backoff.admit(stranger, true).unwrap();
        backoff.failed(stranger, true).unwrap();
        assert_eq!(seconds(backoff.admit(stranger, true)), 60, "each try of a stranger costs a wait");
        clock.advance(ACCOUNT_WINDOW);
        assert!(!backoff.is_throttled(stranger));
    }

    #[test]
    fn memory_is_bounded_and_the_hardest_guessers_are_kept() {
        let (_, backoff) = backoff();
        let hard = from(&backoff, u32::MAX);
        for _ in 0..FAILURES_FREE {
            backoff.failed(hard, false).unwrap();
        }
        for number in 0..50_000 {
            let attempt = backoff.attempt(&format!("{number}@example.org"), NOWHERE);
            backoff.failed(attempt, false).unwrap();
            backoff.admit(from(&backoff, number), true).unwrap_err();
        }
        let state = backoff.state.lock();
        assert!(state.tries.len() <= ENTRIES_MAX && state.accounts.len() <= ENTRIES_MAX);
        assert_eq!(state.tries.get(&hard).map(|tries| tries.failures), Some(FAILURES_FREE));
    }

    #[test]
    fn switched_off_nobody_waits() {
        let backoff = Backoff::new(false, Clock::default());
        let attempt = from(&backoff, 1);
        for _ in 0..1000 {
            backoff.failed(attempt, false).unwrap();
        }
        backoff.admit(attempt, true).unwrap();
        assert!(!backoff.is_throttled(attempt));
    }
}
