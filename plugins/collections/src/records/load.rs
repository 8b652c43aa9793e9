//! Stored records: read by id, borrowed from a row or owned. It changes nothing.

use tinybase_plugin_api::{
    Result,
    database::{Database, ReadHint, Row, Value},
};

use crate::{catalog::Collection, etag};

/// A stored record that outlives its row.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) owner_id: Option<String>,
    /// `None` if the same batch creates the record: the time is set when the batch is applied.
    pub(crate) created_at: Option<String>,
    pub(crate) updated_at: Option<String>,
    pub(crate) data: String,
    pub(crate) version: i64,
}

impl Stored {
    fn of_row(row: &Row<'_>) -> Result<Stored> {
        Ok(Stored {
            id: row.text(0)?.to_owned(),
            owner_id: row.text_or_null(1)?.map(str::to_owned),
            created_at: Some(row.text(2)?.to_owned()),
            updated_at: Some(row.text(3)?.to_owned()),
            data: row.text(4)?.to_owned(),
            version: row.integer(5)?,
        })
    }

    /// Returns the record's entity tag.
    pub(crate) fn etag(&self) -> String {
        etag::of_record(self.version, self.created_at.as_deref().unwrap_or_default())
    }
}

/// Returns the record with this id, if it exists.
pub(crate) async fn record(database: Database, collection: &Collection, id: &str) -> Result<Option<Stored>> {
    let rows =
        database.query(ReadHint::PointLookup, &collection.sql.read, &[Value::Text(id.to_owned())]).await?;
    rows.first().map(|row| Stored::of_row(&row)).transpose()
}
