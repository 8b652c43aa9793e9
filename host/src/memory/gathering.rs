//! What reads hold of the budget while they gather rows, and how one waits for room. It reads nothing itself.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{CallerBytes, MemoryLimits, OfCaller, ROOM, Share, WAITERS, wait};
use crate::db::turns::CallerKey;

/// Bytes that the reads of each caller gather.
static GATHERED_OF_CALLERS: CallerBytes = LazyLock::new(Mutex::default);
/// See [`limit`].
static BYTES_MAX: AtomicUsize = AtomicUsize::new(usize::MAX);
static WAIT_MS: AtomicU64 = AtomicU64::new(0);
/// Whether a read has the lane; see [`Lane`].
static LANE_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Sets what all requests of this process may hold, for those who gather rows.
pub(crate) fn limit(limits: MemoryLimits) {
    BYTES_MAX.store(limits.bytes_max, Ordering::Relaxed);
    WAIT_MS.store(u64::try_from(limits.wait_timeout.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// All that is held leaves no room for what a read gathers.
#[derive(Debug)]
pub(crate) struct NoRoom;

/// What a read has gathered so far, counted in larger parts. Rows count twice until all of them are there: the buffer that
/// they are gathered in doubles whenever it is full, and is copied then.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    bytes: usize,
    parts: Vec<(Share, Option<OfCaller>)>,
    lane: Option<Lane>,
}

/// The right to use the room that is kept for one read, so that of many that wait for each other one comes to its end.
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
    /// From how many bytes more on they are counted.
    const PART_BYTES: usize = 1 << 20;

    /// Of how many bytes more the rows that are there now take, where those are a large part.
    fn more(&self, rows_bytes: usize) -> Option<usize> {
        let more = rows_bytes.saturating_mul(2).saturating_sub(self.bytes);
        (more >= 2 * Gathering::PART_BYTES).then_some(more)
    }

    /// Whether [`Gathering::grow`] is due, so that whoever adds a row need not wait for nothing.
    pub(crate) fn is_short(&self, rows_bytes: usize) -> bool {
        self.more(rows_bytes).is_some()
    }

    /// Counts the rows that are there now. It waits for nothing.
    ///
    /// # Errors
    /// Where they are a large part more, and do not fit.
    pub(crate) fn grow_to(&mut self, rows_bytes: usize) -> Result<(), NoRoom> {
        let Some(more) = self.more(rows_bytes) else { return Ok(()) };
        let bytes_max = BYTES_MAX.load(Ordering::Relaxed);
        let part = Share::rows(more, bytes_max, bytes_max).ok_or(NoRoom)?;
        self.add(more, part, None);
        Ok(())
    }

    /// Counts the rows that are there now, of a read for `caller`, and waits until they fit. All such reads together take a
    /// quarter of the budget, one caller's half of that. One read may take a further quarter: it holds the largest result,
    /// so whoever has the lane waits for nobody who gathers.
    ///
    /// # Errors
    /// Where no room came about within [`MemoryLimits::wait_timeout`].
    pub(crate) async fn grow(&mut self, rows_bytes: usize, caller: CallerKey) -> Result<(), NoRoom> {
        let Some(more) = self.more(rows_bytes) else { return Ok(()) };
        let limits = MemoryLimits {
            bytes_max: BYTES_MAX.load(Ordering::Relaxed),
            wait_timeout: Duration::from_millis(WAIT_MS.load(Ordering::Relaxed)),
        };
        if let Some((part, of_caller)) = common(more, caller, limits.bytes_max) {
            self.add(more, part, Some(of_caller));
            return Ok(());
        }
        let fitting = |lane: &mut Option<Lane>| {
            if let Some((part, of_caller)) = common(more, caller, limits.bytes_max) {
                return Some((part, Some(of_caller)));
            }
            if lane.is_none() {
                *lane = Lane::take();
            }
            lane.as_ref()?;
            Share::rows(more, limits.bytes_max / 2, limits.bytes_max).map(|part| (part, None))
        };
        let lane = &mut self.lane;
        let found = wait(0, limits, || fitting(lane)).await;
        let (part, of_caller) = found.ok_or(NoRoom)?;
        self.add(more, part, of_caller);
        Ok(())
    }

    fn add(&mut self, more: usize, part: Share, of_caller: Option<OfCaller>) {
        self.bytes += more;
        self.parts.push((part, of_caller));
    }
}

/// Room in the quarter that is for all reads.
fn common(more: usize, caller: CallerKey, bytes_max: usize) -> Option<(Share, OfCaller)> {
    let of_caller = OfCaller::fitting(&GATHERED_OF_CALLERS, caller, more, bytes_max / 8)?;
    Some((Share::rows(more, bytes_max / 4, bytes_max)?, of_caller))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::memory::held;

    fn caller(last: u8) -> CallerKey {
        CallerKey::of(None, std::net::Ipv4Addr::new(127, 0, 0, last).into())
    }

    /// A part of the one test of the budget, which is one a process.
    pub(in crate::memory) async fn rows_have_room(small: MemoryLimits) {
        limit(small);
        let mut gathering = Gathering::default();
        gathering.grow_to(1 << 19).unwrap();
        assert_eq!(held(), 0, "a part that is not large is not counted");
        gathering.grow_to(3 << 20).expect("one that is alone may be as large as it likes");
        assert_eq!(held(), 6 << 20, "rows count twice while they are gathered");
        assert!(Gathering::default().grow_to(1 << 20).is_err());
        drop(gathering);

        limit(MemoryLimits { bytes_max: 64 << 20, ..small });
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| Gathering::default());
        first.grow(4 << 20, caller(1)).await.unwrap();
        second.grow(2 << 20, caller(2)).await.unwrap();
        assert!(first.lane.is_none() && second.lane.is_none(), "there is room for all");
        third.grow(4 << 20, caller(1)).await.unwrap();
        assert!(third.lane.is_some(), "a caller's second read is beyond half of what is for all");
        fourth.grow(6 << 20, caller(3)).await.expect_err("one at a time is beyond what is for all");
        second.grow(3 << 20, caller(2)).await.expect_err("nor does one grow");
        third.grow(8 << 20, caller(1)).await.expect("whoever has the lane does");
        drop(third);
        fourth.grow(6 << 20, caller(3)).await.unwrap();
        drop((first, second, fourth));
        assert_eq!(held(), 0);
        assert!(GATHERED_OF_CALLERS.lock().is_empty());

        let patient = MemoryLimits { bytes_max: 64 << 20, wait_timeout: Duration::from_secs(20) };
        limit(patient);
        let taken = Share::forced_rows(40 << 20);
        let waiting = tokio::spawn(async move {
            let mut gathering = Gathering::default();
            gathering.grow(1 << 20, caller(1)).await.is_ok()
        });
        while WAITERS.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        drop(taken);
        assert!(waiting.await.unwrap(), "it waited for what an extension held");
    }
}
