//! Keeps the server going while the code of an extension blocks a thread. It never ends such a thread: no process can.
//!
//! Plugin code runs on the runtime's own workers, since a hop to other threads would cost more than most calls. What
//! makes that safe:
//!
//! - Every call of a plugin is a task of its own ([`Guarded`]), so that whoever waits for it is answered at its deadline.
//! - One worker more than configured is started, and all workers but one may be in plugin code at once ([`threads`]). Who
//!   comes last waits for one of the others to come out; where the watchdog saw that they do not, it hands its worker to
//!   another thread before it goes in. So one worker is always left, whatever plugins do. It is held back while
//!   the others suffice ([`reserve`]).
//! - A task that was woken last waits in a place of its worker from which no other worker takes it. It is moved out of
//!   there before plugin code runs ([`threads::displace`]).
//! - A thread notes which plugin it runs, and the [`Watchdog`] reads these notes: it wakes another worker where the one
//!   that waited for sockets and timers is gone, moves code that was seen to block away from the workers, counts
//!   blocked threads, and switches an extension off that blocks too many.

mod bulkhead;
mod crash;
mod guarded;
mod reserve;
#[cfg(test)]
mod tests;
pub mod threads;
mod watchdog;

use std::{io, time::Duration};

use tokio::runtime::{Builder, Runtime};

pub use bulkhead::{Bulkhead, switched_off};
pub use crash::{is_watching as is_watching_crashes, watch as watch_crashes};
pub use guarded::{Guarded, OwnTask};
pub use watchdog::{Report, Watchdog};

/// The stack of each thread. A statement of an extension on PostgreSQL is as deep as a filter has terms, and is walked through
/// by recursion; memory is taken only for what is used.
const THREAD_STACK_BYTES: usize = 16 << 20;

/// How long a thread that took a worker's place stays for the next time. Each keeps some memory of what it freed.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The runtime that plugin code runs on: so many threads that serve requests, and for other blocking work at most so many. To
/// be made once in a process.
///
/// # Errors
/// Where the system gives no threads.
pub fn runtime(worker_threads: usize, blocking_threads_max: usize) -> io::Result<Runtime> {
    threads::set_inside_max(worker_threads);
    Builder::new_multi_thread()
        .thread_stack_size(THREAD_STACK_BYTES)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        // The last worker never goes into plugin code.
        .worker_threads(worker_threads + 1)
        .max_blocking_threads(blocking_threads_max + bulkhead::MOVED_THREADS_MAX)
        .on_thread_start(threads::thread_started)
        .on_thread_stop(threads::thread_stopped)
        .thread_name("tinybase-worker")
        .enable_all()
        .build()
}

/// What a plugin is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A request to one of its routes.
    Request,
    /// The parts of a body that it streams.
    Stream,
    /// A hook before an event.
    Hook,
    /// A listener after an event.
    Listener,
    /// A job.
    Job,
    /// A service for another plugin.
    Service,
    /// A task that it spawned.
    Task,
}

impl Work {
    const ALL: [Work; 7] =
        [Work::Request, Work::Stream, Work::Hook, Work::Listener, Work::Job, Work::Service, Work::Task];

    /// The words of the log.
    pub fn name(self) -> &'static str {
        match self {
            Work::Request => "a request",
            Work::Stream => "a streamed body",
            Work::Hook => "a hook",
            Work::Listener => "a listener",
            Work::Job => "a job",
            Work::Service => "a service",
            Work::Task => "a task",
        }
    }
}
