//! A page of a log, and its OpenAPI description. It never reads more than a page.

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::query::{Filter, PageAsked, Start};
use crate::{
    db::DbError,
    error::ApiError,
    http::operation::{Operation, schema},
    sql::{HostSql, Row, integer},
};

/// The maximum number of entries that are counted for a total.
pub const TOTAL_COUNTED_MAX: u64 = 10_000;

/// A table that is read in the order of its columns `at` and `id`.
#[derive(Debug, Clone)]
pub struct TimeLog {
    sql: HostSql,
    table: &'static str,
    columns: &'static str,
}

/// The paging information of a page.
#[derive(Debug, Serialize)]
pub struct Paging {
    /// The total number of entries, counted up to [`TOTAL_COUNTED_MAX`]; not counted for a cursor.
    total: Option<u64>,
    total_is_exact: bool,
    limit: u64,
    offset: u64,
    next_cursor: Option<String>,
}

impl TimeLog {
    /// Creates the log of `table`. `columns` are those of an entry; the first one is `id`.
    pub fn new(sql: HostSql, table: &'static str, columns: &'static str) -> TimeLog {
        TimeLog { sql, table, columns }
    }

    /// Returns the database.
    pub fn sql(&self) -> &HostSql {
        &self.sql
    }

    /// Returns the rows of a page, newest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn page(&self, asked: &PageAsked) -> Result<(Vec<Row>, Paging), DbError> {
        let (offset, total) = match asked.start {
            Start::Offset(offset) => (offset, Some(self.count(&asked.filter).await?)),
            Start::Cursor(_) => (0, None),
        };
        let TimeLog { table, columns, .. } = self;
        let mut params = Vec::new();
        let mut filter = asked.filter.sql(self.sql.database().engine(), &mut params);
        if let Start::Cursor(Some(id)) = asked.start {
            params.push(id.into());
            let id = params.len();
            // If retention has deleted that entry, everything older is gone too.
            filter = format!("{filter} AND (at, id) < ((SELECT at FROM {table} WHERE id = ?{id}), ?{id})");
        }
        // One extra row shows whether there is a next page.
        params.push(signed(asked.limit + 1).into());
        params.push(signed(offset).into());
        let (limit_at, offset_at) = (params.len() - 1, params.len());
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {filter} \
             ORDER BY at DESC, id DESC LIMIT ?{limit_at} OFFSET ?{offset_at}) ORDER BY at DESC, id DESC"
        );
        let mut rows = self.sql.scan(&sql, &params).await?;
        let has_more = rows.len() as u64 > asked.limit;
        rows.truncate(usize::try_from(asked.limit).unwrap_or(usize::MAX));
        let next_cursor = rows.last().filter(|_| has_more).map(|row| integer(row, 0).to_string());
        let total_is_exact = total.is_some_and(|total| total < TOTAL_COUNTED_MAX);
        Ok((rows, Paging { total, total_is_exact, limit: asked.limit, offset, next_cursor }))
    }

    async fn count(&self, filter: &Filter) -> Result<u64, DbError> {
        let mut params = vec![signed(TOTAL_COUNTED_MAX).into()];
        let filter = filter.sql(self.sql.database().engine(), &mut params);
        let sql =
            format!("SELECT count(*) FROM (SELECT 1 FROM {} WHERE {filter} LIMIT ?1) AS counted", self.table);
        let rows = self.sql.scan(&sql, &params).await?;
        Ok(rows.first().map_or(0, |row| integer(row, 0).unsigned_abs()))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns the error for a page that could not be read.
pub fn too_large(error: DbError) -> ApiError {
    match error {
        DbError::TooLarge { .. } => ApiError::new(
            http::StatusCode::PAYLOAD_TOO_LARGE,
            "answer_too_large",
            "the entries of this page are too large together: ask for a smaller limit",
        ),
        error => error.into(),
    }
}

/// Adds the description of a page to an operation; its entries are in the field `plural`.
pub fn paged_operation(operation: Operation, plural: &str, entry: Json) -> Operation {
    let total = format!("How many there are, counted up to {TOTAL_COUNTED_MAX}; null with a cursor.");
    let page = schema::object(&[
        (plural, schema::list(entry)),
        ("total", json!({"type": ["integer", "null"], "description": total})),
        ("total_is_exact", schema::flag()),
        ("limit", schema::integer(1)),
        ("offset", schema::integer(0)),
        ("next_cursor", schema::nullable(schema::text())),
    ]);
    operation
        .paged()
        .query("cursor", schema::text(), "Empty at first, then the next_cursor of the answer before.")
        .answers(200, "A page of the log.", page)
        .refuses(413, "`answer_too_large`: the entries of the page are too large together.")
}
