//! Checks whether a server is running on a database that is to be copied: its changes would be missing in the copy. It
//! only reads the table of nodes.

use std::sync::Arc;

use super::{CopyError, side::Side, tables};
use crate::{config, nodes::Nodes, sql::HostSql};

/// Refuses a database that a running node uses.
///
/// # Errors
/// [`CopyError::Served`], and those of the query.
pub async fn refuse_served(side: &Side, name: &'static str, config: &config::Node) -> Result<(), CopyError> {
    if !tables::exists(side, "tb_nodes").await? {
        return Ok(());
    }
    let nodes = Nodes::new(HostSql::new(Arc::clone(side.database())), config);
    match nodes.list().await?.into_iter().next() {
        None => Ok(()),
        Some(node) => Err(CopyError::Served { side: name, node: node.name, address: node.address }),
    }
}
