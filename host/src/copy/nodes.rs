//! Whether a server works on a database that is to be copied: what changes meanwhile would be missing in the copy. It looks
//! at the table of nodes alone.

use std::sync::Arc;

use super::{CopyError, side::Side, tables};
use crate::{config, nodes::Nodes, sql::HostSql};

/// Refuses a database that a node serves.
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
