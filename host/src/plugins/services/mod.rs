//! The host's interfaces for plugins: one [`PluginHost`] per loaded plugin. It lives as long as the process,
//! since a library is never unloaded. Each interface is in its own file.

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

/// The limits of plugins, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a call of a plugin may take.
    pub call_timeout: Duration,
    /// The maximum size of a plugin's response, in bytes.
    pub response_bytes_max: usize,
    /// The memory that all requests together may use.
    pub memory: MemoryLimits,
    /// How long a plugin may take to be created, and how long to start.
    pub start_timeout: Duration,
    /// The limits of the probe process.
    pub probe: ProbeLimits,
    /// How long a plugin that left service may be busy before this is logged.
    pub drain_timeout: Duration,
    /// How long a change of extensions may take, and how long it waits for another change.
    pub change_timeout: Duration,
    /// How long the migrations of a change may take. Other writers wait meanwhile.
    pub migration_timeout: Duration,
    /// How long other nodes may take for their part of a change.
    pub nodes_timeout: Duration,
    /// How many snapshots of the database are kept.
    pub snapshots_kept: usize,
    /// How long a call may run without returning before it counts as blocking its thread.
    pub blocked_after: Duration,
    /// How many threads a plugin may block before it is switched off; 0 means never.
    pub blocked_threads_max: usize,
    /// How often a plugin may take the server down within a day before it is no longer loaded; 0 means never.
    pub crashes_max: usize,
}

impl Limits {
    /// Returns how many threads run the code of a plugin that was seen to block.
    fn moved_threads_max(&self) -> usize {
        match self.blocked_threads_max {
            0 => MOVED_THREADS_DEFAULT,
            max => max,
        }
    }
}

/// The value of [`Limits::moved_threads_max`] if no plugin is ever switched off.
const MOVED_THREADS_DEFAULT: usize = 4;

/// Runs host work for a plugin in a task of its own. The work may hold resources that others wait for, so it
/// must continue even if the plugin never polls it again.
fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, RawError>> + Send + 'static,
) -> RawFuture<T> {
    let work = logging::carried(work);
    guard(async move {
        let stopping = |_| RawError::new(503, "shutting_down", "the server stops");
        OwnTask::spawn(work).await.map_err(stopping)?
    })
}

/// The parts of the host that all plugins share.
pub struct PluginContext {
    /// Limits of plugins.
    pub limits: Limits,
    /// The database, which redeems tickets.
    pub database: Arc<dyn Database>,
    /// The event bus.
    pub bus: EventBus,
    /// The active generation.
    pub current: ArcSwap<Generation>,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Requests to other servers.
    pub outbound: Arc<Outbound>,
    /// The output of commands.
    pub console: Console,
    /// The id of this node among those that serve the database.
    pub node: Arc<str>,
    /// The parent of the plugins' data folders.
    pub data_dir: PathBuf,
    /// The host's runtime.
    pub runtime: Handle,
    /// The number of plugins that have not ended yet.
    pub alive: watch::Sender<usize>,
    /// Calls that never returned and occupy a thread: a description by extension name.
    pub stuck: Mutex<BTreeMap<String, String>>,
    /// Running extensions that took this server down before: how often, by extension name.
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
    /// Creates the host for a plugin about to be created. It is never freed.
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

    /// Returns the bulkhead that isolates the plugin's threads.
    pub fn bulkhead(&self) -> &'static Bulkhead {
        self.bulkhead
    }

    /// Returns the owner that the plugin's statements run as.
    pub fn scope(&self) -> &SqlOwner {
        &self.scope
    }

    /// Returns the extension's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns what all plugins share.
    pub fn shared(&self) -> &Arc<PluginContext> {
        &self.shared
    }

    /// Ends the plugin's tasks and rolls back its transactions. Afterwards none of its code runs.
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
