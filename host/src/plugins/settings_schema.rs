//! Applies the JSON Schema of an extension's manifest to its settings: fills in defaults and checks changes.

use jsonschema::ValidationError;
use serde_json::{Map, Value as Json};

/// Returns the stored values, with the schema's defaults for the rest.
pub fn with_defaults(schema: &Json, mut stored: Map<String, Json>) -> Map<String, Json> {
    let properties = schema.get("properties").and_then(Json::as_object);
    for (name, property) in properties.into_iter().flatten() {
        if let Some(default) = property.get("default")
            && !stored.contains_key(name)
        {
            stored.insert(name.clone(), default.clone());
        }
    }
    stored
}

/// Returns whether the schema marks a setting `writeOnly`: a secret that only the extension can read.
pub fn is_secret(schema: &Json, name: &str) -> bool {
    schema.pointer("/properties").and_then(|all| all.get(name)).is_some_and(|one| one["writeOnly"] == true)
}

/// Checks a change: every name must be declared, and the resulting values must match the schema.
///
/// # Errors
/// All problems, in one line.
pub fn check_change(
    schema: &Json,
    stored: Map<String, Json>,
    change: &Map<String, Json>,
) -> Result<(), String> {
    let declared = |name: &String| schema.get("properties").is_some_and(|all| all.get(name).is_some());
    if let Some(unknown) = change.keys().find(|name| !declared(name)) {
        return Err(format!("{unknown}: the extension has no such setting"));
    }
    let mut values = stored;
    for (name, value) in change {
        if value.is_null() {
            values.remove(name);
        } else {
            values.insert(name.clone(), value.clone());
        }
    }
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| format!("the manifest's schema of the settings is not valid: {error}"))?;
    let values = Json::Object(with_defaults(schema, values));
    let faults: Vec<_> = validator.iter_errors(&values).map(|fault| words(schema, &fault)).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// Describes a validation error without revealing the value of a secret.
fn words(schema: &Json, fault: &ValidationError<'_>) -> String {
    let path = fault.instance_path().to_string();
    let name = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match name.is_empty() || is_secret(schema, name) {
        true => format!("{path}: {}", fault.masked()),
        false => format!("{path}: {fault}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Json {
        json!({"type": "object", "properties": {
            "days": {"type": "integer", "minimum": 1, "default": 30}, "word": {"type": "string"},
        }})
    }

    fn object(value: Json) -> Map<String, Json> {
        value.as_object().expect("the case is an object").clone()
    }

    #[test]
    fn defaults_stand_in_where_nothing_is_stored() {
        assert_eq!(with_defaults(&schema(), Map::new()), object(json!({"days": 30})));
        assert_eq!(with_defaults(&schema(), object(json!({"days": 3}))), object(json!({"days": 3})));
    }

    #[test]
    fn a_change_is_held_against_the_schema() {
        let check = |change: Json| check_change(&schema(), Map::new(), &object(change));
        assert_eq!(check(json!({"days": 3, "word": null})), Ok(()));
        assert!(check(json!({"days": 0})).unwrap_err().contains("days"));
        assert!(check(json!({"word": 7})).unwrap_err().contains("word"));
        let secret =
            json!({"properties": {"key": {"type": "integer", "writeOnly": true}}, "maxProperties": 0});
        let told = check_change(&secret, Map::new(), &object(json!({"key": "hunter2"}))).unwrap_err();
        assert!(told.contains("key") && !told.contains("hunter2"), "{told}");
        assert!(check(json!({"colour": "red"})).unwrap_err().contains("no such setting"));
    }
}
