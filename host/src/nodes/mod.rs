//! The nodes that serve one database: each sends heartbeats, and knows how many there are. It never decides what
//! follows from that, and talks to other nodes only through the database.

mod key_consistency;
mod routes;
mod statements;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tokio::task::JoinHandle;

use crate::{
    config,
    db::{DbError, Engine, ExtensionRights},
    sql::{HostSql, Row, integer, text},
};

pub use key_consistency::{KeyConsistency, KeyFault, KeyName, KnownKey};
pub use routes::routes;

use statements::Statements;

/// The minimum number of heartbeats in the time after which a node counts as stopped.
const HEARTBEATS_MISSED_MIN: u64 = 3;

/// This node, as one of the nodes of a database.
#[derive(Debug)]
pub struct Nodes {
    sql: HostSql,
    statements: Statements,
    id: Arc<str>,
    name: String,
    heartbeat: Duration,
    /// In milliseconds.
    timeout_ms: i64,
    /// Set once it has joined.
    joined: OnceLock<Joined>,
    alive: NodeCount,
}

/// The number of nodes that serve the database as far as this one knows, including itself: never 0. Clones share one
/// value.
#[derive(Debug, Clone)]
pub struct NodeCount(Arc<AtomicUsize>);

impl NodeCount {
    /// Returns a count with this initial value.
    pub fn of(count: usize) -> NodeCount {
        NodeCount(Arc::new(AtomicUsize::new(count.max(1))))
    }

    /// Returns the current number.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the number; returns the previous one.
    fn set(&self, count: usize) -> usize {
        self.0.swap(count.max(1), Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Joined {
    name: String,
    address: String,
    started_at: String,
}

/// A node, as shown to an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// The id, a new one at each start.
    pub id: String,
    /// The name that the operator chose.
    pub name: String,
    /// The address that it listens on.
    pub address: String,
    /// The version of the program.
    pub version: String,
    /// When it started (RFC 3339).
    pub started_at: String,
    /// The time of its last heartbeat (RFC 3339).
    pub seen_at: String,
    /// Its uptime at that time, in seconds.
    pub uptime_seconds: u64,
    /// Whether it is the node that returns this list.
    pub is_self: bool,
}

impl Nodes {
    /// Creates a node that is about to serve; it counts as alone until it has joined.
    pub fn new(sql: HostSql, config: &config::Node) -> Nodes {
        let timeout_ms = config.timeout_ms.max(config.heartbeat_ms * HEARTBEATS_MISSED_MIN);
        Nodes {
            statements: Statements::of(sql.database().engine()),
            sql,
            id: uuid::Uuid::now_v7().to_string().into(),
            name: config.name.clone(),
            heartbeat: Duration::from_millis(config.heartbeat_ms),
            timeout_ms: timeout_ms.try_into().unwrap_or(i64::MAX),
            joined: OnceLock::new(),
            alive: NodeCount::of(1),
        }
    }

    /// Returns this node's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Returns the number of nodes that serve the database.
    pub fn alive(&self) -> &NodeCount {
        &self.alive
    }

    /// Returns all nodes that serve the database, longest-serving first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self) -> Result<Vec<Node>, DbError> {
        let rows = self.sql.rows(&self.statements.list, &[ValueRef::Integer(self.timeout_ms)]).await?;
        Ok(rows.iter().map(|row| self.read(row)).collect())
    }

    /// Announces that this node serves at `address`, and sends heartbeats until [`Membership::leave`]. Must be called
    /// once, within the runtime.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn join(self: Arc<Nodes>, address: SocketAddr) -> Result<Membership, DbError> {
        let name = if self.name.is_empty() { default_name(address) } else { self.name.clone() };
        let mut joined = Joined { name, address: address.to_string(), started_at: String::new() };
        if self.sql.database().engine() == Engine::Sqlite {
            // Any other listed node served this file before, and did not shut down cleanly.
            self.apply(&self.statements.forget_others, &[ValueRef::Text(&self.id)]).await?;
        }
        joined.started_at = self.say(&joined, ValueRef::Null).await?;
        let joined = self.joined.get_or_init(|| joined);
        tracing::info!(node = &*self.id, name = joined.name, "joined the nodes of this database");
        self.count().await?;
        let beats = (!self.is_alone()).then(|| tokio::spawn(Arc::clone(&self).beat()));
        Ok(Membership { nodes: self, beats })
    }

    /// Whether there can be no other node: only one process serves an SQLite file, so heartbeats are unnecessary.
    fn is_alone(&self) -> bool {
        self.sql.database().engine() == Engine::Sqlite
    }

    async fn beat(self: Arc<Nodes>) {
        let mut clock = tokio::time::interval(self.heartbeat);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            clock.tick().await;
            match self.renew().await {
                Ok(()) => failed = false,
                Err(error) if failed => tracing::debug!(%error, "the other nodes still cannot be notified"),
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "the other nodes could not be notified that this one is there");
                }
            }
        }
    }

    async fn renew(&self) -> Result<(), DbError> {
        let Some(joined) = self.joined.get() else { return Ok(()) };
        self.say(joined, ValueRef::Text(&joined.started_at)).await?;
        self.count().await
    }

    /// Sends a heartbeat. Returns the time since which the node serves.
    async fn say(&self, joined: &Joined, started_at: ValueRef<'_>) -> Result<String, DbError> {
        let version = ValueRef::Text(env!("CARGO_PKG_VERSION"));
        let (name, address) = (ValueRef::Text(&joined.name), ValueRef::Text(&joined.address));
        let params = [ValueRef::Text(&self.id), name, address, version, started_at];
        let rows = self.apply(&self.statements.say, &params).await?;
        Ok(rows.first().map(|row| text(row, 0)).unwrap_or_default())
    }

    /// Counts the nodes, and deletes those that have stopped.
    async fn count(&self) -> Result<(), DbError> {
        let timeout = [ValueRef::Integer(self.timeout_ms)];
        let row = self.sql.row(&self.statements.count, &timeout).await?.unwrap_or_default();
        let (listed, stopped) = (integer(&row, 0), integer(&row, 1));
        let alive = usize::try_from(listed - stopped).unwrap_or(1).max(1);
        let before = self.alive.set(alive);
        if before != alive {
            tracing::info!(before, alive, "the number of nodes changed");
        }
        if stopped > 0 && !self.is_alone() {
            self.apply(&self.statements.forget_stopped, &timeout).await?;
        }
        Ok(())
    }

    /// Returns the mechanism that restricts extensions' statements to their own tables.
    pub fn extension_rights(&self) -> ExtensionRights {
        self.sql.database().extension_rights()
    }

    async fn apply(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Vec<Row>, DbError> {
        let mut batch = BatchWriter::default();
        batch.push(sql, params.iter().copied(), Expect::Any);
        Ok(self.sql.apply(batch).await?.rows.into_iter().next().unwrap_or_default())
    }

    fn read(&self, row: &Row) -> Node {
        let id = text(row, 0);
        let (started_at, seen_at) = (text(row, 4), text(row, 5));
        Node {
            name: text(row, 1),
            address: text(row, 2),
            version: text(row, 3),
            uptime_seconds: seconds_between(&started_at, &seen_at),
            is_self: *id == *self.id,
            id,
            started_at,
            seen_at,
        }
    }
}

/// A node that has joined.
#[derive(Debug)]
pub struct Membership {
    nodes: Arc<Nodes>,
    beats: Option<JoinHandle<()>>,
}

impl Membership {
    /// Announces that this node stops. If that fails, the others notice the missing heartbeats.
    pub async fn leave(mut self) {
        if let Some(beats) = self.beats.take() {
            beats.abort();
            // A pending heartbeat must not be written after the announcement.
            let _ = beats.await;
        }
        let nodes = &self.nodes;
        if let Err(error) = nodes.apply(&nodes.statements.leave, &[ValueRef::Text(&nodes.id)]).await {
            tracing::warn!(%error, "the other nodes could not be notified that this one ends");
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.beats.iter().for_each(JoinHandle::abort);
    }
}

fn default_name(address: SocketAddr) -> String {
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), address.port())
}

fn seconds_between(from: &str, to: &str) -> u64 {
    let (Ok(from), Ok(to)) = (from.parse::<Timestamp>(), to.parse::<Timestamp>()) else { return 0 };
    to.duration_since(from).as_secs().try_into().unwrap_or(0)
}
