//! The effects on records when a user is deleted: `set_null` references are set to null in the same change, and chains
//! of records that are deleted with the user are deleted from their ends. The database itself handles `restrict` and
//! the other `cascade` references.

use std::sync::Arc;

use tinybase_plugin_api::{
    Result,
    database::{Batch, Value},
    events::{Event, HookOutcome},
};

use super::cascade;
use crate::{
    plugin::Collections,
    schema::{OnDelete, USERS},
};

/// Runs before a user is deleted; the event's subject is the user's id.
pub(crate) async fn before_user_delete(plugin: Arc<Collections>, event: Event) -> Result<HookOutcome> {
    let catalog = plugin.catalog.current().await?;
    let mut statements = Batch::default();
    for referrer in catalog.referrers(USERS).filter(|referrer| referrer.on_delete == OnDelete::SetNull) {
        let collection = referrer.collection;
        let sql = collection.dialect.set_null(&collection.table, referrer.field, "?1");
        statements.push(&sql, &[Value::Text(event.subject.clone())]);
    }
    if cascade::is_needed(&plugin, cascade::Root::user(&event.subject)).await? {
        cascade::push_dependents(&plugin, cascade::Root::user(&event.subject), &mut statements).await?;
    }
    Ok(HookOutcome::accept().with_statements(statements))
}
