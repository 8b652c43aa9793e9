//! Restores the order of creation after an import of records with their own times: `seq` must follow these times. It
//! changes nothing else of a record.

use tinybase_plugin_api::{Result, database::Batch};

use crate::{catalog::Collection, limits, plugin::Collections};

/// Renumbers the records if they are not in the order of their creation.
pub(super) async fn restore(plugin: &Collections, collection: &Collection) -> Result<()> {
    let table = &collection.table;
    let mut transaction = plugin.database.begin(limits::ALTER_TIME_MAX).await?;
    let run = |statement: &str| {
        let mut batch = Batch::default();
        batch.push(statement, &[]);
        batch
    };
    if let Some(lock) = collection.dialect.lock(table) {
        transaction.apply(run(&lock)).await?;
    }
    let out_of_order = format!(
        "SELECT 1 FROM (SELECT created_at,lag(created_at) OVER (ORDER BY seq) AS before FROM {table}) AS steps \
         WHERE before>created_at LIMIT 1"
    );
    if transaction.query(&out_of_order, &[]).await?.is_empty() {
        return transaction.rollback().await;
    }
    // Numbers are unique at every moment, so the records first get unused numbers.
    const APART: i64 = 1 << 53;
    let numbered = format!(
        "UPDATE {table} SET seq=places.place FROM (SELECT id AS of_id,row_number() OVER (ORDER BY created_at,seq)-{APART} \
         AS place FROM {table}) AS places WHERE {table}.id=places.of_id"
    );
    transaction.apply(run(&numbered)).await?;
    transaction.apply(run(&format!("UPDATE {table} SET seq=seq+{APART}"))).await?;
    transaction.commit().await
}
