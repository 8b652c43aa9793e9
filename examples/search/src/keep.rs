//! Keeps indexes up to date. It is notified of each change of a record at least once, and reads the current record
//! then. The order and number of notifications do not matter.

use tinybase_plugin_api::prelude::*;

use crate::{
    Search,
    builds::{Build, is_gone},
    limits, records,
    records::{Page, Record},
    text,
    words::Picture,
};

impl Search {
    /// Handles a created or changed record.
    pub async fn changed(self: Arc<Self>, event: Event) -> Result<()> {
        let id = event.payload["id"].as_str().unwrap_or_default();
        for _ in 1..limits::ATTEMPTS_MAX {
            match self.renew(&event.subject, id).await {
                // A build ended meanwhile.
                Err(error) if is_gone(&error) => {}
                answered => return answered,
            }
        }
        self.renew(&event.subject, id).await
    }

    async fn renew(&self, collection: &str, id: &str) -> Result<()> {
        let builds = self.builds_of(collection).await?;
        if builds.is_empty() {
            return Ok(());
        }
        let page = match records::one(&self.host, collection, id).await {
            // The collection is gone. The watch job ends its indexes.
            Err(error) if error.code() == "collection_not_found" => return Ok(()),
            page => page?,
        };
        let mut batch = Batch::default();
        for build in &builds {
            self.push_page(&mut batch, build, &page);
        }
        self.apply_some(batch).await
    }

    /// Handles a deleted record.
    pub async fn deleted(self: Arc<Self>, event: Event) -> Result<()> {
        for _ in 1..limits::ATTEMPTS_MAX {
            match self.forget(&event).await {
                Err(error) if is_gone(&error) => {}
                answered => return answered,
            }
        }
        self.forget(&event).await
    }

    async fn forget(&self, event: &Event) -> Result<()> {
        let text = |name: &str| event.payload[name].as_str().unwrap_or_default();
        let mut batch = Batch::default();
        for build in &self.builds_of(&event.subject).await? {
            self.words(build).push_gone(&mut batch, text("id"), text("created_at"));
        }
        self.apply_some(batch).await
    }

    async fn apply_some(&self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        self.database.apply(batch).await.map(drop)
    }

    /// Appends the statements that add records to a build, if they belong to its collection.
    fn push_page(&self, batch: &mut Batch, build: &Build, page: &Page) {
        if page.collection_id == build.collection_id {
            for record in &page.records {
                self.push_record(batch, build, record);
            }
        }
    }

    /// Appends the statements that add a record to a build. Returns the size of its texts in bytes.
    pub fn push_record(&self, batch: &mut Batch, build: &Build, record: &Record) -> usize {
        let texts = text::of_record(record.data(), &build.definition.fields);
        let picture = Picture {
            id: &record.id,
            created_at: &record.created_at,
            version: record.version,
            digest: &text::digest(&texts),
            texts: &texts,
        };
        self.words(build).push_record(batch, &picture);
        texts.iter().map(String::len).sum()
    }
}
