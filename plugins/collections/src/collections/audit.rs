//! The audit log's entry for a change of a collection: the label, options and fields that differ, never the whole
//! schema twice.

use serde_json::{Map, Value, json};
use tinybase_plugin_api::{Request, Result, audit::Entry, database::Batch};

use crate::{catalog::Collection, plugin::Collections, schema::Schema};

/// A collection in the form of the audit log: `label`, `options.access`, `fields.title`.
#[derive(Debug, Default)]
pub(super) struct Audited(Map<String, Value>);

impl Audited {
    /// Creates it from a stored collection.
    pub(super) fn of(collection: &Collection) -> Audited {
        let answer: Value = serde_json::from_str(&collection.answer).unwrap_or_default();
        Audited::new(&answer["label"], &answer["schema"], &answer["options"])
    }

    /// Creates it from values that are about to be stored.
    pub(super) fn of_parts(label: &str, schema: &str, options: &str) -> Audited {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        Audited::new(&label.into(), &parse(schema), &parse(options))
    }

    fn new(label: &Value, schema: &Value, options: &Value) -> Audited {
        let mut members = Map::new();
        members.insert("label".to_owned(), label.clone());
        let options = options.as_object().into_iter().flatten();
        members.extend(options.map(|(name, value)| (format!("options.{name}"), value.clone())));
        for field in schema["fields"].as_array().into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default();
            members.insert(format!("fields.{name}"), field.clone());
        }
        Audited(members)
    }

    /// Renames the fields to their names in `next`.
    pub(super) fn renamed(mut self, next: &Schema) -> Audited {
        let renamed =
            next.fields().iter().filter_map(|field| Some((&field.name, field.renamed_from.as_ref()?)));
        // Remove all before inserting any: two fields may swap their names.
        let moved: Vec<_> =
            renamed.filter_map(|(to, from)| Some((to, self.0.remove(&format!("fields.{from}"))?))).collect();
        self.0.extend(moved.into_iter().map(|(to, field)| (format!("fields.{to}"), field)));
        self
    }

    /// Returns the differences, each with `from` and `to`.
    fn changed(&self, after: &Audited) -> Value {
        let (before, after) = (&self.0, &after.0);
        let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
        let of = |side: &Map<String, Value>, name: &str| side.get(name).cloned().unwrap_or_default();
        let differ = names.filter_map(|name| {
            let (from, to) = (of(before, name), of(after, name));
            (from != to).then(|| (name.clone(), json!({"from": from, "to": to})))
        });
        Value::Object(differ.collect())
    }
}

/// Adds the entry of a change to the batch that makes the change. The actor is the caller of `request`, or without one
/// the user who runs the command.
pub(super) async fn push(
    plugin: &Collections,
    batch: &mut Batch,
    request: Option<&Request>,
    (action, name): (&str, &str),
    (before, after): (&Audited, &Audited),
) -> Result<()> {
    let mut entry = Entry::new(action, "collection", name).with_change(before.changed(after));
    if let Some(request) = request {
        entry = entry.by(request);
    }
    batch.append(plugin.audit.entry(&entry).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn only_what_differs_is_told_and_a_renamed_field_once() {
        let before = r#"{"fields":[{"name":"a","type":"string"},{"name":"b","type":"integer"},{"name":"c","type":"date"}]}"#;
        let after = r#"{"fields":[{"name":"b","type":"integer"},{"name":"x","type":"string"},{"name":"n","type":"date"}]}"#;
        let next = r#"{"fields":[{"name":"b","type":"integer"},{"name":"x","type":"string","renamed_from":"a"},
            {"name":"n","type":"date"}]}"#;
        let next = Schema::parse(&Json::parse(next).unwrap()).unwrap();
        let was = Audited::of_parts("Old", before, r#"{"access":{"list":"public"}}"#).renamed(&next);
        let is = Audited::of_parts("New", after, "{}");
        let expected = json!({
            "label": {"from": "Old", "to": "New"},
            "options.access": {"from": {"list": "public"}, "to": null},
            "fields.c": {"from": {"name": "c", "type": "date"}, "to": null},
            "fields.x": {"from": {"name": "a", "type": "string"}, "to": {"name": "x", "type": "string"}},
            "fields.n": {"from": null, "to": {"name": "n", "type": "date"}},
        });
        assert_eq!(was.changed(&is), expected);
    }
}
