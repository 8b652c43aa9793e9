//! The metrics of this process: one static per part of the host, so that callers need no handle and the hot path no
//! lookup. They never know how they are exposed.

use std::{
    collections::HashMap,
    sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::primitives::{Counter, GROUP_JOBS, Gauge, Histogram, MICROS};

/// The maximum number of routes, and of extensions, with their own label; further ones share the label `other`.
const LABELS_MAX: usize = 2_000;

/// Metrics of the HTTP server.
pub struct Http {
    /// Requests without a finished response.
    pub in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Bytes of request bodies in memory.
    pub body_bytes: Gauge,
    /// Requests refused because too much memory was in use.
    pub overloaded: Counter,
}

/// See [`Http`].
pub static HTTP: Http = Http {
    in_flight: Gauge::new(),
    connections: Gauge::new(),
    body_bytes: Gauge::new(),
    overloaded: Counter::new(),
};

/// Metrics of the database engine.
pub struct Database {
    /// Writes waiting for the writer.
    pub write_queue: Gauge,
    /// The number of writes committed together.
    pub group_jobs: Histogram,
    /// The time of a commit without the sync, in microseconds.
    pub commit: Histogram,
    /// The time of a sync of the write-ahead log, in microseconds.
    pub sync: Histogram,
    /// The time of reads on the calling thread, in microseconds.
    pub reads_short: Histogram,
    /// The number of reads by key sent to the server together.
    pub gathered: Histogram,
    /// The time of reads on reader threads without their wait, in microseconds.
    pub reads_queued: Histogram,
    /// The pages of the write-ahead log after the last commit.
    pub wal_pages: AtomicI64,
    /// How far this machine's clock is behind stored times, in seconds; 0 if it is not.
    pub clock_behind_seconds: AtomicI64,
    /// Calls refused as busy.
    pub busy: Counter,
    /// Statements that exceeded their deadline.
    pub timeouts: Counter,
}

/// See [`Database`].
pub static DATABASE: Database = Database {
    write_queue: Gauge::new(),
    group_jobs: Histogram::new(GROUP_JOBS),
    commit: Histogram::new(MICROS),
    sync: Histogram::new(MICROS),
    reads_short: Histogram::new(MICROS),
    gathered: Histogram::new(GROUP_JOBS),
    reads_queued: Histogram::new(MICROS),
    wal_pages: AtomicI64::new(0),
    clock_behind_seconds: AtomicI64::new(0),
    busy: Counter::new(),
    timeouts: Counter::new(),
};

/// Metrics of the event bus.
pub struct Events {
    /// Events delivered to a listener.
    pub told: Counter,
    /// Events dropped because too many were waiting for their listener.
    pub dropped: Counter,
}

/// See [`Events`].
pub static EVENTS: Events = Events { told: Counter::new(), dropped: Counter::new() };

/// Metrics of accounts.
pub struct Accounts {
    /// Tokens found in the cache.
    pub token_hits: Counter,
    /// Tokens that had to be verified.
    pub token_misses: Counter,
    /// Passwords being hashed or waiting for it.
    pub password_jobs: Gauge,
}

/// See [`Accounts`].
pub static ACCOUNTS: Accounts =
    Accounts { token_hits: Counter::new(), token_misses: Counter::new(), password_jobs: Gauge::new() };

/// Metrics of the request log.
pub struct RequestLog {
    /// Rows written.
    pub rows: Counter,
    /// Rows not written, because there were too many or the database failed.
    pub dropped: Counter,
}

/// See [`RequestLog`].
pub static REQUEST_LOG: RequestLog = RequestLog { rows: Counter::new(), dropped: Counter::new() };

/// Metrics of the registries' statements about extensions.
pub struct Extensions {
    /// Extensions that are enabled although a registry revoked them, as of the last audit.
    pub revoked: AtomicI64,
    /// Extensions disabled because of a revocation.
    pub disabled: Counter,
    /// Audits that reached every registry and completed their actions.
    pub audits: Counter,
    /// Audits that failed.
    pub audit_faults: Counter,
}

/// See [`Extensions`].
pub static EXTENSIONS: Extensions = Extensions {
    revoked: AtomicI64::new(0),
    disabled: Counter::new(),
    audits: Counter::new(),
    audit_faults: Counter::new(),
};

/// Metrics of one route. They live as long as the process, and therefore survive a reload.
pub struct RouteMetrics {
    /// The method in upper case.
    pub method: &'static str,
    /// The route's pattern, never a path.
    pub pattern: &'static str,
    /// Responses by the first digit of their status, from 1 to 5.
    pub answers: [Counter; 5],
    /// The time until the response, in microseconds.
    pub times: Histogram,
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RouteMetrics({} {})", self.method, self.pattern)
    }
}

/// Metrics of one extension. They live as long as the process.
pub struct PluginMetrics {
    /// The extension's name.
    pub name: &'static str,
    /// Calls of its routes.
    pub requests: Calls,
    /// All other calls: hooks, listeners, jobs, services.
    pub other: Calls,
    /// Its requests to other servers.
    pub http: Calls,
    /// Calls that ended in a panic.
    pub panics: Counter,
    /// Threads that it is blocking now.
    pub blocked_threads: Gauge,
    /// How often it started to block one.
    pub blocked: Counter,
    /// How often it crashed this server within a day before this start.
    pub crashes: Gauge,
}

/// Calls of one kind.
pub struct Calls {
    /// The time of the calls in microseconds; it also contains their number.
    pub times: Histogram,
    /// Calls that ended in an error.
    pub errors: Counter,
}

impl Calls {
    const fn new() -> Calls {
        Calls { times: Histogram::new(MICROS), errors: Counter::new() }
    }

    /// Counts a call.
    pub fn note(&self, time: Duration, failed: bool) {
        self.times.observe_time(time);
        if failed {
            self.errors.add_one();
        }
    }
}

type Known<K, V> = LazyLock<Mutex<HashMap<K, &'static V>>>;
static ROUTES: Known<(&'static str, &'static str), RouteMetrics> = LazyLock::new(Mutex::default);
static PLUGINS: Known<&'static str, PluginMetrics> = LazyLock::new(Mutex::default);

fn kept(text: &str) -> &'static str {
    Box::leak(text.into())
}

fn of_route(method: &'static str, pattern: &'static str) -> &'static RouteMetrics {
    let (answers, times) = ([const { Counter::new() }; 5], Histogram::new(MICROS));
    Box::leak(Box::new(RouteMetrics { method, pattern, answers, times }))
}

/// Returns the metrics of a route, always the same ones. Call this when routes are set up, not per request.
pub fn route(method: &str, pattern: &str) -> &'static RouteMetrics {
    let mut routes = ROUTES.lock();
    if let Some(route) = routes.get(&(method, pattern)) {
        return route;
    }
    let key = if routes.len() < LABELS_MAX { (kept(method), kept(pattern)) } else { ("OTHER", "other") };
    routes.entry(key).or_insert_with(|| of_route(key.0, key.1))
}

/// Returns the metrics of requests without a route: files, refusals, unknown paths.
pub fn unmatched() -> &'static RouteMetrics {
    static UNMATCHED: LazyLock<&'static RouteMetrics> = LazyLock::new(|| route("OTHER", "unmatched"));
    *UNMATCHED
}

/// Returns the metrics of an extension, always the same ones.
pub fn plugin(name: &str) -> &'static PluginMetrics {
    let mut plugins = PLUGINS.lock();
    if let Some(plugin) = plugins.get(name) {
        return plugin;
    }
    let name = if plugins.len() < LABELS_MAX { kept(name) } else { "other" };
    let made = || -> &'static PluginMetrics {
        Box::leak(Box::new(PluginMetrics {
            name,
            requests: Calls::new(),
            other: Calls::new(),
            http: Calls::new(),
            panics: Counter::new(),
            blocked_threads: Gauge::new(),
            blocked: Counter::new(),
            crashes: Gauge::new(),
        }))
    };
    plugins.entry(name).or_insert_with(made)
}

/// Returns the metrics of every route that was ever set up, sorted by label.
pub fn routes() -> Vec<&'static RouteMetrics> {
    let mut routes: Vec<_> = ROUTES.lock().values().copied().collect();
    routes.sort_unstable_by_key(|route| (route.pattern, route.method));
    routes
}

/// Returns the metrics of every extension that was ever loaded, sorted by name.
pub fn plugins() -> Vec<&'static PluginMetrics> {
    let mut plugins: Vec<_> = PLUGINS.lock().values().copied().collect();
    plugins.sort_unstable_by_key(|plugin| plugin.name);
    plugins
}

impl RouteMetrics {
    /// Counts a response.
    pub fn note(&self, status: http::StatusCode, time: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers[class].add_one();
        self.times.observe_time(time);
    }
}

/// Sets the number of pages of the write-ahead log.
pub fn set_wal_pages(pages: i32) {
    DATABASE.wal_pages.store(pages.into(), Ordering::Relaxed);
}

/// Sets how far this machine's clock is behind stored times, in seconds.
pub fn set_clock_behind(seconds: i64) {
    DATABASE.clock_behind_seconds.store(seconds, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let first = route("GET", "/api/a/{id}");
        assert!(std::ptr::eq(first, route("GET", "/api/a/{id}")));
        assert!(!std::ptr::eq(first, route("POST", "/api/a/{id}")));
        for number in 0..LABELS_MAX + 50 {
            route("GET", &format!("/api/{number}"));
        }
        assert!(routes().len() <= LABELS_MAX + 1, "{}", routes().len());
        assert_eq!(route("GET", "/api/new").pattern, "other");
    }
}
