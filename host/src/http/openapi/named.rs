//! Moves named schemas to the document's components, so that clients get one type for each. It never changes the
//! contents of a schema.

use serde_json::{Map, Value as Json, json};

/// The members whose values are data, not schemas.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// Moves each schema in `value` whose title is a name to `schemas`, and leaves a reference. A schema stays where it is
/// if a different one already has its name.
pub(super) fn name_schemas(value: &mut Json, schemas: &mut Map<String, Json>) {
    match value {
        Json::Array(items) => items.iter_mut().for_each(|item| name_schemas(item, schemas)),
        Json::Object(members) => {
            for (member, value) in members {
                if !DATA.contains(&member.as_str()) {
                    name_schemas(value, schemas);
                }
            }
        }
        _ => return,
    }
    let Some(name) = name(value) else { return };
    let known = schemas.entry(name.clone()).or_insert_with(|| value.clone());
    if known == value {
        *value = json!({"$ref": format!("#/components/schemas/{name}")});
    }
}

/// Returns the title of a schema if it can be the name of a type.
fn name(schema: &Json) -> Option<String> {
    let name = schema.get("title")?.as_str()?;
    let is_schema = schema.get("type").is_some();
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    (is_schema && is_name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, kind: &str) -> Json {
        json!({"title": name, "type": kind})
    }

    #[test]
    fn a_named_schema_stands_once() {
        let inner = named("Inner", "string");
        let outer = json!({"title": "Outer", "type": "object", "properties": {"one": inner, "two": inner}});
        let mut value = json!({"a": {"schema": outer}, "b": [{"items": outer}]});
        let mut schemas = Map::new();
        name_schemas(&mut value, &mut schemas);
        let to = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
        assert_eq!(value, json!({"a": {"schema": to("Outer")}, "b": [{"items": to("Outer")}]}));
        assert_eq!(schemas["Outer"]["properties"], json!({"one": to("Inner"), "two": to("Inner")}));
        assert_eq!(schemas["Inner"], inner);
    }

    #[test]
    fn what_has_no_name_of_its_own_stays() {
        let mut schemas = Map::from_iter([("Taken".to_owned(), named("Taken", "integer"))]);
        for stays in [
            named("Taken", "string"),
            named("two words", "string"),
            json!({"properties": {"title": {"type": "string"}, "type": {"type": "string"}}}),
            json!({"type": "object", "example": {"title": "Alien", "type": "film"}}),
        ] {
            let mut value = stays.clone();
            name_schemas(&mut value, &mut schemas);
            assert_eq!(value, stays);
        }
        assert_eq!(schemas.len(), 1);
    }
}
