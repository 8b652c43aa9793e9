//! Adapts schemas for client generators. Generators send defaults that the client did not set, which overwrites stored
//! values in a change. They also treat an object without named fields as always empty. It never changes which values a
//! schema allows.

use serde_json::{Map, Value as Json};

/// The keywords whose value is one schema (`OF_ONE`), a list of schemas (`OF_LIST`), or an object of schemas by name
/// (`BY_NAME`).
const OF_ONE: [&str; 7] = ["items", "additionalProperties", "not", "if", "then", "else", "contains"];
const OF_LIST: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
const BY_NAME: [&str; 4] = ["properties", "patternProperties", "$defs", "dependentSchemas"];

/// Adapts every schema of an operation: those of its parameters, its body and its responses.
pub(super) fn adapt_operation(operation: &mut Json) {
    let parameters = operation.get_mut("parameters").and_then(Json::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        adapt_content(parameter);
        let Some(default) = parameter.get_mut("schema").and_then(adapt) else { continue };
        tell_default(parameter, &default);
    }
    if let Some(body) = operation.get_mut("requestBody") {
        adapt_content(body);
    }
    let answers = operation.get_mut("responses").and_then(Json::as_object_mut);
    for (_, answer) in answers.into_iter().flatten() {
        adapt_content(answer);
    }
}

/// Adapts all of these schemas.
pub(super) fn adapt_all(schemas: &mut Map<String, Json>) {
    schemas.iter_mut().for_each(|(_, schema)| adapt_and_tell(schema));
}

fn adapt_content(holder: &mut Json) {
    let content = holder.get_mut("content").and_then(Json::as_object_mut);
    for (_, content) in content.into_iter().flatten() {
        content.get_mut("schema").into_iter().for_each(adapt_and_tell);
    }
}

fn adapt_and_tell(schema: &mut Json) {
    if let Some(default) = adapt(schema) {
        tell_default(schema, &default);
    }
}

/// Adapts a schema. Returns the default that it had.
fn adapt(schema: &mut Json) -> Option<Json> {
    let object = schema.as_object_mut()?;
    for keyword in OF_ONE {
        object.get_mut(keyword).into_iter().for_each(adapt_and_tell);
    }
    for keyword in OF_LIST {
        object.get_mut(keyword).and_then(Json::as_array_mut).into_iter().flatten().for_each(adapt_and_tell);
    }
    for keyword in BY_NAME {
        let named = object.get_mut(keyword).and_then(Json::as_object_mut);
        named.into_iter().for_each(adapt_all);
    }
    if is_open_object(object) {
        object.insert("additionalProperties".to_owned(), true.into());
    }
    object.remove("default")
}

/// Returns whether the schema is an object without any further constraints.
fn is_open_object(schema: &Map<String, Json>) -> bool {
    let is_object = schema.get("type").is_some_and(|kind| {
        kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
    });
    is_object && !schema.contains_key("properties") && !schema.contains_key("additionalProperties")
}

fn tell_default(holder: &mut Json, default: &Json) {
    let Some(holder) = holder.as_object_mut() else { return };
    let about = holder.get("description").and_then(Json::as_str).unwrap_or_default();
    let told = format!("{about}{}Default: `{default}`.", if about.is_empty() { "" } else { " " });
    holder.insert("description".to_owned(), told.into());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_told_in_words_and_open_objects_are_open() {
        let mut operation = json!({
            "parameters": [
                {"name": "limit", "in": "query", "schema": {"type": "integer", "default": 100}, "description": "The most."},
                {"name": "default", "in": "query", "schema": {"type": "string"}},
            ],
            "requestBody": {"content": {"application/json": {"schema": {
                "type": "object",
                "properties": {
                    "year": {"type": ["integer", "null"], "default": 2000},
                    "default": {},
                    "more": {"type": ["object", "null"]},
                    "list": {"type": "array", "items": {"anyOf": [{"type": "string", "default": "a"}]}},
                },
            }}}},
            "responses": {"200": {"content": {"application/json": {"schema": {"type": "object"}}}}},
        });
        adapt_operation(&mut operation);
        assert_eq!(
            operation,
            json!({
                "parameters": [
                    {"name": "limit", "in": "query", "schema": {"type": "integer"}, "description": "The most. Default: `100`."},
                    {"name": "default", "in": "query", "schema": {"type": "string"}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {
                    "type": "object",
                    "properties": {
                        "year": {"type": ["integer", "null"], "description": "Default: `2000`."},
                        "default": {},
                        "more": {"type": ["object", "null"], "additionalProperties": true},
                        "list": {"type": "array", "items": {"anyOf": [{"type": "string", "description": "Default: `\"a\"`."}]}},
                    },
                }}}},
                "responses": {"200": {"content": {"application/json": {"schema": {"type": "object", "additionalProperties": true}}}}},
            })
        );
    }
}
