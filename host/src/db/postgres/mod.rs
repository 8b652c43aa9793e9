//! The PostgreSQL engine that implements the `Database` trait: a pool of connections, statements that are prepared
//! once, and a watcher for changes by other nodes. Nothing outside of this folder names sqlx.

mod batch;
mod changes;
mod clock;
mod errors;
mod health;
mod options;
mod pool;
mod read_coalescing;
mod roles;
mod run;
mod shares;
mod statement;
mod tls;
mod transaction;

#[cfg(test)]
mod tests;

use std::{
    future::{Future, poll_fn},
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::{Connection, Row};
use tokio::{
    sync::{Mutex, Semaphore},
    task::AbortHandle,
};

use self::{
    batch::Parts,
    changes::{Changes, Watcher},
    clock::Clock,
    errors::Fault,
    health::Health,
    pool::{Lent, Links, Purpose},
    read_coalescing::Admission,
    roles::Roles,
    run::Short,
    shares::Shares,
    statement::Statements,
};
use super::{
    Database, DbError, DbFuture, Engine, ExtensionRights, Query, ReadHint, ScopedBatch, SqlOwner,
    Transaction, turns::CallerKey,
};
use crate::metrics::stats::DATABASE;

pub use self::options::PostgresOptions;

/// The oldest supported server version, in the server's own numbering.
const SERVER_VERSION_MIN: i32 = 140_000;

/// The shared state of all calls.
struct Shared {
    links: Links,
    read_shares: Arc<Shares>,
    write_shares: Arc<Shares>,
    /// Shares of the one interactive transaction.
    transaction_shares: Arc<Shares>,
    /// Limits the reads that wait for memory with a connection in use to half of the connections, so that others get
    /// one.
    waiting_for_room: Semaphore,
    roles: Roles,
    statements: Statements,
    clock: Arc<Clock>,
    changes: Arc<Changes>,
    health: Arc<Health>,
    /// Locked by the one interactive transaction of this process.
    turn: Arc<Mutex<()>>,
    query_timeout: Duration,
    transaction_time_max: Duration,
    rows_bytes_max: usize,
    extension_rows_bytes_max: usize,
    attempts_max: u32,
    gathered_reads_max: usize,
}

/// A pool of connections to a PostgreSQL database.
pub struct Postgres {
    shared: Arc<Shared>,
    watcher: AbortHandle,
}

impl Postgres {
    /// Connects, and starts to listen for changes by other nodes. Must be called within the runtime that is to drive
    /// the connections.
    ///
    /// # Errors
    /// [`DbError::Unavailable`] if no connection can be made, [`DbError::Closed`] if the URL or the server is not
    /// usable.
    pub async fn open(options: &PostgresOptions) -> Result<Arc<Postgres>, DbError> {
        let health = Arc::new(Health::new());
        let links = Links::new(options, Arc::clone(&health))?;
        check_server(&links).await?;
        let roles = open_roles(&links, options.extension_roles).await?;
        let (changes, clock) = (Arc::new(Changes::new(options.change_age_max)), Arc::new(Clock::new()));
        let parts = (Arc::clone(&changes), Arc::clone(&health), Arc::clone(&clock));
        let watcher = Watcher::new(options, pool::connect_options(options)?, parts);
        let listener = watcher.listen().await.map_err(|error| errors::of_connecting(&error))?;
        let watcher = tokio::spawn(watcher.run(listener)).abort_handle();
        let (readers, writers) = pool::split(options.connections_max);
        let shared = Arc::new(Shared {
            links,
            read_shares: Arc::new(Shares::new(readers, options.acquire_timeout)),
            write_shares: Arc::new(Shares::new(writers, options.acquire_timeout)),
            transaction_shares: Arc::new(Shares::of_one()),
            waiting_for_room: Semaphore::new(readers / 2),
            roles,
            statements: Statements::new(options.statement_cache_entries),
            clock,
            changes,
            health,
            turn: Arc::default(),
            query_timeout: options.query_timeout,
            transaction_time_max: options.transaction_time_max,
            rows_bytes_max: options.rows_bytes_max,
            extension_rows_bytes_max: options.extension_rows_bytes_max,
            attempts_max: options.attempts_max,
            gathered_reads_max: options.gathered_reads_max,
        });
        Ok(Arc::new(Postgres { shared, watcher }))
    }

    /// Polls `work` within the runtime that drives the connections, because sockets and timers need it: plugins poll
    /// from their own runtimes.
    fn within<T>(&self, work: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
        let runtime = self.shared.links.runtime().clone();
        Box::pin(async move {
            let mut work = pin!(work);
            poll_fn(move |context| {
                let _entered = runtime.enter();
                work.as_mut().poll(context)
            })
            .await
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// Checks whether extensions can have their own roles, and logs if they cannot.
async fn open_roles(links: &Links, wanted: bool) -> Result<Roles, DbError> {
    let mut lent = links.lend(Purpose::Write).await?;
    let roles = Roles::open(&mut lent, wanted).await;
    let roles = roles.map_err(|error| DbError::Unavailable(error.to_string()))?;
    if roles.are_made() {
        tracing::info!("extensions' statements run under database roles of their own");
    } else {
        tracing::warn!(
            "the database lets this server make no roles: extensions' statements are checked by their text alone; give \
             the server's database user CREATEROLE and the ownership of its schema, see docs/engines.md"
        );
    }
    Ok(roles)
}

async fn check_server(links: &Links) -> Result<(), DbError> {
    const ASK: &str =
        "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')";
    let mut lent = links.lend(Purpose::Write).await?;
    let unavailable = |error: sqlx::Error| DbError::Unavailable(error.to_string());
    let row =
        sqlx::query(ASK).persistent(false).fetch_one(&mut lent.connection).await.map_err(unavailable)?;
    let (version, encoding): (i32, String) =
        (row.try_get(0).map_err(unavailable)?, row.try_get(1).map_err(unavailable)?);
    if version < SERVER_VERSION_MIN {
        let (found, least) = (version / 10_000, SERVER_VERSION_MIN / 10_000);
        return Err(DbError::Closed(format!("the server is PostgreSQL {found}; {least} or newer is needed")));
    }
    if encoding != "UTF8" {
        return Err(DbError::Closed(format!(
            "the database has the encoding {encoding}; make one with UTF8: CREATE DATABASE … ENCODING 'UTF8'"
        )));
    }
    Ok(())
}

impl Shared {
    /// Returns the size limit of a result for `scope`, in bytes.
    fn rows_bytes_max(&self, scope: &SqlOwner) -> usize {
        match scope {
            SqlOwner::Host => self.rows_bytes_max,
            SqlOwner::Extension(_) => self.extension_rows_bytes_max,
        }
    }

    /// Reads by key, together with concurrent reads of the same statement.
    async fn read_by_key(
        self: &Arc<Self>,
        scope: &SqlOwner,
        sql: &str,
        params: &Arc<[u8]>,
        time_max: Duration,
    ) -> Result<Vec<u8>, DbError> {
        let known = self.statements.known(scope, sql);
        let turn = known.and_then(|prepared| read_coalescing::enter(self, &prepared, params));
        match turn {
            // Others wait until it has ended.
            Some(Admission::Go(_pass)) => self.read(scope, sql, params, time_max, Short::Fails).await,
            Some(Admission::Wait(answer)) => match tokio::time::timeout(time_max, answer).await {
                Ok(Ok(Ok(Some(rows)))) => Ok(rows),
                Ok(Ok(Err(error))) => Err(error),
                Ok(_) => self.read(scope, sql, params, time_max, Short::Fails).await,
                Err(_) => Err(self.timed_out(time_max)),
            },
            None => self.read(scope, sql, params, time_max, Short::Fails).await,
        }
    }

    /// Reads. Retries once if the statement was prepared with another schema, or if the connection was lost.
    async fn read(
        &self,
        scope: &SqlOwner,
        sql: &str,
        params: &[u8],
        time_max: Duration,
        short: Short,
    ) -> Result<Vec<u8>, DbError> {
        let mut lent = self.links.lend(Purpose::Read).await?;
        let (mut was_stale, mut was_lost) = (false, false);
        loop {
            let now = self.clock.tick();
            let work = run::query(self, &mut lent, scope, (sql, params), &now, short);
            let done = tokio::time::timeout(time_max, work).await;
            let fault = match done {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(fault)) => fault,
                Err(_) if lent.waits_for_room => return Err(DbError::NoRoom),
                Err(_) => return Err(self.timed_out(time_max)),
            };
            match fault {
                Fault::Stale(_) | Fault::Misfit(_) if !was_stale => {
                    was_stale = true;
                    self.statements.forget(scope, sql);
                    self.renew(&mut lent).await?;
                }
                Fault::Lost(_) if !was_lost => {
                    was_lost = true;
                    self.health.doubt();
                    drop(std::mem::replace(&mut lent, self.links.lend(Purpose::Read).await?));
                }
                fault => return Err(self.explain(&mut lent, fault, time_max).await),
            }
        }
    }

    /// Clears all prepared statements of a connection.
    async fn renew(&self, lent: &mut Lent) -> Result<(), DbError> {
        lent.is_busy = true;
        match lent.connection.clear_cached_statements().await {
            Ok(()) => {
                lent.is_busy = false;
                Ok(())
            }
            Err(error) => {
                lent.settle(&error);
                Err(self.explain(lent, error.into(), self.query_timeout).await)
            }
        }
    }

    fn timed_out(&self, time_max: Duration) -> DbError {
        DATABASE.timeouts.add_one();
        DbError::Timeout(time_max)
    }

    /// Returns the caller's error for a fault.
    async fn explain(&self, lent: &mut Lent, fault: Fault, time_max: Duration) -> DbError {
        match fault {
            Fault::ServerMessage(DbError::Timeout(_)) => self.timed_out(time_max),
            Fault::ServerMessage(error) | Fault::Misfit(error) => error,
            Fault::Unique { table, constraint } => errors::unique(lent, table, constraint).await,
            Fault::Contended => {
                DATABASE.busy.add_one();
                DbError::Busy
            }
            Fault::Stale(problem) => DbError::SchemaChanged(problem),
            Fault::Lost(problem) => {
                lent.is_broken = true;
                self.health.doubt();
                DbError::Unavailable(problem)
            }
        }
    }
}

impl Database for Postgres {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    fn query(&self, query: Query<'_>) -> DbFuture<Vec<u8>> {
        let shared = Arc::clone(&self.shared);
        let (scope, sql) = (query.scope.clone(), query.sql.to_owned());
        let params: Arc<[u8]> = query.params.into();
        let time_max = query.deadline.unwrap_or(self.shared.query_timeout);
        let (begun, hint, caller) = (Instant::now(), query.hint, CallerKey::current());
        DbFuture::Later(self.within(caller.scope(async move {
            // Reads by key use a connection only briefly, and share it with others.
            let _share = match hint {
                ReadHint::PointLookup => None,
                ReadHint::Indexed | ReadHint::Scan => shared.read_shares.take(caller).await?,
            };
            let (answer, times) = match hint {
                ReadHint::PointLookup => {
                    (shared.read_by_key(&scope, &sql, &params, time_max).await, &DATABASE.reads_short)
                }
                ReadHint::Indexed | ReadHint::Scan => {
                    let answer = shared.read(&scope, &sql, &params, time_max, Short::Waits).await;
                    let is_short = hint == ReadHint::Indexed;
                    (answer, if is_short { &DATABASE.reads_short } else { &DATABASE.reads_queued })
                }
            };
            times.observe_time(begun.elapsed());
            answer
        })))
    }

    fn apply_attached(
        &self,
        scope: &SqlOwner,
        batch: Vec<u8>,
        attached: Vec<ScopedBatch>,
    ) -> DbFuture<Vec<u8>> {
        let shared = Arc::clone(&self.shared);
        let parts = Parts { scope: scope.clone(), packed: batch, attached };
        let caller = CallerKey::current();
        DbFuture::Later(self.within(async move {
            let _share = shared.write_shares.take(caller).await?;
            batch::apply(&shared, &parts).await
        }))
    }

    fn begin(
        &self,
        scope: &SqlOwner,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Box<dyn Transaction>, DbError>> {
        let time_max = match scope {
            // The host's own migrations have no limit.
            SqlOwner::Host => deadline,
            SqlOwner::Extension(_) => deadline.min(self.shared.transaction_time_max),
        };
        let caller = CallerKey::current();
        self.within(transaction::begin(Arc::clone(&self.shared), scope.clone(), time_max, caller))
    }

    fn write_probe(&self) -> BoxFuture<'static, Result<(), DbError>> {
        let shared = Arc::clone(&self.shared);
        self.within(async move {
            let mut lent = shared.links.lend(Purpose::Write).await?;
            // A transaction with its own id is written to the server's log when it ends.
            match lent.engine("SELECT pg_current_xact_id()").await {
                Ok(()) => Ok(()),
                Err(error) => Err(shared.explain(&mut lent, error.into(), shared.query_timeout).await),
            }
        })
    }

    fn snapshot(&self, _into: PathBuf) -> BoxFuture<'static, Result<bool, DbError>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    fn extension_rights(&self) -> ExtensionRights {
        if self.shared.roles.are_made() { ExtensionRights::Roles } else { ExtensionRights::Text }
    }

    fn forget_extension(&self, name: &str) -> BoxFuture<'static, Result<(), DbError>> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        self.within(async move {
            let mut lent = shared.links.lend(Purpose::Write).await?;
            let dropped = shared.roles.drop(&mut lent, &name).await;
            match dropped {
                Ok(()) => Ok(()),
                Err(fault) => Err(shared.explain(&mut lent, fault, shared.query_timeout).await),
            }
        })
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn external_change_count(&self) -> u64 {
        self.shared.changes.number()
    }

    fn shut_down(&self) -> BoxFuture<'static, ()> {
        self.watcher.abort();
        self.shared.links.close();
        Box::pin(std::future::ready(()))
    }
}
