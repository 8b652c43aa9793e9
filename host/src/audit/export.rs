//! Exports the log as a file: one JSON object per line, or CSV. It is written in parts, and never held in memory as a
//! whole.

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde::Serialize;

use super::{
    filter::Format,
    log::{AuditLog, Exported, Logged},
};
use crate::{db::DbError, log_query::Filter};

const CSV_HEAD: &str =
    "id,at,actor_kind,actor_id,actor_name,address,request_id,action,target_kind,target_id,change\n";

/// An entry in a CSV file.
#[derive(Serialize)]
struct CsvLine<'e>(i64, &'e str, &'e str, String, String, String, String, String, String, String, &'e str);

/// Returns text as a cell that no spreadsheet interprets as a formula.
fn cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

fn optional_cell(text: Option<&String>) -> String {
    text.map(|text| cell(text)).unwrap_or_default()
}

impl Format {
    /// Returns the media type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
        }
    }

    /// Returns the `Content-Disposition` header with the file name.
    pub(super) fn disposition(self) -> &'static str {
        match self {
            Format::Ndjson => "attachment; filename=\"audit-log.ndjson\"",
            Format::Csv => "attachment; filename=\"audit-log.csv\"",
        }
    }

    fn head(self) -> &'static str {
        match self {
            Format::Ndjson => "",
            Format::Csv => CSV_HEAD,
        }
    }

    fn write(self, entries: &[Logged]) -> Vec<u8> {
        match self {
            Format::Ndjson => {
                let mut out = Vec::new();
                for entry in entries {
                    serde_json::to_writer(&mut out, entry).expect("an entry is plain data");
                    out.push(b'\n');
                }
                out
            }
            Format::Csv => {
                let mut out = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
                for entry in entries {
                    out.serialize(csv_line(entry)).expect("a buffer in memory takes every line");
                }
                out.into_inner().expect("a buffer in memory takes every line")
            }
        }
    }
}

fn csv_line(entry: &Logged) -> CsvLine<'_> {
    CsvLine(
        entry.id,
        &entry.at,
        &entry.actor_kind,
        optional_cell(entry.actor_id.as_ref()),
        cell(&entry.actor_name),
        optional_cell(entry.address.as_ref()),
        optional_cell(entry.request_id.as_ref()),
        cell(&entry.action),
        cell(&entry.target_kind),
        cell(&entry.target_id),
        entry.change.get(),
    )
}

/// The part of an export's body that is still to be sent.
struct Coming {
    log: AuditLog,
    export: Exported,
    format: Format,
    /// The part that was already read.
    ready: Option<Vec<u8>>,
}

impl Coming {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, DbError> {
        if let Some(ready) = self.ready.take().filter(|ready| !ready.is_empty()) {
            return Ok(Some(ready));
        }
        let entries = self.log.export_more(&mut self.export).await?;
        Ok((!entries.is_empty()).then(|| self.format.write(&entries)))
    }
}

/// Returns the body of an export. Its first entries are read at once, so that an early failure gets an error response.
/// If a later part fails, the connection is aborted, so that an incomplete file is never mistaken for a complete one.
///
/// # Errors
/// Database errors.
pub(super) async fn body(log: AuditLog, filter: Filter, format: Format) -> Result<Body, DbError> {
    let mut export = log.begin_export(filter).await?;
    let mut ready = format.head().as_bytes().to_vec();
    ready.extend(format.write(&log.export_more(&mut export).await?));
    let coming = Coming { log, export, format, ready: Some(ready) };
    Ok(Body::from_stream(stream::try_unfold(coming, async |mut coming: Coming| {
        let part = coming
            .next()
            .await
            .inspect_err(|error| tracing::error!(%error, "an export of the audit log broke off"))?;
        Ok::<_, DbError>(part.map(|part| (Bytes::from(part), coming)))
    })))
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn lines_hold_every_field_and_no_formula() {
        let entry = Logged {
            id: 7,
            at: "2026-01-31T00:00:00.000000Z".into(),
            actor_kind: "user".into(),
            actor_id: None,
            actor_name: "=cmd@example.org".into(),
            address: Some("127.0.0.1".into()),
            request_id: None,
            action: "user.update".into(),
            target_kind: "user".into(),
            target_id: "a,\"b".into(),
            change: RawValue::from_string("{\"email\":{\"from\":\"a\",\"to\":\"b\"}}".into()).unwrap(),
        };
        let csv = String::from_utf8(Format::Csv.write(&[entry])).unwrap();
        assert_eq!(
            csv,
            "7,2026-01-31T00:00:00.000000Z,user,,'=cmd@example.org,127.0.0.1,,user.update,user,\"a,\"\"b\",\
             \"{\"\"email\"\":{\"\"from\"\":\"\"a\"\",\"\"to\"\":\"\"b\"\"}}\"\n"
        );
        assert_eq!(CSV_HEAD.split(',').count(), csv.split(',').count() - 2);
    }
}
