//! Compares indexes with the collections: ends those of deleted collections, rebuilds those of changed schemas and
//! those that miss records without events. It never changes a record.

use tinybase_plugin_api::prelude::*;

use crate::{
    Search,
    builds::{Build, is_gone},
    limits, records,
    records::Collection,
    words::now_ms,
};

/// The number of documents of an index and of records of its collection, as last seen.
pub type Counts = std::collections::HashMap<i64, (i64, i64)>;

impl Search {
    /// Reacts to deleted collections and changed schemas.
    pub async fn watch(self: Arc<Self>) -> Result<()> {
        let builds = self.builds().await?;
        if builds.is_empty() || !self.host.offers("records", 1)? {
            return Ok(());
        }
        let collections = records::collections(&self.host).await?;
        // The newest build of a collection has the current definition.
        for (at, build) in builds.iter().enumerate() {
            if builds.get(at + 1).is_some_and(|next| next.collection == build.collection) {
                continue;
            }
            match collections.iter().find(|collection| collection.id == build.collection_id) {
                None => self.end_builds(&build.collection, None).await?,
                // A build in progress detects the change itself.
                Some(collection) if build.is_ready && collection.revision != build.revision => {
                    self.begin_build(collection, &build.definition, None).await?;
                }
                Some(collection) => self.check_words(build, collection).await?,
            }
        }
        Ok(())
    }

    /// Rebuilds an index whose words do not exist, such as after a copy into another database.
    async fn check_words(&self, build: &Build, collection: &Collection) -> Result<()> {
        match self.database.query(ReadHint::Indexed, &self.words(build).probe(), &[]).await {
            Err(error) if is_gone(&error) => {
                // It may have ended meanwhile.
                let still = self.builds_of(&build.collection).await?;
                if still.iter().any(|other| other.number == build.number) {
                    self.end_builds(&build.collection, None).await?;
                    self.begin_build(collection, &build.definition, None).await?;
                }
                Ok(())
            }
            answer => answer.map(drop),
        }
    }

    /// Removes old deletions, and rebuilds indexes that miss records without events, such as from imports and cascades.
    pub async fn tidy(self: Arc<Self>) -> Result<()> {
        let forget =
            format!("DELETE FROM search_docs WHERE gone_at < {} - ?1", now_ms(self.database.engine()));
        self.database.execute(&forget, params![limits::GONE_MS]).await?;
        let builds: Vec<Build> = self.builds().await?;
        if builds.is_empty() || !self.host.offers("records", 1)? {
            return Ok(());
        }
        let mut counts = Counts::new();
        for build in builds.iter().filter(|build| build.is_ready) {
            if builds.iter().any(|other| other.collection == build.collection && !other.is_ready) {
                continue;
            }
            let collection = match records::collection(&self.host, &build.collection).await {
                Err(error) if error.code() == "collection_not_found" => continue,
                collection => collection?,
            };
            let docs = self.documents(build.number).await?;
            let now = (docs, collection.records);
            // The same numbers twice mean that no write is in progress.
            let before =
                self.counts.lock().expect("no holder of the counts panics").get(&build.number).copied();
            if docs != collection.records && before == Some(now) {
                self.begin_build(&collection, &build.definition, None).await?;
            } else {
                counts.insert(build.number, now);
            }
        }
        *self.counts.lock().expect("no holder of the counts panics") = counts;
        Ok(())
    }

    /// Returns the number of records in an index.
    pub async fn documents(&self, number: i64) -> Result<i64> {
        let sql = "SELECT count(*) FROM search_docs WHERE number = ?1 AND gone_at IS NULL";
        let rows = self.database.query(ReadHint::Scan, sql, params![number]).await?;
        rows.first().map_or(Ok(0), |row| row.integer(0))
    }

    /// Handles the host's event before it copies an instance: the words are not copied, since they are derived from
    /// the records.
    pub async fn before_copy(self: Arc<Self>, event: Event) -> Result<HookOutcome> {
        let mut payload = event.payload;
        let of_words = |table: &&Json| table.as_str().is_some_and(|table| table.starts_with("search_w_"));
        let derived: Vec<Json> =
            payload["tables"].as_array().into_iter().flatten().filter(of_words).cloned().collect();
        payload["tables"] = json!([]);
        payload["derived"] = derived.into();
        Ok(HookOutcome::accept().with_payload(payload))
    }
}
