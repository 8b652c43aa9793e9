//! The stored builds of indexes. A collection has at most one build that is searched and one in progress; all others
//! have ended and are being removed. It never reads a record.

use tinybase_plugin_api::{audit::Entry, database::Row, prelude::*};

use crate::{
    Search,
    definition::Definition,
    limits,
    records::Collection,
    words::{self, Words},
};

const COLUMNS: &str = "number, collection, collection_id, revision, fields, language, state, indexed, total, position, \
                       problem, created_at, finished_at";

/// The timeout of all statements that begin a build.
const BEGIN_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// A build.
pub struct Build {
    /// The number in the name of its table of words.
    pub number: i64,
    /// The collection's name.
    pub collection: String,
    /// The collection's id.
    pub collection_id: String,
    /// The revision of the collection's schema that the build is based on.
    pub revision: i64,
    /// What is indexed.
    pub definition: Definition,
    /// Whether the build is complete; otherwise it is in progress.
    pub is_ready: bool,
    /// The number of records read so far.
    pub indexed: i64,
    /// The number of records when the build began.
    pub total: i64,
    /// The position at which the build continues.
    pub position: Option<String>,
    /// The last error.
    pub problem: Option<String>,
    /// When the build began.
    pub created_at: String,
    /// When the build was completed.
    pub finished_at: Option<String>,
}

impl Build {
    fn of(row: &Row<'_>) -> Result<Build> {
        let text = |at| row.text(at).map(str::to_owned);
        let perhaps = |at| row.text_or_null(at).map(|text| text.map(str::to_owned));
        Ok(Build {
            number: row.integer(0)?,
            collection: text(1)?,
            collection_id: text(2)?,
            revision: row.integer(3)?,
            definition: Definition::stored(row.text(4)?, row.text(5)?)?,
            is_ready: row.text(6)? == "ready",
            indexed: row.integer(7)?,
            total: row.integer(8)?,
            position: perhaps(9)?,
            problem: perhaps(10)?,
            created_at: text(11)?,
            finished_at: perhaps(12)?,
        })
    }
}

impl Search {
    /// Returns the table of a build's words.
    pub fn words<'b>(&self, build: &'b Build) -> Words<'b> {
        Words { engine: self.database.engine(), number: build.number, definition: &build.definition }
    }

    async fn builds_where(&self, condition: &str, params: &[Value]) -> Result<Vec<Build>> {
        let sql =
            format!("SELECT {COLUMNS} FROM search_builds WHERE {condition} ORDER BY collection, number");
        let rows = self.database.query(ReadHint::Indexed, &sql, params).await?;
        rows.iter().map(|row| Build::of(&row)).collect()
    }

    /// Returns every build that has not ended.
    pub async fn builds(&self) -> Result<Vec<Build>> {
        self.builds_where("state <> 'ended'", &[]).await
    }

    /// Returns the builds of a collection that have not ended.
    pub async fn builds_of(&self, collection: &str) -> Result<Vec<Build>> {
        self.builds_where("collection = ?1 AND state <> 'ended'", params![collection]).await
    }

    /// Returns a build in progress that no other node holds.
    pub async fn next_to_build(&self) -> Result<Option<Build>> {
        let free = format!("(holder = ?1 OR held_until < {})", words::now_ms(self.database.engine()));
        let condition = format!("state = 'building' AND {free}");
        Ok(self.builds_where(&condition, params![&self.node]).await?.into_iter().next())
    }

    /// Begins a build and replaces one in progress. `entry` is added to the audit log with it.
    pub async fn begin_build(
        &self,
        collection: &Collection,
        definition: &Definition,
        entry: Option<Entry>,
    ) -> Result<()> {
        let mut transaction = self.database.begin(BEGIN_TIME_MAX).await?;
        let mut batch = Batch::default();
        batch.push(
            "UPDATE search_builds SET state = 'ended' WHERE collection = ?1 AND state = 'building'",
            params![&collection.name],
        );
        batch.push(
            "INSERT INTO search_builds (collection, collection_id, revision, fields, language, state, total, created_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, 'building', ?6, ?7) RETURNING number",
            params![
                &collection.name,
                &collection.id,
                collection.revision,
                definition.fields_json().to_string(),
                definition.language.name(),
                collection.records,
                Value::Now
            ],
        );
        if let Some(entry) = entry {
            batch.append(self.audit.entry(&entry).await?)?;
        }
        let applied = transaction.apply(batch).await?;
        let number = applied.statements.get(1).and_then(|statement| statement.rows.first());
        let number = number.map(|row| row.integer(0)).transpose()?;
        let number = number.ok_or_else(|| Error::internal("stored_index", "the build got no number"))?;
        let words = Words { engine: self.database.engine(), number, definition };
        for statement in words.make() {
            let mut batch = Batch::default();
            batch.push(&statement, &[]);
            transaction.apply(batch).await?;
        }
        transaction.commit().await
    }

    /// Ends every build of a collection. `entry` is added to the audit log with it.
    pub async fn end_builds(&self, collection: &str, entry: Option<Entry>) -> Result<()> {
        let mut batch = Batch::default();
        batch.push(
            "UPDATE search_builds SET state = 'ended' WHERE collection = ?1 AND state <> 'ended'",
            params![collection],
        );
        if let Some(entry) = entry {
            batch.append(self.audit.entry(&entry).await?)?;
        }
        self.database.apply(batch).await.map(drop)
    }

    /// Removes the data of ended builds in batches.
    pub async fn clear_ended(&self) -> Result<()> {
        let sql = "SELECT number FROM search_builds WHERE state = 'ended' ORDER BY number";
        let rows = self.database.query(ReadHint::Indexed, sql, &[]).await?;
        for row in &rows {
            let number = row.integer(0)?;
            let some = "DELETE FROM search_docs WHERE doc IN (SELECT doc FROM search_docs WHERE number = ?1 LIMIT ?2)";
            while self.database.execute(some, params![number, limits::CLEAR_ROWS_MAX]).await? > 0 {}
            let mut batch = Batch::default();
            batch.push(&words::drop_table(number), &[]);
            batch.push("DELETE FROM search_builds WHERE number = ?1", params![number]);
            self.database.apply(batch).await?;
        }
        Ok(())
    }
}

/// Returns whether a statement failed because a build's words no longer exist.
pub fn is_gone(error: &Error) -> bool {
    error.code() == "db_schema_changed"
        || (error.code() == "db_sql" && error.message().contains("no such table"))
}
