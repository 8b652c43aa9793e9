//! Logs that are tables with a time and a growing id: reading them page by page, newest first. It never knows what
//! their entries say, and never writes.

mod page;
mod query;

pub use page::{Paging, TOTAL_COUNTED_MAX, TimeLog, paged_operation, too_large};
pub use query::{Condition, Filter, Given, PAGE_PARAMS, PageAsked, Start, TEXT_BYTES_MAX};
