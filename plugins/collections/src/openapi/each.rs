//! Responds to the host's OpenAPI collection: each collection's own paths and schemas. It describes the current
//! collections, and never reads a record.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Map, Value as Json, json};
use tinybase_plugin_api::{
    Result,
    events::{Event, HookOutcome},
};

use super::{
    Operation, fields,
    records::{
        Described, aggregate_records, change_record, create_record, delete_record, get_record, list_records,
        record, replace_record,
    },
};
use crate::{
    catalog::{Catalog, Collection},
    limits,
    plugin::Collections,
    query::fingerprint,
};

/// The topic of the host's collection.
pub(crate) const TOPIC: &str = "openapi.collect";

/// This extension's name in the host.
const EXTENSION: &str = "collections";

/// Adds every collection's part to the payload.
pub(crate) async fn collect(plugin: Arc<Collections>, event: Event) -> Result<HookOutcome> {
    let catalog = plugin.catalog.current().await?;
    let limit = event.payload["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
    let version = version(&catalog, limit);
    let answer = if event.payload["known"][EXTENSION] == version.as_str() {
        json!({"version": version, "unchanged": true})
    } else {
        let mut bytes = 0;
        let described = catalog.all().iter().take(limit).take_while(|collection| {
            bytes += collection.schema.text().len();
            bytes <= limits::DESCRIBED_BYTES_MAX
        });
        part(described.map(|collection| &**collection), version)
    };
    Ok(HookOutcome::accept().with_payload(answer))
}

/// Returns a version that changes with everything that the part depends on.
fn version(catalog: &Catalog, limit: usize) -> String {
    let revisions: Vec<String> =
        catalog.all().iter().map(|collection| format!("{} {}", collection.id, collection.revision)).collect();
    let limit = limit.to_string();
    let told: Vec<&str> = revisions.iter().map(String::as_str).chain([limit.as_str()]).collect();
    format!("{:016x}", fingerprint(&told))
}

fn part<'a>(collections: impl Iterator<Item = &'a Collection>, version: String) -> Json {
    let (mut paths, mut schemas, mut taken) = (Map::new(), Map::new(), HashSet::new());
    for collection in collections {
        let type_name = free_name(&collection.name, &mut taken);
        add_schemas(collection, &type_name, &mut schemas);
        add_paths(collection, type_name, &mut paths);
    }
    json!({"version": version, "paths": paths, "components": {"schemas": schemas}})
}

/// Returns a free name for types and methods: `blog_posts` becomes `BlogPosts`; a taken name gets a number.
fn free_name(name: &str, taken: &mut HashSet<String>) -> String {
    let mut camel = String::with_capacity(name.len());
    for word in name.split('_') {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    let mut free = camel.clone();
    let mut number = 2;
    while !taken.insert(free.clone()) {
        free = format!("{camel}_{number}");
        number += 1;
    }
    free
}

fn reference(type_name: &str, what: &str) -> Json {
    json!({"$ref": format!("#/components/schemas/{type_name}{what}")})
}

fn add_schemas(collection: &Collection, type_name: &str, schemas: &mut Map<String, Json>) {
    let mut add = |what: &str, schema: Json| schemas.insert(format!("{type_name}{what}"), schema);
    add("Record", record(&reference(type_name, "Data")));
    add("Data", fields::answered(collection));
    add("Input", fields::given(collection));
    add("Changes", fields::changes(collection));
}

fn add_paths(collection: &Collection, type_name: String, paths: &mut Map<String, Json>) {
    let name = &collection.name;
    let of = Described {
        tag: format!("records of {name}"),
        is_any: false,
        record: reference(&type_name, "Record"),
        given: reference(&type_name, "Input"),
        changes: reference(&type_name, "Changes"),
        infix: type_name,
    };
    let told = |operation: Operation, summary: String| -> Json {
        let mut operation: Json = operation.into();
        operation["summary"] = summary.into();
        operation
    };
    let records = format!("/api/collections/{name}/records");
    paths.insert(
        format!("{records}/{{id}}"),
        json!({
            "get": told(get_record(&of), format!("Read a record of {name}")),
            "patch": told(change_record(&of), format!("Change fields of a record of {name}")),
            "put": told(replace_record(&of), format!("Replace a record of {name}, or create it under this id")),
            "delete": told(delete_record(&of), format!("Delete a record of {name}")),
        }),
    );
    paths.insert(
        records,
        json!({
            "get": told(list_records(&of), format!("List records of {name}")),
            "post": told(create_record(&of), format!("Create a record of {name}")),
        }),
    );
    paths.insert(
        format!("/api/collections/{name}/aggregate"),
        json!({"get": told(aggregate_records(&of), format!("Count, sum and group records of {name}"))}),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_types_are_unique() {
        let mut taken = HashSet::new();
        let names = ["posts", "blog_posts", "blog__posts", "a1_b"].map(|name| free_name(name, &mut taken));
        assert_eq!(names, ["Posts", "BlogPosts", "BlogPosts_2", "A1B"]);
    }
}
