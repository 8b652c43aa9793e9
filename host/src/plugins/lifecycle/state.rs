//! What is installed, and what each node made of it: read for those who look, and written by each node for itself. It
//! changes nothing that is installed.

use serde::Serialize;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::change::ChangeError;
use crate::{
    db::DbError,
    plugins::{Plugins, store::Installed},
    sql::{optional_text, text},
};

/// For how long what a node said is kept once the node is not listed any more, in seconds: it says so before it joins.
const UNLISTED_SECONDS: i64 = 60;

const READ: &str =
    "SELECT node, name, hash, state, code, message, reported_at FROM tb_extension_nodes ORDER BY node, name";
const FORGET: &str = "DELETE FROM tb_extension_nodes WHERE node = ?1 \
     OR (reported_at < ?2 AND node NOT IN (SELECT id FROM tb_nodes))";
const WRITE: &str = "INSERT INTO tb_extension_nodes (node, name, hash, state, code, message, reported_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// An extension that is installed, and how it is on each node.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtensionState {
    /// What is installed.
    pub installed: Installed,
    /// What each node that serves says of it; none where it is not to be loaded, or nobody serves.
    pub nodes: Vec<NodeState>,
}

/// An extension on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeState {
    /// The node's id.
    pub node: String,
    /// The node's name.
    pub node_name: String,
    /// The hash of the package that runs there, or that does not start there.
    pub hash: String,
    /// `running` or `failed`.
    pub state: String,
    /// Why it failed, as a stable word.
    pub code: Option<String>,
    /// Why it failed.
    pub message: Option<String>,
    /// When the node said so (RFC 3339).
    pub reported_at: String,
}

impl Plugins {
    /// What is installed, in the order of installation, and what each node that serves made of it.
    ///
    /// # Errors
    /// What the database answers.
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

    /// Says what runs here and what does not, for those who look.
    pub(in crate::plugins) async fn tell_state(&self) -> Result<(), DbError> {
        let mut batch = BatchWriter::default();
        let (node, long_ago) = (self.nodes.id(), self.store.sql().time_from_now(-UNLISTED_SECONDS));
        batch.push(FORGET, [ValueRef::Text(node), ValueRef::Text(&long_ago)], Expect::Any);
        let mut push = |name: &str, hash: &str, error: Option<&ChangeError>| {
            let params = [
                ValueRef::Text(node),
                ValueRef::Text(name),
                ValueRef::Text(hash),
                ValueRef::Text(if error.is_some() { "failed" } else { "running" }),
                error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.code)),
                error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.message)),
                ValueRef::Now,
            ];
            batch.push(WRITE, params, Expect::Exactly(1));
        };
        let failed = self.process.failures();
        for (name, (hash, error)) in &failed {
            push(name, hash, Some(error));
        }
        for member in
            self.shared.current.load().members.iter().filter(|member| !failed.contains_key(member.name()))
        {
            push(member.name(), member.hash(), None);
        }
        self.store.apply(batch).await
    }
}
