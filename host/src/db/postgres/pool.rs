//! The connections of a process: how they are made, lent and returned. One that was abandoned during a call is closed
//! and never lent again.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult,
    TimeoutType, Timeouts,
};
use sqlx::{
    ConnectOptions, Connection, Row,
    postgres::{PgConnectOptions, PgConnection},
};
use tokio::runtime::Handle;
use url::Url;

use super::{PostgresOptions, errors, health::Health, tls};
use crate::{
    db::{DbError, Durability},
    metrics::stats::DATABASE,
};

/// The time limit for the response of a suspect connection.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: PgConnection,
    /// The process id by which the server identifies it.
    pub(super) backend: i32,
    /// The number of losses when it was last known to work.
    losses: u64,
    /// The extension in whose name it runs statements; `None` for the host.
    pub(super) role: Option<Arc<str>>,
    /// Set while a statement is running on it.
    pub(super) is_busy: bool,
    /// Set while a transaction is open on it.
    pub(super) is_open: bool,
    /// Set once it is lost.
    pub(super) is_broken: bool,
    /// Set if the driver's buffers grew with a large transfer: the driver does not shrink them.
    pub(super) is_stretched: bool,
    /// Set while the read on it waits for memory: a timeout then returns [`DbError::NoRoom`].
    pub(super) waits_for_room: bool,
}

impl Link {
    /// Records a failed statement: after an error of the server the connection is still usable.
    pub(super) fn settle(&mut self, error: &sqlx::Error) {
        match error {
            sqlx::Error::Database(_) => self.is_busy = false,
            _ => self.is_broken = true,
        }
    }

    /// Runs one of the engine's own statements that returns nothing.
    pub(super) async fn engine(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.is_busy = true;
        let done = sqlx::raw_sql(sql).execute(&mut self.connection).await;
        match done {
            Ok(_) => {
                self.is_busy = false;
                Ok(())
            }
            Err(error) => {
                self.settle(&error);
                Err(error)
            }
        }
    }
}

/// Makes connections and checks those that are returned.
#[derive(Debug)]
pub(super) struct Maker {
    options: PgConnectOptions,
    connect_timeout: Duration,
    health: Arc<Health>,
}

/// The purpose of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads outside of transactions: the server allows no changes on it.
    Read,
    /// Everything else.
    Write,
}

/// A lent connection. Dropping it returns it; if a call is running, it is closed, and the call is cancelled on the
/// server.
#[derive(Debug)]
pub(super) struct Lent {
    object: Option<Object<Maker>>,
    links: Links,
}

const HELD: &str = "a connection is held until it is dropped";

impl Deref for Lent {
    type Target = Link;
    fn deref(&self) -> &Link {
        self.object.as_ref().expect(HELD)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Link {
        self.object.as_mut().expect(HELD)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        if !(object.is_busy || object.is_open || object.is_broken) {
            if std::mem::take(&mut object.is_stretched) {
                object.connection.shrink_buffers();
            }
            return;
        }
        let link = Object::take(object);
        if link.is_busy && !link.is_broken {
            self.links.cancel(link.backend);
        }
    }
}

impl Manager for Maker {
    type Type = Link;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Link, sqlx::Error> {
        let losses = self.health.losses();
        let connect = async {
            let mut connection = self.options.connect().await?;
            let row =
                sqlx::query("SELECT pg_backend_pid()").persistent(false).fetch_one(&mut connection).await?;
            Ok(Link {
                backend: row.try_get(0)?,
                role: None,
                connection,
                losses,
                is_busy: false,
                is_open: false,
                is_broken: false,
                is_stretched: false,
                waits_for_room: false,
            })
        };
        match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(made) => made,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<sqlx::Error> {
        let losses = self.health.losses();
        if link.losses != losses {
            match tokio::time::timeout(PING_TIMEOUT, link.connection.ping()).await {
                Ok(answered) => answered?,
                Err(_) => return Err(RecycleError::message("it does not answer")),
            }
            link.losses = losses;
        }
        Ok(())
    }
}

/// Returns how many of a process's connections are for reads, and how many for everything else. A single one is for
/// both.
pub(super) fn split(connections_max: usize) -> (usize, usize) {
    let readers = connections_max / 2;
    (readers.max(1), (connections_max - readers).max(1))
}

/// The pool of a process.
#[derive(Debug, Clone)]
pub(super) struct Links {
    writers: Pool<Maker>,
    /// `None` if there is one connection for everything.
    readers: Option<Pool<Maker>>,
    health: Arc<Health>,
    runtime: Handle,
}

impl Links {
    pub(super) fn new(options: &PostgresOptions, health: Arc<Health>) -> Result<Links, DbError> {
        let timeouts = Timeouts {
            wait: Some(options.acquire_timeout),
            create: Some(options.connect_timeout),
            recycle: Some(PING_TIMEOUT),
        };
        let build = |connect: PgConnectOptions, count: usize| {
            let maker = Maker {
                options: connect,
                connect_timeout: options.connect_timeout,
                health: Arc::clone(&health),
            };
            // The last one returned is lent first: it most likely has the requested role.
            let config = PoolConfig { timeouts, queue_mode: QueueMode::Lifo, ..PoolConfig::new(count) };
            let pool = Pool::builder(maker).config(config).runtime(deadpool::Runtime::Tokio1).build();
            pool.map_err(|error| DbError::Closed(error.to_string()))
        };
        let connect = connect_options(options)?;
        let (readers, writers) = split(options.connections_max);
        let writers = build(connect.clone(), writers)?;
        let read_only = connect.options([("default_transaction_read_only", "on")]);
        let readers = if options.connections_max < 2 { None } else { Some(build(read_only, readers)?) };
        Ok(Links { writers, readers, health, runtime: Handle::current() })
    }

    /// Returns the runtime that drives the connections.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Lends a connection exclusively.
    pub(super) async fn lend(&self, purpose: Purpose) -> Result<Lent, DbError> {
        self.health.check()?;
        let pool = match (&self.readers, purpose) {
            (Some(readers), Purpose::Read) => readers,
            _ => &self.writers,
        };
        match pool.get().await {
            Ok(object) => Ok(Lent { object: Some(object), links: self.clone() }),
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                DATABASE.busy.add_one();
                Err(DbError::Busy)
            }
            Err(PoolError::Closed) => Err(DbError::Closed("it was shut down".to_owned())),
            Err(PoolError::Backend(error)) => {
                self.health.doubt();
                Err(errors::of_connecting(&error))
            }
            Err(other) => {
                self.health.doubt();
                Err(DbError::Unavailable(other.to_string()))
            }
        }
    }

    /// Cancels what an abandoned connection still runs on the server.
    pub(super) fn cancel(&self, backend: i32) {
        let links = self.clone();
        self.runtime.spawn(async move {
            if let Ok(mut lent) = links.lend(Purpose::Read).await {
                // An extension's role may not cancel statements of the host.
                if lent.role.is_some() && lent.engine("RESET ROLE").await.is_err() {
                    return;
                }
                lent.role = None;
                lent.is_busy = true;
                let cancel = sqlx::query("SELECT pg_cancel_backend($1)").bind(backend);
                match cancel.execute(&mut lent.connection).await {
                    Ok(_) => lent.is_busy = false,
                    Err(_) => lent.is_broken = true,
                }
            }
        });
    }

    /// Refuses every further call; connections are closed when they are returned.
    pub(super) fn close(&self) {
        self.writers.close();
        if let Some(readers) = &self.readers {
            readers.close();
        }
    }
}

/// Removes the brackets around an IPv6 address, which the driver would look up as part of a name.
fn without_brackets(options: PgConnectOptions) -> PgConnectOptions {
    let bare =
        options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    match bare {
        Some(address) => options.host(&address),
        None => options,
    }
}

/// Returns the options of all connections of the engine.
pub(super) fn connect_options(options: &PostgresOptions) -> Result<PgConnectOptions, DbError> {
    let no_url = |error: &dyn std::fmt::Display| {
        DbError::Closed(format!("database.url is no URL of a PostgreSQL server: {error}"))
    };
    let url: Url = options.url.reveal().parse().map_err(|error: url::ParseError| no_url(&error))?;
    let parsed: PgConnectOptions =
        options.url.reveal().parse().map_err(|error: sqlx::Error| no_url(&error))?;
    let secured = tls::checked(&url, without_brackets(parsed))?;
    // A statement that its caller abandoned is ended by the server as well, a little later.
    let statement_timeout = options.query_timeout.saturating_mul(2).as_millis().to_string();
    let mut settings = vec![
        ("statement_timeout", statement_timeout.as_str()),
        ("client_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
        // Suppresses notices that an object already exists.
        ("client_min_messages", "warning"),
    ];
    if options.durability == Durability::Normal {
        settings.push(("synchronous_commit", "off"));
    }
    Ok(secured
        .application_name("tinybase")
        .statement_cache_capacity(options.statement_cache_entries)
        .options(settings)
        .disable_statement_logging())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_called_without_its_brackets() {
        for (url, host) in [
            ("postgres://u@[::1]:5/d", "::1"),
            ("postgres://u@h:5/d", "h"),
            ("postgres://u@127.0.0.1/d", "127.0.0.1"),
        ] {
            let made = connect_options(&PostgresOptions::new(url)).unwrap();
            assert_eq!(made.get_host(), host, "{url}");
        }
    }
}
