//! Deletes finished deliveries after the retention time, in batches.

use tinybase_plugin_api::{log, prelude::*};

use crate::{Webhooks, time::Moment};

/// The number of deliveries deleted by one statement.
const ROWS_AT_ONCE: u64 = 1000;
const DELETE: &str = "DELETE FROM webhooks_deliveries WHERE id IN ( \
                      SELECT id FROM webhooks_deliveries WHERE finished_at < ?1 ORDER BY finished_at LIMIT 1000)";

impl Webhooks {
    pub(crate) async fn sweep(self: Arc<Self>) -> Result<()> {
        let retention = self.settings().await?.retention();
        let before = Moment::now(self.database).await?.before(retention).text();
        let mut deleted = 0;
        loop {
            let rows = self.database.execute(DELETE, params![before.as_str()]).await?;
            deleted += rows;
            if rows < ROWS_AT_ONCE {
                break;
            }
        }
        if deleted > 0 {
            log::info(format!("deleted {deleted} old deliveries"));
        }
        Ok(())
    }
}
