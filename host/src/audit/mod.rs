//! The audit log: who did what to which target, when and from where, with the change. An entry is a statement that
//! commits with the change it describes. It never decides what gets an entry: the code that makes the change adds it.

mod actions;
mod actor;
mod change;
mod entry;
mod export;
mod filter;
mod log;
mod retention;
mod routes;

pub use actions::ACTIONS;
pub use actor::{Actor, ActorKind};
pub use change::{CHANGE_BYTES_MAX, changed};
pub use entry::{Entry, push, push_of_extension};
pub use log::AuditLog;
pub use retention::{Retention, sweep, sweep_a_step};
pub use routes::routes;
