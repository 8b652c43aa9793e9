//! The SQLite engine that implements the `Database` trait: one writer thread with group commit, short reads on the
//! calling thread, other reads on their own threads. Nothing outside of this folder names rusqlite.

mod batch;
mod checkpoint;
mod clock;
mod connection;
mod errors;
mod functions;
mod guard;
mod identity;
mod joins;
mod made;
mod options;
mod readers;
mod scope;
mod snapshot;
mod sync;
mod transaction;
mod writer;

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::oneshot;

use self::{
    checkpoint::Checkpoints,
    clock::Clock,
    connection::{Role, SqliteConnection, wal_path},
    identity::Identity,
    readers::Readers,
    sync::{Acknowledger, Health},
    writer::{Job, Message, WriterHandle, WriterState, gone},
};
use super::{
    Database, DbError, DbFuture, Durability, Engine, ExtensionRights, Query, ReadHint, ScopedBatch, SqlOwner,
    Transaction,
};

pub use self::options::SqliteOptions;

/// An open SQLite database.
pub struct Sqlite {
    readers: Readers,
    writer: WriterHandle,
    transaction_time_max: Duration,
    path: PathBuf,
    identity: Arc<Identity>,
}

impl Sqlite {
    /// Opens the database file, creates it with mode 0600 if it is missing, and starts the engine's threads.
    ///
    /// Never open the file by other means within this process afterwards: closing any descriptor of it would drop
    /// SQLite's locks.
    ///
    /// # Errors
    /// [`DbError::Closed`] with the path if the file cannot be opened, is damaged or is not a database.
    pub fn open(options: &SqliteOptions) -> Result<Arc<Sqlite>, DbError> {
        let fail = |problem: &dyn std::fmt::Display| {
            DbError::Closed(format!("cannot open {}: {problem}", options.path.display()))
        };
        create_private(options).map_err(|error| fail(&error))?;
        let mut clock = Clock::behind(&options.path);
        let mut link =
            SqliteConnection::open(options, Role::Writer).map_err(|error| fail(&errors::map(error)))?;
        clock.go_on_behind(&link).map_err(|error| fail(&errors::map(error)))?;
        let identity = Arc::new(Identity::of(&options.path).map_err(|error| fail(&error))?);
        let health = Arc::new(Health::default());
        let acknowledger = match options.durability {
            Durability::Normal => Acknowledger::AtOnce(Arc::clone(&identity)),
            Durability::Full => {
                let log = wal_path(&options.path);
                Acknowledger::after_sync(&log, Arc::clone(&health), Arc::clone(&identity))
                    .map_err(|error| fail(&error))?
            }
        };
        let checkpoints = Checkpoints::start(options, &mut link.connection, Arc::clone(&health))
            .map_err(|error| fail(&errors::map(error)))?;
        let seat = WriterState { link, clock, acknowledger, checkpoints, health };
        let writer = WriterHandle::start(options, seat).map_err(|error| fail(&error))?;
        let readers = Readers::start(options, Arc::clone(&identity)).map_err(|error| fail(&error))?;
        Ok(Arc::new(Sqlite {
            readers,
            writer,
            transaction_time_max: options.transaction_time_max,
            path: options.path.clone(),
            identity,
        }))
    }

    /// Checks the file and returns the problems that SQLite finds; none in an intact file. Reads the whole file.
    ///
    /// # Errors
    /// Those of a query; the deadline is a day.
    pub async fn check_integrity(&self) -> Result<Vec<String>, DbError> {
        let mut found = Vec::new();
        for sql in ["PRAGMA integrity_check", "PRAGMA foreign_key_check"] {
            let query = Query {
                scope: &SqlOwner::Host,
                sql,
                params: &[0; 4],
                hint: ReadHint::Scan,
                deadline: Some(Duration::from_secs(86_400)),
            };
            found.extend(describe_rows(&self.query(query).await?)?);
        }
        found.retain(|line| line != "ok");
        Ok(found)
    }
}

fn describe_rows(packed: &[u8]) -> Result<Vec<String>, DbError> {
    use tinybase_abi::codec::{Reader, RowsHead, ValueRef};
    let head = RowsHead::read(packed)?;
    let mut reader = Reader::new(&packed[head.start..]);
    (0..head.rows)
        .map(|_| {
            let values = (0..head.columns.len()).map(|_| {
                Ok::<_, DbError>(match reader.value()? {
                    ValueRef::Text(text) => text.to_owned(),
                    other => format!("{other:?}"),
                })
            });
            Ok(values.collect::<Result<Vec<_>, _>>()?.join(" "))
        })
        .collect()
}

/// Creates the file so that only its owner may read it. An existing file is not opened here: closing it again would
/// drop the locks of an engine of this process that has it open.
fn create_private(options: &SqliteOptions) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&options.path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

impl Database for Sqlite {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn query(&self, query: Query<'_>) -> DbFuture<Vec<u8>> {
        match query.hint {
            ReadHint::PointLookup | ReadHint::Indexed => self.readers.short_or_queue(query),
            ReadHint::Scan => self.readers.queue(query),
        }
    }

    fn apply_attached(
        &self,
        scope: &SqlOwner,
        batch: Vec<u8>,
        attached: Vec<ScopedBatch>,
    ) -> DbFuture<Vec<u8>> {
        let (reply, answer) = oneshot::channel();
        match self.writer.send(Message::Apply(Job { scope: scope.clone(), batch, attached, reply })) {
            Ok(()) => DbFuture::Later(Box::pin(async { answer.await.unwrap_or_else(|_| Err(gone())) })),
            Err(error) => DbFuture::ready(Err(error)),
        }
    }

    fn begin(
        &self,
        scope: &SqlOwner,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Box<dyn Transaction>, DbError>> {
        let (reply, answer) = oneshot::channel();
        let time_max = match scope {
            // The host's own migrations have no limit.
            SqlOwner::Host => deadline,
            SqlOwner::Extension(_) => deadline.min(self.transaction_time_max),
        };
        let sent = self.writer.send(Message::Begin { scope: scope.clone(), time_max, reply });
        Box::pin(async move {
            sent?;
            let calls = answer.await.unwrap_or_else(|_| Err(gone()))?;
            Ok(Box::new(transaction::SqliteTransaction::new(calls, time_max)) as Box<dyn Transaction>)
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn external_change_count(&self) -> u64 {
        self.writer.external_change_count.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.writer.send(Message::Probe(reply));
        Box::pin(async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(gone()))
        })
    }

    fn extension_rights(&self) -> ExtensionRights {
        ExtensionRights::Authorizer
    }

    fn forget_extension(&self, _name: &str) -> BoxFuture<'static, Result<(), DbError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn snapshot(&self, into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>> {
        let path = self.path.clone();
        let identity = Arc::clone(&self.identity);
        Box::pin(async move {
            identity.check()?;
            let taken = tokio::task::spawn_blocking(move || snapshot::take(&path, &into)).await;
            taken.map_err(|error| DbError::Sql(error.to_string()))?.map(|()| true)
        })
    }

    fn shut_down(&self) -> BoxFuture<'static, ()> {
        let readers = self.readers.stop();
        let (done, ended) = oneshot::channel();
        self.writer.send_stop(done, readers);
        Box::pin(async move {
            let _ = ended.await;
        })
    }
}
