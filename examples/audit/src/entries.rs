//! The audit entries: written after events, listed in pages, exported to a file.

use std::{
    fs::File,
    io::{BufWriter, Write},
};

use tinybase_plugin_api::{database::Row, prelude::*};

use crate::Audit;

const COLUMNS: &str = "id, at, topic, subject, object_id, user_id, email, request_id";
/// The maximum number of entries on a page.
const LIMIT_MAX: i64 = 1000;
const LIMIT_DEFAULT: i64 = 100;

fn entry(row: &Row<'_>) -> Result<Json> {
    Ok(json!({
        "id": row.integer(0)?,
        "at": row.text(1)?,
        "topic": row.text(2)?,
        "subject": row.text(3)?,
        "object_id": row.text_or_null(4)?,
        "user_id": row.text_or_null(5)?,
        "email": row.text_or_null(6)?,
        "request_id": row.text_or_null(7)?,
    }))
}

/// Reads a number from the query. An invalid one is a 422 error that names the parameter and the allowed range.
fn number(
    request: &Request,
    name: &str,
    default: i64,
    allowed: std::ops::RangeInclusive<i64>,
) -> Result<i64> {
    let Some(text) = request.query_value(name) else { return Ok(default) };
    match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => {
            let message = format!("{name} is a whole number from {} to {}", allowed.start(), allowed.end());
            let fault = json!([{"loc": ["query", name], "msg": message, "type": "value_error"}]);
            Err(Error::unprocessable("invalid_query", message).with_details(fault))
        }
    }
}

impl Audit {
    /// Writes an entry for an event. Called after the change was committed.
    pub(crate) async fn write_down(self: Arc<Self>, event: Event) -> Result<()> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let caller = &event.payload["caller"];
        let sql = "INSERT INTO audit_entries (at, topic, subject, object_id, user_id, email, request_id) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let params = params![
            Value::Now,
            event.topic,
            event.subject,
            text(&event.payload["id"]),
            text(&caller["user_id"]),
            text(&caller["email"]),
            text(&event.payload["request_id"]),
        ];
        self.database.execute(sql, params).await?;
        Ok(())
    }

    /// Lists a page of entries, newest first.
    pub(crate) async fn list(self: Arc<Self>, request: Request) -> Result<Response> {
        let limit = number(&request, "limit", LIMIT_DEFAULT, 1..=LIMIT_MAX)?;
        let offset = number(&request, "offset", 0, 0..=i64::MAX)?;
        let topic = request.query_value("topic").map(std::borrow::Cow::into_owned);
        let sql = format!(
            "SELECT {COLUMNS}, (SELECT count(*) FROM audit_entries WHERE topic = ?1 OR ?1 IS NULL) \
             FROM audit_entries WHERE topic = ?1 OR ?1 IS NULL ORDER BY id DESC LIMIT ?2 OFFSET ?3"
        );
        let rows = self.database.query(ReadHint::Scan, &sql, params![topic.clone(), limit, offset]).await?;
        let entries = rows.iter().map(|row| entry(&row)).collect::<Result<Vec<_>>>()?;
        let total = match rows.first() {
            Some(row) => row.integer(8)?,
            // A page after the last entry has no row with the count.
            None => self.count(topic).await?,
        };
        Response::json(&json!({"entries": entries, "total": total, "limit": limit, "offset": offset}))
    }

    async fn count(&self, topic: Option<String>) -> Result<i64> {
        let sql = "SELECT count(*) FROM audit_entries WHERE topic = ?1 OR ?1 IS NULL";
        let rows = self.database.query(ReadHint::Scan, sql, params![topic]).await?;
        rows.first().map_or(Ok(0), |row| row.integer(0))
    }

    /// Returns how often each collection was changed.
    pub(crate) async fn changes(self: Arc<Self>, _request: Request) -> Result<Response> {
        let sql = "SELECT collection, changes FROM audit_changes ORDER BY collection";
        let rows = self.database.query(ReadHint::Scan, sql, &[]).await?;
        let changes = rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.integer(1)?.into())));
        Response::json(&json!({"changes": changes.collect::<Result<std::collections::BTreeMap<_, Json>>>()?}))
    }

    /// Runs `tinybase audit export FILE`: exports every entry, oldest first, page by page.
    pub(crate) async fn export(self: Arc<Self>, arguments: Arguments, console: Console) -> Result<u32> {
        let path = arguments.required("file")?;
        let as_text = arguments.text("format") == Some("text");
        let cannot_write = |error: std::io::Error| {
            Error::bad_request("file_not_writable", format!("{path} cannot be written: {error}"))
        };
        let mut file = BufWriter::new(File::create(path).map_err(cannot_write)?);
        let (mut last, mut count) = (0, 0u64);
        loop {
            let sql = format!("SELECT {COLUMNS} FROM audit_entries WHERE id > ?1 ORDER BY id LIMIT ?2");
            let rows = self.database.query(ReadHint::Scan, &sql, params![last, LIMIT_MAX]).await?;
            for row in &rows {
                let entry = entry(&row)?;
                last = row.integer(0)?;
                let line = if as_text { sentence(&entry) } else { entry.to_string() };
                writeln!(file, "{line}").map_err(cannot_write)?;
                count += 1;
            }
            if rows.is_empty() {
                break;
            }
            console.progress(count, 0, "entries");
        }
        file.flush().map_err(cannot_write)?;
        console.line(format!("wrote {count} entries to {path}"));
        Ok(0)
    }
}

fn sentence(entry: &Json) -> String {
    let word = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    format!("{} {} {} {} by {}", word("at"), word("topic"), word("subject"), word("object_id"), word("email"))
}
