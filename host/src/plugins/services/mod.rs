//! What a plugin gets of the host: one [`PluginHost`] a loaded plugin, which lives as long as the process since a
//! library is never unloaded. Each interface is in a file of its own.

mod accounts;
mod audit;
mod between;
mod database;
mod local;
mod outbound;
mod sessions;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tinybase_abi::{
    error::RawError,
    future::{RawFuture, guard},
    host::HostServices,
};
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

pub use database::raw_error;

use super::{
    console::Console, events::EventBus, generation::Generation, manifest::Manifest, probe::ProbeLimits,
};
use crate::{
    accounts::Accounts,
    db::{Database, SqlOwner, Transaction},
    isolation::{Bulkhead, OwnTask},
    logging,
    memory::MemoryLimits,
    outbound::{Outbound, Places},
    settings::Settings,
};

/// Limits of plugins, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a call of a plugin may take.
    pub call_timeout: Duration,
    /// The largest answer of a plugin in bytes.
    pub response_bytes_max: usize,
    /// What all requests may hold together.
    pub memory: MemoryLimits,
    /// How long a plugin may take to be created and to start, each.
    pub start_timeout: Duration,
    /// What the probe process may take.
    pub probe: ProbeLimits,
    /// How long what left service may be busy before that is logged.
    pub drain_timeout: Duration,
    /// How long a change of extensions may take, and wait for another.
    pub change_timeout: Duration,
    /// How long the migrations of a change may take, and so keep other writers waiting.
    pub migration_timeout: Duration,
    /// How long other nodes may take for their part in it.
    pub nodes_timeout: Duration,
    /// How many snapshots of the database are kept.
    pub snapshots_kept: usize,
    /// After how long without coming back a call blocks its thread.
    pub blocked_after: Duration,
    /// How many threads a plugin may block before it is switched off; 0 is never.
    pub blocked_threads_max: usize,
    /// How often within a day a plugin may take the server down before it is left off; 0 is never.
    pub crashes_max: usize,
}

impl Limits {
    /// How many threads run the code of a plugin that was seen to block.
    fn moved_threads_max(&self) -> usize {
        match self.blocked_threads_max {
            0 => MOVED_THREADS_DEFAULT,
            max => max,
        }
    }
}

/// See [`Limits::moved_threads_max`], where no plugin is switched off.
const MOVED_THREADS_DEFAULT: usize = 4;

/// Host's work for a plugin in a task of its own: it may hold what others wait for, and must not stand still where the
/// plugin never polls it again.
fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, RawError>> + Send + 'static,
) -> RawFuture<T> {
    let work = logging::carried(work);
    guard(async move {
        let stopping = |_| RawError::new(503, "shutting_down", "the server stops");
        OwnTask::spawn(work).await.map_err(stopping)?
    })
}

/// What all plugins share of the host.
pub struct PluginContext {
    /// Limits of plugins.
    pub limits: Limits,
    /// The database, which redeems tickets.
    pub database: Arc<dyn Database>,
    /// The event bus.
    pub bus: EventBus,
    /// The generation that serves.
    pub current: ArcSwap<Generation>,
    /// Accounts.
    pub accounts: Arc<Accounts>,
    /// Settings.
    pub settings: Arc<Settings>,
    /// Requests to other servers.
    pub outbound: Arc<Outbound>,
    /// Where commands print.
    pub console: Console,
    /// The id of this node among those that serve the database.
    pub node: Arc<str>,
    /// The folder that holds a data folder for each plugin.
    pub data_dir: PathBuf,
    /// The host's runtime.
    pub runtime: Handle,
    /// How many plugins have not ended yet.
    pub alive: watch::Sender<usize>,
    /// What never came back from a call, and so holds a thread: by the extension's name, what it was.
    pub stuck: Mutex<BTreeMap<String, String>>,
    /// What took this server down before and runs again: by the extension's name, how often.
    pub crashed: Mutex<BTreeMap<String, String>>,
}

type OpenTransaction = Arc<tokio::sync::Mutex<Option<Box<dyn Transaction>>>>;

/// The host as one plugin sees it.
pub struct PluginHost {
    shared: Arc<PluginContext>,
    manifest: Arc<Manifest>,
    scope: SqlOwner,
    transactions: Arc<Mutex<Transactions>>,
    tasks: Mutex<JoinSet<()>>,
    sign_ins: Mutex<sessions::SignIns>,
    places: Places,
    bulkhead: &'static Bulkhead,
}

#[derive(Default)]
struct Transactions {
    next: u64,
    open: HashMap<u64, OpenTransaction>,
}

impl PluginHost {
    /// The host for a plugin that is about to be created. Never freed.
    pub fn leak(shared: Arc<PluginContext>, manifest: Arc<Manifest>) -> &'static PluginHost {
        let scope = SqlOwner::Extension(manifest.name.as_str().into());
        let places = shared.outbound.places();
        let bulkhead = Bulkhead::leak(&manifest.name, shared.limits.moved_threads_max());
        Box::leak(Box::new(PluginHost {
            shared,
            manifest,
            scope,
            transactions: Arc::default(),
            tasks: Mutex::default(),
            sign_ins: Mutex::default(),
            places,
            bulkhead,
        }))
    }

    /// What keeps the plugin's threads from everything else.
    pub fn bulkhead(&self) -> &'static Bulkhead {
        self.bulkhead
    }

    /// In whose name the plugin's statements run.
    pub fn scope(&self) -> &SqlOwner {
        &self.scope
    }

    /// The extension's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What all plugins share.
    pub fn shared(&self) -> &Arc<PluginContext> {
        &self.shared
    }

    /// Ends the plugin's tasks and rolls its transactions back: nothing of its code is left to run.
    pub async fn stop_tasks(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        self.transactions.lock().open.clear();
    }
}

impl HostServices for PluginHost {
    fn grants(&self, interface: &str) -> bool {
        self.manifest.grants(interface)
    }
}
