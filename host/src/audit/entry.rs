//! One entry, as a statement of the batch that makes the change.

use serde_json::{Map, Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::Actor;

const INSERT: &str = "INSERT INTO tb_audit_log \
     (at, actor_kind, actor_id, actor_name, address, request_id, action, target_kind, target_id, change) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

/// What was done to which thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// What was done: `user.update`, `settings.update`, `collection.create`.
    pub action: &'a str,
    /// What kind of thing it was done to: `user`, `settings`, `collection`.
    pub target_kind: &'a str,
    /// Which: an id or a name.
    pub target_id: &'a str,
    /// The change: an object of field → `{"from", "to"}`, see [`changed`]; never with a secret in it.
    pub change: Json,
}

/// The fields that differ between two objects, each with `from` and `to`; `null` stands for a field that is not there.
pub fn changed(before: &Map<String, Json>, after: &Map<String, Json>) -> Json {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let value = |side: &Map<String, Json>, name: &str| side.get(name).cloned().unwrap_or(Json::Null);
    let differ = names.filter_map(|name| {
        let (from, to) = (value(before, name), value(after, name));
        (from != to).then(|| (name.clone(), json!({"from": from, "to": to})))
    });
    Json::Object(differ.collect())
}

/// Adds an entry to the batch that makes the change, so that neither is there without the other.
pub fn push(batch: &mut BatchWriter, actor: &Actor, entry: &Entry<'_>) {
    fn or_null(text: &Option<String>) -> ValueRef<'_> {
        text.as_deref().map_or(ValueRef::Null, ValueRef::Text)
    }
    let change = entry.change.to_string();
    let params = [
        ValueRef::Now,
        ValueRef::Text(actor.kind.name()),
        or_null(&actor.id),
        ValueRef::Text(&actor.name),
        or_null(&actor.address),
        or_null(&actor.request_id),
        ValueRef::Text(entry.action),
        ValueRef::Text(entry.target_kind),
        ValueRef::Text(entry.target_id),
        ValueRef::Text(&change),
    ];
    batch.push(INSERT, params, Expect::Exactly(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let object = |value: Json| value.as_object().unwrap().clone();
        let before = object(json!({"role": "user", "email": "a@b.c", "gone": 1}));
        let after = object(json!({"role": "admin", "email": "a@b.c", "new": [2]}));
        let expected = json!({
            "role": {"from": "user", "to": "admin"},
            "gone": {"from": 1, "to": null},
            "new": {"from": null, "to": [2]},
        });
        assert_eq!(changed(&before, &after), expected);
    }
}
