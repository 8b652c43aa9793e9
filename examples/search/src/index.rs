//! Builds an index in the background: reads a collection page by page, one node at a time, and resumes at the stored
//! position after a restart or a crash. The previous index stays searchable meanwhile.

use std::collections::HashSet;

use tinybase_plugin_api::prelude::*;

use crate::{
    Search, Settings,
    builds::{Build, is_gone},
    limits, records,
    words::now_ms,
};

/// The result of a page.
enum Step {
    /// There is another page.
    Next,
    /// It was the last page, or another node took over.
    Ended,
}

impl Search {
    /// Runs the pending builds, and removes ended ones.
    pub async fn build(self: Arc<Self>) -> Result<()> {
        let mut tried = HashSet::new();
        while let Some(build) = self.next_to_build().await? {
            // One that is left as it is, because it ended or another node took over, is checked again next time.
            if !tried.insert(build.number) || !self.take(&build).await? {
                break;
            }
            if let Err(error) = self.walk(build.number, &build.collection).await {
                self.wait(&build, &error).await?;
                return Err(error);
            }
        }
        self.clear_ended().await
    }

    /// Takes the lease on a build for this node. Returns whether it succeeded.
    async fn take(&self, build: &Build) -> Result<bool> {
        let now = now_ms(self.database.engine());
        let sql = format!(
            "UPDATE search_builds SET holder = ?2, held_until = {now} + ?3 \
             WHERE number = ?1 AND state = 'building' AND (holder = ?2 OR held_until < {now})"
        );
        let params = params![build.number, &self.node, limits::HOLD_MS];
        Ok(self.database.execute(&sql, params).await? == 1)
    }

    /// Releases this node's builds, so that others can continue them.
    pub async fn leave_builds(&self) -> Result<()> {
        let sql =
            "UPDATE search_builds SET holder = NULL, held_until = 0 WHERE holder = ?1 AND state = 'building'";
        self.database.execute(sql, params![&self.node]).await.map(drop)
    }

    /// Stores the error, and pauses the build for a while.
    async fn wait(&self, build: &Build, error: &Error) -> Result<()> {
        let now = now_ms(self.database.engine());
        let sql = format!(
            "UPDATE search_builds SET holder = NULL, held_until = {now} + ?3, problem = ?4 \
             WHERE number = ?1 AND holder = ?2 AND state = 'building'"
        );
        let params = params![build.number, &self.node, limits::RETRY_MS, error.to_string()];
        self.database.execute(&sql, params).await.map(drop)
    }

    async fn walk(&self, number: i64, collection: &str) -> Result<()> {
        let settings: Settings = self.host.settings().await?;
        let mut limit = settings.page_records;
        loop {
            let builds = self.builds_of(collection).await?;
            let Some(build) = builds.into_iter().find(|build| build.number == number && !build.is_ready)
            else {
                return Ok(());
            };
            match self.step(&build, limit).await {
                Ok(Step::Next) => limit = settings.page_records,
                Ok(Step::Ended) => return Ok(()),
                Err(error) if error.code() == "answer_too_large" && limit > 1 => limit /= 2,
                // Another node took over, or the build ended meanwhile.
                Err(error) if error.code() == "db_condition" || is_gone(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn step(&self, build: &Build, limit: u64) -> Result<Step> {
        let page = match records::page(&self.host, &build.collection, build.position.as_deref(), limit).await
        {
            Err(error) if error.code() == "collection_not_found" => None,
            page => Some(page?).filter(|page| page.collection_id == build.collection_id),
        };
        let Some(page) = page else {
            self.end_builds(&build.collection, None).await?;
            return Ok(Step::Ended);
        };
        if page.revision != build.revision {
            return self.restart(build, page.revision).await;
        }
        let mut batch = Batch::default();
        let mut bytes = 0;
        for record in &page.records {
            bytes += self.push_record(&mut batch, build, record);
            if bytes >= limits::BATCH_BYTES_MAX {
                self.database.apply(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        let count = i64::try_from(page.records.len()).unwrap_or(i64::MAX);
        self.push_progress(&mut batch, build, page.next.as_deref(), count);
        let Some(_) = page.next else {
            self.push_ready(&mut batch, build);
            self.database.apply(batch).await?;
            return Ok(Step::Ended);
        };
        self.database.apply(batch).await?;
        Ok(Step::Next)
    }

    /// Restarts a build after a schema change, since the records indexed so far may have the old schema.
    async fn restart(&self, build: &Build, revision: i64) -> Result<Step> {
        let sql = "UPDATE search_builds SET revision = ?3, position = NULL, indexed = 0 \
                   WHERE number = ?1 AND holder = ?2 AND state = 'building'";
        let params = params![build.number, &self.node, revision];
        let updated = self.database.execute(sql, params).await?;
        Ok(if updated == 1 { Step::Next } else { Step::Ended })
    }

    fn push_progress(&self, batch: &mut Batch, build: &Build, next: Option<&str>, count: i64) {
        let now = now_ms(self.database.engine());
        let sql = format!(
            "UPDATE search_builds SET position = ?3, indexed = indexed + ?4, problem = NULL, held_until = {now} + ?5 \
             WHERE number = ?1 AND holder = ?2 AND state = 'building'"
        );
        let position = next.map_or(Value::Null, Value::from);
        let params = params![build.number, &self.node, position, count, limits::HOLD_MS];
        batch.push_expecting(Expect::Exactly(1), &sql, params);
    }

    fn push_ready(&self, batch: &mut Batch, build: &Build) {
        batch.push(
            "UPDATE search_builds SET state = 'ended' WHERE collection = ?1 AND state = 'ready'",
            params![&build.collection],
        );
        batch.push_expecting(
            Expect::Exactly(1),
            "UPDATE search_builds SET state = 'ready', finished_at = ?2, holder = NULL \
             WHERE number = ?1 AND state = 'building'",
            params![build.number, Value::Now],
        );
    }
}
