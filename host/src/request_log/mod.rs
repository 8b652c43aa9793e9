//! The request log: each request with its status, user, address and duration. Rows are collected in memory and written
//! in batches. It never contains a query, a header or a body, and no request ever waits for it.

mod filter;
mod recorder;
mod retention;
mod routes;
mod row;
mod sampling;

pub use recorder::Recorder;
pub use retention::{Retention, sweep, sweep_a_step};
pub use routes::routes;
pub use row::{Answered, Unsent};
pub use sampling::Sampler;
