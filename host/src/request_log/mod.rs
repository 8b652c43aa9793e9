//! The request log: which requests were answered how, for whom, from where, in which time. Rows are gathered beside the
//! requests and written in batches. It never holds a query, a header or a body, and no request ever waits for it.

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
