//! Reads the log: pages from the newest entry, and exports from the oldest, in parts. It never writes.

use serde::Serialize;
use serde_json::value::RawValue;
use tinybase_abi::codec::Value;

use crate::{
    db::DbError,
    log_query::{Filter, PageAsked, Paging, TimeLog},
    sql::{HostSql, Row, integer, is_null, text},
};

/// The maximum number of entries of an export in memory at once.
const EXPORT_ENTRIES_AT_ONCE: i64 = 100;

const COLUMNS: &str =
    "id, at, actor_kind, actor_id, actor_name, address, request_id, action, target_kind, target_id, change";

/// Read access to the audit log.
#[derive(Debug, Clone)]
pub struct AuditLog {
    log: TimeLog,
}

/// An entry in a response.
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
    #[serde(flatten)]
    paging: Paging,
}

/// The state of an export.
#[derive(Debug)]
pub(super) struct Exported {
    filter: Filter,
    /// The last entry of the export; later entries are left out.
    last: i64,
    /// The time and id of the last entry that was returned.
    behind: (String, i64),
    /// The number of entries per read: fewer if they are large.
    at_once: i64,
}

impl AuditLog {
    /// Creates read access to the log in the host's database.
    pub fn new(sql: HostSql) -> AuditLog {
        AuditLog { log: TimeLog::new(sql, "tb_audit_log", COLUMNS) }
    }

    /// Returns a page, newest first.
    pub(super) async fn page(&self, asked: &PageAsked) -> Result<Page, DbError> {
        let (rows, paging) = self.log.page(asked).await?;
        Ok(Page { entries: rows.iter().map(Logged::from_row).collect(), paging })
    }

    /// Begins an export of the current entries.
    pub(super) async fn begin_export(&self, filter: Filter) -> Result<Exported, DbError> {
        let last = self.log.sql().row("SELECT max(id) FROM tb_audit_log", &[]).await?;
        let last = last.map_or(0, |row| integer(&row, 0));
        Ok(Exported { filter, last, behind: (String::new(), 0), at_once: EXPORT_ENTRIES_AT_ONCE })
    }

    /// Returns the next entries of an export, oldest first; none at its end.
    pub(super) async fn export_more(&self, export: &mut Exported) -> Result<Vec<Logged>, DbError> {
        let rows = loop {
            match self.export_rows(export).await {
                Err(DbError::TooLarge { .. }) if export.at_once > 1 => export.at_once /= 2,
                rows => break rows?,
            }
        };
        let entries: Vec<_> = rows.iter().map(Logged::from_row).collect();
        if let Some(last) = entries.last() {
            export.behind = (last.at.clone(), last.id);
        }
        Ok(entries)
    }

    async fn export_rows(&self, export: &Exported) -> Result<Vec<Row>, DbError> {
        let mut params: Vec<Value> = vec![
            export.last.into(),
            export.behind.0.as_str().into(),
            export.behind.1.into(),
            export.at_once.into(),
        ];
        let filter = export.filter.sql(self.log.sql().database().engine(), &mut params);
        let sql = format!(
            "SELECT {COLUMNS} FROM tb_audit_log WHERE id IN (SELECT id FROM tb_audit_log WHERE {filter} \
             AND id <= ?1 AND (at, id) > (?2, ?3) ORDER BY at, id LIMIT ?4) ORDER BY at, id"
        );
        self.log.sql().scan(&sql, &params).await
    }
}
