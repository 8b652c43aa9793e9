//! The references that a response follows: `author,author.publisher` as a tree. It knows no collection.

use super::QueryFault;
use crate::{limits, schema::is_identifier};

/// A reference to follow, and the references to follow from its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandNode {
    /// The reference field's name.
    pub field: String,
    /// The references to follow from its target.
    pub below: Vec<ExpandNode>,
}

/// Parses an `expand` parameter.
pub fn parse(text: &str) -> Result<Vec<ExpandNode>, QueryFault> {
    let mut nodes = Vec::new();
    for (at, path) in text.split(',').map(str::trim).enumerate() {
        if at == limits::EXPAND_PATHS_MAX {
            return Err(fault(format!("has more than {} paths", limits::EXPAND_PATHS_MAX)));
        }
        if path.split('.').count() > limits::EXPAND_DEPTH_MAX {
            return Err(fault(format!("follows more than {} references in a row", limits::EXPAND_DEPTH_MAX)));
        }
        if !path.split('.').all(is_identifier) {
            return Err(fault("must name reference fields, as in author,author.publisher"));
        }
        let mut level = &mut nodes;
        for name in path.split('.') {
            level = descend(level, name);
        }
    }
    Ok(nodes)
}

fn descend<'a>(level: &'a mut Vec<ExpandNode>, name: &str) -> &'a mut Vec<ExpandNode> {
    let at = level.iter().position(|node| node.field == name).unwrap_or_else(|| {
        level.push(ExpandNode { field: name.to_owned(), below: Vec::new() });
        level.len() - 1
    });
    &mut level[at].below
}

fn fault(message: impl Into<String>) -> QueryFault {
    QueryFault::new("expand", "invalid_expand", message)
}
