//! Plugins: loading, calling and ending them. Every feature that users see is provided by plugins.
//!
//! Never knows what a plugin does.

mod activation;
mod active_plugin;
mod call;
mod command;
mod console;
mod crashes;
pub mod deferred_batches;
mod dependencies;
mod events;
mod fan_out;
mod generation;
pub mod install;
mod jobs;
mod library;
pub mod lifecycle;
mod load_error;
pub mod lock_file;
mod mailer;
pub mod migrations;
mod outbox;
mod outbox_leader;
mod own_thread;
mod plugin_instance;
pub mod probe;
mod process;
mod quarantine;
mod reconciler;
mod refusal;
pub mod registration;
mod secret_settings;
mod services;
mod settings_schema;
mod sign_in_methods;
pub mod store;
mod streamed;
mod switch_off;
mod transfer;
pub mod trial;
mod user_events;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value as Json;
use tokio::{runtime::Handle, sync::watch, time::Instant};

pub use console::Console;
pub use fan_out::Contribution;
pub use lifecycle::{ServerLock, server_lock};
pub use load_error::LoadError;
pub use mailer::ServiceMailer;
pub use plugin_instance::PluginInstance;
pub use services::Limits;
pub use sign_in_methods::routes;
pub use tinybase_package::{manifest, unpacked as package};
pub use user_events::UserEvents;

use self::{
    active_plugin::DrainingPlugin, crashes::Crashes, deferred_batches::DeferredBatches, events::EventBus,
    generation::Generation, lifecycle::ChangeLock, lock_file::LockFile, package::Package, process::Process,
    quarantine::Marker, services::PluginContext, store::Installed, store::Store,
};
use crate::{
    accounts::Accounts,
    config::{Config, ExtensionSet},
    db::Database,
    http::{DescribedRoute, Found, PluginDispatch},
    isolation::Bulkhead,
    nodes::Nodes,
    outbound::{self, Outbound},
    settings::Settings,
    sql::HostSql,
};

/// The maximum time an extension may take to return its part of the OpenAPI document.
const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(5);

/// The minimum length of a package hash prefix in a request, in characters.
const HASH_CHARS_MIN: usize = 16;

/// The purpose that plugins are loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: jobs run and the outbox is delivered.
    Serve,
    /// To run one command: no timed work runs.
    Command,
}

/// The parts of the host that plugins use.
pub struct PluginDeps {
    /// The configuration.
    pub config: Arc<Config>,
    /// The database, wrapped so that it redeems tickets.
    pub database: Arc<dyn Database>,
    /// The deferred batches and their tickets.
    pub deferred_batches: Arc<DeferredBatches>,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// The output of commands.
    pub console: Console,
    /// The nodes that serve this database, including this one.
    pub nodes: Arc<Nodes>,
}

/// All plugins of this process. Clones share their state.
#[derive(Clone)]
pub struct Plugins {
    shared: Arc<PluginContext>,
    store: Store,
    folder: PathBuf,
    marker: Marker,
    crashes: Crashes,
    process: Arc<Process>,
    nodes: Arc<Nodes>,
    change_lock: ChangeLock,
    /// The folder of `tinybase.toml`.
    dir: PathBuf,
    state_dir: PathBuf,
    /// The built-in extensions to serve.
    set: ExtensionSet,
}

impl Plugins {
    /// Creates the plugins from the parts of the host. None is loaded yet. Must be called within the runtime.
    pub fn new(parts: PluginDeps) -> Plugins {
        let config = &parts.config;
        let limits = Limits {
            call_timeout: Duration::from_millis(config.plugins.call_timeout_ms),
            response_bytes_max: config.plugins.response_bytes_max,
            memory: crate::http::Limits::from_config(config).memory(),
            start_timeout: Duration::from_millis(config.plugins.start_timeout_ms),
            probe: probe::ProbeLimits::of(&config.plugins),
            drain_timeout: Duration::from_millis(config.plugins.drain_timeout_ms),
            change_timeout: Duration::from_millis(config.extensions.change_timeout_ms),
            migration_timeout: Duration::from_millis(config.extensions.migration_timeout_ms),
            nodes_timeout: Duration::from_millis(config.extensions.nodes_timeout_ms),
            snapshots_kept: config.extensions.snapshots_kept,
            blocked_after: Duration::from_millis(config.plugins.blocked_after_ms),
            blocked_threads_max: config.plugins.blocked_threads_max,
            crashes_max: config.plugins.crashes_max,
        };
        let folder = config.path(&config.extensions.dir);
        let store = Store::new(HostSql::new(Arc::clone(&parts.database)));
        let shared = Arc::new(PluginContext {
            limits,
            bus: EventBus::new(parts.deferred_batches, limits.call_timeout),
            database: parts.database,
            current: ArcSwap::default(),
            accounts: parts.accounts,
            settings: parts.settings,
            outbound: Arc::new(Outbound::new(outbound::Limits::new(&config.plugins))),
            console: parts.console,
            node: Arc::clone(parts.nodes.id()),
            data_dir: config.state_dir().join("data"),
            runtime: Handle::current(),
            alive: watch::Sender::new(0),
            stuck: parking_lot::Mutex::default(),
            crashed: parking_lot::Mutex::default(),
        });
        let change_lock = ChangeLock::new(&config.state_dir(), shared.database.engine());
        let (marker, nodes, dir) = (Marker::new(&folder), parts.nodes, config.dir.clone());
        let state_dir = config.state_dir();
        let crashes = Crashes::new(&state_dir);
        let set = config.extensions.set.clone();
        Plugins {
            shared,
            store,
            marker,
            crashes,
            folder,
            process: Arc::default(),
            nodes,
            change_lock,
            dir,
            state_dir,
            set,
        }
    }

    /// Returns whether this process serves an installed extension.
    fn is_served(&self, installed: &Installed) -> bool {
        let is_left_out = match installed.is_builtin {
            true => !self.set.includes(&installed.name),
            false => self.process.safe_mode(),
        };
        installed.is_wanted() && !is_left_out
    }

    fn folder_of(&self, name: &str, version_folder: &str) -> PathBuf {
        self.folder.join(name).join(version_folder)
    }

    /// Returns the store of installed extensions.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the receiver that passes account events on to plugins.
    pub fn user_events(&self) -> UserEvents {
        UserEvents::new(Arc::clone(&self.shared))
    }

    /// Returns the mailer that passes account mails to an extension.
    pub fn mailer(&self) -> ServiceMailer {
        ServiceMailer::new(Arc::clone(&self.shared))
    }

    /// Returns the packages of all enabled extensions, for commands that inspect their migrations.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn packages(&self) -> Result<Vec<Package>, LoadError> {
        let mut packages = Vec::new();
        for installed in self.store.all().await?.iter().filter(|installed| installed.is_enabled) {
            packages.push(self.verified(installed).await?);
        }
        Ok(packages)
    }

    /// Writes `tinybase.lock` from the database rows. Failures are only logged, since the rows are
    /// authoritative.
    async fn write_lock_file(&self) {
        let written = match self.store.all().await {
            Ok(installed) => LockFile::of(&installed).write(&self.dir).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = written {
            tracing::warn!("the lock file could not be written: {error}");
        }
    }

    /// Returns the folder of an active extension and the files of its package. `hash` is a prefix of the
    /// package hash.
    pub fn page_files(&self, name: &str, hash: &str) -> Option<(PathBuf, Vec<PathBuf>)> {
        let current = self.shared.current.load();
        let active = current
            .active_plugin(name)
            .filter(|active| hash.len() >= HASH_CHARS_MIN && active.hash().starts_with(hash))?;
        let manifest = active.plugin().manifest().clone();
        let folder = self.folder_of(name, &store::folder_name(&manifest.version.to_string(), active.hash()));
        // The files were verified when the extension was loaded.
        let package = Package { folder, manifest, hash: active.hash().to_owned(), manifest_sha256: [0; 32] };
        let files = package.files().ok()?;
        Some((package.folder, files))
    }

    /// Returns the names of the active extensions.
    pub fn loaded(&self) -> Vec<String> {
        self.shared.current.load().active_plugins.iter().map(|active| active.name().to_owned()).collect()
    }

    /// Takes all plugins out of service and waits for them to end, at most `timeout`. Does not wait for
    /// plugins that block threads.
    pub async fn shut_down(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.process.stop();
        // A load in progress finishes first, unless it takes too long.
        let turn = tokio::time::timeout_at(deadline, self.process.turn.lock()).await;
        let empty = Arc::new(Generation::default());
        self.shared.bus.count_listeners(&empty);
        let current = self.shared.current.swap(Arc::clone(&empty));
        current.leaving(&empty).iter().for_each(DrainingPlugin::end_jobs);
        drop(current);
        self.shared.bus.outbox_wake.notify_one();
        drop(turn);
        let mut alive = self.shared.alive.subscribe();
        let blocking = Bulkhead::all().iter().filter(|bulkhead| bulkhead.blocked() > 0).count();
        if tokio::time::timeout_at(deadline, alive.wait_for(|alive| *alive <= blocking)).await.is_err() {
            let left = *self.shared.alive.borrow();
            tracing::warn!(left, "plugins were still busy when the server stopped");
        }
        self.change_lock.release();
    }
}

impl PluginDispatch for Plugins {
    fn find(&self, method: &Method, path: &str) -> Found {
        // The returned route keeps its plugin alive, so the plugin does not end before its requests do.
        self.shared.current.load().routes.find(method, path)
    }

    fn described(&self) -> Vec<DescribedRoute> {
        self.shared.current.load().routes.described()
    }

    fn generation(&self) -> u64 {
        self.shared.current.load().number
    }

    fn collect<'a>(&'a self, topic: &'a str, payload: Json) -> BoxFuture<'a, Vec<(String, Json)>> {
        Box::pin(async move {
            let parts = Plugins::fan_out(self, topic, &payload, DOCUMENT_TIME_MAX).await;
            parts.into_iter().map(|part| (part.plugin, part.payload)).collect()
        })
    }
}
