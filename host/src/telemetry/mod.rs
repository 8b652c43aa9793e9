//! Traces for OpenTelemetry: one span per sampled request, with child spans for the work of extensions and the
//! database. If no collector is configured nothing of this is set up, and no request ever waits for a collector.

mod collector;
mod database;
mod pipeline;
mod request;

pub use database::Traced;
pub use pipeline::{Telemetry, TelemetryError};
pub use request::{RequestSpan, Requests};

/// The target of all spans that are sent to a collector; the log shows none of them.
pub const TARGET: &str = "tinybase_trace";

/// The name of the span of a sampled request; its child spans are only created within it.
const REQUEST: &str = "traced_request";
