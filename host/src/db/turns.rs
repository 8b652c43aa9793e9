//! Fair queueing between callers: a caller's many reads delay that caller, not the others. It tracks the caller that a
//! task works for, and owns the queue of reads that threads take from; it reads nothing itself.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::LazyLock,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::DbError;
use crate::{accounts, metrics::stats::DATABASE};

/// The caller on whose behalf the database is called, as a number that differs between callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerKey(u64);

tokio::task_local! {
    static CALLER: CallerKey;
}

impl CallerKey {
    /// Work without a caller: the host's own, and that of extensions outside of a request.
    pub const NOBODY: CallerKey = CallerKey(0);

    /// Returns the key of the application token, the user, or else the address that a request came from. The addresses
    /// of one customer's IPv6 network count as one caller.
    pub fn of(caller: Option<&accounts::Caller>, address: IpAddr) -> CallerKey {
        match (caller, address) {
            (Some(caller), _) => match &caller.token_id {
                Some(token) => CallerKey::hashed(("token", &**token)),
                None => CallerKey::hashed(("user", caller.user_id.as_str())),
            },
            (None, IpAddr::V4(address)) => CallerKey::hashed(("v4", address.octets())),
            (None, IpAddr::V6(address)) => CallerKey::hashed(("v6", &address.octets()[..8])),
        }
    }

    fn hashed(what: impl Hash) -> CallerKey {
        // Keyed with a random key of this process, so that nobody can choose an address that collides with another's
        // number.
        static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        CallerKey(HASHER.hash_one(what).max(1))
    }

    /// Returns the caller that the running task works for.
    pub fn current() -> CallerKey {
        CALLER.try_with(|caller| *caller).unwrap_or(CallerKey::NOBODY)
    }

    /// Runs `work` on behalf of this caller.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CALLER.scope(self, work)
    }
}

/// How many jobs may wait and run.
#[derive(Debug, Clone, Copy)]
pub struct TurnLimits {
    /// Waiting jobs of all callers.
    pub waiting_max: usize,
    /// Waiting jobs of one caller.
    pub waiting_of_one_max: usize,
    /// Threads that take any job; one caller uses at most this many.
    pub threads: usize,
    /// All threads, including those that only take jobs of callers for whom nothing runs.
    pub threads_max: usize,
}

/// A queue of jobs that wait for a thread. Callers take turns, each with its oldest job.
#[derive(Debug)]
pub struct Turns<T> {
    limits: TurnLimits,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: HashMap<CallerKey, VecDeque<T>>,
    /// The callers with waiting jobs, in the order of their turns.
    order: VecDeque<CallerKey>,
    jobs_waiting: usize,
    running: HashMap<CallerKey, usize>,
    jobs_running: usize,
    threads: usize,
    threads_idle: usize,
    /// Idle threads that were notified and have not woken up yet: they count as busy.
    threads_woken: usize,
    is_stopping: bool,
    /// Each ending thread notifies one of these.
    ends: Vec<oneshot::Sender<()>>,
}

/// What a thread does next.
pub enum Next<T> {
    /// Run a job, then call [`Turns::done`].
    Job(CallerKey, T),
    /// End, and then notify the sender.
    End(Option<oneshot::Sender<()>>),
}

impl<T> Turns<T> {
    /// Returns an empty queue. The owner starts the threads: as many as [`TurnLimits::threads`], and one more whenever
    /// [`Turns::push`] says so.
    pub fn new(limits: TurnLimits) -> Turns<T> {
        let state = State {
            waiting: HashMap::new(),
            order: VecDeque::new(),
            jobs_waiting: 0,
            running: HashMap::new(),
            jobs_running: 0,
            threads: limits.threads,
            threads_idle: 0,
            threads_woken: 0,
            is_stopping: false,
            ends: Vec::new(),
        };
        Turns { limits, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Queues a job. Returns whether the owner must start another thread for it.
    ///
    /// # Errors
    /// [`DbError::Busy`] if too many jobs wait, in total or of this caller.
    pub fn push(&self, caller: CallerKey, job: T) -> Result<bool, DbError> {
        let mut state = self.state.lock();
        if state.is_stopping {
            return Err(DbError::Closed("it was shut down".to_owned()));
        }
        let of_caller = state.waiting.get(&caller).map_or(0, VecDeque::len);
        if state.jobs_waiting >= self.limits.waiting_max || of_caller >= self.limits.waiting_of_one_max {
            DATABASE.busy.add_one();
            return Err(DbError::Busy);
        }
        if of_caller == 0 {
            state.order.push_back(caller);
        }
        state.waiting.entry(caller).or_default().push_back(job);
        state.jobs_waiting += 1;
        let is_idle = state.threads_idle > state.threads_woken;
        state.threads_woken += usize::from(is_idle);
        let starts = of_caller == 0
            && !is_idle
            && state.threads < self.limits.threads_max
            && !state.running.contains_key(&caller);
        if starts {
            state.threads += 1;
        }
        drop(state);
        self.changed.notify_one();
        Ok(starts)
    }

    /// Notes that a requested thread could not be started.
    pub fn not_started(&self) {
        self.state.lock().threads -= 1;
    }

    /// Waits for the calling thread's next action.
    pub fn next(&self) -> Next<T> {
        let mut state = self.state.lock();
        loop {
            if let Some((caller, job)) = state.take(self.limits.threads) {
                return Next::Job(caller, job);
            }
            if state.is_stopping {
                state.threads -= 1;
                return Next::End(state.ends.pop());
            }
            state.threads_idle += 1;
            self.changed.wait(&mut state);
            state.threads_idle -= 1;
            state.threads_woken = state.threads_woken.saturating_sub(1);
        }
    }

    /// Notes that a job of this caller has ended.
    pub fn done(&self, caller: CallerKey) {
        let mut state = self.state.lock();
        state.jobs_running -= 1;
        if let Some(running) = state.running.get_mut(&caller) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(&caller);
            }
        }
    }

    /// Accepts no more jobs; threads end once the queue is empty. Returns a receiver per thread, which is notified of
    /// its end.
    pub fn stop(&self) -> Vec<oneshot::Receiver<()>> {
        let mut state = self.state.lock();
        if state.is_stopping {
            return Vec::new();
        }
        state.is_stopping = true;
        let (ends, ended) = (0..state.threads).map(|_| oneshot::channel()).unzip();
        state.ends = ends;
        drop(state);
        self.changed.notify_all();
        ended
    }
}

impl<T> State<T> {
    /// Removes and returns the next job. A caller uses at most all common threads; the others only serve callers for
    /// whom nothing runs.
    fn take(&mut self, threads: usize) -> Option<(CallerKey, T)> {
        let position = self.order.iter().position(|caller| {
            let running = self.running.get(caller).copied().unwrap_or(0);
            self.is_stopping || running == 0 || (running < threads && self.jobs_running < threads)
        })?;
        let caller = self.order.remove(position)?;
        let waiting = self.waiting.get_mut(&caller)?;
        let job = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.order.push_back(caller);
        }
        self.jobs_waiting -= 1;
        self.jobs_running += 1;
        *self.running.entry(caller).or_default() += 1;
        Some((caller, job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TurnLimits =
        TurnLimits { waiting_max: 6, waiting_of_one_max: 4, threads: 2, threads_max: 4 };

    fn job(turns: &Turns<&'static str>) -> Option<(CallerKey, &'static str)> {
        turns.state.lock().take(turns.limits.threads)
    }

    #[test]
    fn callers_take_turns_and_one_has_not_all_threads() {
        let turns = Turns::new(LIMITS);
        turns.state.lock().threads_idle = 2;
        let [a, b, c] = [CallerKey(1), CallerKey(2), CallerKey(3)];
        for name in ["a1", "a2", "a3", "a4"] {
            turns.push(a, name).unwrap();
        }
        assert!(matches!(turns.push(a, "a5"), Err(DbError::Busy)), "four of one caller's may wait");
        assert_eq!(job(&turns), Some((a, "a1")));
        assert_eq!(job(&turns), Some((a, "a2")));
        assert_eq!(job(&turns), None, "the common threads are taken");
        turns.state.lock().threads_idle = 0;
        assert!(turns.push(b, "b1").unwrap(), "a thread of its own for whom nothing runs");
        turns.push(b, "b2").unwrap();
        turns.push(c, "c1").unwrap();
        assert_eq!(job(&turns), Some((b, "b1")));
        assert_eq!(job(&turns), Some((c, "c1")));
        assert_eq!(job(&turns), None);
        turns.done(a);
        turns.done(a);
        assert_eq!(job(&turns), Some((a, "a3")), "for whom nothing runs any more");
        turns.done(a);
        turns.done(b);
        turns.done(c);
        assert_eq!(job(&turns), Some((b, "b2")), "it is b's turn");
        assert_eq!(job(&turns), Some((a, "a4")));
    }

    #[test]
    fn a_thread_that_was_woken_for_another_job_counts_as_busy() {
        let turns = Turns::new(LIMITS);
        turns.state.lock().threads_idle = 2;
        let [a, b] = [CallerKey(1), CallerKey(2)];
        assert!(!turns.push(a, "a1").unwrap());
        assert!(!turns.push(a, "a2").unwrap());
        // Neither thread has woken up yet, and both will take a job of a's.
        assert!(turns.push(b, "b1").unwrap(), "b would wait until one of a's jobs has ended");
    }

    #[test]
    fn all_together_have_a_limit() {
        let turns = Turns::new(LIMITS);
        for caller in 1..=6 {
            turns.push(CallerKey(caller), "x").unwrap();
        }
        assert!(matches!(turns.push(CallerKey(7), "x"), Err(DbError::Busy)));
    }

    #[test]
    fn a_network_is_one_caller_and_a_user_is_one_from_everywhere() {
        let of = |address: &str| CallerKey::of(None, address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        let user = accounts::Caller::of_test("u");
        let of = |address: &str| CallerKey::of(Some(&user), address.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("192.0.2.1"), CallerKey::of(None, "192.0.2.1".parse().unwrap()));
    }
}
