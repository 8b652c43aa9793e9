//! Declares all configuration keys, each once: its field, type, default, variable, allowed values and meaning. It never
//! reads a file or a variable.

use std::path::PathBuf;

use super::{
    Config, DatabaseUrl, Durability, ExtensionSet, LogFormat, LogLevel, Revoked, Secret, SmtpTls,
    values::{Given, Kind},
};
use crate::{
    absolute_url::is_absolute_url,
    http::{is_content_security_policy, is_list_of_networks},
};

/// A configuration key, as used by loading, `docs/configuration.md` and error messages.
#[derive(Debug)]
pub struct Key {
    /// The name, such as `server.port`.
    pub name: &'static str,
    /// The environment variable that sets it.
    pub variable: &'static str,
    /// The allowed values, in words.
    pub allowed: &'static str,
    /// The meaning.
    pub meaning: &'static str,
    /// Whether its value may contain a secret.
    pub(super) is_secret: bool,
    pub(super) set: fn(&mut Config, Given<'_>) -> Option<()>,
    pub(super) show: fn(&Config) -> String,
    /// The value as TOML.
    pub(super) toml: fn(&Config) -> String,
}

impl Key {
    /// Returns the value in `config`, as written in the file; empty if unset.
    pub fn show(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

macro_rules! sections {
    ($(
        #[doc = $about:literal]
        $section:ident: $Section:ident {$(
            #[doc = $meaning:literal]
            $key:ident: $kind:ty = $default:expr, $variable:literal, $allowed:literal, $check:expr;
        )*}
    )*) => {
        $(
            #[doc = $about]
            #[derive(Debug, Clone)]
            pub struct $Section {$(
                #[doc = $meaning]
                pub $key: $kind,
            )*}

            impl Default for $Section {
                fn default() -> $Section {
                    $Section { $($key: $default,)* }
                }
            }
        )*

        /// All keys, in the order of the documentation.
        pub const KEYS: &[Key] = &[$($(Key {
            name: concat!(stringify!($section), ".", stringify!($key)),
            variable: $variable,
            allowed: $allowed,
            meaning: $meaning,
            is_secret: <$kind as Kind>::IS_SECRET,
            set: |config, given| {
                let check: fn(&$kind) -> bool = $check;
                config.$section.$key = <$kind as Kind>::read(given).filter(check)?;
                Some(())
            },
            show: |config| config.$section.$key.show(),
            toml: |config| config.$section.$key.toml(),
        },)*)*];
    };
}

fn any<T>(_: &T) -> bool {
    true
}

fn filled(text: &str) -> bool {
    !text.trim().is_empty()
}

fn origins(list: &[String]) -> bool {
    list.iter().all(|origin| {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        origin == "*"
            || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#', '@']))
    })
}

/// The name of the registry that is bundled with the program.
pub const BUNDLED_REGISTRY: &str = "bundled";

/// Checks names and places of registries: a name is used as a file name, and must be unique.
fn registries(list: &[String]) -> bool {
    let name = |entry: &String| match entry.split_once('=') {
        Some((name, place)) if !place.is_empty() && name != BUNDLED_REGISTRY => Some(name.to_owned()),
        None if entry == BUNDLED_REGISTRY => Some(entry.clone()),
        _ => None,
    };
    let is_name = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let names: Vec<Option<String>> = list.iter().map(name).collect();
    let all_named = names.iter().all(|name| name.as_ref().is_some_and(is_name));
    all_named && (1..names.len()).all(|at| !names[..at].contains(&names[at]))
}

/// The placeholder for the token in a link's pattern.
pub const TOKEN_MARK: &str = "{token}";

fn link(pattern: &str) -> bool {
    let url = pattern.replace(TOKEN_MARK, "x");
    pattern.is_empty() || (url != pattern && is_absolute_url(&url))
}

/// Only allows `http`: the crates that send traces include no TLS, which would be dead weight for a server without
/// traces.
fn collector(url: &str) -> bool {
    url.is_empty() || (url.starts_with("http://") && is_absolute_url(url) && !url.contains(['?', '#']))
}

/// Allows only the server's own files, and requests to it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                           connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

const DAY_MS: u64 = 86_400_000;

sections! {
    /// The HTTP server and the log.
    server: Server {
        /// The address to listen on.
        host: String = "127.0.0.1".into(), "TINYBASE_SERVER_HOST", "an IP address or a host name", |text| filled(text);
        /// The port to listen on; 0 lets the system choose one.
        port: u16 = 8000, "TINYBASE_SERVER_PORT", "a port from 0 to 65535", any;
        /// The least severe lines that are logged.
        log_level: LogLevel = LogLevel::Info, "TINYBASE_LOG_LEVEL", "error, warn, info, debug or trace", any;
        /// How log lines are written to stderr.
        log_format: LogFormat = LogFormat::Text, "TINYBASE_LOG_FORMAT", "text or json", any;
        /// The reverse proxies that are believed when they name the client in `X-Forwarded-For` and `X-Forwarded-Proto`.
        trusted_proxies: Vec<String> = Vec::new(), "TINYBASE_SERVER_TRUSTED_PROXIES", "a list of addresses or networks such as 10.0.0.0/8", |list| is_list_of_networks(list);
        /// What pages may load and run, sent as `Content-Security-Policy` with every HTML, SVG and XML answer that sets none of its own; empty sends none.
        content_security_policy: String = PAGE_POLICY.into(), "TINYBASE_SERVER_CONTENT_SECURITY_POLICY", "the header's value, or empty", |text| is_content_security_policy(text);
        /// The largest request body in bytes; a route may allow less or more.
        body_bytes_max: usize = 10 << 20, "TINYBASE_SERVER_BODY_BYTES_MAX", "bytes, 1024 or more", |n| *n >= 1024;
        /// How many bytes of request bodies are held in memory at once, at least four of the largest; more is a 503. The last quarter is kept for bodies of 64 KiB and less.
        bodies_bytes_max: usize = 256 << 20, "TINYBASE_SERVER_BODIES_BYTES_MAX", "bytes, 65536 or more", |n| *n >= 64 << 10;
        /// How long a request body may take; a longer one must bring enough within each such time.
        body_read_timeout_ms: u64 = 20_000, "TINYBASE_SERVER_BODY_READ_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How many bytes a second a long request body brings at least; 0 asks for any.
        body_rate_bytes_per_second_min: u32 = 16 << 10, "TINYBASE_SERVER_BODY_RATE_BYTES_PER_SECOND_MIN", "bytes, 0 to 1073741824", |n| *n <= 1 << 30;
        /// How long a client may take none of the answer that waits for it before it is cut off.
        response_stall_timeout_ms: u64 = 30_000, "TINYBASE_SERVER_RESPONSE_STALL_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How many bytes a second a client takes at least of an answer that waits for it, reckoned over `server.response_rate_grace_ms`; 0 lets it take any.
        response_rate_bytes_per_second_min: u32 = 4 << 10, "TINYBASE_SERVER_RESPONSE_RATE_BYTES_PER_SECOND_MIN", "bytes, 0 to 1073741824", |n| *n <= 1 << 30;
        /// See `server.response_rate_bytes_per_second_min`.
        response_rate_grace_ms: u64 = 30_000, "TINYBASE_SERVER_RESPONSE_RATE_GRACE_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How many bytes all requests together hold in memory beyond small change: rows that reads returned to extensions, work on large answers and batches, and answers until their clients have taken them. At least eight of the largest answers that `plugins.response_bytes_max` allows, and 33554432; what finds no room for two seconds is a 503 `overloaded`. The last quarter is kept for answers of 64 KiB and less; one client's larger ones hold three eighths at most.
        responses_bytes_max: usize = 256 << 20, "TINYBASE_SERVER_RESPONSES_BYTES_MAX", "bytes, 65536 or more", |n| *n >= 64 << 10;
        /// How long a request may take before it is answered with 504.
        request_timeout_ms: u64 = 60_000, "TINYBASE_SERVER_REQUEST_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How long a client may take to send a request's head.
        header_read_timeout_ms: u64 = 10_000, "TINYBASE_SERVER_HEADER_READ_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How many connections are open at once; further ones wait to be accepted.
        connections_max: usize = 10_000, "TINYBASE_SERVER_CONNECTIONS_MAX", "1 or more", |n| *n >= 1;
        /// How long open requests, and extensions behind them, may take to end once the server stops.
        shutdown_timeout_ms: u64 = 10_000, "TINYBASE_SERVER_SHUTDOWN_TIMEOUT_MS", "milliseconds, 0 to 86400000", |n| *n <= DAY_MS;
        /// How long the server goes on as before once it is asked to stop, while `/ready` tells whoever shares out requests to leave it out.
        shutdown_delay_ms: u64 = 0, "TINYBASE_SERVER_SHUTDOWN_DELAY_MS", "milliseconds, 0 to 86400000", |n| *n <= DAY_MS;
        /// The smallest body in bytes that is compressed.
        compression_bytes_min: u16 = 1024, "TINYBASE_SERVER_COMPRESSION_BYTES_MIN", "bytes, 0 to 65535", any;
        /// How many threads serve requests; 0 is one a core. One more stands by for extensions that block.
        worker_threads: usize = 0, "TINYBASE_SERVER_WORKER_THREADS", "0 to 1024", |n| *n <= 1024;
        /// How many threads run blocking work such as password hashing and file access; up to 64 more run code of extensions that blocks.
        blocking_threads_max: usize = 64, "TINYBASE_SERVER_BLOCKING_THREADS_MAX", "1 to 4096", |n| (1..=4096).contains(n);
    }
    /// The database.
    database: Database {
        /// Where the data is: a SQLite file or a PostgreSQL server.
        url: DatabaseUrl = DatabaseUrl::default(), "TINYBASE_DB_URL", "sqlite://PATH or postgres://…", any;
        /// Whether an answered write has reached the disk (`full`), or may be lost when the machine loses power (`normal`).
        durability: Durability = Durability::Full, "TINYBASE_DB_DURABILITY", "full or normal", any;
        /// How long a statement may run where its caller names no deadline.
        query_timeout_ms: u64 = 30_000, "TINYBASE_DB_QUERY_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// With PostgreSQL: how many connections a process opens. One more listens for what other nodes change.
        pool_size: usize = 32, "TINYBASE_DB_POOL_SIZE", "1 to 1000", |n| (1..=1000).contains(n);
        /// With PostgreSQL: how long a connection may take to be made.
        connect_timeout_ms: u64 = 5_000, "TINYBASE_DB_CONNECT_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// With PostgreSQL: how long a call waits for a free connection before it is refused as busy.
        acquire_timeout_ms: u64 = 5_000, "TINYBASE_DB_ACQUIRE_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// With PostgreSQL: how many prepared statements each connection keeps.
        statement_cache_entries: usize = 256, "TINYBASE_DB_STATEMENT_CACHE_ENTRIES", "1 to 10000", |n| (1..=10_000).contains(n);
        /// With PostgreSQL: how many reads by key, of those that wait for one another, go to the server together; 1 lets each go alone.
        gathered_reads_max: usize = 64, "TINYBASE_DB_GATHERED_READS_MAX", "1 to 1000", |n| (1..=1000).contains(n);
        /// With SQLite: how many threads answer reads of unknown cost; 0 is one a core.
        readers: usize = 0, "TINYBASE_DB_READERS", "0 to 256", |n| *n <= 256;
        /// With SQLite: how much of the file is kept in memory for short reads, over all threads.
        cache_bytes: usize = 64 << 20, "TINYBASE_DB_CACHE_BYTES", "bytes, 1048576 or more", |n| *n >= 1 << 20;
        /// With SQLite: above how many bytes the write-ahead log is written back, even if readers have to wait.
        wal_bytes_max: u64 = 256 << 20, "TINYBASE_DB_WAL_BYTES_MAX", "bytes, 1048576 or more", |n| *n >= 1 << 20;
        /// With SQLite: how many writes may wait for the writer; further ones are refused as busy.
        write_queue_max: usize = 8192, "TINYBASE_DB_WRITE_QUEUE_MAX", "1 or more", |n| *n >= 1;
    }
    /// This process among others that serve the same database.
    node: Node {
        /// What it is called where nodes are listed; unset is the host's name and the port.
        name: String = String::new(), "TINYBASE_NODE_NAME", "up to 100 characters", |text| text.chars().count() <= 100;
        /// How often it tells the others that it is there.
        heartbeat_ms: u64 = 2_000, "TINYBASE_NODE_HEARTBEAT_MS", "milliseconds, 10 to 3600000", |n| (10..=3_600_000).contains(n);
        /// After how long without a word of it a node counts as stopped; at least three heartbeats.
        timeout_ms: u64 = 10_000, "TINYBASE_NODE_TIMEOUT_MS", "milliseconds, 30 to 86400000", |n| (30..=DAY_MS).contains(n);
    }
    /// Accounts and tokens.
    auth: Auth {
        /// How long an access token is valid.
        access_token_ttl_minutes: u32 = 1440, "TINYBASE_AUTH_ACCESS_TOKEN_TTL_MINUTES", "minutes, 1 to 525600", |n| (1..=525_600).contains(n);
        /// How long a refresh token is valid.
        refresh_token_ttl_days: u32 = 30, "TINYBASE_AUTH_REFRESH_TOKEN_TTL_DAYS", "days, 1 to 3650", |n| (1..=3650).contains(n);
        /// How long a refresh token that was used gets the same new pair again, for a second tab or an answer that was lost; after that it ends its session. 0 lets each work once.
        refresh_reuse_interval_seconds: u32 = 10, "TINYBASE_AUTH_REFRESH_REUSE_INTERVAL_SECONDS", "seconds, 0 to 300", |n| *n <= 300;
        /// How many sessions a user has at once; a further one ends the one that was used longest ago.
        sessions_per_user_max: u32 = 50, "TINYBASE_AUTH_SESSIONS_PER_USER_MAX", "1 to 1000", |n| (1..=1000).contains(n);
        /// Whether those who guess an account's password have to wait before each further try.
        login_backoff: bool = true, "TINYBASE_AUTH_LOGIN_BACKOFF", "true or false", any;
        /// How many passwords are hashed at once; 0 is one for two cores, at least one.
        password_hash_concurrency_max: usize = 0, "TINYBASE_AUTH_PASSWORD_HASH_CONCURRENCY_MAX", "0 to 64", |n| *n <= 64;
        /// How many sign-ins may wait for their password to be hashed; further ones are answered with 503.
        password_hash_queue_max: usize = 128, "TINYBASE_AUTH_PASSWORD_HASH_QUEUE_MAX", "0 to 65536", |n| *n <= 65_536;
        /// How many verified tokens are remembered.
        token_cache_entries_max: usize = 65_536, "TINYBASE_AUTH_TOKEN_CACHE_ENTRIES_MAX", "16 or more", |n| *n >= 16;
        /// The page of yours that a mail to set a new password links to; unset mails the token alone.
        password_reset_url: String = String::new(), "TINYBASE_AUTH_PASSWORD_RESET_URL", "an http or https URL with {token} in it, such as https://app.example.org/reset?token={token}", |text| link(text);
        /// The page of yours that a mail to sign in links to; unset mails the token alone.
        login_link_url: String = String::new(), "TINYBASE_AUTH_LOGIN_LINK_URL", "an http or https URL with {token} in it, such as https://app.example.org/login?token={token}", |text| link(text);
    }
    /// The audit log.
    audit: Audit {
        /// How long an entry is kept; 0 keeps every entry forever.
        retention_days: u32 = 365, "TINYBASE_AUDIT_RETENTION_DAYS", "days, 0 to 36500", |n| *n <= 36_500;
    }
    /// Rate limits.
    rate_limit: RateLimit {
        /// Whether there are any; those on sign-in and its like are part of it.
        enabled: bool = true, "TINYBASE_RATE_LIMIT_ENABLED", "true or false", any;
        /// How many requests a minute a user, an application token or a client address may send to the other routes of `/api/auth`; 0 is no limit.
        auth_per_minute: u32 = 300, "TINYBASE_RATE_LIMIT_AUTH_PER_MINUTE", "0 to 1000000000", |n| *n <= 1_000_000_000;
        /// The same for `/api/admin`.
        admin_per_minute: u32 = 1_200, "TINYBASE_RATE_LIMIT_ADMIN_PER_MINUTE", "0 to 1000000000", |n| *n <= 1_000_000_000;
        /// The same for the rest of `/api` and all other routes of extensions.
        api_per_minute: u32 = 12_000, "TINYBASE_RATE_LIMIT_API_PER_MINUTE", "0 to 1000000000", |n| *n <= 1_000_000_000;
        /// Whose requests are not counted.
        exempt: Vec<String> = Vec::new(), "TINYBASE_RATE_LIMIT_EXEMPT", "a list of addresses or networks such as 10.0.0.0/8", |list| is_list_of_networks(list);
        /// How many counts are kept at once; beyond that whoever asks least is forgotten first.
        buckets_max: usize = 65_536, "TINYBASE_RATE_LIMIT_BUCKETS_MAX", "8 to 67108864", |n| (8..=1 << 26).contains(n);
        /// Where several nodes share their counts in the database: how long it may take before a node admits its own part of a limit by itself.
        shared_timeout_ms: u64 = 250, "TINYBASE_RATE_LIMIT_SHARED_TIMEOUT_MS", "milliseconds, 1 to 60000", |n| (1..=60_000).contains(n);
    }
    /// Figures for Prometheus.
    metrics: Metrics {
        /// From which addresses `/metrics` is read without a token; behind a trusted proxy, those of the proxy and of the client must both be listed.
        allow: Vec<String> = Vec::new(), "TINYBASE_METRICS_ALLOW", "a list of networks such as 10.0.0.0/8, or of addresses", |list| is_list_of_networks(list);
    }
    /// The request log.
    request_log: RequestLog {
        /// Whether requests are logged in the database, for `/api/admin/requests`.
        enabled: bool = true, "TINYBASE_REQUEST_LOG_ENABLED", "true or false", any;
        /// How long a request is kept; 0 keeps every one until there are `request_log.rows_max`.
        retention_days: u32 = 7, "TINYBASE_REQUEST_LOG_RETENTION_DAYS", "days, 0 to 36500", |n| *n <= 36_500;
        /// How many requests are kept; the oldest of more are deleted within a minute.
        rows_max: u64 = 500_000, "TINYBASE_REQUEST_LOG_ROWS_MAX", "1000 or more", |n| *n >= 1000;
        /// Of requests that failed (5xx), were refused (4xx), change something or are slow: how many of each kind are logged a second.
        rows_per_second_max: u32 = 200, "TINYBASE_REQUEST_LOG_ROWS_PER_SECOND_MAX", "0 to 100000", |n| *n <= 100_000;
        /// Of all other requests, quick reads that went well: how many are logged a second.
        reads_per_second_max: u32 = 10, "TINYBASE_REQUEST_LOG_READS_PER_SECOND_MAX", "0 to 100000", |n| *n <= 100_000;
        /// From how many milliseconds on a read counts as slow.
        slow_ms: u64 = 500, "TINYBASE_REQUEST_LOG_SLOW_MS", "milliseconds, 0 to 86400000", |n| *n <= DAY_MS;
    }
    /// Traces for OpenTelemetry.
    telemetry: Telemetry {
        /// The OpenTelemetry collector that traces are sent to, by OTLP over HTTP; unset makes none.
        otlp_endpoint: String = String::new(), "TINYBASE_TELEMETRY_OTLP_ENDPOINT", "an http URL such as http://127.0.0.1:4318; a collector on the same machine or in a network of yours passes them on over TLS", |text| collector(text);
        /// Which part of the requests is traced, of those that continue no trace of their caller's.
        sample_ratio: f64 = 1.0, "TINYBASE_TELEMETRY_SAMPLE_RATIO", "0 to 1, such as 0.01", |part| (0.0..=1.0).contains(part);
        /// The name under which traces are found.
        service_name: String = "tinybase".into(), "TINYBASE_TELEMETRY_SERVICE_NAME", "text", |text| filled(text);
    }
    /// The API's description.
    openapi: Openapi {
        /// How many collections, and the like of other extensions, `/openapi.json` describes one by one; further ones are covered by the routes that all share.
        described_max: usize = 100, "TINYBASE_OPENAPI_DESCRIBED_MAX", "0 to 1000", |n| *n <= 1_000;
    }
    /// Cross-origin requests.
    cors: Cors {
        /// Which other origins a browser may call from; empty is the same origin only.
        allow_origins: Vec<String> = Vec::new(), "TINYBASE_CORS_ALLOW_ORIGINS", "a list of origins such as https://app.example.org, or *", |list| origins(list);
    }
    /// Where extensions come from and go to.
    extensions: Extensions {
        /// The folder that extensions are unpacked to.
        dir: PathBuf = "./.tinybase/extensions".into(), "TINYBASE_EXTENSIONS_DIR", "a folder", any;
        /// Which extensions of those that came with this program are served; what was installed beside them is served in any case.
        set: ExtensionSet = ExtensionSet::Full, "TINYBASE_EXTENSIONS_SET", "full, data, minimal or a list of names", any;
        /// The registries to install from, in order; empty is the bundled one.
        registries: Vec<String> = Vec::new(), "TINYBASE_EXTENSIONS_REGISTRIES", "a list of NAME=URL or NAME=FOLDER, and the word bundled", |list| registries(list);
        /// The folder with the root of trust of each registry: NAME.json.
        roots_dir: PathBuf = "./registries".into(), "TINYBASE_EXTENSIONS_ROOTS_DIR", "a folder", any;
        /// How often a server looks whether a registry that is listed here revoked something that is installed; 0 is never.
        audit_interval_ms: u64 = 21_600_000, "TINYBASE_EXTENSIONS_AUDIT_INTERVAL_MS", "milliseconds, 0, or 100 to 2592000000", |n| *n == 0 || (100..=30 * DAY_MS).contains(n);
        /// What a server does with an installed extension that a registry revoked.
        revoked: Revoked = Revoked::Disable, "TINYBASE_EXTENSIONS_REVOKED", "disable or warn", any;
        /// How long all metadata of a registry may take to come.
        metadata_timeout_ms: u64 = 60_000, "TINYBASE_EXTENSIONS_METADATA_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How long one package may take to come.
        fetch_timeout_ms: u64 = 600_000, "TINYBASE_EXTENSIONS_FETCH_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// The largest package in bytes, packed.
        archive_bytes_max: u64 = 512 << 20, "TINYBASE_EXTENSIONS_ARCHIVE_BYTES_MAX", "bytes, 1024 or more", |n| *n >= 1024;
        /// The largest package in bytes, unpacked.
        unpacked_bytes_max: u64 = 1 << 30, "TINYBASE_EXTENSIONS_UNPACKED_BYTES_MAX", "bytes, 1024 or more", |n| *n >= 1024;
        /// How long a change of extensions may take, and how long it waits for another one to end.
        change_timeout_ms: u64 = 120_000, "TINYBASE_EXTENSIONS_CHANGE_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How long the migrations of an extension may take in one change; other writes may have to wait for them.
        migration_timeout_ms: u64 = 600_000, "TINYBASE_EXTENSIONS_MIGRATION_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How long the other nodes of a database may take for their part in a change before it is taken back.
        nodes_timeout_ms: u64 = 60_000, "TINYBASE_EXTENSIONS_NODES_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How many copies of the database, made before updates of extensions that change tables, are kept where it is a file; 0 makes none.
        snapshots_kept: usize = 3, "TINYBASE_EXTENSIONS_SNAPSHOTS_KEPT", "0 to 1000", |n| *n <= 1_000;
    }
    /// Limits of plugins.
    plugins: Plugins {
        /// How long a plugin may take to answer a call.
        call_timeout_ms: u64 = 30_000, "TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// The largest answer of a plugin in bytes; also the most that one read of the database returns to it.
        response_bytes_max: usize = 32 << 20, "TINYBASE_PLUGINS_RESPONSE_BYTES_MAX", "bytes, 1024 or more", |n| *n >= 1024;
        /// How long a plugin may take to start.
        start_timeout_ms: u64 = 10_000, "TINYBASE_PLUGINS_START_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// How long the probe process that opens a new library first may take.
        probe_timeout_ms: u64 = 10_000, "TINYBASE_PLUGINS_PROBE_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// The most memory in bytes that the probe process may set aside for itself; each of its threads takes 16 MiB of that for its stack.
        probe_memory_bytes_max: u64 = 4 << 30, "TINYBASE_PLUGINS_PROBE_MEMORY_BYTES_MAX", "bytes, 536870912 or more", |n| *n >= 512 << 20;
        /// How long a plugin's request to another server may take.
        http_timeout_ms: u64 = 30_000, "TINYBASE_PLUGINS_HTTP_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
        /// The largest body in bytes that a plugin sends to another server.
        http_request_bytes_max: usize = 10 << 20, "TINYBASE_PLUGINS_HTTP_REQUEST_BYTES_MAX", "bytes, 1024 or more", |n| *n >= 1024;
        /// The largest body in bytes that another server may answer a plugin.
        http_response_bytes_max: usize = 10 << 20, "TINYBASE_PLUGINS_HTTP_RESPONSE_BYTES_MAX", "bytes, 1024 or more", |n| *n >= 1024;
        /// How many requests to other servers a plugin has under way at once; further ones wait.
        http_concurrent_max: usize = 64, "TINYBASE_PLUGINS_HTTP_CONCURRENT_MAX", "1 to 10000", |n| (1..=10_000).contains(n);
        /// Which addresses plugins may reach beside the internet's: by default none of this machine, of private networks, or of a cloud's metadata.
        http_allow_networks: Vec<String> = Vec::new(), "TINYBASE_PLUGINS_HTTP_ALLOW_NETWORKS", "a list of addresses or networks such as 10.0.0.0/8", |list| is_list_of_networks(list);
        /// After how long a call that does not give its thread back counts as blocking it.
        blocked_after_ms: u64 = 5_000, "TINYBASE_PLUGINS_BLOCKED_AFTER_MS", "milliseconds, 100 to 86400000", |n| (100..=DAY_MS).contains(n);
        /// How many threads a plugin may block at once before it is switched off; 0 leaves it on.
        blocked_threads_max: usize = 4, "TINYBASE_PLUGINS_BLOCKED_THREADS_MAX", "0 to 32", |n| *n <= 32;
        /// How often within 24 hours a plugin may take the server down before the next start leaves it off; 0 leaves it on.
        crashes_max: usize = 3, "TINYBASE_PLUGINS_CRASHES_MAX", "0 to 100", |n| *n <= 100;
        /// How long what was replaced or disabled may be busy with what it began before the log says so.
        drain_timeout_ms: u64 = 30_000, "TINYBASE_PLUGINS_DRAIN_TIMEOUT_MS", "milliseconds, 1 to 86400000", |n| (1..=DAY_MS).contains(n);
    }
    /// The functions extension.
    functions: Functions {
        /// The folder that functions are loaded from.
        dir: PathBuf = "./functions".into(), "TINYBASE_FUNCTIONS_DIR", "a folder", any;
        /// How many processes are kept ready for a function.
        pool_size: u32 = 3, "TINYBASE_FUNCTIONS_POOL_SIZE", "0 to 1024", |n| *n <= 1024;
        /// After how long without a call a process ends.
        idle_ttl_seconds: u64 = 300, "TINYBASE_FUNCTIONS_IDLE_TTL_SECONDS", "seconds, 1 or more", |n| *n >= 1;
        /// How long a call may take.
        timeout_seconds: u64 = 1800, "TINYBASE_FUNCTIONS_TIMEOUT_SECONDS", "seconds, 1 or more", |n| *n >= 1;
        /// The largest payload in bytes.
        payload_bytes_max: usize = 10 << 20, "TINYBASE_FUNCTIONS_PAYLOAD_BYTES_MAX", "bytes, 1 or more", |n| *n >= 1;
        /// The largest result in bytes.
        result_bytes_max: usize = 10 << 20, "TINYBASE_FUNCTIONS_RESULT_BYTES_MAX", "bytes, 1 or more", |n| *n >= 1;
        /// How many calls of one user run at once.
        concurrent_per_user_max: u32 = 10, "TINYBASE_FUNCTIONS_CONCURRENT_PER_USER_MAX", "1 or more", |n| *n >= 1;
    }
    /// The scheduler extension.
    scheduler: Scheduler {
        /// Whether schedules run.
        enabled: bool = true, "TINYBASE_SCHEDULER_ENABLED", "true or false", any;
        /// How many scheduled calls run at once.
        executions_concurrent_max: u32 = 10, "TINYBASE_SCHEDULER_EXECUTIONS_CONCURRENT_MAX", "1 or more", |n| *n >= 1;
    }
    /// The mailer extension.
    email: Email {
        /// Whether mail is sent.
        enabled: bool = false, "TINYBASE_EMAIL_ENABLED", "true or false", any;
        /// The mail server.
        smtp_host: String = String::new(), "TINYBASE_EMAIL_SMTP_HOST", "a host name", any;
        /// The mail server's port.
        smtp_port: u16 = 587, "TINYBASE_EMAIL_SMTP_PORT", "a port from 1 to 65535", |n| *n >= 1;
        /// The user name at the mail server; empty signs in as nobody.
        smtp_user: String = String::new(), "TINYBASE_EMAIL_SMTP_USER", "text", any;
        /// The password at the mail server.
        smtp_password: Secret = Secret::default(), "TINYBASE_EMAIL_SMTP_PASSWORD", "text", any;
        /// How the connection to the mail server is encrypted.
        smtp_tls: SmtpTls = SmtpTls::Starttls, "TINYBASE_EMAIL_SMTP_TLS", "starttls, tls or none", any;
        /// The sender's address.
        from_address: String = String::new(), "TINYBASE_EMAIL_FROM_ADDRESS", "an email address", any;
        /// The sender's name.
        from_name: String = "TinyBase".into(), "TINYBASE_EMAIL_FROM_NAME", "text", any;
    }
    /// The admin UI.
    admin: Admin {
        /// Where the admin UI is served from: the one that came with this program, or a folder. It has no effect yet: no admin UI comes with this version.
        static_dir: String = "builtin".into(), "TINYBASE_ADMIN_STATIC_DIR", "builtin or a folder", |text| filled(text);
    }
    /// An application's own pages.
    public: Public {
        /// A folder to serve at /; unset serves none.
        static_dir: Option<PathBuf> = None, "TINYBASE_PUBLIC_STATIC_DIR", "a folder", any;
    }
}
