//! Metrics for Prometheus, and readiness. It counts and reports; it never changes a response.

mod exposition;
pub mod primitives;
mod process;
mod ready;
mod routes;
pub mod stats;

pub use ready::Readiness;
pub use routes::{Observed, routes};
