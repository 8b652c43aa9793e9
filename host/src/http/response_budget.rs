//! How many bytes of answers are held in memory over all requests, from when an answer is made until its client has taken
//! it: one number that every answer adds to. It never looks into an answer, and knows no client.

use std::{
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

use super::Limits;

/// Up to how many bytes an answer counts as small: the last quarter of the budget is kept for those.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// From how many bytes on an answer is counted until the last of them has left. Smaller ones are counted until the
/// protocol's layer has taken them over, which costs no allocation.
const TRACKED_BYTES_MIN: usize = 16 << 10;

static HELD: AtomicUsize = AtomicUsize::new(0);
/// Bytes of answers that wait for room; they are not among those held.
static QUEUED: AtomicUsize = AtomicUsize::new(0);
static WAITERS: AtomicUsize = AtomicUsize::new(0);
static ROOM: Notify = Notify::const_new();

/// Bytes of answers that are held in this process.
pub(crate) fn held() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// A part of the budget; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Share(usize);

impl Share {
    /// Counts what is there in any case.
    pub(super) fn forced(bytes: usize) -> Share {
        HELD.fetch_add(bytes, Ordering::SeqCst);
        Share(bytes)
    }

    /// Counts it if it fits. One that is alone always does.
    fn fitting(bytes: usize, bytes_max: usize) -> Option<Share> {
        let more = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum <= bytes_max).then_some(sum)
        };
        HELD.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Share(bytes))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.0 > 0 {
            HELD.fetch_sub(self.0, Ordering::SeqCst);
            if WAITERS.load(Ordering::SeqCst) > 0 {
                ROOM.notify_waiters();
            }
        }
    }
}

/// Bytes that are counted for as long as any part of them is held anywhere.
struct Tracked {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Ties the share to the bytes where they are many; else gives it back to be held beside them.
pub(super) fn track(bytes: Bytes, share: Share) -> (Bytes, Share) {
    if bytes.len() < TRACKED_BYTES_MIN {
        return (bytes, share);
    }
    (Bytes::from_owner(Tracked { bytes, _share: share }), Share::default())
}

/// Counts an answer of so many bytes. `None`: there is no room, and none came about within
/// [`Limits::responses_wait_timeout`]. The answer to a request that changed something (`is_change`) says what became of
/// the change, so it may go beyond the budget by as much again.
pub(super) async fn admit(bytes: usize, is_change: bool, limits: &Limits) -> Option<Share> {
    let bytes_max = match is_change {
        true => limits.responses_bytes_max.saturating_mul(2),
        false if bytes <= SMALL_BYTES_MAX => limits.responses_bytes_max,
        false => limits.responses_bytes_max / 4 * 3,
    };
    match Share::fitting(bytes, bytes_max) {
        Some(share) => Some(share),
        None => Box::pin(wait(bytes, bytes_max, limits)).await,
    }
}

/// Waits for room. What waits is held too, so only so much may.
async fn wait(bytes: usize, bytes_max: usize, limits: &Limits) -> Option<Share> {
    let (_waiter, queued) = Waiter::new(bytes);
    if queued > limits.responses_bytes_max / 4 {
        return None;
    }
    let deadline = Instant::now() + limits.responses_wait_timeout;
    loop {
        let mut room = pin!(ROOM.notified());
        room.as_mut().enable();
        if let Some(share) = Share::fitting(bytes, bytes_max) {
            return Some(share);
        }
        tokio::time::timeout_at(deadline, room).await.ok()?;
    }
}

/// Waits until the budget has room again, before a stream makes its next piece.
pub(super) async fn room(bytes_max: usize) {
    let _waiter = Waiter::new(0);
    loop {
        let mut room = pin!(ROOM.notified());
        room.as_mut().enable();
        if held() < bytes_max {
            return;
        }
        room.await;
    }
}

/// Whoever waits, and with how many bytes.
struct Waiter(usize);

impl Waiter {
    /// Answers how many bytes wait now.
    fn new(bytes: usize) -> (Waiter, usize) {
        WAITERS.fetch_add(1, Ordering::SeqCst);
        let before = QUEUED.fetch_add(bytes, Ordering::Relaxed);
        (Waiter(bytes), before + bytes)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        WAITERS.fetch_sub(1, Ordering::SeqCst);
        QUEUED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// What a test has the others hold.
#[cfg(test)]
pub(super) fn test_share(bytes: usize) -> Share {
    Share::forced(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> Limits {
        Limits {
            responses_bytes_max: 1 << 20,
            responses_wait_timeout: Duration::from_millis(20),
            ..Limits::default()
        }
    }

    /// The budget is one a process, so everything about it stands in one test.
    #[tokio::test]
    async fn answers_share_one_budget() {
        let limits = limits();
        let large = admit(700 << 10, false, &limits).await.unwrap();
        assert!(admit(100 << 10, false, &limits).await.is_none(), "more than three quarters");
        let small = admit(60 << 10, false, &limits).await.unwrap();
        let change = admit(1 << 20, true, &limits).await.unwrap();
        assert!(admit(1, false, &limits).await.is_none());
        assert_eq!(held(), (760 << 10) + (1 << 20));
        drop(change);

        let patient = Limits { responses_wait_timeout: Duration::from_secs(20), ..limits.clone() };
        let waiting = tokio::spawn(async move { admit(100 << 10, false, &patient).await });
        while WAITERS.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(admit(200 << 10, false, &limits).await.is_none(), "too much would wait");
        drop((large, small));
        let share = waiting.await.unwrap().expect("room came about");
        assert_eq!(held(), 100 << 10);
        drop(share);

        let (bytes, share) = track(Bytes::from(vec![1; 20 << 10]), Share::forced(20 << 10));
        drop(share);
        let last = bytes.slice(bytes.len() - 1..);
        drop(bytes);
        assert_eq!(held(), 20 << 10, "a part of it is still there");
        drop(last);
        assert_eq!(held(), 0);
        let alone = admit(10 << 20, false, &limits).await;
        assert!(alone.is_some(), "what is alone fits");
        room(20 << 20).await;
    }
}
