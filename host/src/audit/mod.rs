//! The audit log: who did what to which thing, when, from where, with the change. An entry is a statement that commits
//! with what it tells of. It never decides what is worth an entry: whoever makes the change adds it.

mod actor;
mod entry;

pub use actor::{Actor, ActorKind};
pub use entry::{Entry, changed, push};
