//! Accounts for the memory that all requests use together, except for small amounts: rows returned by reads, what is
//! built from them, and responses until their clients have received them. There is one budget per process. It never
//! looks at the contents.

mod gathering;

use std::{
    cell::Cell,
    collections::HashMap,
    future::Future,
    pin::pin,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

pub(crate) use self::gathering::{Gathering, NoRoom, limit};
use crate::db::turns::CallerKey;

/// The maximum size of a small response in bytes; the last quarter of the budget is reserved for those.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// The size in bytes from which on this process maps an allocation from the system, which gets it back as soon as it is
/// freed. The system's own allocator starts with the same value.
pub const MAPPED_BYTES_MIN: usize = 128 << 10;

/// The size in bytes from which on a response is counted until its last byte was sent. Smaller ones are counted until
/// the protocol layer has accepted them, which costs no allocation.
const TRACKED_BYTES_MIN: usize = 16 << 10;

/// The bytes in use by small responses, and by everything else.
static SMALL: AtomicUsize = AtomicUsize::new(0);
static LARGE: AtomicUsize = AtomicUsize::new(0);
/// The part of `LARGE` that is rows: those that reads gather, and those that extensions work on.
static ROWS: AtomicUsize = AtomicUsize::new(0);
/// Locked while rows are counted if they fit, so that rows that do not fit are never counted, not even briefly.
static FITTING_ROWS: Mutex<()> = Mutex::new(());
/// Bytes in use per caller.
type CallerBytes = LazyLock<Mutex<HashMap<CallerKey, usize>>>;
/// Bytes of large responses in use per caller.
static ANSWERS_OF_CALLERS: CallerBytes = LazyLock::new(Mutex::default);
/// Bytes of responses that wait for memory; they are not counted as in use.
static QUEUED: AtomicUsize = AtomicUsize::new(0);
static WAITERS: AtomicUsize = AtomicUsize::new(0);
static ROOM: Notify = Notify::const_new();

/// Returns the bytes in use in this process.
pub(crate) fn held() -> usize {
    SMALL.load(Ordering::Relaxed).saturating_add(LARGE.load(Ordering::Relaxed))
}

/// The budget of all requests, and how long a request waits for it.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// In bytes.
    pub bytes_max: usize,
    /// How long a request waits for memory.
    pub wait_timeout: Duration,
}

impl MemoryLimits {
    /// Returns the limit for everything but small responses.
    fn large_bytes_max(self) -> usize {
        self.bytes_max / 4 * 3
    }

    /// Returns the limit for large responses to one caller, so that a slow one leaves memory for others.
    fn of_caller_bytes_max(self) -> usize {
        self.large_bytes_max() / 2
    }
}

/// A part of the budget; released on drop.
#[derive(Debug, Default)]
pub(crate) struct Share {
    bytes: usize,
    kind: Kind,
    /// The same bytes as a part of what one caller uses.
    of_caller: Option<OfCaller>,
}

/// The use of a share.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Small,
    #[default]
    Large,
    /// Rows, which count as large too.
    Rows,
}

/// A caller's part of the bytes in use; released on drop.
#[derive(Debug)]
struct OfCaller {
    callers: &'static CallerBytes,
    caller: CallerKey,
    bytes: usize,
}

/// The limit of one caller.
struct CallerRoom {
    callers: &'static CallerBytes,
    caller: CallerKey,
    /// The part of the caller's bytes that belongs to the same read.
    own_bytes: usize,
    bytes_max: usize,
}

impl CallerRoom {
    /// Counts the bytes if they fit and `share` succeeds as well; otherwise nothing is counted, not even briefly. A
    /// caller without other bytes in use always fits here.
    fn fit(&self, bytes: usize, share: impl FnOnce() -> Option<Share>) -> Option<Share> {
        if self.caller == CallerKey::NOBODY {
            return share();
        }
        let mut all = self.callers.lock();
        let held = all.get(&self.caller).copied().unwrap_or_default();
        let sum = held.saturating_add(bytes);
        if held > self.own_bytes && sum > self.bytes_max {
            return None;
        }
        let mut share = share()?;
        all.insert(self.caller, sum);
        share.of_caller = Some(OfCaller { callers: self.callers, caller: self.caller, bytes });
        Some(share)
    }
}

impl Drop for OfCaller {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut callers = self.callers.lock();
        let left = callers.get(&self.caller).map_or(0, |held| held.saturating_sub(self.bytes));
        match left {
            0 => drop(callers.remove(&self.caller)),
            left => drop(callers.insert(self.caller, left)),
        }
    }
}

impl Share {
    /// Counts bytes that are already in use, regardless of the limit.
    pub(crate) fn forced(bytes: usize) -> Share {
        LARGE.fetch_add(bytes, Ordering::SeqCst);
        Share { bytes, kind: Kind::Large, of_caller: None }
    }

    /// Counts rows that are already in use, regardless of the limit.
    pub(crate) fn forced_rows(bytes: usize) -> Share {
        ROWS.fetch_add(bytes, Ordering::SeqCst);
        LARGE.fetch_add(bytes, Ordering::SeqCst);
        Share { bytes, kind: Kind::Rows, of_caller: None }
    }

    /// Counts more rows if they fit: into `rows_bytes_max` with all other rows, and into `bytes_max` with everything
    /// large. They always fit if only `own_bytes` of the same read are in use.
    fn rows(bytes: usize, own_bytes: usize, rows_bytes_max: usize, bytes_max: usize) -> Option<Share> {
        let _fitting = FITTING_ROWS.lock();
        let held = ROWS.load(Ordering::SeqCst);
        if held > own_bytes && held.saturating_add(bytes) > rows_bytes_max {
            return None;
        }
        let mut share = Share::large_beside(own_bytes, bytes, bytes_max)?;
        ROWS.fetch_add(bytes, Ordering::SeqCst);
        share.kind = Kind::Rows;
        Some(share)
    }

    /// Counts the bytes if they fit. They always fit if nothing else is in use.
    fn large(bytes: usize, bytes_max: usize) -> Option<Share> {
        Share::large_beside(0, bytes, bytes_max)
    }

    fn large_beside(own_bytes: usize, bytes: usize, bytes_max: usize) -> Option<Share> {
        let more = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held <= own_bytes || sum <= bytes_max).then_some(sum)
        };
        let counted = LARGE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        counted.ok().map(|_| Share { bytes, kind: Kind::Large, of_caller: None })
    }

    /// Counts a small response if it fits: into the last quarter of the budget, or into what the large bytes leave of
    /// it.
    fn small(bytes: usize, limits: MemoryLimits) -> Option<Share> {
        let left = limits.bytes_max.saturating_sub(LARGE.load(Ordering::SeqCst));
        let bytes_max = left.max(limits.bytes_max - limits.large_bytes_max());
        let more = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum <= bytes_max).then_some(sum)
        };
        let counted = SMALL.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        counted.ok().map(|_| Share { bytes, kind: Kind::Small, of_caller: None })
    }

    /// Adds another share of the same kind.
    fn merge(&mut self, mut other: Share) {
        std::mem::swap(self, &mut other);
        debug_assert!(other.bytes == 0 || self.bytes == 0 || self.kind == other.kind);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Splits off a share of this many bytes, or of all if there are fewer.
    fn split(&mut self, bytes: usize) -> Share {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Share { bytes, kind: self.kind, of_caller: None }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // All of it is released before waiters are notified.
        let is_of_caller = self.of_caller.take().is_some();
        if self.bytes > 0 || is_of_caller {
            let held = if self.kind == Kind::Small { &SMALL } else { &LARGE };
            held.fetch_sub(self.bytes, Ordering::SeqCst);
            if self.kind == Kind::Rows {
                ROWS.fetch_sub(self.bytes, Ordering::SeqCst);
            }
            if WAITERS.load(Ordering::SeqCst) > 0 {
                ROOM.notify_waiters();
            }
        }
    }
}

/// Bytes that are counted for as long as any part of them is referenced.
struct Tracked {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Ties the share to the bytes if they are large; otherwise returns it to the caller.
pub(crate) fn track(bytes: Bytes, share: Share) -> (Bytes, Share) {
    if bytes.len() < TRACKED_BYTES_MIN {
        return (bytes, share);
    }
    (Bytes::from_owner(Tracked { bytes, _share: share }), Share::default())
}

/// A response that is counted until its client has received it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToHold {
    pub(crate) bytes: usize,
    /// The receiving client.
    pub(crate) caller: CallerKey,
    /// Whether it reports the result of a change. If so, it may exceed the budget by as much again.
    pub(crate) is_change: bool,
}

/// Counts a response, for which `kept` may already be reserved. Returns `None` if there is no memory, even after
/// [`MemoryLimits::wait_timeout`].
pub(crate) async fn admit(answer: ToHold, mut kept: Share, limits: MemoryLimits) -> Option<Share> {
    let ToHold { bytes, caller, is_change } = answer;
    if bytes <= SMALL_BYTES_MAX && !is_change {
        drop(kept);
        return match Share::small(bytes, limits) {
            Some(share) => Some(share),
            None => Box::pin(wait(bytes, limits, || Share::small(bytes, limits))).await,
        };
    }
    let mut share = kept.split(bytes);
    drop(kept);
    let more = bytes - share.bytes;
    let fitting = || {
        if is_change {
            return Share::large(more, limits.bytes_max.saturating_mul(2));
        }
        let room = CallerRoom {
            callers: &ANSWERS_OF_CALLERS,
            caller,
            own_bytes: 0,
            bytes_max: limits.of_caller_bytes_max(),
        };
        room.fit(bytes, || match more {
            0 => Some(Share::default()),
            more => Share::large(more, limits.large_bytes_max()),
        })
    };
    let more = match fitting() {
        Some(more) => more,
        None => Box::pin(wait(more, limits, fitting)).await?,
    };
    share.merge(more);
    Some(share)
}

/// Reserves memory that a call is about to use; see [`Reserved`]. Returns `None` as in [`admit`].
pub(crate) async fn reserve(bytes: usize, limits: MemoryLimits) -> Option<Reserved> {
    let mut share = take_kept().split(bytes);
    let more = bytes - share.bytes;
    if more > 0 {
        let bytes_max = limits.large_bytes_max();
        share.merge(match Share::large(more, bytes_max) {
            Some(more) => more,
            None => wait(0, limits, || Share::large(more, bytes_max)).await?,
        });
    }
    Some(Reserved(share))
}

/// Memory that a call reserved. When it is dropped within the call, it is kept for the call's response, so that no
/// other request takes the memory of a response that is already built.
#[derive(Debug)]
pub(crate) struct Reserved(Share);

impl Drop for Reserved {
    fn drop(&mut self) {
        let share = std::mem::take(&mut self.0);
        if share.bytes == 0 {
            return;
        }
        // Outside of a call it is simply released.
        let _ = KEPT.try_with(|kept| {
            let mut sum = kept.take();
            sum.merge(share);
            kept.set(sum);
        });
    }
}

tokio::task_local! {
    /// What the running call has reserved and does not use at the moment.
    static KEPT: Cell<Share>;
}

fn take_kept() -> Share {
    KEPT.try_with(Cell::take).unwrap_or_default()
}

/// Runs a call, and returns its result together with what it has reserved.
pub(crate) async fn of_call<F: Future>(call: F) -> (F::Output, Share) {
    let call = async {
        let outcome = call.await;
        (outcome, take_kept())
    };
    KEPT.scope(Cell::default(), call).await
}

/// Waits until `share` succeeds, and tries once more after the timeout. `there` is the number of bytes that exist while
/// it waits; at most a quarter of the budget may wait in total.
async fn wait<T>(there: usize, limits: MemoryLimits, mut share: impl FnMut() -> Option<T>) -> Option<T> {
    let (_waiter, queued) = Waiter::new(there);
    if queued > limits.bytes_max / 4 {
        return None;
    }
    let deadline = Instant::now() + limits.wait_timeout;
    loop {
        let mut room = pin!(ROOM.notified());
        room.as_mut().enable();
        if let Some(share) = share() {
            return Some(share);
        }
        if tokio::time::timeout_at(deadline, room).await.is_err() {
            return share();
        }
    }
}

/// Waits until the budget has free memory, before a stream produces its next chunk.
pub(crate) async fn room(bytes_max: usize) {
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

/// A waiting request, with its bytes.
struct Waiter(usize);

impl Waiter {
    /// Returns the number of bytes that wait now, too.
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

/// Simulates memory in use by others.
#[cfg(test)]
pub(crate) fn test_share(bytes: usize) -> Share {
    Share::forced(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MemoryLimits = MemoryLimits { bytes_max: 1 << 20, wait_timeout: Duration::from_millis(20) };

    fn to_hold(bytes: usize, is_change: bool) -> ToHold {
        ToHold { bytes, caller: CallerKey::NOBODY, is_change }
    }

    async fn admitted(bytes: usize, is_change: bool) -> Option<Share> {
        admit(to_hold(bytes, is_change), Share::default(), LIMITS).await
    }

    /// The budget is global to the process, so a single test covers all of it.
    #[tokio::test]
    async fn answers_share_one_budget() {
        let large = admitted(700 << 10, false).await.unwrap();
        assert!(admitted(100 << 10, false).await.is_none(), "more than three quarters");
        let small = admitted(60 << 10, false).await.unwrap();
        let change = admitted(1 << 20, true).await.unwrap();
        assert!(admitted(64 << 10, false).await.is_some(), "small answers have room of their own");
        assert_eq!(held(), (760 << 10) + (1 << 20));
        drop(change);

        let patient = MemoryLimits { wait_timeout: Duration::from_secs(20), ..LIMITS };
        let waiting =
            tokio::spawn(async move { admit(to_hold(100 << 10, false), Share::default(), patient).await });
        while WAITERS.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(admitted(200 << 10, false).await.is_none(), "too much would wait");
        drop((large, small));
        let share = waiting.await.unwrap().expect("room came about");
        assert_eq!(held(), 100 << 10);
        drop(share);

        let (bytes, share) = track(Bytes::from(vec![1; 20 << 10]), test_share(20 << 10));
        drop(share);
        let last = bytes.slice(bytes.len() - 1..);
        drop(bytes);
        assert_eq!(held(), 20 << 10, "a part of it is still there");
        drop(last);
        assert_eq!(held(), 0);
        let alone = admitted(10 << 20, false).await;
        assert!(alone.is_some(), "what is alone fits");
        room(20 << 20).await;
        drop(alone);

        let (answer, mut kept) = of_call(async {
            let first = reserve(300 << 10, LIMITS).await.unwrap();
            assert!(reserve(500 << 10, LIMITS).await.is_none(), "more than three quarters");
            drop(first);
            assert_eq!(held(), 300 << 10, "it is kept for the answer");
            drop(reserve(400 << 10, LIMITS).await.unwrap());
            assert_eq!(held(), 400 << 10, "what was kept is used first");
            350 << 10
        })
        .await;
        let others = test_share(360 << 10);
        let share = admit(to_hold(answer, false), std::mem::take(&mut kept), LIMITS).await.unwrap();
        assert_eq!(
            held(),
            (350 << 10) + (360 << 10),
            "an answer takes what was reserved for it, and gives the rest back"
        );
        drop((share, others));
        drop(reserve(100, LIMITS).await);
        assert_eq!(held(), 0, "nothing is kept outside of a call");

        let caller = |last: u8| CallerKey::of(None, std::net::Ipv4Addr::new(127, 0, 0, last).into());
        let of = |caller: CallerKey, bytes| ToHold { bytes, caller, is_change: false };
        let slow = admit(of(caller(1), 300 << 10), Share::default(), LIMITS).await.unwrap();
        assert!(admit(of(caller(1), 100 << 10), Share::default(), LIMITS).await.is_none(), "more than half");
        let other = admit(of(caller(2), 300 << 10), Share::default(), LIMITS).await;
        assert!(other.is_some(), "another caller has room");
        drop((slow, other));
        let again = admit(of(caller(1), 700 << 10), Share::default(), LIMITS).await;
        assert!(again.is_some(), "one answer may be as large as it likes");
        drop(again);
        assert!(ANSWERS_OF_CALLERS.lock().is_empty());

        gathering::tests::rows_have_room(LIMITS).await;
        assert_eq!(held(), 0, "nothing is kept outside of a call");
    }
}
