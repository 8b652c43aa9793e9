//! Responds to the host when it copies an instance into another database: how to create the tables of collections,
//! first bare for filling, then completed. It runs none of the statements.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tinybase_plugin_api::{
    Result,
    events::{Event, HookOutcome},
};

use crate::{
    catalog::Collection,
    plugin::Collections,
    storage::{Shape, table_name},
};

/// The topic of the host's request. The catalog's rows are already in place.
pub(crate) const TOPIC: &str = "copy.tables";

/// Returns the statements for every collection.
pub(crate) async fn tables(plugin: Arc<Collections>, event: Event) -> Result<HookOutcome> {
    let catalog = plugin.catalog.reload().await?;
    let number_of = |name: &str| catalog.get(name).map(|target| target.number);
    let tables: Vec<Json> = catalog
        .all()
        .iter()
        .map(|collection| {
            let number = collection.number;
            let Collection { dialect, schema, options, .. } = &**collection;
            let shape = Shape::of(*dialect, number, schema, options, &number_of);
            let bare = Shape::bare(*dialect);
            let mut finish = shape.add_column_statements(&bare, number);
            finish.extend(shape.add_index_statements(&bare));
            finish.extend(recount(number));
            json!({"name": collection.table, "make": bare.create(number), "finish": finish})
        })
        .collect();
    let mut payload = event.payload;
    if let Some(payload) = payload.as_object_mut() {
        payload.insert("tables".to_owned(), tables.into());
        payload.insert("derived".to_owned(), json!(["collections_counts"]));
    }
    Ok(HookOutcome::accept().with_payload(payload))
}

/// Returns the statements that recount a collection's records.
fn recount(number: i64) -> [String; 2] {
    let table = table_name(number);
    [
        format!("DELETE FROM collections_counts WHERE number={number}"),
        format!("INSERT INTO collections_counts(number,count) SELECT {number},count(*) FROM {table}"),
    ]
}
