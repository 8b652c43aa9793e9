//! Responds to the host's metrics collection: the number of records per collection. It never counts rows: the counts
//! are maintained on every change.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tinybase_plugin_api::{
    Result,
    database::ReadHint,
    events::{Event, HookOutcome},
};

use crate::plugin::Collections;

/// The topic of the host's collection.
pub(crate) const TOPIC: &str = "metrics.collect";

const SIZES: &str = "SELECT m.name, sum(c.count) FROM collections_meta m \
     JOIN collections_counts c ON c.number = m.number GROUP BY m.name ORDER BY m.name";

/// Adds the collections' sizes to the payload.
pub(crate) async fn collect(plugin: Arc<Collections>, event: Event) -> Result<HookOutcome> {
    let rows = plugin.database.query(ReadHint::Indexed, SIZES, &[]).await?;
    let mut payload = event.payload;
    let sizes: Vec<Json> = rows
        .iter()
        .map(|row| Ok(json!({"collection_name": row.text(0)?, "record_count": row.integer(1)?})))
        .collect::<Result<_>>()?;
    if let Some(payload) = payload.as_object_mut() {
        payload.insert("collection_sizes".to_owned(), sizes.into());
    }
    Ok(HookOutcome::accept().with_payload(payload))
}
