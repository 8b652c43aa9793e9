//! A collection's fields as JSON Schema: for the data of records in responses, in new records and in changes. It
//! promises no more than validation ensures.

use serde_json::{Map, Value as Json, json};

use crate::{
    catalog::Collection,
    schema::{Bound, Field, Item, Kind, UnknownFields},
};

/// Returns the schema of a record's data in responses. Nothing is required, since `fields` selects members.
pub(super) fn answered(collection: &Collection) -> Json {
    json!({"type": "object", "properties": properties(collection)})
}

/// Returns the schema of a new record's data.
pub(super) fn given(collection: &Collection) -> Json {
    let fields = collection.schema.fields().iter();
    let required: Vec<&str> = fields
        .filter(|field| field.required && field.default.is_none())
        .map(|field| field.name.as_str())
        .collect();
    let mut schema = changes(collection);
    schema["required"] = json!(required);
    schema
}

/// Returns the schema of fields that are merged into a record's data.
pub(super) fn changes(collection: &Collection) -> Json {
    let mut schema = answered(collection);
    if collection.options.unknown_fields == UnknownFields::Reject {
        schema["additionalProperties"] = false.into();
    }
    schema
}

fn properties(collection: &Collection) -> Map<String, Json> {
    let written: Json = serde_json::from_str(collection.schema.text()).unwrap_or_default();
    let fields = collection.schema.fields().iter().enumerate();
    let told = fields.map(|(at, field)| {
        let description = written["fields"][at]["description"].as_str().unwrap_or_default();
        (field.name.clone(), property(field, description))
    });
    told.collect()
}

fn property(field: &Field, description: &str) -> Json {
    let mut notes: Vec<String> =
        Some(description.to_owned()).filter(|text| !text.is_empty()).into_iter().collect();
    let mut schema = of_kind(field, &mut notes);
    if !field.required {
        or_null(&mut schema);
    }
    if field.unique {
        notes.push("No two records have the same.".to_owned());
    }
    let default: Option<Json> =
        field.default.as_deref().and_then(|default| serde_json::from_str(default).ok());
    // Only for plain values: in an object, a member named `$ref` would be interpreted as a reference of the document.
    if let Some(default) = default.filter(|default| !default.is_object() && !default.is_array()) {
        schema["default"] = default;
    }
    if !notes.is_empty() {
        schema["description"] = notes.join(" ").into();
    }
    schema
}

fn or_null(schema: &mut Json) {
    if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
    }
    if let Some(variants) = schema.get_mut("anyOf").and_then(Json::as_array_mut) {
        variants.push(json!({"type": "null"}));
    }
}

fn of_kind(field: &Field, notes: &mut Vec<String>) -> Json {
    match field.kind {
        Kind::Text => text(field, notes),
        Kind::Integer => bounded(field, json!({"type": "integer", "format": "int64"})),
        Kind::Number => bounded(field, json!({"type": "number"})),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Array(item) => array(field, item),
        Kind::Object => json!({"type": "object"}),
        Kind::Date => {
            for (bound, words) in [(&field.min, "Not before"), (&field.max, "Not after")] {
                notes.extend(bound.as_ref().map(|bound| format!("{words} {bound}.")));
            }
            json!({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]})
        }
        Kind::Reference => {
            let target = field.reference.as_ref().map(|reference| reference.collection.as_str());
            notes.extend(target.map(|target| format!("The id of one of `{target}`.")));
            json!({"type": "string", "format": "uuid"})
        }
    }
}

fn text(field: &Field, notes: &mut Vec<String>) -> Json {
    let mut schema = json!({"type": "string"});
    set(&mut schema, "minLength", field.min_length);
    set(&mut schema, "maxLength", field.max_length);
    if let Some(pattern) = &field.pattern {
        if is_common(pattern.as_str()) {
            schema["pattern"] = pattern.as_str().into();
        } else {
            notes.push(format!("It matches `{}`.", pattern.as_str()));
        }
    }
    schema
}

/// Returns whether a pattern means the same in all JSON Schema implementations: no flags, names or engine-specific
/// classes.
fn is_common(pattern: &str) -> bool {
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        let is_common = match character {
            '\\' => characters.next().is_some_and(|next| "dDwWsSbB.*+?()[]{}|^$/\\tnr".contains(next)),
            '(' if characters.next_if_eq(&'?').is_some() => characters.next() == Some(':'),
            '[' => characters.peek() != Some(&'[') && characters.peek() != Some(&']'),
            _ => true,
        };
        if !is_common {
            return false;
        }
    }
    !pattern.contains("[:")
}

fn array(field: &Field, item: Option<Item>) -> Json {
    let items = match item {
        // Any value; client generators need it explicitly.
        None => json!({}),
        Some(Item::Text) => json!({"type": "string"}),
        Some(Item::Integer) => json!({"type": "integer", "format": "int64"}),
        Some(Item::Number) => json!({"type": "number"}),
        Some(Item::Boolean) => json!({"type": "boolean"}),
    };
    let mut schema = json!({"type": "array", "items": items});
    set(&mut schema, "minItems", field.min_length);
    set(&mut schema, "maxItems", field.max_length);
    schema
}

fn bounded(field: &Field, mut schema: Json) -> Json {
    for (bound, name) in [(&field.min, "minimum"), (&field.max, "maximum")] {
        match bound {
            Some(Bound::Int(number)) => schema[name] = (*number).into(),
            Some(Bound::Float(number)) => schema[name] = (*number).into(),
            Some(Bound::Date(_)) | None => {}
        }
    }
    schema
}

fn set(schema: &mut Json, name: &str, value: Option<usize>) {
    if let Some(value) = value {
        schema[name] = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Meta;

    fn collection(fields: Json, options: Json) -> Collection {
        let text = |text: &str| text.to_owned();
        let meta = Meta {
            number: 1,
            id: text("01a20d46-2b8a-7403-a7e0-19117664eaf9"),
            name: text("things"),
            label: text("Things"),
            schema: json!({"fields": fields}).to_string(),
            options: options.to_string(),
            created_at: text("2026-01-01T00:00:00.000000Z"),
            updated_at: text("2026-01-01T00:00:00.000000Z"),
            revision: 1,
        };
        Collection::new(&meta, crate::dialect::Dialect::Sqlite).unwrap()
    }

    #[test]
    fn each_type_and_option_is_told() {
        let nullable = |kind: &str| json!([kind, "null"]);
        for (field, expected) in [
            (json!({"type": "string"}), json!({"type": nullable("string")})),
            (
                json!({"type": "string", "required": true, "min_length": 1, "max_length": 9, "pattern": "^[a-z]+$", "description": "A word."}),
                json!({"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[a-z]+$", "description": "A word."}),
            ),
            (
                json!({"type": "int", "min": -1, "max": 2.5, "default": 1}),
                json!({"type": nullable("integer"), "format": "int64", "minimum": -1, "maximum": 2.5, "default": 1}),
            ),
            (
                json!({"type": "number", "unique": true}),
                json!({"type": nullable("number"), "description": "No two records have the same."}),
            ),
            (json!({"type": "bool", "required": true}), json!({"type": "boolean"})),
            (
                json!({"type": "list[int]", "max_length": 3}),
                json!({"type": nullable("array"), "items": {"type": "integer", "format": "int64"}, "maxItems": 3}),
            ),
            (
                json!({"type": "array", "min_length": 1}),
                json!({"type": nullable("array"), "items": {}, "minItems": 1}),
            ),
            (json!({"type": "object"}), json!({"type": nullable("object")})),
            (json!({"type": "object", "default": {"$ref": "#"}}), json!({"type": nullable("object")})),
            (
                json!({"type": "date", "min": "2000-01-01"}),
                json!({
                    "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}, {"type": "null"}],
                    "description": "Not before 2000-01-01.",
                }),
            ),
            (
                json!({"type": "reference", "collection": "users"}),
                json!({"type": nullable("string"), "format": "uuid", "description": "The id of one of `users`."}),
            ),
        ] {
            let mut field = field;
            field["name"] = "f".into();
            let collection = collection(json!([field]), json!({}));
            assert_eq!(answered(&collection)["properties"]["f"], expected);
        }
    }

    #[test]
    fn what_must_be_given_is_required_and_what_is_not_known_is_refused() {
        let fields = json!([
            {"name": "title", "type": "string", "required": true},
            {"name": "state", "type": "string", "required": true, "default": "new"},
            {"name": "note", "type": "string"},
        ]);
        let strict = collection(fields.clone(), json!({}));
        assert_eq!(given(&strict)["required"], json!(["title"]));
        assert_eq!(given(&strict)["additionalProperties"], false);
        assert!(changes(&strict).get("required").is_none());
        assert!(answered(&strict).get("additionalProperties").is_none());
        let lenient = collection(fields, json!({"unknown_fields": "drop"}));
        assert!(given(&lenient).get("additionalProperties").is_none());
    }

    #[test]
    fn patterns_of_one_engine_alone_are_told_in_words() {
        for common in ["^[a-z]+$", r"^\d{4}-\d{2}$", "(?:a|b)+", r"^\S+@\S+\.\w+$"] {
            assert!(is_common(common), "{common}");
        }
        for other in ["(?i)abc", "(?P<year>.)", r"\Aabc\z", r"\x{41}", "[[:alpha:]]", r"a\-b"] {
            assert!(!is_common(other), "{other}");
        }
    }
}
