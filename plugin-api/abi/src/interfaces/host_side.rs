//! The host's interfaces for a plugin. Each requires the capability of the same name in the manifest, unless it
//! is always granted.

use super::{Outcome, TopicRef};
use crate::{bytes::Bytes, future::RawFuture};

interface! {
    /// The audit log: who did what to which object. An entry is JSON: `{"action", "target_kind", "target_id",
    /// "change"}` and, if it was caused by a request, `"request": {"caller", "address", "request_id"}` with the caller
    /// `{"user_id", "email", "token_id"}` or `null`. The host prefixes the action with the extension's name.
    mod audit = "audit" @ 1 {
        /// Returns a packed batch that represents the entry. Appended to the batch that makes the change, it commits
        /// together with it or not at all.
        fn entry(entry: Bytes) -> RawFuture<Bytes>;
        /// Writes a single entry. Completes when it is durable.
        fn record(entry: Bytes) -> RawFuture<()>;
    }
}

interface! {
    /// The database. A plugin may only write to tables whose names begin with its own name and `_`.
    mod database = "database" @ 1 {
        /// Returns 0 for SQLite, 1 for PostgreSQL.
        fn engine() -> u8;
        /// Reads. `params` are packed values, the result is packed rows. `cost` is 0 for a few rows by key or index, 2
        /// for one row at most by a key, and 1 for anything else; other numbers are treated as 1. `deadline_ms` 0 is
        /// the host's default.
        fn query(sql: &str, params: &[u8], cost: u8, deadline_ms: u32) -> RawFuture<Bytes>;
        /// Applies a packed batch atomically. Returns a packed result when it is durable.
        fn apply(batch: Bytes) -> RawFuture<Bytes>;
        /// Begins a transaction across calls, which is rolled back after `deadline_ms`. Other writers wait
        /// meanwhile.
        fn begin(deadline_ms: u32) -> RawFuture<u64>;
        /// Reads within a transaction.
        fn transaction_query(transaction: u64, sql: &str, params: &[u8]) -> RawFuture<Bytes>;
        /// Applies a packed batch within a transaction.
        fn transaction_apply(transaction: u64, batch: Bytes) -> RawFuture<Bytes>;
        /// Commits a transaction, or rolls it back.
        fn transaction_end(transaction: u64, commit: bool) -> RawFuture<()>;
        /// Rolls back a transaction whose owner is gone, without waiting.
        fn transaction_abandon(transaction: u64);
        /// Returns a number that changes whenever another process has changed the data.
        fn foreign_changes() -> u64;
    }
}

interface! {
    /// Events, brokered by the host between plugins.
    mod events = "events" @ 1 {
        /// Returns the topic of this name, to check cheaply for listeners.
        fn topic(name: &str) -> TopicRef;
        /// Runs the hooks before an event in order. `subject` narrows the topic (such as a collection's name),
        /// `payload` is JSON. An error means that a hook rejected the event. Must not be called while the caller
        /// has an open transaction.
        fn before(topic: &str, subject: &str, payload: Bytes) -> RawFuture<Outcome>;
        /// Notifies the listeners that an event was committed. Returns without waiting for them.
        fn after(topic: &str, subject: &str, payload: Bytes);
    }
}

interface! {
    /// HTTP requests to other servers. Requests and responses are packed as described in [`crate::codec::http`].
    mod http = "http" @ 1 {
        /// Sends a request and reads the whole response, whatever its status. Redirects are returned, not followed. An
        /// error means that there is no response: `http_url_invalid`, `http_request_invalid`, `http_denied_address`,
        /// `http_timeout`, `http_response_too_large` or `http_failed`.
        fn send(request: Bytes) -> RawFuture<Bytes>;
    }
}

interface! {
    /// Limits of the host, from its configuration. Always granted.
    mod limits = "limits" @ 1 {
        /// Returns the size limit in bytes for a plugin's response and for the rows that one read returns.
        fn response_bytes_max() -> u64;
        /// Reserves this many bytes in the budget that all requests share, and waits until they are free. They are
        /// released when the result, which is empty, is dropped. Fails with 503 `overloaded` if no memory becomes free
        /// in time.
        fn reserve(bytes: u64) -> RawFuture<Bytes>;
    }
}

interface! {
    /// The log. Always granted.
    mod log = "log" @ 1 {
        /// Returns whether lines of this level (1 error, 2 warn, 3 info, 4 debug, 5 trace) are written.
        fn enabled(level: u8) -> bool;
        /// Writes a line; `fields` is a JSON object or empty.
        fn write(level: u8, message: &str, fields: &[u8]);
    }
}

interface! {
    /// The extension's own settings, described by the JSON Schema in its manifest.
    mod settings = "settings" @ 1 {
        /// Returns all settings with defaults filled in, as a JSON object.
        fn snapshot() -> RawFuture<Bytes>;
        /// Changes settings, given as a JSON object. Fails if the schema does not allow the values.
        fn update(values: Bytes) -> RawFuture<()>;
    }
}

interface! {
    /// Time and tasks on the host's runtime. Always granted.
    mod timers = "timers" @ 1 {
        /// Waits for this duration.
        fn sleep(milliseconds: u64) -> RawFuture<()>;
        /// Runs a future in the background. It is dropped when the plugin is shut down.
        fn spawn(task: RawFuture<()>);
    }
}

interface! {
    /// Accounts.
    mod identity = "identity" @ 1 {
        /// Returns the user of this access token, as JSON `{"id", "email", "is_admin"}`. Fails with 401 if the
        /// token is not valid.
        fn authenticate(token: &str) -> RawFuture<Bytes>;
        /// Returns a user by id, as JSON `{"id", "email", "is_admin", "created_at"}`, or `null`.
        fn user(id: &str) -> RawFuture<Bytes>;
        /// Returns the current state of an application token by id, as JSON `{"id", "user_id", "scopes", "expires_at",
        /// "is_valid"}`, or `null` if it was deleted. `is_valid` is false if it is deactivated or expired, or if its
        /// user may not sign in.
        fn application_token(id: &str) -> RawFuture<Bytes>;
    }
}

interface! {
    /// Services that other plugins offer.
    mod services = "services" @ 1 {
        /// Returns whether a service of this name and major is currently offered.
        fn offered(name: &str, major: u16) -> bool;
        /// Calls a method of a service. Payload and result are JSON by convention.
        fn call(name: &str, major: u16, method: &str, payload: Bytes) -> RawFuture<Bytes>;
    }
}

interface! {
    /// The terminal, while a command of the plugin runs.
    mod console = "console" @ 1 {
        /// Returns whether the output goes to a terminal.
        fn is_terminal() -> bool;
        /// Prints a line to standard output.
        fn line(text: &str);
        /// Prints a line to standard error.
        fn error_line(text: &str);
        /// Shows the progress of long work: `done` of `total` (0 if unknown), counted in `unit`.
        fn progress(done: u64, total: u64, unit: &str);
    }
}

interface! {
    /// Sessions of people whom the plugin has verified, for sign-in methods other than the password.
    mod sessions = "sessions" @ 1 {
        /// Begins a session for the user described by JSON `{"email" or "user_id", "create", "method", "address",
        /// "user_agent"}`. Returns the response of `POST /api/auth/login` as JSON: tokens, or a ticket for the second
        /// factor.
        fn sign_in(who: Bytes) -> RawFuture<Bytes>;
    }
}

interface! {
    /// The plugin's own files.
    mod storage = "storage" @ 1 {
        /// Returns the absolute path of the plugin's data folder, which exists.
        fn data_dir() -> Bytes;
    }
}
