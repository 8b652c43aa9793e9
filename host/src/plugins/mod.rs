//! Plugins: how they are loaded, called and ended. Everything a user would call a feature is behind this door;
//! it never knows what any of them does.

mod call;
mod collect;
mod command;
mod console;
mod copying;
mod events;
mod generation;
pub mod install;
mod jobs;
mod loader;
mod mailer;
pub mod migrations;
mod outbox;
pub mod probe;
mod quarantine;
pub mod registration;
mod running;
mod secret_settings;
mod services;
mod settings_schema;
pub mod store;
mod teller;
pub mod tickets;
mod user_events;
mod ways_in;

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value as Json;
use thiserror::Error;
use tinybase_abi::{error::RawError, loaded::OpenError};
use tokio::{runtime::Handle, sync::watch};

pub use collect::Part;
pub use console::Console;
pub use mailer::ServiceMailer;
pub use running::Running;
pub use services::Limits;
pub use tinybase_package::{manifest, unpacked as package};
pub use user_events::UserEvents;
pub use ways_in::routes;

use self::{
    events::EventBus,
    generation::{Generation, JoinError},
    package::{Package, PackageError},
    quarantine::{Loading, Marker},
    registration::RegistrationError,
    services::Shared,
    store::{Installed, Store},
    tickets::Tickets,
};
use crate::{
    accounts::Accounts,
    config::Config,
    db::{
        Database, DbError,
        migrations::{MigrateError, Migrator},
    },
    http::{DescribedRoute, Found, PluginDispatch},
    outbound::{self, Outbound},
    settings::Settings,
    sql::HostSql,
};

/// How long an extension may take to tell its part of the OpenAPI document.
const DOCUMENT_TIME_MAX: Duration = Duration::from_secs(5);

/// Why an extension was not installed or loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Its folder is no extension.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// Its files are not those that were installed.
    #[error("its files were changed after it was installed: install it anew")]
    FilesChanged,
    /// Its library cannot be opened as a plugin.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The library was built with another manifest.
    #[error("its library was built with another manifest ({library}) than the one beside it ({package})")]
    ManifestDiffers {
        /// The manifest's hash in the library.
        library: String,
        /// The hash of the manifest beside it.
        package: String,
    },
    /// It does not fit this host.
    #[error("it works with TinyBase {range}, and this is {host}")]
    HostRange {
        /// The versions that it works with.
        range: String,
        /// This host's version.
        host: String,
    },
    /// Its tables could not be told from another extension's.
    #[error("its tables would begin like those of the installed extension {other}: rename {name}")]
    PrefixTaken {
        /// Its name.
        name: String,
        /// The other's name.
        other: String,
    },
    /// The probe process found it unfit.
    #[error("{0}")]
    Probe(String),
    /// The plugin answered an error.
    #[error("{step} failed: {message} ({code})")]
    Plugin {
        /// What was called.
        step: &'static str,
        /// The error's code.
        code: String,
        /// The error's words.
        message: String,
    },
    /// The plugin took too long.
    #[error("{step} took longer than {} ms", .timeout.as_millis())]
    Slow {
        /// What was called.
        step: &'static str,
        /// The limit.
        timeout: Duration,
    },
    /// Something panicked on the host's side.
    #[error("it made the host panic: {0}")]
    Panicked(String),
    /// What it registers is refused.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Its migrations failed.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The host's database failed.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A file or folder of the host cannot be used.
    #[error("{path}: {problem}")]
    File {
        /// What.
        path: String,
        /// Why.
        problem: String,
    },
    /// A command that no enabled extension has.
    #[error("{0}")]
    NoCommand(String),
    /// A built-in extension is of another version than this program's.
    #[error(
        "the extension {0} is not the one that came with this program; serve once, which brings it up to date"
    )]
    Outdated(String),
    /// It took a server down.
    #[error("the extension {name} is quarantined: {reason}")]
    Quarantined {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
}

impl From<RegistrationError> for LoadError {
    fn from(error: RegistrationError) -> LoadError {
        LoadError::Join(error.into())
    }
}

impl LoadError {
    fn plugin(step: &'static str, error: &RawError) -> LoadError {
        let words = error.words();
        LoadError::Plugin { step, code: words.code, message: words.message }
    }

    fn file(path: &str, error: &std::io::Error) -> LoadError {
        LoadError::File { path: path.to_owned(), problem: error.to_string() }
    }

    /// A stable snake_case word for it.
    pub fn code(&self) -> &'static str {
        match self {
            LoadError::Package(_) => "package_invalid",
            LoadError::FilesChanged => "files_changed",
            LoadError::Open(error) => error.code(),
            LoadError::ManifestDiffers { .. } => "manifest_differs",
            LoadError::HostRange { .. } => "host_range",
            LoadError::PrefixTaken { .. } => "table_prefix_taken",
            LoadError::Probe(_) => "probe_failed",
            LoadError::Plugin { .. } => "plugin_failed",
            LoadError::Slow { .. } => "plugin_timeout",
            LoadError::Panicked(_) => "host_panicked",
            LoadError::Join(_) => "registration_refused",
            LoadError::Migrate(_) => "migration_failed",
            LoadError::Database(error) => error.code(),
            LoadError::File { .. } => "file_failed",
            LoadError::NoCommand(_) => "no_such_command",
            LoadError::Outdated(_) => "extension_outdated",
            LoadError::Quarantined { .. } => "extension_quarantined",
        }
    }
}

/// What plugins are loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: jobs run, the outbox is told.
    Serve,
    /// To run one command: nothing runs by the clock.
    Command,
}

/// The host's parts that plugins are given.
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// The database in front of which tickets are redeemed.
    pub database: Arc<dyn Database>,
    /// The tickets.
    pub tickets: Arc<Tickets>,
    /// Accounts.
    pub accounts: Arc<Accounts>,
    /// Settings.
    pub settings: Arc<Settings>,
    /// Where commands print.
    pub console: Console,
    /// The id of this node among those that serve the database.
    pub node: Arc<str>,
}

/// All plugins of this process.
pub struct Plugins {
    shared: Arc<Shared>,
    store: Store,
    folder: PathBuf,
    marker: Marker,
}

impl Plugins {
    /// Plugins over the host's parts; none is loaded yet. To be called within the runtime.
    pub fn new(parts: Parts) -> Plugins {
        let config = &parts.config;
        let limits = Limits {
            call_timeout: Duration::from_millis(config.plugins.call_timeout_ms),
            response_bytes_max: config.plugins.response_bytes_max,
            start_timeout: Duration::from_millis(config.plugins.start_timeout_ms),
            probe_timeout: Duration::from_millis(config.plugins.probe_timeout_ms),
        };
        let folder = config.path(&config.extensions.dir);
        let store = Store::new(HostSql::new(Arc::clone(&parts.database)));
        let shared = Arc::new(Shared {
            limits,
            bus: EventBus::new(parts.tickets, limits.call_timeout),
            database: parts.database,
            current: ArcSwap::default(),
            accounts: parts.accounts,
            settings: parts.settings,
            outbound: Arc::new(Outbound::new(outbound::Limits::new(&config.plugins))),
            console: parts.console,
            node: parts.node,
            data_dir: config.state_dir().join("data"),
            runtime: Handle::current(),
            alive: watch::Sender::new(0),
        });
        Plugins { shared, store, marker: Marker::new(&folder), folder }
    }

    fn folder_of(&self, name: &str, version_folder: &str) -> PathBuf {
        self.folder.join(name).join(version_folder)
    }

    /// What is installed.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Hears of accounts' events in the plugins' name.
    pub fn user_events(&self) -> UserEvents {
        UserEvents::new(Arc::clone(&self.shared))
    }

    /// Hands accounts' mails to an extension.
    pub fn mailer(&self) -> ServiceMailer {
        ServiceMailer::new(Arc::clone(&self.shared))
    }

    /// Loads everything that is enabled and swaps it in as a generation. An extension that fails is left out and
    /// logged; only a failing database or disk is an error.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub async fn load(&self, purpose: Purpose, safe_mode: bool) -> Result<(), LoadError> {
        self.quarantine_what_killed_us().await?;
        let mut running: Vec<Arc<Running>> = Vec::new();
        for installed in self.store.all().await? {
            let (name, reason) = (installed.name.as_str(), installed.quarantined_reason.as_deref());
            if let Some(reason) = reason.filter(|_| installed.is_enabled) {
                tracing::error!(plugin = name, "not loaded, since it is quarantined: {reason}");
            }
            if !installed.is_wanted() || (safe_mode && !installed.is_builtin) {
                continue;
            }
            match self.load_one(&installed, &running).await {
                Ok(plugin) => running.push(plugin),
                Err(error @ (LoadError::Database(_) | LoadError::File { .. })) => return Err(error),
                Err(error) => tracing::error!(plugin = name, code = error.code(), "not loaded: {error}"),
            }
        }
        self.swap_in(&running, purpose)?;
        Ok(())
    }

    fn swap_in(&self, running: &[Arc<Running>], purpose: Purpose) -> Result<(), JoinError> {
        let mut generation = Generation::to_serve();
        for plugin in running {
            generation.join(plugin, self.shared.limits)?;
        }
        generation.arm(self.shared.limits, purpose == Purpose::Serve);
        self.shared.bus.count_listeners(&generation);
        self.shared.current.store(Arc::new(generation));
        if purpose == Purpose::Serve {
            tokio::spawn(outbox::run(Arc::clone(&self.shared)));
        }
        Ok(())
    }

    async fn quarantine_what_killed_us(&self) -> Result<(), LoadError> {
        let file = |error| LoadError::file("the load marker", &error);
        let Some(Loading { name, hash }) = self.marker.found().map_err(file)? else { return Ok(()) };
        let reason = "the server went down while it was loaded or started; install a version that works, or enable \
                      it again to try once more";
        let known = self.store.all().await?;
        if known.iter().any(|installed| installed.name == name && installed.hash == hash) {
            self.store.quarantine(&name, reason).await?;
        }
        self.marker.clear().map_err(file)
    }

    async fn load_one(
        &self,
        installed: &Installed,
        beside: &[Arc<Running>],
    ) -> Result<Arc<Running>, LoadError> {
        let package = self.verified(installed).await?;
        let file = |error| LoadError::file("the load marker", &error);
        let loading = Loading { name: installed.name.clone(), hash: installed.hash.clone() };
        self.marker.set(&loading).map_err(file)?;
        let loaded = self.bring_up(&package, beside).await;
        self.marker.clear().map_err(file)?;
        loaded
    }

    async fn verified(&self, installed: &Installed) -> Result<Package, LoadError> {
        let folder = self.folder_of(&installed.name, &installed.folder_name());
        let timeout = self.shared.limits.probe_timeout;
        let (hash, probed) =
            (installed.hash.clone(), installed.probed_hash.as_ref() == Some(&installed.hash));
        let read = tokio::task::spawn_blocking(move || {
            let package = Package::read(&folder)?;
            if package.hash != hash {
                return Err(LoadError::FilesChanged);
            }
            if !probed {
                probe::probe(&folder, timeout)?;
            }
            Ok(package)
        });
        let package = read.await.map_err(|error| LoadError::Panicked(error.to_string()))??;
        if !probed {
            self.store.note_probed(&installed.name, &installed.hash).await?;
        }
        Ok(package)
    }

    async fn bring_up(&self, package: &Package, beside: &[Arc<Running>]) -> Result<Arc<Running>, LoadError> {
        let plugin = loader::create(&self.shared, package).await?;
        let mut trial = Generation::default();
        for other in beside.iter().chain([&plugin]) {
            trial.join(other, self.shared.limits)?;
        }
        self.migrate(package).await?;
        loader::start(&plugin, self.shared.limits.start_timeout).await?;
        Ok(plugin)
    }

    async fn migrate(&self, package: &Package) -> Result<(), LoadError> {
        let database = &*self.shared.database;
        let migrations = migrations::of(package, database.engine())?;
        Migrator::of_extension(database, &package.manifest.name, migrations)?.upgrade(None).await?;
        Ok(())
    }

    /// The packages of everything that is enabled, for commands that look at their migrations.
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

    /// The names of what serves now.
    pub fn loaded(&self) -> Vec<String> {
        self.shared.current.load().plugins.iter().map(|plugin| plugin.name().to_owned()).collect()
    }

    /// Takes everything out of service and waits until every plugin has ended, at most this long.
    pub async fn shut_down(&self, timeout: Duration) {
        let empty = Generation::default();
        self.shared.bus.count_listeners(&empty);
        self.shared.current.store(Arc::new(empty));
        self.shared.bus.outbox_wake.notify_one();
        let mut alive = self.shared.alive.subscribe();
        if tokio::time::timeout(timeout, alive.wait_for(|alive| *alive == 0)).await.is_err() {
            let left = *self.shared.alive.borrow();
            tracing::warn!(left, "plugins were still busy when the server stopped");
        }
    }
}

impl PluginDispatch for Plugins {
    fn find(&self, method: &Method, path: &str) -> Found {
        // The route that is found holds its plugin, so none ends before its requests do.
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
            let parts = Plugins::collect(self, topic, &payload, DOCUMENT_TIME_MAX).await;
            parts.into_iter().map(|part| (part.plugin, part.payload)).collect()
        })
    }
}
