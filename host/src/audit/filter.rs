//! Which entries are asked for: the query of a request, read and held against what is allowed, and as conditions of
//! SQL. It never reads the log.

use std::{borrow::Cow, collections::HashMap};

use jiff::Timestamp;
use tinybase_abi::codec::Value;

use crate::error::{ApiError, Fault};

/// The most entries of a page.
const LIMIT_MAX: u64 = 1000;
const LIMIT_DEFAULT: u64 = 100;
/// The longest text to filter by, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 512;

/// The parameters that choose entries.
pub(super) const FILTERS: [&str; 6] = ["action", "actor_id", "target_kind", "target_id", "from", "to"];

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// After so many entries; the answer counts all.
    Offset(u64),
    /// After the entry of this id; from the newest on where there is none.
    Cursor(Option<i64>),
}

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PageAsked {
    pub(super) filter: Filter,
    pub(super) limit: u64,
    pub(super) start: Start,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A JSON object a line.
    Ndjson,
    /// A line an entry below a line of names.
    Csv,
}

/// Which entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// What a column must be.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    column: &'static str,
    /// Operators with what is on their right.
    compared: Vec<(&'static str, String)>,
    /// Whether the index that finds it has the entries in the order of time.
    in_order: bool,
}

impl Condition {
    fn new(column: &'static str, operator: &'static str, value: String) -> Condition {
        Condition { column, compared: vec![(operator, value)], in_order: true }
    }
}

impl Filter {
    /// The conditions of a `WHERE`, with their values appended to `params`. No index is used that would have to be
    /// sorted: everything is read in the order of time, and no further than to the end of the page.
    pub(super) fn sql(&self, params: &mut Vec<Value>) -> String {
        let mut sql = String::from("1");
        for Condition { column, compared, in_order } in &self.conditions {
            // SQLite finds nothing by an index of `+column`.
            let sign = if *in_order { "" } else { "+" };
            for (operator, value) in compared {
                params.push(value.as_str().into());
                sql.push_str(&format!(" AND {sign}{column} {operator} ?{}", params.len()));
            }
        }
        sql
    }
}

/// The pairs of a query, and what is wrong with them.
struct Given<'q> {
    values: HashMap<Cow<'q, str>, Cow<'q, str>>,
    faults: Vec<Fault>,
}

impl<'q> Given<'q> {
    fn read(query: &'q str, others: &[&str]) -> Given<'q> {
        let mut given = Given { values: HashMap::new(), faults: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !FILTERS.contains(&&*name) && !others.contains(&&*name) {
                let all = FILTERS.iter().chain(others).copied().collect::<Vec<_>>().join(", ");
                given.fault(
                    name.into_owned(),
                    format!("there is no such parameter; there are {all}"),
                    "extra_forbidden",
                );
                continue;
            }
            given.values.entry(name).or_insert(value);
        }
        given
    }

    fn fault(&mut self, name: impl Into<String>, msg: impl Into<String>, kind: &'static str) {
        self.faults.push(Fault::new(["query".to_owned(), name.into()], msg, kind));
    }

    fn number(&mut self, name: &'static str, default: u64, allowed: std::ops::RangeInclusive<u64>) -> u64 {
        let Some(value) = self.values.get(name) else { return default };
        match value.parse() {
            Ok(number) if allowed.contains(&number) => number,
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                self.fault(name, format!("this must be a whole number from {least} to {most}"), "int_type");
                default
            }
        }
    }

    fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.values.get(name).filter(|value| !value.is_empty())?.clone().into_owned();
        if value.len() > TEXT_BYTES_MAX {
            self.fault(name, format!("this must have at most {TEXT_BYTES_MAX} bytes"), "string_too_long");
            return None;
        }
        Some(value)
    }

    fn time(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        match text.parse::<Timestamp>() {
            Ok(time) => Some(format!("{time:.6}")),
            Err(_) => {
                self.fault(name, "this must be a time such as 2026-01-31T00:00:00Z", "datetime_type");
                None
            }
        }
    }

    fn action(&mut self) -> Option<Condition> {
        let action = self.text("action")?;
        match action.strip_suffix('*') {
            Some("") => None,
            Some(start) if !start.contains('*') => {
                // Behind every text that begins so.
                let end = format!("{start}\u{10ffff}");
                let compared = vec![(">=", start.to_owned()), ("<", end)];
                Some(Condition { column: "action", compared, in_order: false })
            }
            None if !action.contains('*') => Some(Condition::new("action", "=", action)),
            _ => {
                self.fault("action", "a * stands at the end alone, as in user.*", "value_error");
                None
            }
        }
    }

    fn filter(&mut self) -> Filter {
        let mut conditions = Vec::from_iter(self.action());
        conditions.extend(self.text("actor_id").map(|id| Condition::new("actor_id", "=", id)));
        let (kind, id) = (self.text("target_kind"), self.text("target_id"));
        // Their index has both before the times.
        let in_order = kind.is_some() && id.is_some();
        for (column, value) in [("target_kind", kind), ("target_id", id)] {
            conditions
                .extend(value.map(|value| Condition { in_order, ..Condition::new(column, "=", value) }));
        }
        conditions.extend(self.time("from").map(|time| Condition::new("at", ">=", time)));
        conditions.extend(self.time("to").map(|time| Condition::new("at", "<", time)));
        Filter { conditions }
    }

    fn done<T>(self, asked: T) -> Result<T, ApiError> {
        if self.faults.is_empty() { Ok(asked) } else { Err(ApiError::unprocessable(self.faults)) }
    }
}

/// Reads the query of a page.
///
/// # Errors
/// 422 with every fault.
pub(super) fn read_page(query: &str) -> Result<PageAsked, ApiError> {
    let mut given = Given::read(query, &["limit", "offset", "cursor"]);
    let filter = given.filter();
    let limit = given.number("limit", LIMIT_DEFAULT, 1..=LIMIT_MAX);
    let offset = given.number("offset", 0, 0..=i64::MAX as u64);
    let start = match given.values.get("cursor").map(|cursor| (cursor.is_empty(), cursor.parse())) {
        None => Start::Offset(offset),
        Some((true, _)) => Start::Cursor(None),
        Some((false, Ok(id))) => Start::Cursor(Some(id)),
        Some((false, Err(_))) => {
            given.fault("cursor", "this must be the next_cursor of an answer, or empty", "value_error");
            Start::Offset(offset)
        }
    };
    if given.values.contains_key("cursor") && given.values.contains_key("offset") {
        given.fault("offset", "a cursor says where the page begins: leave offset out", "value_error");
    }
    given.done(PageAsked { filter, limit, start })
}

/// Reads the query of an export.
///
/// # Errors
/// 422 with every fault.
pub(super) fn read_export(query: &str) -> Result<(Filter, Format), ApiError> {
    let mut given = Given::read(query, &["format"]);
    let filter = given.filter();
    let format = match given.values.get("format").map_or("ndjson", |format| &**format) {
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
    use super::*;

    #[test]
    fn a_query_becomes_conditions_with_every_value_bound() {
        let query =
            "action=user.*&actor_id=u1&target_kind=user&target_id=u2&from=2026-01-31T01:00:00%2B01:00&to=";
        let asked = read_page(query).unwrap();
        let mut params = vec![Value::Integer(7)];
        assert_eq!(
            asked.filter.sql(&mut params),
            "1 AND +action >= ?2 AND +action < ?3 AND actor_id = ?4 AND target_kind = ?5 AND target_id = ?6 AND at >= ?7"
        );
        let texts = ["user.", "user.\u{10ffff}", "u1", "user", "u2", "2026-01-31T00:00:00.000000Z"];
        assert_eq!(params[1..], texts.map(Value::from));
        for (query, sql) in [
            ("action=user.see&target_kind=user", "1 AND action = ?1 AND +target_kind = ?2"),
            ("action=*&target_id=u1", "1 AND +target_id = ?1"),
        ] {
            let (filter, _) = read_export(query).unwrap();
            assert_eq!(filter.sql(&mut Vec::new()), sql);
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
