//! Counters, gauges and histograms for the hot path: atomics, spread over cache lines by thread, so that threads that
//! update the same metric do not contend. They never lock and never allocate.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

/// The number of cache lines per metric. More threads than that share them.
const SHARDS: usize = 4;

/// The maximum number of buckets of a histogram, including the last one without a bound.
const BUCKETS_MAX: usize = 18;

/// Bounds for times in microseconds: from a read in memory to a request close to its timeout.
pub const MICROS: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 30_000_000,
];

/// Bounds for the number of writes or reads in a group.
pub const GROUP_JOBS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// A value on its own cache lines: two, because processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// Returns this thread's shard.
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}

/// A number that only increases.
#[derive(Default)]
pub struct Counter([Padded<AtomicU64>; SHARDS]);

impl Counter {
    /// Creates a counter at 0.
    pub const fn new() -> Counter {
        Counter([const { Padded(AtomicU64::new(0)) }; SHARDS])
    }

    /// Adds one.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0[shard()].0.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the current count.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

/// A number that increases and decreases.
#[derive(Default)]
pub struct Gauge([Padded<AtomicI64>; SHARDS]);

impl Gauge {
    /// Creates a gauge at 0.
    pub const fn new() -> Gauge {
        Gauge([const { Padded(AtomicI64::new(0)) }; SHARDS])
    }

    /// Adds `step`, which may be negative. A thread may subtract what another added.
    pub fn step(&self, step: i64) {
        self.0[shard()].0.fetch_add(step, Ordering::Relaxed);
    }

    /// Returns the current value.
    pub fn get(&self) -> i64 {
        self.0.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Ordering::Relaxed)))
    }
}

struct Bins {
    buckets: [AtomicU64; BUCKETS_MAX],
    sum: AtomicU64,
}

/// A histogram of values.
pub struct Histogram {
    bounds: &'static [u64],
    shards: [Padded<Bins>; SHARDS],
}

/// A snapshot of a histogram.
#[derive(Debug, PartialEq, Eq)]
pub struct Counted {
    /// The number of values per bucket, not cumulative. There is one more bucket than bounds; bounds are inclusive.
    pub buckets: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// Creates an empty histogram with these ascending bounds.
    pub const fn new(bounds: &'static [u64]) -> Histogram {
        assert!(bounds.len() < BUCKETS_MAX, "a histogram has fewer bounds than buckets");
        let shards = [const {
            Padded(Bins { buckets: [const { AtomicU64::new(0) }; BUCKETS_MAX], sum: AtomicU64::new(0) })
        }; SHARDS];
        Histogram { bounds, shards }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bins = &self.shards[shard()].0;
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        bins.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        bins.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time.
    pub fn observe_time(&self, time: std::time::Duration) {
        self.observe(micros(time));
    }

    /// Returns its bounds in ascending order.
    pub fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// Returns a snapshot.
    pub fn counted(&self) -> Counted {
        let total = |pick: &dyn Fn(&Bins) -> u64| self.shards.iter().map(|shard| pick(&shard.0)).sum();
        let bucket = |at: usize| total(&|bins| bins.buckets[at].load(Ordering::Relaxed));
        Counted {
            buckets: (0..=self.bounds.len()).map(bucket).collect(),
            sum: total(&|bins| bins.sum.load(Ordering::Relaxed)),
        }
    }
}

/// Converts a duration to whole microseconds.
pub fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_over_threads() {
        static COUNTER: Counter = Counter::new();
        static GAUGE: Gauge = Gauge::new();
        static TIMES: Histogram = Histogram::new(&[10, 20]);
        let threads: Vec<_> = (0..12)
            .map(|_| {
                std::thread::spawn(|| {
                    for value in 0..1000 {
                        COUNTER.add_one();
                        GAUGE.step(1);
                        TIMES.observe(value % 30);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        GAUGE.step(-5_000);
        assert_eq!((COUNTER.get(), GAUGE.get()), (12_000, 7_000));
        let counted = TIMES.counted();
        assert_eq!(counted.buckets.iter().sum::<u64>(), 12_000);
        // 0 to 10, 11 to 20, 21 to 29, of which 1000 values end at 9.
        assert_eq!(counted.buckets, [12 * (33 * 11 + 10), 12 * 33 * 10, 12 * 33 * 9]);
    }
}
