//! Reading the log: pages from the newest entry on, and everything from the oldest on, part by part. It never writes.

use serde::Serialize;
use serde_json::value::RawValue;
use tinybase_abi::codec::Value;

use super::filter::{Filter, PageAsked, Start};
use crate::{
    db::DbError,
    sql::{HostSql, Row, integer, is_null, text},
};

/// Up to how many entries a total is counted.
pub(super) const TOTAL_COUNTED_MAX: u64 = 10_000;
/// How many entries an export holds in memory at once.
const EXPORT_ENTRIES_AT_ONCE: i64 = 100;

const COLUMNS: &str =
    "id, at, actor_kind, actor_id, actor_name, address, request_id, action, target_kind, target_id, change";

/// The audit log as it is read.
#[derive(Debug, Clone)]
pub struct AuditLog {
    sql: HostSql,
}

/// An entry as it is answered.
#[derive(Debug, Serialize)]
pub(super) struct Logged {
    pub(super) id: i64,
    pub(super) at: String,
    pub(super) actor_kind: String,
    pub(super) actor_id: Option<String>,
    pub(super) actor_name: String,
    pub(super) address: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) action: String,
    pub(super) target_kind: String,
    pub(super) target_id: String,
    pub(super) change: Box<RawValue>,
}

impl Logged {
    fn from_row(row: &Row) -> Logged {
        let optional = |column| (!is_null(row, column)).then(|| text(row, column));
        let change = RawValue::from_string(text(row, 10));
        Logged {
            id: integer(row, 0),
            at: text(row, 1),
            actor_kind: text(row, 2),
            actor_id: optional(3),
            actor_name: text(row, 4),
            address: optional(5),
            request_id: optional(6),
            action: text(row, 7),
            target_kind: text(row, 8),
            target_id: text(row, 9),
            change: change.expect("the table holds JSON alone there"),
        }
    }
}

/// A page of the log.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    entries: Vec<Logged>,
    /// How many there are, counted up to [`TOTAL_COUNTED_MAX`]; not counted for a cursor.
    total: Option<u64>,
    total_is_exact: bool,
    limit: u64,
    offset: u64,
    next_cursor: Option<String>,
}

/// Where an export stands.
#[derive(Debug)]
pub(super) struct Exported {
    filter: Filter,
    /// The last entry that is part of it: what is added meanwhile is not.
    last: i64,
    /// Time and id of the last entry that was handed out.
    behind: (String, i64),
}

impl AuditLog {
    /// The log in the host's database.
    pub fn new(sql: HostSql) -> AuditLog {
        AuditLog { sql }
    }

    /// A page, newest first.
    pub(super) async fn page(&self, asked: &PageAsked) -> Result<Page, DbError> {
        let (offset, total) = match asked.start {
            Start::Offset(offset) => (offset, Some(self.count(&asked.filter).await?)),
            Start::Cursor(_) => (0, None),
        };
        let mut params = Vec::new();
        let mut filter = asked.filter.sql(&mut params);
        if let Start::Cursor(Some(id)) = asked.start {
            params.push(id.into());
            let id = params.len();
            // Where retention has deleted that entry, everything older is gone too.
            filter =
                format!("{filter} AND (at, id) < ((SELECT at FROM tb_audit_log WHERE id = ?{id}), ?{id})");
        }
        // One more shows whether there is a next page.
        params.push(signed(asked.limit + 1).into());
        params.push(signed(offset).into());
        let (limit_at, offset_at) = (params.len() - 1, params.len());
        let sql = format!(
            "SELECT {COLUMNS} FROM tb_audit_log WHERE id IN (SELECT id FROM tb_audit_log WHERE {filter} \
             ORDER BY at DESC, id DESC LIMIT ?{limit_at} OFFSET ?{offset_at}) ORDER BY at DESC, id DESC"
        );
        let rows = self.sql.scan(&sql, &params).await?;
        let mut entries: Vec<_> = rows.iter().map(Logged::from_row).collect();
        let has_more = entries.len() as u64 > asked.limit;
        entries.truncate(usize::try_from(asked.limit).unwrap_or(usize::MAX));
        let next_cursor = entries.last().filter(|_| has_more).map(|entry| entry.id.to_string());
        let total_is_exact = total.is_some_and(|total| total < TOTAL_COUNTED_MAX);
        Ok(Page { entries, total, total_is_exact, limit: asked.limit, offset, next_cursor })
    }

    async fn count(&self, filter: &Filter) -> Result<u64, DbError> {
        let mut params = vec![signed(TOTAL_COUNTED_MAX).into()];
        let filter = filter.sql(&mut params);
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM tb_audit_log WHERE {filter} LIMIT ?1)");
        let rows = self.sql.scan(&sql, &params).await?;
        Ok(rows.first().map_or(0, |row| integer(row, 0).unsigned_abs()))
    }

    /// Begins an export of what is there now.
    pub(super) async fn begin_export(&self, filter: Filter) -> Result<Exported, DbError> {
        let last = self.sql.row("SELECT max(id) FROM tb_audit_log", &[]).await?;
        let last = last.map_or(0, |row| integer(&row, 0));
        Ok(Exported { filter, last, behind: (String::new(), 0) })
    }

    /// The next entries of an export, oldest first; none at its end.
    pub(super) async fn export_more(&self, export: &mut Exported) -> Result<Vec<Logged>, DbError> {
        let mut params: Vec<Value> = vec![
            export.last.into(),
            export.behind.0.as_str().into(),
            export.behind.1.into(),
            EXPORT_ENTRIES_AT_ONCE.into(),
        ];
        let filter = export.filter.sql(&mut params);
        let sql = format!(
            "SELECT {COLUMNS} FROM tb_audit_log WHERE id IN (SELECT id FROM tb_audit_log WHERE {filter} \
             AND id <= ?1 AND (at, id) > (?2, ?3) ORDER BY at, id LIMIT ?4) ORDER BY at, id"
        );
        let rows = self.sql.scan(&sql, &params).await?;
        let entries: Vec<_> = rows.iter().map(Logged::from_row).collect();
        if let Some(last) = entries.last() {
            export.behind = (last.at.clone(), last.id);
        }
        Ok(entries)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
