//! Accounts for the memory of reads while they gather rows, and waits for it. It reads nothing itself.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use super::{CallerBytes, CallerRoom, MemoryLimits, ROOM, Share, WAITERS, wait};
use crate::db::turns::CallerKey;

/// Bytes that the reads of each caller gather.
static GATHERED_OF_CALLERS: CallerBytes = LazyLock::new(Mutex::default);
/// See [`limit`].
static BYTES_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);
static WAIT_MS: AtomicU64 = AtomicU64::new(0);
/// Whether a read has the lane; see [`Lane`].
static LANE_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Sets the budget of this process, for reads that gather rows.
pub(crate) fn limit(limits: MemoryLimits) {
    BYTES_MAX.store(limits.bytes_max, Ordering::Relaxed);
    WAIT_MS.store(u64::try_from(limits.wait_timeout.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The budget has no memory left for the rows of a read.
#[derive(Debug)]
pub(crate) struct NoRoom;

/// How many times rows are counted until all of them are read. Their buffer doubles whenever it is full. On Linux its
/// pages are moved, and unwritten ones use no memory (see the program's allocator); elsewhere it is copied.
const TIMES: usize = if cfg!(target_os = "linux") { 1 } else { 2 };

/// The rows that a read has gathered so far, counted in larger parts.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    bytes: usize,
    parts: Vec<Share>,
    lane: Option<Lane>,
    /// How long it has waited for memory.
    waited: Duration,
}

/// The right to use the memory that is reserved for a single read, so that one of many reads that wait for each other
/// can finish.
#[derive(Debug)]
struct Lane;

impl Lane {
    fn take() -> Option<Lane> {
        let was_taken = LANE_IS_TAKEN.swap(true, Ordering::SeqCst);
        (!was_taken).then(|| Lane)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        LANE_IS_TAKEN.store(false, Ordering::SeqCst);
        if WAITERS.load(Ordering::SeqCst) > 0 {
            ROOM.notify_waiters();
        }
    }
}

impl Gathering {
    /// The minimum number of new bytes at which they are counted.
    const PART_BYTES: usize = 1 << 20;

    /// Returns how many more bytes the current rows take, if that is at least a part.
    fn more(&self, rows_bytes: usize) -> Option<usize> {
        let more = rows_bytes.saturating_mul(TIMES).saturating_sub(self.bytes);
        (more >= TIMES * Gathering::PART_BYTES).then_some(more)
    }

    /// Whether [`Gathering::grow`] must be called. It saves an await per row.
    pub(crate) fn is_short(&self, rows_bytes: usize) -> bool {
        self.more(rows_bytes).is_some()
    }

    /// Counts the current rows. Does not wait.
    ///
    /// # Errors
    /// If they need another part, and it does not fit.
    pub(crate) fn grow_to(&mut self, rows_bytes: usize) -> Result<(), NoRoom> {
        let Some(more) = self.more(rows_bytes) else { return Ok(()) };
        let bytes_max = BYTES_MAX.load(Ordering::Relaxed);
        let part = Share::rows(more, self.bytes, bytes_max, bytes_max).ok_or(NoRoom)?;
        self.add(more, part);
        Ok(())
    }

    /// Counts the current rows of a read for `caller`, and waits until they fit. All such reads together may use a
    /// quarter of the budget, and one caller half of that. One read, which has the lane, may use a second quarter: that
    /// is enough for the largest result, so it waits for no other gathering read. A single read takes what it needs.
    /// Each waiting read has a permit of `waiting`.
    ///
    /// # Errors
    /// If there is no memory within [`MemoryLimits::wait_timeout`], which limits all waits of a read together, or
    /// immediately if the maximum number of reads wait.
    pub(crate) async fn grow(
        &mut self,
        rows_bytes: usize,
        caller: CallerKey,
        waiting: &Semaphore,
    ) -> Result<(), NoRoom> {
        let Some(more) = self.more(rows_bytes) else { return Ok(()) };
        let bytes_max = BYTES_MAX.load(Ordering::Relaxed);
        if let Some(part) = self.fitting(more, caller, bytes_max) {
            self.add(more, part);
            return Ok(());
        }
        let _permit = waiting.try_acquire().map_err(|_| NoRoom)?;
        let wait_timeout = Duration::from_millis(WAIT_MS.load(Ordering::Relaxed));
        let limits = MemoryLimits { bytes_max, wait_timeout: wait_timeout.saturating_sub(self.waited) };
        let begun = Instant::now();
        let part = wait(0, limits, || self.fitting(more, caller, bytes_max)).await.ok_or(NoRoom)?;
        self.waited += begun.elapsed();
        self.add(more, part);
        Ok(())
    }

    /// Takes memory from the quarter of all reads; otherwise, with the lane, from the second one.
    fn fitting(&mut self, more: usize, caller: CallerKey, bytes_max: usize) -> Option<Share> {
        let of_caller = self.parts.iter().filter_map(|part| part.of_caller.as_ref());
        let room = CallerRoom {
            callers: &GATHERED_OF_CALLERS,
            caller,
            own_bytes: of_caller.map(|part| part.bytes).sum(),
            bytes_max: bytes_max / 8,
        };
        if let Some(part) = room.fit(more, || Share::rows(more, self.bytes, bytes_max / 4, bytes_max)) {
            return Some(part);
        }
        if self.lane.is_none() {
            self.lane = Lane::take();
        }
        self.lane.as_ref()?;
        Share::rows(more, self.bytes, bytes_max / 2, bytes_max)
    }

    fn add(&mut self, more: usize, part: Share) {
        self.bytes += more;
        self.parts.push(part);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        future::Future,
        pin::pin,
        sync::Arc,
        task::{Context, Wake, Waker},
    };

    use super::*;
    use crate::memory::{ROWS, Waiter, held};

    fn caller(last: u8) -> CallerKey {
        CallerKey::of(None, std::net::Ipv4Addr::new(127, 0, 0, last).into())
    }

    /// Returns the number of row bytes that count as this many megabytes.
    fn rows(megabytes: usize) -> usize {
        (megabytes << 20) / TIMES
    }

    /// A part of the single test of the budget, which is global to the process.
    pub(in crate::memory) async fn rows_have_room(small: MemoryLimits) {
        limit(small);
        let mut gathering = Gathering::default();
        gathering.grow_to((1 << 20) - 1).unwrap();
        assert_eq!(held(), 0, "a part that is not large is not counted");
        for megabytes in [6, 10] {
            gathering.grow_to(rows(megabytes)).expect("one that is alone may be as large as it likes");
            assert_eq!(held(), megabytes << 20);
        }
        assert!(Gathering::default().grow_to(1 << 20).is_err());
        drop(gathering);

        reads_share_a_quarter(MemoryLimits { bytes_max: 64 << 20, ..small }).await;
        assert_eq!(held(), 0);
        assert!(GATHERED_OF_CALLERS.lock().is_empty());
        whoever_waits_finds_all_that_was_given_back().await;
        what_does_not_fit_is_never_counted();
        let mut looks = 0;
        let look = || {
            looks += 1;
            (looks > 1).then_some(())
        };
        assert!(wait(0, small, look).await.is_some(), "it looks once more when its time is over");

        let patient = MemoryLimits { bytes_max: 64 << 20, wait_timeout: Duration::from_secs(20) };
        limit(patient);
        let taken = Share::forced_rows(40 << 20);
        let mut late = Gathering { waited: patient.wait_timeout, ..Gathering::default() };
        let [some, none] = [Semaphore::new(1), Semaphore::new(0)];
        let refused = late.grow(rows(2), caller(1), &some);
        let refused = tokio::time::timeout(Duration::from_secs(5), refused).await;
        refused.expect("all its waits have one limit").unwrap_err();
        let mut one_too_many = Gathering::default();
        let refused = one_too_many.grow(rows(2), caller(1), &none);
        let refused = tokio::time::timeout(Duration::from_secs(5), refused).await;
        refused.expect("as many wait as may").unwrap_err();
        drop((late, one_too_many));
        let waiting = tokio::spawn(async move {
            let mut gathering = Gathering::default();
            gathering.grow(rows(2), caller(1), &Semaphore::new(1)).await.is_ok()
        });
        while WAITERS.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        drop(taken);
        assert!(waiting.await.unwrap(), "it waited for what an extension held");
    }

    async fn reads_share_a_quarter(limits: MemoryLimits) {
        limit(limits);
        let waiting = Semaphore::new(1);
        let mut alone = Gathering::default();
        for megabytes in [20, 40, 80] {
            alone.grow(rows(megabytes), caller(1), &waiting).await.expect("nothing else is held");
        }
        drop(alone);
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| Gathering::default());
        first.grow(rows(8), caller(1), &waiting).await.unwrap();
        second.grow(rows(4), caller(2), &waiting).await.unwrap();
        assert!(first.lane.is_none() && second.lane.is_none(), "there is room for all");
        third.grow(rows(8), caller(1), &waiting).await.unwrap();
        assert!(third.lane.is_some(), "a caller's second read is beyond half of what is for all");
        fourth
            .grow(rows(12), caller(3), &waiting)
            .await
            .expect_err("one at a time is beyond what is for all");
        second.grow(rows(6), caller(2), &waiting).await.expect_err("nor does one grow");
        third.grow(rows(16), caller(1), &waiting).await.expect("whoever has the lane does");
        drop(third);
        fourth.grow(rows(12), caller(3), &waiting).await.unwrap();
    }

    /// Records how many callers' rows are counted when it is woken.
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.store(GATHERED_OF_CALLERS.lock().len(), Ordering::SeqCst);
        }
    }

    async fn whoever_waits_finds_all_that_was_given_back() {
        let mut gathering = Gathering::default();
        gathering.grow(rows(2), caller(1), &Semaphore::new(1)).await.unwrap();
        let counts = Arc::new(Counts(AtomicUsize::new(usize::MAX)));
        let waker = Waker::from(Arc::clone(&counts));
        let _waiter = Waiter::new(0);
        let mut room = pin!(ROOM.notified());
        assert!(room.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(gathering);
        assert_eq!(counts.0.load(Ordering::SeqCst), 0, "the caller's part, too");
    }

    fn what_does_not_fit_is_never_counted() {
        const BYTES_MAX: usize = 4 << 20;
        let taken = Share::forced(BYTES_MAX);
        std::thread::scope(|scope| {
            let others = scope.spawn(|| {
                (0..50_000).all(|_| {
                    let room = CallerRoom {
                        callers: &GATHERED_OF_CALLERS,
                        caller: caller(1),
                        own_bytes: 0,
                        bytes_max: BYTES_MAX,
                    };
                    room.fit(1 << 20, || Share::rows(1 << 20, 0, BYTES_MAX, BYTES_MAX)).is_none()
                })
            });
            while !others.is_finished() {
                assert_eq!(ROWS.load(Ordering::SeqCst), 0, "rows that found no room are counted");
                assert!(GATHERED_OF_CALLERS.lock().is_empty(), "and so they are for their caller");
            }
            assert!(others.join().unwrap());
        });
        drop(taken);
    }
}
