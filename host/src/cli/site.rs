//! What commands work on: a prepared folder with its configuration and its open database. It never prepares one itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::Failure;
use crate::{
    accounts::{Accounts, Keys},
    config::{self, Config, ConfigError, DatabaseUrl, Flag},
    db::{
        Database,
        migrations::Migrator,
        sqlite::{Durability, Sqlite, SqliteOptions},
    },
    nodes::SameKeys,
    plugins::{
        Console, Parts, Plugins,
        tickets::{Redeeming, Tickets},
    },
    secrets::Vault,
    settings::Settings,
    sql::HostSql,
};

/// Where a command runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The folder that holds `tinybase.toml`.
    pub(super) dir: PathBuf,
}

impl Place {
    /// The configuration that holds here, under the flags of a command.
    pub(super) fn config(&self, flags: &[Flag]) -> Result<Config, Failure> {
        Config::load(&self.dir, flags).map_err(|error| match error {
            ConfigError::BadValue { place: config::Place::Flag(_), .. } => Failure::usage(error.to_string()),
            other => other.into(),
        })
    }
}

/// The folder of the signing keys.
pub(super) fn keys_dir(config: &Config) -> PathBuf {
    config.state_dir().join("keys")
}

/// Opens the database of a folder that was prepared.
pub(super) fn open_database(config: &Config) -> Result<Arc<dyn Database>, Failure> {
    let path = database_path(config)?;
    if !path.exists() {
        return Err(Failure::new(format!(
            "there is no database at {}; run: tinybase init{}",
            path.display(),
            directory_hint(&config.dir)
        )));
    }
    open_or_create_database(config)
}

/// Opens the database, made now if it is not there.
pub(super) fn open_or_create_database(config: &Config) -> Result<Arc<dyn Database>, Failure> {
    let path = database_path(config)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|cause| Failure::new(format!("{} cannot be created: {cause}", folder.display())))?;
    }
    let db = Sqlite::open(&sqlite_options(&config.database, path))?;
    Ok(db)
}

/// Whether a folder was prepared: its database file is there.
pub(super) fn has_database(config: &Config) -> bool {
    database_path(config).is_ok_and(|path| path.exists())
}

fn database_path(config: &Config) -> Result<PathBuf, Failure> {
    match &config.database.url {
        DatabaseUrl::Sqlite(path) => Ok(config.path(path)),
        DatabaseUrl::Postgres(_) => Err(Failure::new(
            "database.url names a PostgreSQL server, which this version does not serve yet; \
             use a file, such as sqlite://./tinybase.db",
        )),
    }
}

fn sqlite_options(config: &config::Database, path: PathBuf) -> SqliteOptions {
    let defaults = SqliteOptions::new(path);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    SqliteOptions {
        // A thread reads through a connection of its own, and there are about as many as there are cores.
        page_cache_bytes: config.cache_bytes / cores,
        durability: match config.durability {
            config::Durability::Full => Durability::Full,
            config::Durability::Normal => Durability::Normal,
        },
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

/// Refuses a database whose tables are not those that this program knows.
pub(super) async fn check_migrated(db: &dyn Database) -> Result<(), Failure> {
    let migrator = Migrator::of_host(db);
    migrator.current().await?;
    let missing = migrator.history().await?.into_iter().filter(|entry| entry.applied_at.is_none()).count();
    if missing == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the database lacks {missing} migration(s) of this version; run: tinybase db upgrade"
    )))
}

/// The parts of a host over one database.
pub(super) struct House {
    pub(super) sql: HostSql,
    pub(super) settings: Arc<Settings>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) plugins: Arc<Plugins>,
}

impl House {
    /// The keys of this folder, held against those that the database is served with.
    pub(super) fn keys(&self) -> SameKeys {
        SameKeys::new(self.sql.clone(), self.accounts.signing_key_id(), self.settings.vault().key_id())
    }
}

/// Puts the parts together; no plugin is loaded yet. To be called within the runtime.
pub(super) fn house(
    config: &Arc<Config>,
    db: &Arc<dyn Database>,
    console: Console,
) -> Result<House, Failure> {
    let tickets = Arc::new(Tickets::default());
    let database: Arc<dyn Database> = Arc::new(Redeeming::new(Arc::clone(db), Arc::clone(&tickets)));
    let sql = HostSql::new(Arc::clone(&database));
    let keys = Keys::load_or_create(&keys_dir(config))?;
    let vault = Arc::new(Vault::load_or_create(&keys_dir(config))?);
    let settings = Arc::new(Settings::new(sql.clone(), vault));
    let accounts = Arc::new(Accounts::new(sql.clone(), keys, Arc::clone(&settings), &config.auth));
    let plugins = Plugins::new(Parts {
        config: Arc::clone(config),
        database,
        tickets,
        accounts: Arc::clone(&accounts),
        settings: Arc::clone(&settings),
        console,
    });
    accounts.set_events(Arc::new(plugins.user_events()));
    accounts.set_mailer(Arc::new(plugins.mailer()));
    Ok(House { sql, settings, accounts, plugins: Arc::new(plugins) })
}
