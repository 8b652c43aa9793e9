//! Checks the layouts of tier 0 pages, in the repository's extensions and in the documentation, against the documented
//! JSON Schema and against their manifest. It renders nothing.

use std::{fs, path::Path};

use jsonschema::Validator;
use serde_json::{Value as Json, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn schema() -> Validator {
    let schema = fs::read_to_string(root().join("docs/extensions/page-layout.schema.json")).unwrap();
    let schema: Json = serde_json::from_str(&schema).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn faults(schema: &Validator, layout: &Json) -> Vec<String> {
    schema.iter_errors(layout).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
}

/// Returns the layouts of a manifest's tier 0 pages.
fn layouts(manifest: &Json) -> Vec<Json> {
    let pages = manifest["pages"].as_array().map_or(&[][..], Vec::as_slice);
    pages.iter().filter(|page| page["tier"] == 0).map(|page| page["layout"].clone()).collect()
}

/// Collects all values under a key of this name, at any depth.
fn all<'j>(value: &'j Json, key: &str, found: &mut Vec<&'j str>) {
    match value {
        Json::Object(fields) => {
            for (name, value) in fields {
                found.extend(value.as_str().filter(|_| name == key));
                all(value, key, found);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        _ => {}
    }
}

/// Checks what the schema cannot: routes and settings must be the extension's own.
fn check_against_manifest(name: &str, manifest: &Json, layout: &Json) {
    let mut routes = Vec::new();
    for key in ["source", "path"] {
        all(layout, key, &mut routes);
    }
    let own: Vec<_> =
        manifest["routes"].as_array().unwrap().iter().map(|prefix| prefix.as_str().unwrap()).collect();
    for route in routes {
        let is_own = own.iter().any(|prefix| {
            route.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        assert!(is_own, "{name}: {route} is not below its routes {own:?}");
    }
    for field in layout["settings"]["fields"].as_array().into_iter().flatten() {
        let field = field.as_str().unwrap();
        assert!(manifest["settings"]["properties"].get(field).is_some(), "{name}: it has no setting {field}");
    }
}

#[test]
fn every_layout_in_the_repository_is_as_documented() {
    let schema = schema();
    let mut seen = 0;
    for folder in ["examples", "plugins"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path().join("extension.toml");
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let manifest: Json = toml::from_str(&text).unwrap();
            let name = path.display().to_string();
            for layout in layouts(&manifest) {
                assert_eq!(faults(&schema, &layout), Vec::<String>::new(), "{name}");
                check_against_manifest(&name, &manifest, &layout);
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no extension has a page of tier 0");
}

#[test]
fn the_example_of_the_documentation_fits() {
    let page = fs::read_to_string(root().join("docs/extensions/pages.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let layouts = layouts(&toml::from_str(example).unwrap());
    assert_eq!((layouts.len(), faults(&schema(), &layouts[0])), (1, Vec::new()));
}

#[test]
fn what_is_not_documented_is_refused() {
    let schema = schema();
    let column = json!({"field": "id", "label": "Id"});
    let table = json!({"title": "T", "source": "/api/x", "rows": "xs", "key": "id", "columns": [column]});
    let action = json!({"label": "Go", "method": "POST", "path": "/api/x"});
    let with = |base: &Json, field: &str, value: Json| {
        let mut changed = base.clone();
        changed[field] = value;
        changed
    };
    let tables = |table: Json| json!({"tables": [table]});
    let actions = |action: Json| json!({"actions": [action]});
    for good in [
        tables(table.clone()),
        actions(action.clone()),
        json!({"settings": {"source": "/api/x/settings", "fields": ["a"]}}),
        tables(with(&table, "actions", json!([with(&action, "path", json!("/api/x/{id}"))]))),
    ] {
        assert_eq!(faults(&schema, &good), Vec::<String>::new(), "{good}");
    }
    for bad in [
        json!({}),
        json!({"colour": 1}),
        json!({"settings": {"fields": ["a"]}}),
        json!({"settings": {"source": "/api/x/settings", "fields": []}}),
        json!({"settings": {"source": "https://elsewhere.example", "fields": ["a"]}}),
        tables(with(&table, "columns", json!([]))),
        tables(with(&table, "columns", json!([with(&column, "kind", json!("html"))]))),
        tables(with(&table, "source", json!("/api/x?limit=1"))),
        tables(with(&table, "html", json!("<b>"))),
        actions(with(&action, "method", json!("GET"))),
        actions(with(&action, "path", json!("/api/x/{id}"))),
        actions(with(&action, "when", json!({"field": "a", "equals": 1}))),
        actions(with(&action, "fields", json!([{"name": "a", "label": "A", "kind": "choice"}]))),
        actions(with(&action, "fields", json!([{"name": "a", "label": "A", "options": ["x"]}]))),
        actions(with(&action, "fields", json!([{"name": "a b", "label": "A"}]))),
    ] {
        assert!(!faults(&schema, &bad).is_empty(), "{bad} is let through");
    }
}
