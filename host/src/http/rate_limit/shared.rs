//! Limits shared by all nodes: requests are admitted from a lease of tokens, granted by the nodes' shared bucket. It
//! never waits for that bucket longer than its deadline, and reports if the bucket was unreachable.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    buckets::Taken,
    leases::{Granted, Key, LeaseRequest, Leases},
};
use crate::{db::DbError, nodes::NodeCount};

/// How long the shared buckets are not called after a failure.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// The minimum interval between log lines about failures.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The shared buckets of the nodes.
pub(super) trait SharedBuckets: Send + Sync + std::fmt::Debug {
    /// Takes up to `wanted` tokens from a bucket that gains `per_minute` tokens per minute up to the same capacity.
    fn take(&self, key: Key, per_minute: u32, wanted: u32) -> BoxFuture<'_, Result<Granted, DbError>>;
}

/// The limits of several nodes.
#[derive(Debug)]
pub(super) struct Shared {
    buckets: Arc<dyn SharedBuckets>,
    leases: Leases,
    nodes: NodeCount,
    time_max: Duration,
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Default)]
struct Trouble {
    left_alone_until: Option<Instant>,
    told_at: Option<Instant>,
}

impl Shared {
    /// Creates limits on `buckets`. Each call may take `time_max`; about `leases_max` leases are kept.
    pub(super) fn new(
        buckets: Arc<dyn SharedBuckets>,
        nodes: NodeCount,
        leases_max: usize,
        time_max: Duration,
    ) -> Shared {
        Shared { buckets, leases: Leases::new(leases_max), nodes, time_max, trouble: Mutex::default() }
    }

    /// Returns the number of nodes that share.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.get()
    }

    /// Takes a token; `None` if the shared bucket was unreachable.
    pub(super) async fn take(&self, key: Key, per_minute: u32, now: Instant) -> Option<Taken> {
        if self.trouble.lock().left_alone_until.is_some_and(|until| now < until) {
            return None;
        }
        let held = self.leases.of(key, now);
        let asked = async {
            let mut lease = held.lock().await;
            match lease.take(per_minute, self.nodes(), now) {
                LeaseRequest::Answered(taken) => Ok(taken),
                LeaseRequest::Wanted(wanted) => {
                    let granted = self.buckets.take(key, per_minute, wanted).await?;
                    Ok(lease.keep(granted, per_minute, now))
                }
            }
        };
        match timeout(self.time_max, asked).await {
            Ok(Ok(taken)) => Some(taken),
            Ok(Err(error)) => self.failed(now, &error),
            Err(_) => self.failed(now, &DbError::Timeout(self.time_max)),
        }
    }

    fn failed(&self, now: Instant, error: &DbError) -> Option<Taken> {
        let mut trouble = self.trouble.lock();
        trouble.left_alone_until = Some(now + LEFT_ALONE);
        if trouble.told_at.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY) {
            trouble.told_at = Some(now);
            let nodes = self.nodes();
            tracing::warn!(%error, nodes, "rate limits cannot be shared: this node admits its own part of them alone");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// One bucket of a hundred tokens for all keys, which counts its calls.
    #[derive(Debug, Default)]
    struct Hundred {
        taken: AtomicUsize,
        calls: AtomicUsize,
        fails: bool,
    }

    impl SharedBuckets for Hundred {
        fn take(&self, _: Key, _: u32, wanted: u32) -> BoxFuture<'_, Result<Granted, DbError>> {
            Box::pin(async move {
                self.calls.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                if self.fails {
                    return std::future::pending().await;
                }
                let before = self.taken.fetch_add(wanted as usize, Ordering::Relaxed);
                let tokens = 100_usize.saturating_sub(before).min(wanted as usize);
                Ok(Granted { tokens: u32::try_from(tokens).unwrap(), full_after: Duration::from_secs(60) })
            })
        }
    }

    fn shared(buckets: &Arc<Hundred>) -> Arc<Shared> {
        let time_max = Duration::from_millis(20);
        Arc::new(Shared::new(Arc::clone(buckets) as _, NodeCount::of(3), 64, time_max))
    }

    #[tokio::test]
    async fn many_at_once_ask_once_and_nobody_gets_a_token_twice() {
        let buckets = Arc::new(Hundred::default());
        let nodes = [shared(&buckets), shared(&buckets), shared(&buckets)];
        let now = Instant::now();
        let asked = (0..300).map(|number: usize| {
            let node = Arc::clone(&nodes[number % 3]);
            tokio::spawn(async move { node.take([0; 16], 1_200, now).await.unwrap().refused_for.is_none() })
        });
        let mut admitted = 0;
        for asked in asked.collect::<Vec<_>>() {
            admitted += usize::from(asked.await.unwrap());
        }
        assert_eq!(admitted, 100);
        let calls = buckets.calls.load(Ordering::Relaxed);
        assert!(calls <= 15, "{calls} calls for 300 requests");
    }

    #[tokio::test]
    async fn a_bucket_that_does_not_answer_is_left_alone_for_a_while() {
        let buckets = Arc::new(Hundred { fails: true, ..Hundred::default() });
        let node = shared(&buckets);
        let now = Instant::now();
        for (after, calls) in [(0, 1), (0, 1), (900, 1), (1_000, 2)] {
            assert_eq!(node.take([0; 16], 1_200, now + Duration::from_millis(after)).await, None);
            assert_eq!(buckets.calls.load(Ordering::Relaxed), calls, "after {after} ms");
        }
    }
}
