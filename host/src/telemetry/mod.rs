//! Traces for OpenTelemetry: one span a request that is chosen, and below it what extensions and the database did for
//! it. Where no collector is configured nothing of this is built, and no request ever waits for a collector.

mod collector;
mod database;
mod pipeline;
mod request;

pub use database::Traced;
pub use pipeline::{Telemetry, TelemetryError};
pub use request::{RequestSpan, Requests};

/// The target of every span that is sent to a collector, and of none that the log shows.
pub const TARGET: &str = "tinybase_trace";

/// The span of a request that is chosen; spans below it are made only within one.
const REQUEST: &str = "traced_request";
