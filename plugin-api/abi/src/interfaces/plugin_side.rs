//! The plugin's interfaces for the host. Positions (`hook`, `job`, …) are those in its registration.

use super::Outcome;
use crate::{bytes::Bytes, future::RawFuture};

interface! {
    /// The lifecycle of a plugin between `create` and `shut_down`.
    mod lifecycle = "lifecycle" @ 1 {
        /// Called once, after migrations and before the first request.
        fn start() -> RawFuture<()>;
    }
}

interface! {
    /// Hooks on events.
    mod hooks = "hooks" @ 1 {
        /// Runs before an event. May change its payload, add statements, or reject the event with an error.
        fn before(hook: u32, topic: &str, subject: &str, payload: Bytes) -> RawFuture<Outcome>;
        /// Called after an event was committed.
        fn after(hook: u32, topic: &str, subject: &str, payload: Bytes) -> RawFuture<()>;
    }
}

interface! {
    /// Jobs that the host starts on a schedule.
    mod jobs = "jobs" @ 1 {
        /// Runs a job once.
        fn run(job: u32) -> RawFuture<()>;
    }
}

interface! {
    /// Commands that the manifest declares.
    mod commands = "commands" @ 1 {
        /// Runs a command with its arguments as a JSON object. Returns the exit code.
        fn run(command: u32, arguments: Bytes) -> RawFuture<u32>;
    }
}

interface! {
    /// Services offered to other plugins.
    mod offered = "offered" @ 1 {
        /// Calls a method of a service.
        fn call(service: u32, method: &str, payload: Bytes) -> RawFuture<Bytes>;
    }
}
