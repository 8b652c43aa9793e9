//! Keeps the server running while extension code blocks a thread. Never ends such a thread, since no process
//! can do that.
//!
//! Plugin code runs on the runtime's own workers, since a switch to other threads would cost more than most
//! calls. These measures make that safe:
//!
//! - Every call of a plugin is a task of its own ([`Guarded`]), so its caller gets a response by the
//!   deadline.
//! - One worker more than configured is started, and all workers but one may be in plugin code at once
//!   ([`threads`]). The last worker waits for another one to leave plugin code. If the watchdog saw that none
//!   does, it hands its worker role to another thread before it enters plugin code. So one worker is always
//!   free, whatever plugins do. That worker is held back while the others suffice ([`reserve`]).
//! - The most recently woken task waits in a slot of its worker from which no other worker takes it. It is
//!   moved out of the slot before plugin code runs ([`threads::displace`]).
//! - A thread records which plugin it runs, and the [`Watchdog`] reads these records. It wakes another worker
//!   if the one that polled sockets and timers is blocked, moves code that was seen to block away from the
//!   workers, counts blocked threads, and switches off an extension that blocks too many.

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

/// The stack size of each thread. A statement of an extension on PostgreSQL is as deep as a filter has terms,
/// and is traversed by recursion. Memory is only used for the part of the stack that is touched.
const THREAD_STACK_BYTES: usize = 16 << 20;

/// How long a thread that replaced a worker is kept for reuse. Each keeps some of the memory it freed.
const THREAD_KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Creates the runtime that plugin code runs on, with `worker_threads` threads for requests and at most
/// `blocking_threads_max` for other blocking work. Must be called at most once per process.
///
/// # Errors
/// If the system cannot create threads.
pub fn runtime(worker_threads: usize, blocking_threads_max: usize) -> io::Result<Runtime> {
    threads::set_inside_max(worker_threads);
    Builder::new_multi_thread()
        .thread_stack_size(THREAD_STACK_BYTES)
        .thread_keep_alive(THREAD_KEEP_ALIVE)
        // The last worker never enters plugin code.
        .worker_threads(worker_threads + 1)
        .max_blocking_threads(blocking_threads_max + bulkhead::MOVED_THREADS_MAX)
        .on_thread_start(threads::thread_started)
        .on_thread_stop(threads::thread_stopped)
        .thread_name("tinybase-worker")
        .enable_all()
        .build()
}

/// The purpose of a call of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A request to one of its routes.
    Request,
    /// The parts of a body that it streams.
    Stream,
    /// A hook before an event.
    Hook,
    /// The chunks of a body that it streams.
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

    /// Returns the name used in the log.
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
