//! How extensions are installed, changed and removed, whether a server runs or not. All changes work the same
//! way: each step is recorded in the journal before it is carried out, and each can be undone. Never resolves
//! names or fetches packages.
//!
//! [`Plugins::change`] is the only entry point. A serving process carries out the change itself. A command
//! records the change and waits for a running server to carry it out. If no server runs, the command carries
//! it out in the same way: it starts the plugin once in its own process, and ends it again.

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
