//! The other nodes during a change. They fetch and probe the package before anything is changed, and apply
//! the change afterwards. Their reports are stored in `tb_extension_reports`. Nodes only communicate through
//! the database.

use std::time::Duration;

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tokio::time::Instant;

use super::{
    change::ChangeError,
    executor::ChangeExecutor,
    journal::{Entry, Step},
};
use crate::{
    db::{DbError, Engine},
    nodes::Node,
    plugins::{LoadError, Plugins, package::Package, probe, store},
    sql::{Row, is_null, text},
};

/// How often to check for reports of other nodes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

const REPORTS: &str =
    "SELECT node, code, message FROM tb_extension_reports WHERE change_id = ?1 AND step = ?2";
const REPORT: &str = "INSERT INTO tb_extension_reports (change_id, node, step, code, message) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT (change_id, node, step) DO UPDATE SET code = excluded.code, message = excluded.message";

impl ChangeExecutor<'_> {
    /// Waits until every other node has fetched and probed the package.
    pub(super) async fn prepare_others(&mut self) -> Result<(), ChangeError> {
        if self.others().await?.is_empty() {
            return Ok(());
        }
        self.step(Step::Prepared).await?;
        self.wait_for(Step::Prepared).await
    }

    /// Waits until every other node has applied the change.
    pub(super) async fn wait_for_others(&mut self) -> Result<(), ChangeError> {
        self.wait_for(Step::Swapped).await
    }

    /// Waits until everything that a change took out of service has ended, here and on every other node.
    pub(super) async fn wait_for_drained(&mut self) -> Result<(), ChangeError> {
        self.plugins.process.drained(&self.entry.name).await;
        self.wait_for(Step::Drained).await
    }

    async fn others(&self) -> Result<Vec<Node>, ChangeError> {
        if self.plugins.shared.database.engine() == Engine::Sqlite {
            return Ok(Vec::new());
        }
        let mut nodes = self.plugins.nodes.list().await?;
        nodes.retain(|node| !node.is_self);
        Ok(nodes)
    }

    async fn wait_for(&mut self, step: Step) -> Result<(), ChangeError> {
        let time_max = self.plugins.shared.limits.nodes_timeout;
        let deadline = Instant::now() + time_max;
        loop {
            let others = self.others().await?;
            if others.is_empty() {
                return Ok(());
            }
            let said = self.plugins.reports(&self.entry.id, step).await?;
            if let Some(row) = said.iter().find(|row| !is_null(row, 1)) {
                let node = others.iter().find(|node| node.id == text(row, 0));
                let node = node.map_or_else(|| text(row, 0), |node| node.name.clone());
                let message = format!("the node {node} cannot take it up: {}", text(row, 2));
                return Err(ChangeError { code: text(row, 1).into(), message });
            }
            let silent: Vec<&str> = others
                .iter()
                .filter(|node| !said.iter().any(|row| text(row, 0) == node.id))
                .map(|node| node.name.as_str())
                .collect();
            if silent.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (named, ms) = (silent.join(", "), time_max.as_millis());
                let told = format!("these nodes did not follow within {ms} ms: {named}; nothing was changed");
                return Err(ChangeError::new("nodes_not_ready", told));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Plugins {
    async fn reports(&self, change: &str, step: Step) -> Result<Vec<Row>, DbError> {
        self.store.rows(REPORTS, &[ValueRef::Text(change), ValueRef::Text(step.name())]).await
    }

    /// Reports to the node that carries out a change how a step went here.
    pub(in crate::plugins) async fn report(
        &self,
        change: &str,
        step: Step,
        outcome: &Result<(), ChangeError>,
    ) -> Result<(), DbError> {
        let error = outcome.as_ref().err();
        let params = [
            ValueRef::Text(change),
            ValueRef::Text(self.nodes.id()),
            ValueRef::Text(step.name()),
            error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.code)),
            error.map_or(ValueRef::Null, |error| ValueRef::Text(&error.message)),
        ];
        let mut batch = BatchWriter::default();
        batch.push(REPORT, params, Expect::Any);
        self.store.apply(batch).await
    }

    /// Fetches and probes the package of another node's change.
    pub(super) async fn prepare(&self, entry: &Entry) -> Result<(), ChangeError> {
        let (Some(version), Some(hash)) = (entry.to_version.clone(), entry.to_hash.clone()) else {
            return Ok(());
        };
        self.fetch(&entry.name, &version, &hash).await?;
        let folder = self.folder_of(&entry.name, &store::folder_name(&version, &hash));
        let limits = self.shared.limits.probe;
        let probed = tokio::task::spawn_blocking(move || {
            if Package::read(&folder)?.hash != hash {
                return Err(LoadError::FilesChanged);
            }
            probe::probe(&folder, limits)
        });
        Ok(probed.await.map_err(|error| LoadError::Panicked(error.to_string()))??)
    }
}
