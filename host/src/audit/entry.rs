//! One entry, as a statement in the batch that makes the change.

use serde_json::Value as Json;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{Actor, actions, change};

const INSERT: &str = "INSERT INTO tb_audit_log \
     (at, actor_kind, actor_id, actor_name, address, request_id, action, target_kind, target_id, change) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// An action and its target.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// The action: one of [`super::ACTIONS`], or one that an extension defines.
    pub action: &'a str,
    /// The kind of the target, such as `user` or `settings`.
    pub target_kind: &'a str,
    /// The target's id or name.
    pub target_id: &'a str,
    /// The change: an object of field → `{"from", "to"}`, see [`super::changed`]; never with a secret in it. A change
    /// longer than [`super::CHANGE_BYTES_MAX`] is truncated.
    pub change: Json,
}

/// Adds an entry to the batch that makes the change, so that neither exists without the other.
pub fn push(batch: &mut BatchWriter, actor: &Actor, entry: &Entry<'_>) {
    debug_assert!(actions::is_known(entry.action), "{} is not among audit::ACTIONS: add it", entry.action);
    write(batch, actor, entry.action, entry);
}

/// Adds an entry of an extension, as [`push`] does; the extension's name precedes the action.
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
