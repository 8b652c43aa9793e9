//! Runs futures to completion on the calling thread, with a virtual clock: when all tasks are asleep, time jumps to
//! the first wake-up. Real time is used only for the stall limit.

use std::{
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tinybase_abi::future::RawFuture;

/// The limit of real time without progress, such as while waiting for a thread of the plugin.
const STALL_MAX: Duration = Duration::from_secs(10);

/// The clock and the tasks of a test host.
#[derive(Clone, Default)]
pub(super) struct Clock {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    now: Duration,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    sleeps: u64,
    tasks: Vec<RawFuture<()>>,
}

/// Wakes the thread that runs the futures.
struct ThreadWaker {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Ignores poisoning: a panic in a test leaves the state consistent, as it was between two calls.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clock {
    /// Returns the time since the host started, on its own clock.
    pub(super) fn now(&self) -> Duration {
        lock(&self.state).now
    }

    /// Completes after the clock has advanced by this duration.
    pub(super) fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        let mut key = None;
        std::future::poll_fn(move |context| {
            let mut state = lock(&clock.state);
            let (until, id) = *key.get_or_insert_with(|| {
                state.sleeps += 1;
                (state.now.saturating_add(duration), state.sleeps)
            });
            if state.now >= until {
                state.sleepers.remove(&(until, id));
                return Poll::Ready(());
            }
            state.sleepers.insert((until, id), context.waker().clone());
            Poll::Pending
        })
    }

    /// Runs a task in the background.
    pub(super) fn spawn(&self, task: RawFuture<()>) {
        lock(&self.state).tasks.push(task);
    }

    /// Drops every task.
    pub(super) fn clear(&self) {
        let tasks = std::mem::take(&mut lock(&self.state).tasks);
        drop(tasks);
    }

    /// Runs `future` to completion, and every task as far as possible without advancing the time.
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let waker = Arc::new(ThreadWaker { thread: thread::current(), woken: AtomicBool::new(true) });
        let std_waker = Waker::from(Arc::clone(&waker));
        let mut context = Context::from_waker(&std_waker);
        let mut future = pin!(future);
        let mut answer = None;
        let mut moved = Instant::now();
        loop {
            while waker.woken.swap(false, Ordering::AcqRel) || self.poll_tasks(&mut context) {
                moved = Instant::now();
                if answer.is_none()
                    && let Poll::Ready(value) = future.as_mut().poll(&mut context)
                {
                    answer = Some(value);
                }
            }
            if let Some(answer) = answer {
                return answer;
            }
            if !self.jump() {
                assert!(
                    moved.elapsed() < STALL_MAX,
                    "the call does not end: nothing is left that could wake it"
                );
                thread::park_timeout(STALL_MAX - moved.elapsed().min(STALL_MAX));
            }
        }
    }

    /// Polls every task once. Returns whether a task ended or a new one was added.
    fn poll_tasks(&self, context: &mut Context<'_>) -> bool {
        let mut tasks = std::mem::take(&mut lock(&self.state).tasks);
        let before = tasks.len();
        tasks.retain_mut(|task| Pin::new(task).poll(context).is_pending());
        let mut state = lock(&self.state);
        let moved = tasks.len() != before || !state.tasks.is_empty();
        tasks.append(&mut state.tasks);
        state.tasks = tasks;
        moved
    }

    /// Advances the clock to the first sleeper and wakes it. Returns whether there was one.
    fn jump(&self) -> bool {
        let mut state = lock(&self.state);
        let Some(((until, _), waker)) = state.sleepers.pop_first() else { return false };
        state.now = state.now.max(until);
        drop(state);
        waker.wake();
        true
    }
}

#[cfg(test)]
mod tests {
    use tinybase_abi::future::guard;

    use super::*;

    #[test]
    fn sleeps_pass_in_order_and_in_no_time() {
        let clock = Clock::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        for hours in [3, 1, 2] {
            let (of_task, order) = (clock.clone(), Arc::clone(&order));
            clock.spawn(guard(async move {
                of_task.sleep(Duration::from_hours(hours)).await;
                lock(&order).push(hours);
                Ok(())
            }));
        }
        let started = Instant::now();
        clock.run(clock.sleep(Duration::from_hours(4)));
        assert_eq!((lock(&order).clone(), clock.now()), (vec![1, 2, 3], Duration::from_hours(4)));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_thread_may_wake_what_is_waited_for() {
        let clock = Clock::default();
        let (sender, receiver) = std::sync::mpsc::channel::<Waker>();
        let done = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let waker = receiver.recv().expect("the future is polled");
            of_thread.store(true, Ordering::Release);
            waker.wake();
        });
        clock.run(std::future::poll_fn(|context| {
            if done.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            let _ = sender.send(context.waker().clone());
            Poll::Pending
        }));
        thread.join().expect("the thread ends");
    }
}
