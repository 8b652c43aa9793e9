//! Makes a backup: a snapshot of the database, then the files that belong to it, in one archive. A server may run
//! meanwhile, and is not blocked by the backup.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    About, FORMAT,
    archive::Writer,
    error::{BackupError, io_error},
    folder::Workshop,
    parts::Part,
    postgres,
};
use crate::{
    config::{Config, DatabaseUrl},
    db::{Database, DbError, Engine},
    sql::{HostSql, integer, text},
};

/// The maximum number of attempts when extensions change while they are copied.
const ATTEMPTS_MAX: usize = 5;

/// How long each attempt waits for a change of extensions that is in progress.
const CHANGE_WAIT: Duration = Duration::from_secs(1);

/// Returns the number of extension changes, when the last one ended, and how many are in progress.
const CHANGES: &str = "SELECT count(*), COALESCE(max(ended_at), ''), COALESCE(sum(CASE WHEN ended_at IS NULL THEN 1 ELSE 0 END), 0) \
     FROM tb_extension_changes";

/// A backup to make.
pub struct Create {
    /// The configuration of the instance.
    pub config: Arc<Config>,
    /// Its database.
    pub db: Arc<dyn Database>,
    /// The folder for the archive.
    pub folder: PathBuf,
    /// How many backups are kept in the folder; `None` keeps all.
    pub keep: Option<usize>,
}

/// A finished backup.
#[derive(Debug, Clone, Serialize)]
pub struct Created {
    /// The archive.
    pub path: PathBuf,
    /// The length in bytes.
    pub bytes: u64,
    /// The number of files in it.
    pub files: usize,
    /// Old backups that were removed.
    pub removed: Vec<PathBuf>,
}

impl Create {
    /// Makes the backup.
    ///
    /// # Errors
    /// [`BackupError`]; no partial backup is left.
    pub async fn run(self) -> Result<Created, BackupError> {
        let workshop = Workshop::open(&self.folder)?;
        let archive = workshop.part.join("archive");
        let mut files = None;
        for _ in 0..ATTEMPTS_MAX {
            let before = self.changes().await?;
            if before.is_open {
                tokio::time::sleep(CHANGE_WAIT).await;
                continue;
            }
            let database = self.copy_database(&workshop.part).await?;
            let written = self.write(&archive, database).await?;
            if self.changes().await? == before {
                files = Some(written);
                break;
            }
            clear(&workshop.part)?;
        }
        let files = files.ok_or(BackupError::Changing)?;
        let path = workshop.publish(&archive, Timestamp::now())?;
        let bytes = fs::metadata(&path).map_err(io_error("read", &path))?.len();
        let removed = self.keep.map(|keep| workshop.retain(keep, &path)).transpose()?.unwrap_or_default();
        Ok(Created { path, bytes, files, removed })
    }

    async fn changes(&self) -> Result<Changes, DbError> {
        let rows = match HostSql::new(Arc::clone(&self.db)).scan(CHANGES, &[]).await {
            // The tables may be of an older version: a backup is made before an upgrade.
            Err(DbError::Sql(_)) => Vec::new(),
            other => other?,
        };
        let row = rows.into_iter().next().unwrap_or_default();
        Ok(Changes { count: integer(&row, 0), last_ended_at: text(&row, 1), is_open: integer(&row, 2) > 0 })
    }

    /// Copies the database to a file in the folder `part`.
    async fn copy_database(&self, part: &Path) -> Result<(Part, PathBuf), BackupError> {
        if let DatabaseUrl::Postgres(url) = &self.config.database.url {
            let path = part.join(Part::PostgresDump.name());
            let (url, into) = (url.clone(), path.clone());
            on_blocking_thread(move || postgres::dump(&url, &into)).await?;
            return Ok((Part::PostgresDump, path));
        }
        let path = part.join(Part::Sqlite.name());
        self.db.snapshot(path.clone()).await?;
        Ok((Part::Sqlite, path))
    }

    async fn write(&self, archive: &Path, database: (Part, PathBuf)) -> Result<usize, BackupError> {
        let about = About {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: Timestamp::now().to_string(),
            engine: match self.db.engine() {
                Engine::Sqlite => "sqlite".to_owned(),
                Engine::Postgres => "postgres".to_owned(),
            },
        };
        let (config, archive) = (Arc::clone(&self.config), archive.to_owned());
        on_blocking_thread(move || write_archive(&config, &archive, &about, database)).await
    }
}

/// Runs blocking work on a blocking thread.
pub(super) async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(BackupError::Unfit(format!("a thread of the backup broke off: {panic}"))))
}

/// The state of extension changes.
#[derive(Debug, PartialEq, Eq)]
struct Changes {
    count: i64,
    last_ended_at: String,
    is_open: bool,
}

fn clear(part: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(part).map_err(io_error("read", part))?.flatten() {
        fs::remove_file(entry.path()).map_err(io_error("removed", &entry.path()))?;
    }
    Ok(())
}

/// Writes everything into one archive. Blocks.
fn write_archive(
    config: &Config,
    archive: &Path,
    about: &About,
    (database_part, database): (Part, PathBuf),
) -> Result<usize, BackupError> {
    let mut writer = Writer::create(archive, about)?;
    writer.add(database_part.name(), &database)?;
    // Removed as early as possible, because the copy takes disk space twice.
    fs::remove_file(&database).map_err(io_error("removed", &database))?;
    let of_files = |part: &Part| !matches!(part, Part::Sqlite | Part::PostgresDump);
    for part in Part::ALL.into_iter().filter(of_files) {
        let Some(place) = part.place(config) else { continue };
        if part.is_file() {
            writer.add(part.name(), &place)?;
        } else {
            add_folder(&mut writer, part, &place)?;
        }
    }
    Ok(writer.finish()?.files.len())
}

/// Adds all plain files below a folder. Links are not followed: they may lead outside of the instance.
fn add_folder(writer: &mut Writer<'_>, part: Part, root: &Path) -> Result<(), BackupError> {
    let mut open = VecDeque::from([(root.to_owned(), part.name().to_owned())]);
    while let Some((folder, name)) = open.pop_front() {
        let entries = match fs::read_dir(&folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(io_error("read", &folder))?,
        };
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(io_error("read", &folder))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let own = entry.file_name();
            let Some(own) = own.to_str() else {
                let cause = io::Error::other("its name is not UTF-8");
                return Err(io_error("stored", &entry.path())(cause));
            };
            if folder == root && part.leaves_out(own) {
                continue;
            }
            let (path, name) = (entry.path(), format!("{name}/{own}"));
            let kind = match entry.file_type() {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(io_error("read", &path))?,
            };
            if kind.is_dir() {
                open.push_back((path, name));
            } else if kind.is_file() && !own.starts_with(".loading") {
                writer.add(&name, &path)?;
            } else if kind.is_symlink() {
                tracing::warn!(path = %path.display(), "a link is left out of the backup");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;
    use tinybase_abi::codec::{BatchWriter, Expect};

    use super::*;
    use crate::db::{
        DbFuture, ExtensionRights, Query, ScopedBatch, SqlOwner, Transaction,
        migrations::Migrator,
        sqlite::{Sqlite, SqliteOptions},
    };

    const CHANGE: &str = "INSERT INTO tb_extension_changes (id, kind, name, details, step, who, created_at, ended_at) \
         VALUES ('x', 'enable', 'pulse', '{}', 'drained', '{}', '-', '-')";

    /// A database in which an extension changes right after the first copy.
    struct Meddled {
        inner: Arc<dyn Database>,
        copies: AtomicUsize,
    }

    impl Database for Meddled {
        fn engine(&self) -> Engine {
            self.inner.engine()
        }

        fn query(&self, query: Query<'_>) -> DbFuture<Vec<u8>> {
            self.inner.query(query)
        }

        fn apply_attached(
            &self,
            scope: &SqlOwner,
            batch: Vec<u8>,
            attached: Vec<ScopedBatch>,
        ) -> DbFuture<Vec<u8>> {
            self.inner.apply_attached(scope, batch, attached)
        }

        fn begin(
            &self,
            scope: &SqlOwner,
            deadline: Duration,
        ) -> BoxFuture<'static, Result<Box<dyn Transaction>, DbError>> {
            self.inner.begin(scope, deadline)
        }

        fn now(&self) -> Timestamp {
            self.inner.now()
        }

        fn external_change_count(&self) -> u64 {
            self.inner.external_change_count()
        }

        fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>> {
            self.inner.write_probe()
        }

        fn extension_rights(&self) -> ExtensionRights {
            self.inner.extension_rights()
        }

        fn forget_extension(&self, name: &str) -> BoxFuture<'static, Result<(), DbError>> {
            self.inner.forget_extension(name)
        }

        fn snapshot(&self, into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>> {
            let (copying, sql) = (self.inner.snapshot(into), HostSql::new(Arc::clone(&self.inner)));
            let is_first = self.copies.fetch_add(1, Ordering::Relaxed) == 0;
            Box::pin(async move {
                let copied = copying.await?;
                if is_first {
                    let mut batch = BatchWriter::default();
                    batch.push(CHANGE, [], Expect::Exactly(1));
                    sql.apply(batch).await?;
                }
                Ok(copied)
            })
        }

        fn shut_down(&self) -> BoxFuture<'static, ()> {
            self.inner.shut_down()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_of_extensions_meanwhile_is_copied_whole() {
        let dir = tempfile::tempdir().unwrap();
        let inner: Arc<dyn Database> =
            Sqlite::open(&SqliteOptions::new(dir.path().join("tinybase.db"))).unwrap();
        Migrator::of_host(&*inner).upgrade(None).await.unwrap();
        let meddled = Arc::new(Meddled { inner, copies: AtomicUsize::new(0) });
        let config = Arc::new(Config { dir: dir.path().to_owned(), ..Config::default() });
        let db: Arc<dyn Database> = Arc::<Meddled>::clone(&meddled);
        let create = Create { config, db, folder: dir.path().join("backups"), keep: None };
        create.run().await.unwrap();
        assert_eq!(
            meddled.copies.load(Ordering::Relaxed),
            2,
            "what was copied in between does not fit together"
        );
    }
}
