//! What commands work on: a prepared folder with its configuration and its open database. It never prepares a folder
//! itself.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::Failure;
use crate::{
    accounts::{Accounts, Keys},
    backup,
    config::{self, Config, ConfigError, DatabaseUrl, Flag},
    copy,
    db::{
        Database, Durability, Engine,
        migrations::Migrator,
        postgres::{Postgres, PostgresOptions},
        sqlite::{Sqlite, SqliteOptions},
    },
    nodes::{KeyConsistency, Nodes},
    plugins::{
        Console, PluginDeps, Plugins, ServerLock,
        deferred_batches::{DeferredBatchDatabase, DeferredBatches},
        server_lock,
    },
    secrets::Vault,
    settings::Settings,
    sql::HostSql,
};

/// Where a command runs.
#[derive(Debug, Clone)]
pub(super) struct InstanceDir {
    /// The folder with `tinybase.toml`.
    pub(super) dir: PathBuf,
}

impl InstanceDir {
    /// Returns the effective configuration, with the flags of a command.
    pub(super) fn config(&self, flags: &[Flag]) -> Result<Config, Failure> {
        if backup::finish_interrupted(&self.dir)? {
            eprintln!("a restore that was interrupted in {} is finished now", self.dir.display());
        }
        Config::load(&self.dir, flags).map_err(|error| match error {
            ConfigError::BadValue { place: config::Place::Flag(_), .. } => Failure::usage(error.to_string()),
            other => other.into(),
        })
    }
}

/// Returns the folder of the signing keys.
pub(super) fn keys_dir(config: &Config) -> PathBuf {
    config.state_dir().join("keys")
}

/// Opens the database of a prepared folder.
pub(super) async fn open_database(config: &Config) -> Result<Arc<dyn Database>, Failure> {
    let missing = |place: &str| {
        let hint = directory_hint(&config.dir);
        Failure::new(format!("there is no database at {place}; run: tinybase init{hint}"))
    };
    match &config.database.url {
        DatabaseUrl::Sqlite(path) => {
            let path = config.path(path);
            if path.exists() { open_sqlite(config, path) } else { Err(missing(&path.display().to_string())) }
        }
        DatabaseUrl::Postgres(url) => {
            let db: Arc<dyn Database> = Postgres::open(&postgres_options(config, url)).await?;
            let tables = HostSql::new(Arc::clone(&db)).row(HAS_TABLES, &[]).await?;
            if tables.is_some() {
                return Ok(db);
            }
            db.shut_down().await;
            Err(missing("the server that database.url names"))
        }
    }
}

/// Returns a row if the database of a PostgreSQL server was prepared.
const HAS_TABLES: &str = "SELECT 1 WHERE to_regclass('tb_migrations') IS NOT NULL";

/// Opens the database. A missing file is created; the database of a server must exist, and may be empty.
pub(super) async fn open_or_create_database(config: &Config) -> Result<Arc<dyn Database>, Failure> {
    match &config.database.url {
        DatabaseUrl::Sqlite(path) => {
            let path = config.path(path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|cause| {
                    Failure::new(format!("{} cannot be created: {cause}", folder.display()))
                })?;
            }
            open_sqlite(config, path)
        }
        DatabaseUrl::Postgres(url) => Ok(Postgres::open(&postgres_options(config, url)).await?),
    }
}

/// Whether a folder was prepared: its database file exists. A server is only contacted when it is needed.
pub(super) fn has_database(config: &Config) -> bool {
    match &config.database.url {
        DatabaseUrl::Sqlite(path) => config.path(path).exists(),
        DatabaseUrl::Postgres(_) => true,
    }
}

fn open_sqlite(config: &Config, path: PathBuf) -> Result<Arc<dyn Database>, Failure> {
    Ok(Sqlite::open(&sqlite_options(config, path))?)
}

fn postgres_options(config: &Config, url: &str) -> PostgresOptions {
    let extension_rows_bytes_max = config.plugins.rows_bytes_max();
    let config = &config.database;
    PostgresOptions {
        extension_rows_bytes_max,
        durability: durability(config),
        connections_max: config.pool_size,
        connect_timeout: Duration::from_millis(config.connect_timeout_ms),
        acquire_timeout: Duration::from_millis(config.acquire_timeout_ms),
        query_timeout: Duration::from_millis(config.query_timeout_ms),
        statement_cache_entries: config.statement_cache_entries,
        gathered_reads_max: config.gathered_reads_max,
        ..PostgresOptions::new(url)
    }
}

fn durability(config: &config::Database) -> Durability {
    match config.durability {
        config::Durability::Full => Durability::Full,
        config::Durability::Normal => Durability::Normal,
    }
}

fn sqlite_options(config: &Config, path: PathBuf) -> SqliteOptions {
    let extension_rows_bytes_max = config.plugins.rows_bytes_max();
    let config = &config.database;
    let defaults = SqliteOptions::new(path);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    SqliteOptions {
        extension_rows_bytes_max,
        // Each thread reads through its own connection, and there are about as many threads as cores.
        page_cache_bytes: config.cache_bytes / cores,
        durability: durability(config),
        reader_threads: match config.readers {
            0 => cores,
            given => given,
        },
        query_timeout: Duration::from_millis(config.query_timeout_ms),
        wal_bytes_max: config.wal_bytes_max,
        checkpoint_bytes: config.wal_bytes_max / 4,
        queue_jobs_max: config.write_queue_max,
        ..defaults
    }
}

fn directory_hint(dir: &Path) -> String {
    if std::env::current_dir().is_ok_and(|here| here == dir) {
        return String::new();
    }
    format!(" {}", dir.display())
}

/// Refuses a database whose tables are not at the version of this program, and one that is the target of an unfinished
/// copy.
pub(super) async fn check_migrated(db: &Arc<dyn Database>) -> Result<(), Failure> {
    copy::refuse_unfinished(db).await?;
    let migrator = Migrator::of_host(&**db);
    migrator.current().await?;
    let missing = migrator.history().await?.into_iter().filter(|entry| entry.applied_at.is_none()).count();
    if missing == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the database lacks {missing} migration(s) of this version; run: tinybase db upgrade"
    )))
}

/// Refuses a database that a server is running on. On SQLite no server starts, and no other command changes extensions,
/// for the lifetime of the returned value.
pub(super) async fn refuse_served(config: &Config, db: &Arc<dyn Database>) -> Result<Option<File>, Failure> {
    let served = |who: String| Failure::new(format!("{who}: stop it first; nothing was changed"));
    if db.engine() == Engine::Sqlite {
        return match server_lock(&config.state_dir()) {
            Ok(ServerLock::Taken(file)) => Ok(Some(file)),
            Ok(ServerLock::NeverMade) => Ok(None),
            Ok(ServerLock::Held) => Err(served(format!(
                "a server serves in {}, or its extensions are being changed",
                config.dir.display()
            ))),
            Err(cause) => {
                Err(Failure::new(format!("{} cannot be locked: {cause}", config.state_dir().display())))
            }
        };
    }
    let sql = HostSql::new(Arc::clone(db));
    if sql.row("SELECT 1 WHERE to_regclass('tb_nodes') IS NOT NULL", &[]).await?.is_none() {
        return Ok(None);
    }
    match Nodes::new(sql, &config.node).list().await?.into_iter().next() {
        None => Ok(None),
        Some(node) => Err(served(format!("the node {} serves this database at {}", node.name, node.address))),
    }
}

/// The services of a host over one database.
pub(super) struct HostServices {
    pub(super) sql: HostSql,
    pub(super) settings: Arc<Settings>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) plugins: Arc<Plugins>,
    pub(super) nodes: Arc<Nodes>,
}

impl HostServices {
    /// Compares the keys of this folder with those that the database is served with.
    pub(super) fn keys(&self) -> KeyConsistency {
        KeyConsistency::new(self.sql.clone(), self.accounts.signing_key_id(), self.settings.vault().key_id())
    }
}

/// Creates the services; no plugin is loaded yet. Must be called within the runtime.
pub(super) fn services(
    config: &Arc<Config>,
    db: &Arc<dyn Database>,
    console: Console,
) -> Result<HostServices, Failure> {
    let deferred_batches = Arc::new(DeferredBatches::default());
    let database: Arc<dyn Database> =
        Arc::new(DeferredBatchDatabase::new(Arc::clone(db), Arc::clone(&deferred_batches)));
    let sql = HostSql::new(Arc::clone(&database));
    let keys = Keys::load_or_create(&keys_dir(config))?;
    let vault = Arc::new(Vault::load_or_create(&keys_dir(config))?);
    let settings = Arc::new(Settings::new(sql.clone(), vault));
    let accounts = Arc::new(Accounts::new(sql.clone(), keys, Arc::clone(&settings), &config.auth));
    let nodes = Arc::new(Nodes::new(sql.clone(), &config.node));
    let plugins = Plugins::new(PluginDeps {
        config: Arc::clone(config),
        database,
        deferred_batches,
        accounts: Arc::clone(&accounts),
        settings: Arc::clone(&settings),
        console,
        nodes: Arc::clone(&nodes),
    });
    accounts.set_events(Arc::new(plugins.user_events()));
    accounts.set_mailer(Arc::new(plugins.mailer()));
    Ok(HostServices { sql, settings, accounts, plugins: Arc::new(plugins), nodes })
}
