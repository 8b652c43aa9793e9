//! What an operator watches: figures for Prometheus, and whether the server can do its work. It counts and tells; it
//! never changes what a request is answered.

mod exposition;
pub mod figures;
mod process;
mod ready;
mod routes;
pub mod stats;

pub use ready::Readiness;
pub use routes::{Observed, routes};
