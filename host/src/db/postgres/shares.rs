//! Limits how many of the pool's connections one caller may use to a part of them, so that others get some. It lends
//! none itself.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    db::{DbError, turns::CallerKey},
    metrics::stats::DATABASE,
};

/// One of every four connections is left to others.
const LEFT_TO_OTHERS: usize = 4;

/// The shares in use by caller.
#[derive(Debug)]
pub(super) struct Shares {
    of_one_max: usize,
    /// `None`: waiting callers have their own limit.
    wait_max: Option<Duration>,
    held: Mutex<HashMap<CallerKey, Arc<Semaphore>>>,
}

/// One connection of a caller's share; released on drop.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    caller: CallerKey,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// Returns the shares of a pool with this many connections. A caller that waits for its own share longer than
    /// `wait_max` is refused.
    pub(super) fn new(connections_max: usize, wait_max: Duration) -> Shares {
        let left = connections_max.div_ceil(LEFT_TO_OTHERS);
        let of_one_max = connections_max.saturating_sub(left).max(1);
        Shares { of_one_max, wait_max: Some(wait_max), held: Mutex::default() }
    }

    /// Returns the shares of a single resource: each caller waits for it with one call at a time, so that callers take
    /// turns. The caller limits how long it waits.
    pub(super) fn of_one() -> Shares {
        Shares { of_one_max: 1, wait_max: None, held: Mutex::default() }
    }

    /// Waits for a part of this caller's share. Work without a caller is not limited.
    pub(super) async fn take(self: &Arc<Self>, caller: CallerKey) -> Result<Option<Share>, DbError> {
        if caller == CallerKey::NOBODY {
            return Ok(None);
        }
        let semaphore = {
            let mut held = self.held.lock();
            Arc::clone(held.entry(caller).or_insert_with(|| Arc::new(Semaphore::new(self.of_one_max))))
        };
        let mut share = Share { shares: Arc::clone(self), caller, permit: None };
        let permit = semaphore.acquire_owned();
        share.permit = match self.wait_max {
            None => permit.await.ok(),
            Some(wait_max) => match tokio::time::timeout(wait_max, permit).await {
                Ok(permit) => permit.ok(),
                Err(_) => {
                    DATABASE.busy.add_one();
                    return Err(DbError::Busy);
                }
            },
        };
        Ok(Some(share))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        drop(self.permit.take());
        // Callers that wait have a reference to the semaphore too.
        if held.get(&self.caller).is_some_and(|semaphore| {
            Arc::strong_count(semaphore) == 1 && semaphore.available_permits() == self.shares.of_one_max
        }) {
            held.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[tokio::test]
    async fn a_caller_has_three_of_four_and_nothing_is_remembered() {
        let shares = Arc::new(Shares::new(8, Duration::from_millis(20)));
        let caller = |address: &str| CallerKey::of(None, address.parse::<IpAddr>().unwrap());
        let (one, other) = (caller("192.0.2.1"), caller("192.0.2.2"));
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(shares.take(one).await.unwrap());
        }
        assert!(matches!(shares.take(one).await, Err(DbError::Busy)));
        held.push(shares.take(other).await.unwrap());
        assert!(shares.take(CallerKey::NOBODY).await.unwrap().is_none());
        held.remove(0);
        held.push(shares.take(one).await.unwrap());
        drop(held);
        assert!(shares.held.lock().is_empty());
    }

    #[test]
    fn a_small_pool_has_something_for_each() {
        for (connections, of_one) in [(1, 1), (2, 1), (3, 2), (10, 7), (32, 24)] {
            assert_eq!(Shares::new(connections, Duration::ZERO).of_one_max, of_one, "{connections}");
        }
    }
}
