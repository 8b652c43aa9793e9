//! What is counted in this process, as one static a part of the host: whoever counts needs no handle, and the hot path
//! no lookup. They never know how they are shown.

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

/// The most routes and the most extensions that are counted apart; further ones share the label `other`.
const LABELS_MAX: usize = 2_000;

/// The HTTP server.
pub struct Http {
    /// Requests whose answer is not made yet.
    pub in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Bytes of request bodies in memory.
    pub body_bytes: Gauge,
    /// Requests that were refused since too much was held in memory.
    pub overloaded: Counter,
}

/// See [`Http`].
pub static HTTP: Http = Http {
    in_flight: Gauge::new(),
    connections: Gauge::new(),
    body_bytes: Gauge::new(),
    overloaded: Counter::new(),
};

/// The database engine.
pub struct Database {
    /// Writes that wait for the writer.
    pub write_queue: Gauge,
    /// How many writes were committed together.
    pub group_jobs: Histogram,
    /// How long a commit took, without the sync, in microseconds.
    pub commit: Histogram,
    /// How long a sync of the write-ahead log took, in microseconds.
    pub sync: Histogram,
    /// How long reads on the calling thread took, in microseconds.
    pub reads_short: Histogram,
    /// How many reads by key went to the server together.
    pub gathered: Histogram,
    /// How long reads on reader threads took without their wait, in microseconds.
    pub reads_queued: Histogram,
    /// Pages of the write-ahead log after the last commit.
    pub wal_pages: AtomicI64,
    /// How far this machine's clock is behind the times of what is stored, in seconds; 0 where it is not.
    pub clock_behind_seconds: AtomicI64,
    /// Calls that were refused as busy.
    pub busy: Counter,
    /// Statements that took longer than their deadline.
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

/// The event bus.
pub struct Events {
    /// Events that were handed to a listener.
    pub told: Counter,
    /// Events that were dropped since too many waited for their listener.
    pub dropped: Counter,
}

/// See [`Events`].
pub static EVENTS: Events = Events { told: Counter::new(), dropped: Counter::new() };

/// Accounts.
pub struct Accounts {
    /// Tokens that were found in the cache.
    pub token_hits: Counter,
    /// Tokens that had to be verified.
    pub token_misses: Counter,
    /// Passwords that are being hashed or wait for it.
    pub password_jobs: Gauge,
}

/// See [`Accounts`].
pub static ACCOUNTS: Accounts =
    Accounts { token_hits: Counter::new(), token_misses: Counter::new(), password_jobs: Gauge::new() };

/// The request log.
pub struct RequestLog {
    /// Rows that were written.
    pub rows: Counter,
    /// Rows that were not, since there were too many or the database failed.
    pub dropped: Counter,
}

/// See [`RequestLog`].
pub static REQUEST_LOG: RequestLog = RequestLog { rows: Counter::new(), dropped: Counter::new() };

/// What the registries say of extensions.
pub struct Extensions {
    /// How many are enabled although a registry revoked them, as of the last look.
    pub revoked: AtomicI64,
    /// How many were disabled for that.
    pub disabled: Counter,
    /// Looks that reached every registry, and did what was to be done.
    pub audits: Counter,
    /// Looks that did not.
    pub audit_faults: Counter,
}

/// See [`Extensions`].
pub static EXTENSIONS: Extensions = Extensions {
    revoked: AtomicI64::new(0),
    disabled: Counter::new(),
    audits: Counter::new(),
    audit_faults: Counter::new(),
};

/// What is counted of one route. It lives as long as the process, so that its figures outlast a reload.
pub struct RouteMetrics {
    /// The method, in capitals.
    pub method: &'static str,
    /// The route's pattern, never a path.
    pub pattern: &'static str,
    /// Answers by the first digit of their status, from 1 to 5.
    pub answers: [Counter; 5],
    /// How long answers took to be made, in microseconds.
    pub times: Histogram,
}

impl std::fmt::Debug for RouteMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RouteFigures({} {})", self.method, self.pattern)
    }
}

/// What is counted of one extension. It lives as long as the process.
pub struct PluginMetrics {
    /// The extension's name.
    pub name: &'static str,
    /// Its routes' calls.
    pub requests: Calls,
    /// Every other call of it: hooks, listeners, jobs, services.
    pub other: Calls,
    /// Its requests to other servers.
    pub http: Calls,
    /// Calls that ended in a panic.
    pub panics: Counter,
    /// Threads that it blocks now.
    pub blocked_threads: Gauge,
    /// How often it began to block one.
    pub blocked: Counter,
    /// How often it took this server down within a day before this start.
    pub crashes: Gauge,
}

/// Calls of one kind.
pub struct Calls {
    /// How long they took in microseconds; how many there were follows from it.
    pub times: Histogram,
    /// How many ended in an error.
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

/// The figures of a route, the same ones each time. To be asked for when routes are set up, not once a request.
pub fn route(method: &str, pattern: &str) -> &'static RouteMetrics {
    let mut routes = ROUTES.lock();
    if let Some(route) = routes.get(&(method, pattern)) {
        return route;
    }
    let key = if routes.len() < LABELS_MAX { (kept(method), kept(pattern)) } else { ("OTHER", "other") };
    routes.entry(key).or_insert_with(|| of_route(key.0, key.1))
}

/// The figures of requests that no route takes: files, refusals, what is not found.
pub fn unmatched() -> &'static RouteMetrics {
    static UNMATCHED: LazyLock<&'static RouteMetrics> = LazyLock::new(|| route("OTHER", "unmatched"));
    *UNMATCHED
}

/// The figures of an extension, the same ones each time.
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

/// Every route that was ever set up, in the order of their labels.
pub fn routes() -> Vec<&'static RouteMetrics> {
    let mut routes: Vec<_> = ROUTES.lock().values().copied().collect();
    routes.sort_unstable_by_key(|route| (route.pattern, route.method));
    routes
}

/// Every extension that was ever loaded, in the order of their names.
pub fn plugins() -> Vec<&'static PluginMetrics> {
    let mut plugins: Vec<_> = PLUGINS.lock().values().copied().collect();
    plugins.sort_unstable_by_key(|plugin| plugin.name);
    plugins
}

impl RouteMetrics {
    /// Counts an answer.
    pub fn note(&self, status: http::StatusCode, time: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers[class].add_one();
        self.times.observe_time(time);
    }
}

/// Sets the pages of the write-ahead log.
pub fn set_wal_pages(pages: i32) {
    DATABASE.wal_pages.store(pages.into(), Ordering::Relaxed);
}

/// Sets how far this machine's clock is behind the times of what is stored, in seconds.
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
