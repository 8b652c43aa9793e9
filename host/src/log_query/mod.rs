//! Reads logs, which are tables with a time and an increasing id, page by page and newest first. It never knows the
//! meaning of their entries, and never writes.

mod page;
mod query;

pub use page::{Paging, TOTAL_COUNTED_MAX, TimeLog, paged_operation, too_large};
pub use query::{Condition, Filter, Given, PAGE_PARAMS, PageAsked, Start, TEXT_BYTES_MAX};
