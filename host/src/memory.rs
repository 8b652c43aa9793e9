//! How many bytes of memory all requests hold together beyond small change: rows that reads returned, what is made of them,
//! and answers until their clients have taken them. It is one number of the process; it never looks into what it counts.

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

/// Up to how many bytes an answer counts as small: the last quarter of the budget is kept for those.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// From how many bytes on an allocation of this process is pages of its own, which go back to the system when it is freed.
/// It is what the system's own allocator begins with, too.
pub const MAPPED_BYTES_MIN: usize = 128 << 10;

/// From how many bytes on an answer is counted until the last of them has left. Smaller ones are counted until the
/// protocol's layer has taken them over, which costs no allocation.
const TRACKED_BYTES_MIN: usize = 16 << 10;

/// What small answers hold, and what all else does.
static SMALL: AtomicUsize = AtomicUsize::new(0);
static LARGE: AtomicUsize = AtomicUsize::new(0);
/// What of `LARGE` is rows: those that reads gather, and those that extensions work on.
static ROWS: AtomicUsize = AtomicUsize::new(0);
/// Held while rows are counted if they fit, so that those that do not are never counted, not for a moment.
static FITTING_ROWS: Mutex<()> = Mutex::new(());
/// Bytes that are held for each caller.
type CallerBytes = LazyLock<Mutex<HashMap<CallerKey, usize>>>;
/// Bytes of large answers that wait for each caller.
static ANSWERS_OF_CALLERS: CallerBytes = LazyLock::new(Mutex::default);
/// Bytes of answers that wait for room; they are not among those held.
static QUEUED: AtomicUsize = AtomicUsize::new(0);
static WAITERS: AtomicUsize = AtomicUsize::new(0);
static ROOM: Notify = Notify::const_new();

/// Bytes that are held in this process.
pub(crate) fn held() -> usize {
    SMALL.load(Ordering::Relaxed).saturating_add(LARGE.load(Ordering::Relaxed))
}

/// How much all requests may hold, and how long one waits for room.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// In bytes.
    pub bytes_max: usize,
    /// How long whoever finds no room waits for it.
    pub wait_timeout: Duration,
}

impl MemoryLimits {
    /// What may be held for others than small answers.
    fn large_bytes_max(self) -> usize {
        self.bytes_max / 4 * 3
    }

    /// What may be held of large answers to one caller, so that one who takes them slowly leaves room for others.
    fn of_caller_bytes_max(self) -> usize {
        self.large_bytes_max() / 2
    }
}

/// A part of the budget; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    bytes: usize,
    kind: Kind,
    /// The same bytes as a part of what is held for one caller.
    of_caller: Option<OfCaller>,
}

/// What a share is of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Small,
    #[default]
    Large,
    /// Large, and rows.
    Rows,
}

/// A caller's part of what is held; given back when dropped.
#[derive(Debug)]
struct OfCaller {
    callers: &'static CallerBytes,
    caller: CallerKey,
    bytes: usize,
}

/// What a caller may hold.
struct CallerRoom {
    callers: &'static CallerBytes,
    caller: CallerKey,
    /// What of that is the same read's.
    own_bytes: usize,
    bytes_max: usize,
}

impl CallerRoom {
    /// Counts so many bytes more if they fit and `share` finds room as well; else nothing is counted, not for a moment. What
    /// is alone always fits here.
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
    /// Counts what is there in any case.
    pub(crate) fn forced(bytes: usize) -> Share {
        LARGE.fetch_add(bytes, Ordering::SeqCst);
        Share { bytes, kind: Kind::Large, of_caller: None }
    }

    /// Counts rows that are there in any case.
    pub(crate) fn forced_rows(bytes: usize) -> Share {
        ROWS.fetch_add(bytes, Ordering::SeqCst);
        LARGE.fetch_add(bytes, Ordering::SeqCst);
        Share { bytes, kind: Kind::Rows, of_caller: None }
    }

    /// Counts rows more if they fit: into `rows_bytes_max` with all other rows, and into `bytes_max` with all that is large.
    /// They always do where only `own_bytes` of the same read are held.
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

    /// Counts it if it fits. One that is alone always does.
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

    /// Counts a small answer if it fits: into the last quarter of the budget, or into what the others leave of it.
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

    /// Adds what another of the same kind counts.
    fn merge(&mut self, mut other: Share) {
        std::mem::swap(self, &mut other);
        debug_assert!(other.bytes == 0 || self.bytes == 0 || self.kind == other.kind);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Takes a part of so many bytes out, or all where there are fewer.
    fn split(&mut self, bytes: usize) -> Share {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Share { bytes, kind: self.kind, of_caller: None }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // All of it is given back before whoever waits is notified.
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
pub(crate) fn track(bytes: Bytes, share: Share) -> (Bytes, Share) {
    if bytes.len() < TRACKED_BYTES_MIN {
        return (bytes, share);
    }
    (Bytes::from_owner(Tracked { bytes, _share: share }), Share::default())
}

/// An answer that is to be held until its client has taken it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToHold {
    pub(crate) bytes: usize,
    /// Who takes it.
    pub(crate) caller: CallerKey,
    /// It says what became of a change, so it may go beyond the budget by as much again.
    pub(crate) is_change: bool,
}

/// Counts an answer, a part of which is `kept` for it already. `None`: there is no room, and none came about within
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

/// Room for bytes that a call is about to hold; see [`Reserved`]. `None` as in [`admit`].
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

/// Room that a call reserved. Once it is dropped within the call, it is kept for the call's answer, so that nobody else
/// takes the room for an answer that is made already.
#[derive(Debug)]
pub(crate) struct Reserved(Share);

impl Drop for Reserved {
    fn drop(&mut self) {
        let share = std::mem::take(&mut self.0);
        if share.bytes == 0 {
            return;
        }
        // Outside of a call it is simply given back.
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

/// Runs a call, and returns beside its outcome what it has reserved.
pub(crate) async fn of_call<F: Future>(call: F) -> (F::Output, Share) {
    let call = async {
        let outcome = call.await;
        (outcome, take_kept())
    };
    KEPT.scope(Cell::default(), call).await
}

/// Waits until `share` finds room, and looks a last time when its time is over. Of what is there while it waits (`there`, in bytes) only so much may wait.
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

/// Waits until the budget has room again, before a stream makes its next piece.
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

/// Whoever waits, and with how many bytes.
struct Waiter(usize);

impl Waiter {
    /// Returns how many bytes wait now.
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

    /// The budget is one a process, so everything about it stands in one test.
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
