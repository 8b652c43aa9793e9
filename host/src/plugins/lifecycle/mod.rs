//! How extensions come, change and go, whether a server runs or not: one road for every change, each step of it in the
//! journal before it is done, and a way back from each. It never resolves names or fetches packages.
//!
//! [`Plugins::change`] is all that others call. In a serving process it carries the change out there. A command beside a
//! running server writes the change down and waits until the server has carried it out; where none runs, it carries it
//! out itself, on the same road: the plugin is brought up in its process once, and ended again.

mod archive;
mod change;
mod change_lock;
mod checks;
mod crash_point;
mod executor;
mod install;
mod journal;
mod nodes;
mod purge;
mod recover;
mod request;
mod snapshot;
mod state;
mod undo;

pub use change::{Change, ChangeError, Changed, Kind, Origin};
pub(super) use change_lock::ChangeLock;
pub use change_lock::{ServerLock, server_lock};
pub(super) use checks::check_prefix;
pub use install::RollbackPlan;
pub use state::{ExtensionState, NodeState};

pub(super) use recover::Unfinished;
pub(super) use request::{Participation, Said};
