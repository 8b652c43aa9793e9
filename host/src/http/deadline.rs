//! A timeout that costs nothing for work that finishes immediately. It never defines the limit.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

/// Awaits `work` for at most `limit`. Returns `None` if it took longer and was dropped. The timer is set only once
/// `work` has to wait.
pub(super) async fn within<F: Future>(limit: Duration, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        return Some(output);
    }
    tokio::time::timeout(limit, work).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_in_time_answers_and_what_does_not_is_dropped() {
        assert_eq!(within(Duration::ZERO, async { 1 }).await, Some(1));
        assert_eq!(within(Duration::from_secs(60), tokio::task::yield_now()).await, Some(()));
        assert_eq!(within(Duration::from_millis(1), std::future::pending::<()>()).await, None);
    }
}
