//! One entry, as a statement of the batch that makes the change.

use serde_json::Value as Json;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{Actor, actions, change};

const INSERT: &str = "INSERT INTO tb_audit_log \
     (at, actor_kind, actor_id, actor_name, address, request_id, action, target_kind, target_id, change) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// What was done to which thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// What was done: one of [`super::ACTIONS`], or what an extension says.
    pub action: &'a str,
    /// What kind of thing it was done to: `user`, `settings`.
    pub target_kind: &'a str,
    /// Which: an id or a name.
    pub target_id: &'a str,
    /// The change: an object of field → `{"from", "to"}`, see [`super::changed`]; never with a secret in it.
    /// What is longer than [`super::CHANGE_BYTES_MAX`] is cut.
    pub change: Json,
}

/// Adds an entry to the batch that makes the change, so that neither is there without the other.
pub fn push(batch: &mut BatchWriter, actor: &Actor, entry: &Entry<'_>) {
    debug_assert!(actions::is_known(entry.action), "{} is not among audit::ACTIONS: add it", entry.action);
    write(batch, actor, entry.action, entry);
}

/// As [`push`], for an entry of an extension: its name stands before the action.
pub fn push_of_extension(batch: &mut BatchWriter, actor: &Actor, extension: &str, entry: &Entry<'_>) {
    write(batch, actor, &format!("{extension}.{}", entry.action), entry);
}

fn write(batch: &mut BatchWriter, actor: &Actor, action: &str, entry: &Entry<'_>) {
    fn or_null(text: &Option<String>) -> ValueRef<'_> {
        text.as_deref().map_or(ValueRef::Null, ValueRef::Text)
    }
    let change = change::written(&entry.change);
    let params = [
        ValueRef::Now,
        ValueRef::Text(actor.kind.name()),
        or_null(&actor.id),
        ValueRef::Text(&actor.name),
        or_null(&actor.address),
        or_null(&actor.request_id),
        ValueRef::Text(action),
        ValueRef::Text(entry.target_kind),
        ValueRef::Text(entry.target_id),
        ValueRef::Text(&change),
    ];
    batch.push(INSERT, params, Expect::Exactly(1));
}
