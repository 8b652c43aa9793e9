//! Detects changes by other nodes: it listens for notifications, and polls the number of changes in case one was lost.
//! It also monitors the server, and decides whether the server is down, and since when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use sqlx::{
    Row,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};

use super::{PostgresOptions, clock::Clock, health::Health};

/// The notification channel, which is named as the table.
const CHANNEL: &str = "tb_changes";
const READ: &str =
    "SELECT version, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM tb_changes";
/// The SQLSTATE of a missing table: it does not exist before the first migration.
const UNDEFINED_TABLE: &str = "42P01";
/// Numbers from here on are no versions: they mean that the version is unknown.
const UNKNOWN: u64 = 1 << 63;

/// The number of changes as far as it is known.
#[derive(Debug)]
pub(super) struct Changes {
    started: Instant,
    version: AtomicU64,
    /// When the last successful query of the version was sent, in milliseconds since `started`.
    looked_at: AtomicU64,
    unknown: AtomicU64,
    age_max: Duration,
}

impl Changes {
    pub(super) fn new(age_max: Duration) -> Changes {
        Changes {
            started: Instant::now(),
            version: AtomicU64::new(0),
            looked_at: AtomicU64::new(0),
            unknown: AtomicU64::new(UNKNOWN),
            age_max,
        }
    }

    /// Returns the number of changes; a different one at each call if the last query is too long ago.
    pub(super) fn number(&self) -> u64 {
        let looked_at = Duration::from_millis(self.looked_at.load(Ordering::Acquire));
        if self.started.elapsed().saturating_sub(looked_at) > self.age_max {
            return self.unknown.fetch_add(1, Ordering::Relaxed);
        }
        self.version.load(Ordering::Acquire)
    }

    /// Stores the version that was requested at `asked`.
    fn note(&self, version: i64, asked: Instant) {
        self.version.store(version.cast_unsigned(), Ordering::Release);
        let at = asked.saturating_duration_since(self.started).as_millis();
        self.looked_at.store(u64::try_from(at).unwrap_or(u64::MAX), Ordering::Release);
    }
}

/// Monitors the server for one process.
pub(super) struct Watcher {
    pub(super) connect: PgConnectOptions,
    pub(super) changes: Arc<Changes>,
    pub(super) health: Arc<Health>,
    pub(super) clock: Arc<Clock>,
    pub(super) connect_timeout: Duration,
    pub(super) poll_interval: Duration,
    pub(super) reconnect_delay: (Duration, Duration),
}

impl Watcher {
    pub(super) fn new(
        options: &PostgresOptions,
        connect: PgConnectOptions,
        parts: (Arc<Changes>, Arc<Health>, Arc<Clock>),
    ) -> Watcher {
        let (changes, health, clock) = parts;
        Watcher {
            connect,
            changes,
            health,
            clock,
            connect_timeout: options.connect_timeout,
            poll_interval: options.change_poll_interval,
            reconnect_delay: options.reconnect_delay,
        }
    }

    /// Opens a connection that listens, and reads the version.
    pub(super) async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.connect_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.connect.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        self.look(&mut listener).await?;
        Ok(listener)
    }

    /// Watches until the process ends, and reconnects whenever the connection is lost.
    pub(super) async fn run(self, first: PgListener) {
        let mut listener = Some(first);
        let (delay_min, delay_max) = self.reconnect_delay;
        let mut delay = delay_min;
        loop {
            let cause = match &mut listener {
                Some(listening) => self.watch(listening).await,
                None => match self.listen().await {
                    Ok(listening) => {
                        self.health.set_up();
                        delay = delay_min;
                        listener = Some(listening);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            listener = None;
            self.health.set_down(&cause);
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(delay_max);
        }
    }

    /// Reads the version after each notification, after each doubt, and at an interval. Returns when that fails.
    async fn watch(&self, listener: &mut PgListener) -> sqlx::Error {
        loop {
            tokio::select! {
                told = listener.try_recv() => match told {
                    Ok(Some(_)) => {}
                    Ok(None) => return sqlx::Error::Protocol("the connection that listens was lost".to_owned()),
                    Err(error) => return error,
                },
                () = self.health.doubted() => {}
                () = tokio::time::sleep(self.poll_interval) => {}
            }
            // Of many queued notifications, only the last version matters.
            while listener.next_buffered().is_some() {}
            if let Err(error) = self.look(listener).await {
                return error;
            }
        }
    }

    async fn look(&self, listener: &mut PgListener) -> Result<(), sqlx::Error> {
        let (asked, asked_at) = (Instant::now(), Timestamp::now());
        let read = tokio::time::timeout(self.connect_timeout, sqlx::query(READ).fetch_one(&mut *listener));
        match read.await {
            Ok(Ok(row)) => {
                self.clock.set(row.try_get(1)?, asked_at, Timestamp::now());
                self.changes.note(row.try_get(0)?, asked);
                Ok(())
            }
            Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some(UNDEFINED_TABLE) => {
                self.changes.note(0, asked);
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }
}
