//! Sets up logging of the host and the plugins to stderr, as text or JSON. It never decides what is logged.

use std::io::{IsTerminal, stderr};

use tracing::{Instrument, Span, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt,
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

use crate::{
    config::{LogFormat, LogLevel},
    telemetry,
};

/// Libraries whose debug lines are about sockets, frames and grammars, and would drown out the host's own.
const QUIET_TARGETS: &[&str] = &[
    "h2",
    "hyper",
    "hyper_util",
    "tower_http",
    "rustls",
    "mio",
    "sqlparser",
    "sqlx",
    "sqlx_core",
    "sqlx_postgres",
];

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let quiet = level.min(LevelFilter::INFO);
    Targets::new()
        .with_default(level)
        .with_targets(QUIET_TARGETS.iter().map(|target| (*target, quiet)))
        .with_target(telemetry::TARGET, LevelFilter::OFF)
}

/// Another layer that receives spans, in addition to the log.
pub type Other = Box<dyn Layer<Registry> + Send + Sync>;

/// Starts logging for the whole process. An error means that logging was already started.
pub fn start(level: LogLevel, format: LogFormat, other: Option<Other>) -> Result<(), TryInitError> {
    let layer = match format {
        LogFormat::Text => fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_writer(stderr)
            .boxed(),
    };
    let log = layer.with_filter(filter(level));
    match other {
        None => tracing_subscriber::registry().with(log).try_init(),
        Some(other) => tracing_subscriber::registry().with(vec![log.boxed(), other]).try_init(),
    }
}

/// Returns the span around all work for one request: every log line, also of plugins, has its `request_id`. It exists
/// at every level, since error lines need it most.
pub fn request_span(request_id: &str) -> Span {
    tracing::error_span!("request", request_id)
}

tokio::task_local! {
    /// The span of the request that a task works for, if it is not the innermost one.
    static REQUEST: Span;
}

/// Runs `work` for the request with this span, within which others are entered.
pub fn logged_in<F: Future>(request: Span, work: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(request, work)
}

/// Carries the current spans into another task: the innermost one, and around it that of the request, which log lines
/// show.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let request = REQUEST.try_with(Span::clone).unwrap_or_else(|_| Span::none());
    REQUEST.scope(request.clone(), work.instrument(Span::current())).instrument(request)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_shows_its_lines_and_keeps_libraries_quiet() {
        let debug = filter(LogLevel::Debug);
        assert!(debug.would_enable("tinybase_host::http", &Level::DEBUG));
        assert!(!debug.would_enable("h2::codec", &Level::DEBUG));
        assert!(debug.would_enable("h2::codec", &Level::WARN));
        assert!(!filter(LogLevel::Trace).would_enable(telemetry::TARGET, &Level::TRACE));
        let error = filter(LogLevel::Error);
        assert!(!error.would_enable("h2::codec", &Level::WARN));
        assert!(error.would_enable("tinybase_host::logging", &Level::ERROR));
    }
}
