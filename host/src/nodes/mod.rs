//! The nodes that serve one database: each says that it is there, and knows how many there are. It never decides what
//! follows from that, and never talks to another node but through the database.

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

/// How many heartbeats may be missed at least before a node counts as stopped.
const HEARTBEATS_MISSED_MIN: u64 = 3;

/// This node among the others.
#[derive(Debug)]
pub struct Nodes {
    sql: HostSql,
    statements: Statements,
    id: Arc<str>,
    name: String,
    heartbeat: Duration,
    /// In milliseconds.
    timeout_ms: i64,
    /// Known once it has joined.
    joined: OnceLock<Joined>,
    alive: NodeCount,
}

/// How many nodes serve the database as far as this one knows, itself among them: never 0. Copies go together.
#[derive(Debug, Clone)]
pub struct NodeCount(Arc<AtomicUsize>);

impl NodeCount {
    /// So many, until it is known better.
    pub fn of(count: usize) -> NodeCount {
        NodeCount(Arc::new(AtomicUsize::new(count.max(1))))
    }

    /// How many now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it; answers how many there were before.
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

/// A node as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its id, a new one at each start.
    pub id: String,
    /// What the operator calls it.
    pub name: String,
    /// The address that it listens on.
    pub address: String,
    /// The version of the program.
    pub version: String,
    /// When it started (RFC 3339).
    pub started_at: String,
    /// When it last said that it is there (RFC 3339).
    pub seen_at: String,
    /// How long it had served by then, in seconds.
    pub uptime_seconds: u64,
    /// Whether it is the one that answers.
    pub is_self: bool,
}

impl Nodes {
    /// A node that is about to serve; alone, as long as it has not joined.
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

    /// This node's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How many nodes serve the database.
    pub fn alive(&self) -> &NodeCount {
        &self.alive
    }

    /// Every node that serves the database, the longest-serving first.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn list(&self) -> Result<Vec<Node>, DbError> {
        let rows = self.sql.rows(&self.statements.list, &[ValueRef::Integer(self.timeout_ms)]).await?;
        Ok(rows.iter().map(|row| self.read(row)).collect())
    }

    /// Says that this node serves at `address` from now on, and goes on saying so until [`Membership::leave`]. To be called
    /// once, within the runtime.
    ///
    /// # Errors
    /// What the database answers.
    pub async fn join(self: Arc<Nodes>, address: SocketAddr) -> Result<Membership, DbError> {
        let name = if self.name.is_empty() { default_name(address) } else { self.name.clone() };
        let mut joined = Joined { name, address: address.to_string(), started_at: String::new() };
        if self.sql.database().engine() == Engine::Sqlite {
            // Whoever else is listed served this file before, and did not end in order.
            self.apply(&self.statements.forget_others, &[ValueRef::Text(&self.id)]).await?;
        }
        joined.started_at = self.say(&joined, ValueRef::Null).await?;
        let joined = self.joined.get_or_init(|| joined);
        tracing::info!(node = &*self.id, name = joined.name, "joined the nodes of this database");
        self.count().await?;
        let beats = (!self.is_alone()).then(|| tokio::spawn(Arc::clone(&self).beat()));
        Ok(Membership { nodes: self, beats })
    }

    /// Whether there can be no other: an SQLite file is served by one process, which need not tell itself that it is there.
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

    /// Answers the time since which the node serves.
    async fn say(&self, joined: &Joined, started_at: ValueRef<'_>) -> Result<String, DbError> {
        let version = ValueRef::Text(env!("CARGO_PKG_VERSION"));
        let (name, address) = (ValueRef::Text(&joined.name), ValueRef::Text(&joined.address));
        let params = [ValueRef::Text(&self.id), name, address, version, started_at];
        let rows = self.apply(&self.statements.say, &params).await?;
        Ok(rows.first().map(|row| text(row, 0)).unwrap_or_default())
    }

    /// Counts the nodes, and forgets those that have stopped.
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

    /// What keeps extensions' statements to their own tables.
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
    /// Says that this node ends. Where that cannot be announced, the others learn it by its silence.
    pub async fn leave(mut self) {
        if let Some(beats) = self.beats.take() {
            beats.abort();
            // A beat that is under way must not come after the farewell.
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
