//! Migrates the tables of a database up and down: those of the host and those of each extension. Each migration runs in
//! its own transaction, and a record of applied migrations is kept. It is independent of the engine; the SQL of each
//! engine lives in `migrations/<engine>/`.

use std::{borrow::Cow, time::Duration};

use sha2::{Digest, Sha256};
use thiserror::Error;
use tinybase_abi::codec::{BatchWriter, CodecError, Expect, RowsHead, ValueRef, pack_values};

pub use super::migration_record::Applied;
use super::{
    Database, DbError, Engine, Query, ReadHint, SqlOwner, Transaction, migration_record::read_applied,
};

/// The maximum time that one of the host's own migrations may take.
pub const MIGRATION_TIME_MAX: Duration = Duration::from_secs(3600);

/// The owner under which the host's own migrations are recorded. No extension may have this name.
const HOST_OWNER: &str = "host";

const CREATE_RECORD: &str = "CREATE TABLE IF NOT EXISTS tb_migrations (
    owner TEXT NOT NULL,
    version BIGINT NOT NULL,
    title TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at TEXT NOT NULL,
    PRIMARY KEY (owner, version)
)";

/// A migration from one version to the next, and back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The version number. An owner's first is 1, and there are no gaps.
    pub version: u32,
    /// The title, as in the file name.
    pub title: Cow<'static, str>,
    /// The script that applies it.
    pub up: Cow<'static, str>,
    /// The script that reverts it; empty if it cannot be reverted.
    pub down: Cow<'static, str>,
}

impl Migration {
    /// Returns the SHA-256 of the `up` script, in hex.
    pub fn checksum(&self) -> String {
        use std::fmt::Write;
        Sha256::digest(self.up.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a string does not fail");
            hex
        })
    }
}

macro_rules! embedded {
    ($engine:literal) => {
        embedded!($engine:
            1 "0001_accounts" "accounts",
            2 "0002_roles" "roles",
            3 "0003_sessions" "sessions",
            4 "0004_second_factor" "second_factor",
            5 "0005_administration" "administration",
            6 "0006_audit_log" "audit_log",
            7 "0007_request_log" "request_log",
            8 "0008_nodes" "nodes",
            9 "0009_across_nodes" "across_nodes",
            10 "0010_extension_changes" "extension_changes",
            11 "0011_second_factor_tickets" "second_factor_tickets",
            12 "0012_token_parents" "token_parents",
            13 "0013_rollback" "rollback",
        )
    };
    ($engine:literal: $($version:literal $name:literal $title:literal),+ $(,)?) => {
        vec![$(Migration {
            version: $version,
            title: Cow::Borrowed($title),
            up: Cow::Borrowed(include_str!(concat!("../../../migrations/", $engine, "/", $name, ".up.sql"))),
            down: Cow::Borrowed(include_str!(concat!("../../../migrations/", $engine, "/", $name, ".down.sql"))),
        }),+]
    };
}

/// Returns the host's own migrations for an engine, which are built into the binary. Both engines have the same
/// versions.
pub fn host_migrations(engine: Engine) -> Vec<Migration> {
    match engine {
        Engine::Sqlite => embedded!("sqlite"),
        Engine::Postgres => embedded!("postgres"),
    }
}

/// Why a migration was not applied or reverted.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// The versions of the migrations are not 1, 2, 3, …
    #[error(
        "the migrations of {owner} have a gap: {expected} must follow, but {found} does; number them without gaps"
    )]
    Gap {
        /// The owner of the migrations.
        owner: String,
        /// The version that was expected.
        expected: u32,
        /// The version that was found.
        found: u32,
    },
    /// An extension has the name that is reserved for the host.
    #[error("no extension may be called {HOST_OWNER}; choose another name")]
    ReservedOwner,
    /// The script of an applied migration has changed since.
    #[error(
        "migration {version} ({title}) of {owner} was changed after it was applied; restore its text, \
         and put the change into a new migration"
    )]
    Changed {
        /// The owner of the migration.
        owner: String,
        /// The version.
        version: u32,
        /// The title.
        title: String,
    },
    /// The database is newer than this program.
    #[error(
        "the database has migration {version} ({title}) of {owner}, which this version does not know; \
         use the newer version that applied it, to serve or to downgrade the database"
    )]
    Unknown {
        /// The owner of the migration.
        owner: String,
        /// The version.
        version: u32,
        /// The title.
        title: String,
    },
    /// The requested version does not exist.
    #[error("{owner} has no version {version}; its versions are 0 to {newest}")]
    NoSuchVersion {
        /// The owner of the migrations.
        owner: String,
        /// The requested version.
        version: u32,
        /// The newest version.
        newest: u32,
    },
    /// A migration that would have to be reverted has no `down` script.
    #[error("migration {version} ({title}) of {owner} cannot be reverted; restore a backup from before it")]
    NoWayBack {
        /// The owner of the migration.
        owner: String,
        /// The version.
        version: u32,
        /// The title.
        title: String,
    },
    /// The script of a migration failed and was rolled back.
    #[error("migration {version} ({title}) of {owner} failed and was undone: {source}")]
    Failed {
        /// The owner of the migration.
        owner: String,
        /// The version.
        version: u32,
        /// The title.
        title: String,
        /// The database's error.
        source: DbError,
    },
    /// The record of migrations could not be read or written.
    #[error("the record of migrations cannot be used: {0}")]
    Record(#[from] DbError),
}

impl From<CodecError> for MigrateError {
    fn from(error: CodecError) -> MigrateError {
        MigrateError::Record(error.into())
    }
}

/// A migration that the database or the program knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The version number.
    pub version: u32,
    /// The title.
    pub title: String,
    /// When it was applied (RFC 3339); `None` if it was not.
    pub applied_at: Option<String>,
}

/// Applies and reverts the migrations of one owner.
pub struct Migrator<'a> {
    db: &'a dyn Database,
    scope: SqlOwner,
    owner: String,
    migrations: Vec<Migration>,
}

impl<'a> Migrator<'a> {
    /// Returns a migrator of the host's own tables.
    pub fn of_host(db: &'a dyn Database) -> Migrator<'a> {
        let migrations = host_migrations(db.engine());
        Migrator { db, scope: SqlOwner::Host, owner: HOST_OWNER.to_owned(), migrations }
    }

    /// Returns a migrator of an extension's tables. Its scripts run in the extension's scope.
    ///
    /// # Errors
    /// [`MigrateError::Gap`] if the versions are not 1, 2, 3, …; [`MigrateError::ReservedOwner`] for the host's name.
    pub fn of_extension(
        db: &'a dyn Database,
        name: &str,
        mut migrations: Vec<Migration>,
    ) -> Result<Migrator<'a>, MigrateError> {
        if name == HOST_OWNER {
            return Err(MigrateError::ReservedOwner);
        }
        migrations.sort_by_key(|migration| migration.version);
        for (expected, migration) in (1..).zip(&migrations) {
            if migration.version != expected {
                let (owner, found) = (name.to_owned(), migration.version);
                return Err(MigrateError::Gap { owner, expected, found });
            }
        }
        Ok(Migrator { db, scope: SqlOwner::Extension(name.into()), owner: name.to_owned(), migrations })
    }

    fn newest(&self) -> u32 {
        self.migrations.last().map_or(0, |migration| migration.version)
    }

    /// Returns the current version of the database; 0 before the first migration.
    ///
    /// # Errors
    /// [`MigrateError::Changed`] or [`MigrateError::Unknown`] if the applied migrations differ from those of this
    /// program.
    pub async fn current(&self) -> Result<u32, MigrateError> {
        let applied = self.applied().await?;
        self.check(&applied)?;
        Ok(applied.last().map_or(0, |last| last.version))
    }

    /// Returns the steps from the newest migration in `recorded`, which the caller has read, to the newest one of this
    /// program.
    ///
    /// # Errors
    /// [`MigrateError::Changed`] or [`MigrateError::Unknown`] if the applied migrations differ from those of this
    /// program.
    pub fn missing(&self, recorded: &[Applied]) -> Result<Vec<Way<'_>>, MigrateError> {
        self.check(recorded)?;
        let current = recorded.last().map_or(0, |last| last.version);
        Ok(self.between(current, self.newest()).iter().map(|step| Way(step, Direction::Up)).collect())
    }

    /// Returns all migrations by version, applied or not, including those that this program does not know.
    ///
    /// # Errors
    /// [`MigrateError::Record`] if the record cannot be read.
    pub async fn history(&self) -> Result<Vec<HistoryEntry>, MigrateError> {
        let applied = self.applied().await?;
        let known = self.migrations.iter().skip(applied.len()).map(|migration| HistoryEntry {
            version: migration.version,
            title: migration.title.to_string(),
            applied_at: None,
        });
        let done = applied.iter().map(|applied| HistoryEntry {
            version: applied.version,
            title: applied.title.clone(),
            applied_at: Some(applied.applied_at.clone()),
        });
        Ok(done.chain(known).collect())
    }

    /// Applies the missing migrations up to `target`, or up to the newest. Returns the versions that were applied.
    ///
    /// # Errors
    /// See [`MigrateError`]. Migrations before the one that failed stay applied.
    pub async fn upgrade(&self, target: Option<u32>) -> Result<Vec<u32>, MigrateError> {
        let target = self.known_version(target.unwrap_or_else(|| self.newest()))?;
        let current = self.current().await?;
        let mut done = Vec::new();
        for migration in self.between(current, target) {
            if self.step(migration, Direction::Up).await? {
                tracing::info!(owner = self.owner, version = migration.version, title = %migration.title, "applied a migration");
                done.push(migration.version);
            }
        }
        Ok(done)
    }

    /// Reverts all migrations above `target`, newest first. Returns the versions that were reverted.
    ///
    /// # Errors
    /// See [`MigrateError`]. Migrations that were reverted before the failure stay reverted.
    pub async fn downgrade(&self, target: u32) -> Result<Vec<u32>, MigrateError> {
        let target = self.known_version(target)?;
        let current = self.current().await?;
        let mut done = Vec::new();
        for migration in self.between(target, current).iter().rev() {
            if migration.down.trim().is_empty() {
                return Err(MigrateError::NoWayBack {
                    owner: self.owner.clone(),
                    version: migration.version,
                    title: migration.title.to_string(),
                });
            }
            if self.step(migration, Direction::Down).await? {
                tracing::info!(owner = self.owner, version = migration.version, title = %migration.title, "reverted a migration");
                done.push(migration.version);
            }
        }
        Ok(done)
    }

    /// Returns the steps from the current version to the newest one, or back to `target` if the current version is
    /// above it.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn way(&self, target: Option<u32>) -> Result<Vec<Way<'_>>, MigrateError> {
        let current = self.current().await?;
        let Some(target) = target else {
            return Ok(self
                .between(current, self.newest())
                .iter()
                .map(|step| Way(step, Direction::Up))
                .collect());
        };
        let back = self.between(target, current).iter().rev();
        if let Some(stuck) = back.clone().find(|step| step.down.trim().is_empty()) {
            let (owner, title) = (self.owner.clone(), stuck.title.to_string());
            return Err(MigrateError::NoWayBack { owner, version: stuck.version, title });
        }
        Ok(back.map(|step| Way(step, Direction::Down)).collect())
    }

    /// Runs these steps in a transaction that the caller commits, so that all or none of them take effect.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn go(&self, transaction: &mut dyn Transaction, way: &[Way<'_>]) -> Result<(), MigrateError> {
        for Way(migration, direction) in way {
            let taken = self.step_within(transaction, migration, *direction).await;
            taken.map_err(|source| self.failed(migration, source))?;
        }
        Ok(())
    }

    fn failed(&self, migration: &Migration, source: DbError) -> MigrateError {
        let (owner, version, title) = (self.owner.clone(), migration.version, migration.title.to_string());
        MigrateError::Failed { owner, version, title, source }
    }

    fn known_version(&self, version: u32) -> Result<u32, MigrateError> {
        let newest = self.newest();
        if version <= newest {
            return Ok(version);
        }
        Err(MigrateError::NoSuchVersion { owner: self.owner.clone(), version, newest })
    }

    /// Returns the migrations above one version, up to another. Versions are 1, 2, 3, …, so the version before a
    /// migration is its index.
    fn between(&self, above: u32, up_to: u32) -> &[Migration] {
        self.migrations.get(above as usize..up_to as usize).unwrap_or(&[])
    }

    fn check(&self, applied: &[Applied]) -> Result<(), MigrateError> {
        for record in applied {
            let known = self.migrations.iter().find(|migration| migration.version == record.version);
            let (owner, version, title) = (self.owner.clone(), record.version, record.title.clone());
            match known {
                None => return Err(MigrateError::Unknown { owner, version, title }),
                Some(known) if known.checksum() != record.checksum => {
                    return Err(MigrateError::Changed { owner, version, title });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    async fn applied(&self) -> Result<Vec<Applied>, MigrateError> {
        let mut create = BatchWriter::default();
        create.push(CREATE_RECORD, [], Expect::Any);
        self.db.apply(&SqlOwner::Host, create.finish()).await?;
        let params = pack_values([ValueRef::Text(&self.owner)]);
        let rows = self.db.query(Query {
            scope: &SqlOwner::Host,
            sql: "SELECT version, title, checksum, applied_at FROM tb_migrations WHERE owner = ?1 ORDER BY version",
            params: &params,
            hint: ReadHint::Indexed,
            deadline: None,
        });
        read_applied(&rows.await?)
    }

    /// Runs one step in its own transaction. Returns false if another process has already run it.
    async fn step(&self, migration: &Migration, direction: Direction) -> Result<bool, MigrateError> {
        let mut transaction = self.db.begin(&SqlOwner::Host, MIGRATION_TIME_MAX).await?;
        match self.step_within(&mut *transaction, migration, direction).await {
            Ok(true) => transaction.commit().await.map(|()| true),
            Ok(false) => transaction.rollback().await.map(|()| false),
            Err(error) => transaction.rollback().await.and(Err(error)),
        }
        .map_err(|source| self.failed(migration, source))
    }

    async fn step_within(
        &self,
        transaction: &mut dyn Transaction,
        migration: &Migration,
        direction: Direction,
    ) -> Result<bool, DbError> {
        let key = [ValueRef::Text(&self.owner), ValueRef::Integer(migration.version.into())];
        let recorded = "SELECT 1 FROM tb_migrations WHERE owner = ?1 AND version = ?2";
        let rows = transaction.query(recorded.to_owned(), pack_values(key)).await?;
        let is_applied = RowsHead::read(&rows)?.rows > 0;
        if is_applied == (direction == Direction::Up) {
            return Ok(false);
        }
        let mut script = BatchWriter::default();
        let mut record = BatchWriter::default();
        match direction {
            Direction::Up => {
                script.push(&migration.up, [], Expect::Any);
                let (title, checksum) = (&migration.title, migration.checksum());
                let values = [ValueRef::Text(title), ValueRef::Text(&checksum), ValueRef::Now];
                let insert = "INSERT INTO tb_migrations (owner, version, title, checksum, applied_at)
                              VALUES (?1, ?2, ?3, ?4, ?5)";
                record.push(insert, key.into_iter().chain(values), Expect::Exactly(1));
            }
            Direction::Down => {
                script.push(&migration.down, [], Expect::Any);
                let delete = "DELETE FROM tb_migrations WHERE owner = ?1 AND version = ?2";
                record.push(delete, key, Expect::Exactly(1));
            }
        }
        transaction.apply_as(&self.scope, script.finish()).await?;
        transaction.apply(record.finish()).await?;
        Ok(true)
    }
}

/// A step that is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Way<'m>(&'m Migration, Direction);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn both_engines_have_the_same_migrations_and_no_file_is_left_out() {
        for (engine, folder) in [(Engine::Sqlite, "sqlite"), (Engine::Postgres, "postgres")] {
            let known: BTreeSet<String> = host_migrations(engine)
                .iter()
                .flat_map(|step| {
                    ["up", "down"].map(|way| format!("{:04}_{}.{way}.sql", step.version, step.title))
                })
                .collect();
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(folder);
            let files: BTreeSet<String> = fs::read_dir(folder)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            assert_eq!(known, files, "{engine:?}");
        }
    }
}
