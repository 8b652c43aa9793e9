//! The few threads that hash passwords. They run below the priority of all others, and each keeps its memory while
//! there is work. It never knows what is hashed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use argon2::Block;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tokio::sync::oneshot;

use crate::{error::ApiError, metrics::stats::ACCOUNTS};

/// The niceness of the threads. A hash takes tens of milliseconds of one core and its memory bandwidth. A sign-in can
/// wait for that better than a request that takes microseconds.
const HASH_NICENESS: i32 = 10;

/// How long an idle thread keeps the memory of its last hash.
const MEMORY_KEPT_MAX: Duration = Duration::from_secs(5);

/// The memory for hashes, reused from one to the next.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    /// Returns `count` blocks, with whatever contents they have.
    pub(super) fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0 = vec![Block::new(); count];
        }
        &mut self.0[..count]
    }
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// The threads and their queue.
#[derive(Debug)]
pub(super) struct PasswordThreads {
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    started: std::sync::Once,
    threads: usize,
    under_way: Arc<AtomicUsize>,
    under_way_max: usize,
}

/// Counts a job as in progress while it lives.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        ACCOUNTS.password_jobs.step(-1);
    }
}

impl PasswordThreads {
    /// Creates the pool; its threads start with the first job, and `waiting_max` jobs may wait. If `threads` is 0,
    /// there are half as many threads as cores, so that a rush of sign-ins leaves the other half to other requests.
    pub(super) fn new(threads: usize, waiting_max: usize) -> PasswordThreads {
        let half = || thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        let threads = if threads == 0 { half() } else { threads };
        let (jobs, queue) = crossbeam_channel::unbounded();
        PasswordThreads {
            jobs,
            queue,
            started: std::sync::Once::new(),
            threads,
            under_way: Arc::default(),
            under_way_max: threads + waiting_max,
        }
    }

    /// Runs `work` on one of the threads. Work whose caller has gone while it waited is skipped.
    ///
    /// # Errors
    /// 503 `password_hash_busy` while too many others wait.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let slot = self.slot()?;
        self.started.call_once(|| self.start());
        let (reply, answer) = oneshot::channel();
        let job = move |memory: &mut Memory| {
            let done = (!reply.is_closed()).then(|| work(memory));
            drop(slot);
            if let Some(done) = done {
                let _ = reply.send(done);
            }
        };
        self.jobs.send(Box::new(job)).expect("the queue lives as long as what it is sent through");
        answer.await.map_err(|cause| ApiError::internal_logged("password work ended early", &cause))
    }

    fn slot(&self) -> Result<Slot, ApiError> {
        let slot = Slot(Arc::clone(&self.under_way));
        ACCOUNTS.password_jobs.step(1);
        if self.under_way.fetch_add(1, Ordering::Relaxed) < self.under_way_max {
            return Ok(slot);
        }
        Err(ApiError::unavailable("password_hash_busy", "too many sign-ins are under way; try again shortly"))
    }

    fn start(&self) {
        for _ in 0..self.threads {
            let queue = self.queue.clone();
            let begun = thread::Builder::new().name("passwords".into()).spawn(move || serve(&queue));
            if let Err(error) = begun {
                tracing::error!(%error, "a thread for passwords could not begin");
            }
        }
    }
}

/// Works until all senders are gone: the threads own the queue's receiver alone.
fn serve(queue: &Receiver<Job>) {
    if let Err(error) = rustix::process::setpriority_process(None, HASH_NICENESS) {
        tracing::debug!(%error, "passwords are hashed at the priority of all others");
    }
    let mut memory = Memory::default();
    loop {
        let job = match queue.recv_timeout(MEMORY_KEPT_MAX) {
            Ok(job) => job,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                memory = Memory::default();
                match queue.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
        };
        if catch_unwind(AssertUnwindSafe(|| job(&mut memory))).is_err() {
            tracing::error!("hashing a password panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;

    async fn is_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_are_refused() {
        let threads = PasswordThreads::new(1, 1);
        let (started, wait) = std::sync::mpsc::channel::<()>();
        let busy = threads.run(move |_| wait.recv());
        tokio::pin!(busy);
        assert!(is_pending(busy.as_mut()).await);
        let queued = threads.run(|_| 1);
        tokio::pin!(queued);
        assert!(is_pending(queued.as_mut()).await);
        let refused = threads.run(|_| 2).await.unwrap_err();
        assert_eq!((refused.status.as_u16(), &*refused.code), (503, "password_hash_busy"));
        started.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(queued.await.unwrap(), 1);
        assert_eq!(threads.run(|_| 3).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_done() {
        let threads = PasswordThreads::new(1, 8);
        let (started, wait) = std::sync::mpsc::channel::<()>();
        let busy = threads.run(move |_| wait.recv());
        tokio::pin!(busy);
        assert!(is_pending(busy.as_mut()).await);
        let (done, was_done) = std::sync::mpsc::channel::<()>();
        {
            let abandoned = threads.run(move |_| done.send(()));
            tokio::pin!(abandoned);
            assert!(is_pending(abandoned.as_mut()).await);
        }
        started.send(()).unwrap();
        busy.await.unwrap().unwrap();
        threads.run(|_| ()).await.unwrap();
        assert!(was_done.try_recv().is_err(), "it was done");
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_job_alone() {
        let threads = PasswordThreads::new(1, 1);
        let broken = threads.run(|_| panic!("on purpose")).await.unwrap_err();
        assert_eq!(broken.status.as_u16(), 500);
        assert_eq!(threads.run(|_| 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn the_threads_stand_back_and_keep_their_memory() {
        let threads = PasswordThreads::new(1, 8);
        let at = |memory: &mut Memory| memory.blocks(8).as_ptr().addr();
        let first = threads.run(at).await.unwrap();
        assert_eq!(threads.run(at).await.unwrap(), first);
        let niceness = |_: &mut Memory| rustix::process::getpriority_process(None).unwrap();
        assert!(threads.run(niceness).await.unwrap() >= HASH_NICENESS);
    }

    #[tokio::test]
    async fn the_threads_end_with_what_they_are_of() {
        let threads = PasswordThreads::new(2, 8);
        threads.run(|_| ()).await.unwrap();
        let queue = threads.queue.clone();
        drop(threads);
        assert!(queue.recv().is_err(), "somebody could still send");
    }
}
