//! Parses the queries of the audit log into filters. It never reads the log.

use crate::{
    error::ApiError,
    log_query::{Condition, Filter, Given, PAGE_PARAMS, PageAsked},
};

/// The query parameters that filter entries.
const FILTERS: [&str; 6] = ["action", "actor_id", "target_kind", "target_id", "from", "to"];

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON object per line.
    Ndjson,
    /// One line per entry, after a header line.
    Csv,
}

fn action(given: &mut Given<'_>) -> Option<Condition> {
    let action = given.text("action")?;
    match action.strip_suffix('*') {
        Some("") => None,
        Some(start) if !start.contains('*') => Some(Condition::begins("action", start)),
        None if !action.contains('*') => Some(Condition::new("action", "=", action.as_str())),
        _ => {
            given.fault("action", "a * stands at the end alone, as in user.*", "value_error");
            None
        }
    }
}

fn filter(given: &mut Given<'_>) -> Filter {
    let mut conditions = Vec::from_iter(action(given));
    conditions.extend(given.text("actor_id").map(|id| Condition::new("actor_id", "=", id.as_str())));
    let (kind, id) = (given.text("target_kind"), given.text("target_id"));
    // Their index contains both before the time.
    let in_order = kind.is_some() && id.is_some();
    for (column, value) in [("target_kind", kind), ("target_id", id)] {
        let equal = value.map(|value| Condition::new(column, "=", value.as_str()).in_order(in_order));
        conditions.extend(equal);
    }
    conditions.extend(given.times());
    Filter::new(conditions)
}

/// Parses the query of a page.
///
/// # Errors
/// 422 with every fault.
pub(super) fn read_page(query: &str) -> Result<PageAsked, ApiError> {
    let mut given = Given::read(query, &[&FILTERS[..], &PAGE_PARAMS].concat());
    let filter = filter(&mut given);
    given.page(filter)
}

/// Parses the query of an export.
///
/// # Errors
/// 422 with every fault.
pub(super) fn read_export(query: &str) -> Result<(Filter, Format), ApiError> {
    let mut given = Given::read(query, &[&FILTERS[..], &["format"]].concat());
    let filter = filter(&mut given);
    let format = match given.get("format").unwrap_or("ndjson") {
        "csv" => Format::Csv,
        "ndjson" => Format::Ndjson,
        _ => {
            given.fault("format", "this must be ndjson or csv", "enum");
            Format::Ndjson
        }
    };
    given.done((filter, format))
}

#[cfg(test)]
mod tests {
    use tinybase_abi::codec::Value;

    use super::*;
    use crate::{db::Engine, log_query::Start};

    #[test]
    fn a_query_becomes_conditions_with_every_value_bound() {
        let query =
            "action=user.*&actor_id=u1&target_kind=user&target_id=u2&from=2026-01-31T01:00:00%2B01:00&to=";
        let asked = read_page(query).unwrap();
        let mut params = vec![Value::Integer(7)];
        assert_eq!(
            asked.filter.sql(Engine::Sqlite, &mut params),
            "1 = 1 AND +action >= ?2 AND +action < ?3 AND actor_id = ?4 AND target_kind = ?5 AND target_id = ?6 AND at >= ?7"
        );
        let texts = ["user.", "user.\u{10ffff}", "u1", "user", "u2", "2026-01-31T00:00:00.000000Z"];
        assert_eq!(params[1..], texts.map(Value::from));
        for (query, sql) in [
            ("action=user.see&target_kind=user", "1 = 1 AND action = ?1 AND +target_kind = ?2"),
            ("action=*&target_id=u1", "1 = 1 AND +target_id = ?1"),
        ] {
            let (filter, _) = read_export(query).unwrap();
            assert_eq!(filter.sql(Engine::Sqlite, &mut Vec::new()), sql);
            assert_eq!(filter.sql(Engine::Postgres, &mut Vec::new()), sql.replace('+', ""));
        }
        assert_eq!((asked.limit, asked.start), (100, Start::Offset(0)));
        assert_eq!(read_page("cursor=&limit=7").unwrap().start, Start::Cursor(None));
        assert_eq!(read_page("cursor=12").unwrap().start, Start::Cursor(Some(12)));
        assert_eq!(read_export("format=csv").unwrap(), (Filter::default(), Format::Csv));
    }

    #[test]
    fn every_fault_of_a_query_is_named() {
        for (query, names) in [
            ("limit=0&offset=-1", "limit offset"),
            ("limit=1001", "limit"),
            ("limit=x&from=yesterday&to=2026-13-01T00:00:00Z", "from to limit"),
            ("action=*.x&actions=1", "actions action"),
            ("cursor=x", "cursor"),
            ("cursor=1&offset=1", "offset"),
            (&format!("target_id={}", "x".repeat(513)), "target_id"),
        ] {
            let error: serde_json::Value =
                serde_json::from_slice(&read_page(query).unwrap_err().to_json()).unwrap();
            let told: Vec<_> = error["detail"]
                .as_array()
                .unwrap()
                .iter()
                .map(|fault| fault["loc"][1].as_str().unwrap())
                .collect();
            assert_eq!(told.join(" "), names, "{query}");
        }
        assert!(read_export("format=xml").is_err() && read_export("limit=1").is_err());
    }
}
