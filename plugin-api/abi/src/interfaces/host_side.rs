//! What the host offers a plugin. Each interface stands behind the capability of the same name in the manifest.

use super::{Outcome, TopicRef};
use crate::{bytes::Bytes, future::RawFuture};

interface! {
    /// The audit log: who did what to which thing. An entry is JSON: `{"action", "target_kind", "target_id", "change"}`
    /// and, where it is done for a request, `"request": {"caller", "address", "request_id"}` with the caller
    /// `{"user_id", "email", "token_id"}` or `null`. The host writes the extension's name before the action.
    mod audit = "audit" @ 1 {
        /// A packed batch that stands for the entry: appended to the batch that makes the change, it commits with it
        /// or not at all.
        fn entry(entry: Bytes) -> RawFuture<Bytes>;
        /// Writes an entry down by itself; answers once it is durable.
        fn record(entry: Bytes) -> RawFuture<()>;
    }
}

interface! {
    /// The database. A plugin writes tables alone whose names begin with its own name and `_`.
    mod database = "database" @ 1 {
        /// 0 for SQLite, 1 for PostgreSQL.
        fn engine() -> u8;
        /// Reads; `params` are packed values, the answer packed rows. `cost` is 0 for a few rows by key or index, 2 for
        /// one row at most by a key, and 1 for anything else, as any other number. `deadline_ms` 0 is the host's default.
        fn query(sql: &str, params: &[u8], cost: u8, deadline_ms: u32) -> RawFuture<Bytes>;
        /// Applies a packed batch together or not at all; answers a packed result once it is durable.
        fn apply(batch: Bytes) -> RawFuture<Bytes>;
        /// Begins a transaction across calls, rolled back after `deadline_ms`. Other writers wait meanwhile.
        fn begin(deadline_ms: u32) -> RawFuture<u64>;
        /// Reads within a transaction.
        fn transaction_query(transaction: u64, sql: &str, params: &[u8]) -> RawFuture<Bytes>;
        /// Applies a packed batch within a transaction.
        fn transaction_apply(transaction: u64, batch: Bytes) -> RawFuture<Bytes>;
        /// Commits a transaction, or rolls it back.
        fn transaction_end(transaction: u64, commit: bool) -> RawFuture<()>;
        /// Rolls a transaction back whose holder is gone, without waiting.
        fn transaction_abandon(transaction: u64);
        /// A number that changes whenever another process has changed the data.
        fn foreign_changes() -> u64;
    }
}

interface! {
    /// Events, brokered by the host between plugins.
    mod events = "events" @ 1 {
        /// The topic of this name, for asking cheaply whether anybody listens.
        fn topic(name: &str) -> TopicRef;
        /// Runs the hooks before an event in order. `subject` narrows the topic (a collection's name), `payload` is
        /// JSON. An error is a refusal. Must not be called while the caller holds a transaction.
        fn before(topic: &str, subject: &str, payload: Bytes) -> RawFuture<Outcome>;
        /// Tells who listens that an event was committed. Returns at once.
        fn after(topic: &str, subject: &str, payload: Bytes);
    }
}

interface! {
    /// HTTP requests to other servers. Request and answer are packed as [`crate::codec::http`] says.
    mod http = "http" @ 1 {
        /// Sends a request and reads the whole answer, whatever its status. Redirects are answered, not followed. An error
        /// says that there is no answer: `http_url_invalid`, `http_request_invalid`, `http_denied_address`, `http_timeout`,
        /// `http_response_too_large` or `http_failed`.
        fn send(request: Bytes) -> RawFuture<Bytes>;
    }
}

interface! {
    /// Limits of the host, from its configuration. Always granted.
    mod limits = "limits" @ 1 {
        /// The largest answer in bytes that the host passes on from a plugin; also the most bytes of rows that one read
        /// returns to it.
        fn response_bytes_max() -> u64;
        /// Waits until so many bytes more may be held by all requests together, and takes them up. They are given back when
        /// the answer, which is empty, is dropped. An error with 503 `overloaded` where there is no room for too long.
        fn reserve(bytes: u64) -> RawFuture<Bytes>;
    }
}

interface! {
    /// The log. Always granted.
    mod log = "log" @ 1 {
        /// Whether lines of this level (1 error, 2 warn, 3 info, 4 debug, 5 trace) are written.
        fn enabled(level: u8) -> bool;
        /// Writes a line; `fields` is a JSON object or empty.
        fn write(level: u8, message: &str, fields: &[u8]);
    }
}

interface! {
    /// The extension's own settings, described by the JSON Schema in its manifest.
    mod settings = "settings" @ 1 {
        /// All of them with defaults filled in, as a JSON object.
        fn snapshot() -> RawFuture<Bytes>;
        /// Changes some, given as a JSON object; refused where the schema does not allow it.
        fn update(values: Bytes) -> RawFuture<()>;
    }
}

interface! {
    /// Time and tasks on the host's runtime. Always granted.
    mod timers = "timers" @ 1 {
        /// Completes after this long.
        fn sleep(milliseconds: u64) -> RawFuture<()>;
        /// Runs a future beside everything else; it is dropped when the plugin is shut down.
        fn spawn(task: RawFuture<()>);
    }
}

interface! {
    /// Accounts.
    mod identity = "identity" @ 1 {
        /// The user whose access token this is, as JSON `{"id", "email", "is_admin"}`; an error with 401 otherwise.
        fn authenticate(token: &str) -> RawFuture<Bytes>;
        /// A user by id, as JSON `{"id", "email", "is_admin", "created_at"}`, or `null`.
        fn user(id: &str) -> RawFuture<Bytes>;
        /// An application token by id as it is now, as JSON `{"id", "user_id", "scopes", "expires_at", "is_valid"}`, or `null`
        /// for one that was deleted. `is_valid` is false where it is switched off or expired, or its user may not sign in.
        fn application_token(id: &str) -> RawFuture<Bytes>;
    }
}

interface! {
    /// Services that other plugins offer.
    mod services = "services" @ 1 {
        /// Whether a service of this name and major is offered now.
        fn offered(name: &str, major: u16) -> bool;
        /// Calls a method of a service; payload and answer are JSON by convention.
        fn call(name: &str, major: u16, method: &str, payload: Bytes) -> RawFuture<Bytes>;
    }
}

interface! {
    /// The terminal, while a command of the plugin runs.
    mod console = "console" @ 1 {
        /// Whether a person sees the output.
        fn is_terminal() -> bool;
        /// Prints a line to standard output.
        fn line(text: &str);
        /// Prints a line to standard error.
        fn error_line(text: &str);
        /// Shows how far long work is: `done` of `total` (0 where unknown), with what is counted.
        fn progress(done: u64, total: u64, unit: &str);
    }
}

interface! {
    /// Sessions of people whom the plugin has verified: for ways to sign in beside the password.
    mod sessions = "sessions" @ 1 {
        /// Begins a session of the user who is told as JSON `{"email" or "user_id", "create", "method", "address",
        /// "user_agent"}`. Answers what `POST /api/auth/login` does, as JSON: tokens, or a ticket for the second factor.
        fn sign_in(who: Bytes) -> RawFuture<Bytes>;
    }
}

interface! {
    /// Files of the plugin's own.
    mod storage = "storage" @ 1 {
        /// The absolute path of the plugin's data folder, which exists.
        fn data_dir() -> Bytes;
    }
}
