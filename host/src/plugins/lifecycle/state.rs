//! What is installed, and its state on each node: reported by each node for itself, and read by operators.
//! Changes nothing that is installed.

use serde::Serialize;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::change::ChangeError;
use crate::{
    db::DbError,
    plugins::{Plugins, process::Failure, store::Installed, switch_off},
    sql::{optional_text, text},
};

/// How long the report of a node that is not listed is kept, in seconds. A node reports before it joins.
const UNLISTED_SECONDS: i64 = 60;

const READ: &str =
    "SELECT node, name, hash, state, code, message, reported_at FROM tb_extension_nodes ORDER BY node, name";
const FORGET: &str = "DELETE FROM tb_extension_nodes WHERE node = ?1 \
     OR (reported_at < ?2 AND node NOT IN (SELECT id FROM tb_nodes))";
const WRITE: &str = "INSERT INTO tb_extension_nodes (node, name, hash, state, code, message, reported_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// An installed extension and its state on each node.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtensionState {
    /// The installed extension.
    pub installed: Installed,
    /// Its state on each serving node; empty if it should not be loaded or nobody serves.
    pub nodes: Vec<NodeState>,
}

/// The state of an extension on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeState {
    /// The node's id.
    pub node: String,
    /// The node's name.
    pub node_name: String,
    /// The hash of the package that runs there or fails to start.
    pub hash: String,
    /// `running` or `failed`.
    pub state: String,
    /// A stable code: why it failed or, if it runs, a warning. Warnings are `threads_blocked` if it blocks
    /// threads, `plugin_stuck` if one of its versions occupies a thread, and `server_crashed` if it took the
    /// server down before.
    pub code: Option<String>,
    /// The code in words.
    pub message: Option<String>,
    /// When the node reported this (RFC 3339).
    pub reported_at: String,
}

impl Plugins {
    /// Returns the installed extensions in order of installation, with their state on each serving node.
    ///
    /// # Errors
    /// Database errors.
    pub async fn state(&self) -> Result<Vec<ExtensionState>, ChangeError> {
        let nodes = self.nodes.list().await?;
        let mut states = Vec::new();
        for row in self.store.rows(READ, &[]).await? {
            let Some(node) = nodes.iter().find(|node| node.id == text(&row, 0)) else { continue };
            let state = NodeState {
                node: node.id.clone(),
                node_name: node.name.clone(),
                hash: text(&row, 2),
                state: text(&row, 3),
                code: optional_text(&row, 4),
                message: optional_text(&row, 5),
                reported_at: text(&row, 6),
            };
            states.push((text(&row, 1), state));
        }
        let installed = self.store.all().await?.into_iter();
        let of =
            |name: &str| states.iter().filter(|(of, _)| of == name).map(|(_, state)| state.clone()).collect();
        Ok(installed.map(|installed| ExtensionState { nodes: of(&installed.name), installed }).collect())
    }

    /// Reports which extensions run here and which do not.
    pub(in crate::plugins) async fn report_state(&self) -> Result<(), DbError> {
        let mut batch = BatchWriter::default();
        let (node, long_ago) = (self.nodes.id(), self.store.sql().time_from_now(-UNLISTED_SECONDS));
        batch.push(FORGET, [ValueRef::Text(node), ValueRef::Text(&long_ago)], Expect::Any);
        let mut push = |line: &Line| {
            let params = [
                ValueRef::Text(node),
                ValueRef::Text(&line.name),
                ValueRef::Text(&line.hash),
                ValueRef::Text(if line.is_failed { "failed" } else { "running" }),
                line.error.as_ref().map_or(ValueRef::Null, |error| ValueRef::Text(&error.code)),
                line.error.as_ref().map_or(ValueRef::Null, |error| ValueRef::Text(&error.message)),
                ValueRef::Now,
            ];
            batch.push(WRITE, params, Expect::Exactly(1));
        };
        self.lines().iter().for_each(&mut push);
        self.store.apply(batch).await
    }

    /// Returns what [`Plugins::report_state`] would report, for comparison with the last report.
    pub(in crate::plugins) fn what_runs(&self) -> Vec<String> {
        self.lines().iter().map(|line| format!("{line:?}")).collect()
    }

    fn lines(&self) -> Vec<Line> {
        let (failed, stuck) = (self.process.failures(), self.shared.stuck.lock().clone());
        let of_failed = |(name, failure): (&String, &Failure)| Line {
            name: name.clone(),
            hash: failure.hash.clone(),
            is_failed: true,
            error: Some(failure.error.clone()),
        };
        let mut lines: Vec<Line> = failed.iter().map(of_failed).collect();
        let current = self.shared.current.load();
        for active in current.active_plugins.iter().filter(|active| !failed.contains_key(active.name())) {
            // It runs, but an earlier version of it occupies a thread.
            let error = stuck.get(active.name()).map(|told| ChangeError::new("plugin_stuck", told));
            let error = error.or_else(|| switch_off::blocking(active));
            let error = error.or_else(|| self.crashed(active.name()));
            let (name, hash) = (active.name().to_owned(), active.hash().to_owned());
            lines.push(Line { name, hash, is_failed: false, error });
        }
        lines
    }
}

/// The report of a node on one extension.
#[derive(Debug)]
struct Line {
    name: String,
    hash: String,
    is_failed: bool,
    error: Option<ChangeError>,
}
