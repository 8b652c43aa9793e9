//! Parses and validates the query of a request, and turns it into SQL conditions. It never reads a log.

use std::{borrow::Cow, collections::HashMap, ops::RangeInclusive};

use jiff::Timestamp;
use tinybase_abi::codec::Value;

use crate::{
    db::Engine,
    error::{ApiError, Fault},
    sql::stored_time,
};

/// The maximum number of entries on a page.
const LIMIT_MAX: u64 = 1000;
const LIMIT_DEFAULT: u64 = 100;
/// The maximum length of a text to filter by, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;

/// The query parameters of paging.
pub const PAGE_PARAMS: [&str; 3] = ["limit", "offset", "cursor"];

/// The start of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After this many entries; the response includes the total.
    Offset(u64),
    /// After the entry with this id; `None` starts at the newest.
    Cursor(Option<i64>),
}

/// The request for a page.
#[derive(Debug, Clone, PartialEq)]
pub struct PageAsked {
    /// The filter of the entries.
    pub filter: Filter,
    /// The maximum number of entries.
    pub limit: u64,
    /// The start of the page.
    pub start: Start,
}

/// A filter of entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// A condition on a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    column: &'static str,
    /// Operators and their right-hand values.
    compared: Vec<(&'static str, Value)>,
    /// Whether the index for this condition has the entries in the order of time.
    in_order: bool,
}

impl Condition {
    /// Compares a column with a value. An index of the column, if there is one, must have its entries in the order of
    /// time.
    pub fn new(column: &'static str, operator: &'static str, value: impl Into<Value>) -> Condition {
        Condition { column, compared: vec![(operator, value.into())], in_order: true }
    }

    /// Requires a column to be at least `least` and less than `end`.
    pub fn between(column: &'static str, least: impl Into<Value>, end: impl Into<Value>) -> Condition {
        Condition { column, compared: vec![(">=", least.into()), ("<", end.into())], in_order: false }
    }

    /// Requires a column's text to begin with `start`.
    pub fn begins(column: &'static str, start: &str) -> Condition {
        // This sorts after every text with this beginning.
        Condition::between(column, start, format!("{start}\u{10ffff}").as_str())
    }

    /// Sets whether the index for this condition has the entries in the order of time.
    #[must_use]
    pub fn in_order(self, in_order: bool) -> Condition {
        Condition { in_order, ..self }
    }
}

impl Filter {
    /// Creates a filter that requires all of these conditions.
    pub fn new(conditions: Vec<Condition>) -> Filter {
        Filter { conditions }
    }

    /// Returns the conditions of a `WHERE`, with their values appended to `params`. On SQLite, an index that would need
    /// sorting is not used: rows are read in the order of time, and no further than the end of the page. PostgreSQL
    /// chooses based on its statistics.
    pub fn sql(&self, engine: Engine, params: &mut Vec<Value>) -> String {
        let mut sql = String::from("1 = 1");
        for Condition { column, compared, in_order } in &self.conditions {
            // SQLite uses no index for `+column`.
            let sign = if *in_order || engine == Engine::Postgres { "" } else { "+" };
            for (operator, value) in compared {
                params.push(value.clone());
                sql.push_str(&format!(" AND {sign}{column} {operator} ?{}", params.len()));
            }
        }
        sql
    }
}

/// The parameters of a query, and their faults.
pub struct Given<'q> {
    values: HashMap<Cow<'q, str>, Cow<'q, str>>,
    faults: Vec<Fault>,
}

impl<'q> Given<'q> {
    /// Parses a query that may have these parameters.
    pub fn read(query: &'q str, known: &[&str]) -> Given<'q> {
        let mut given = Given { values: HashMap::new(), faults: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&&*name) {
                let told = format!("there is no such parameter; there are {}", known.join(", "));
                given.fault(name.into_owned(), told, "extra_forbidden");
                continue;
            }
            given.values.entry(name).or_insert(value);
        }
        given
    }

    /// Records a fault of a parameter.
    pub fn fault(&mut self, name: impl Into<String>, msg: impl Into<String>, kind: &'static str) {
        self.faults.push(Fault::new(["query".to_owned(), name.into()], msg, kind));
    }

    /// Returns the value of a parameter as it was sent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| &**value)
    }

    /// Reads an optional integer.
    pub fn number(&mut self, name: &'static str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(name)?;
        match value.parse() {
            Ok(number) if allowed.contains(&number) => Some(number),
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                self.fault(name, format!("this must be a whole number from {least} to {most}"), "int_type");
                None
            }
        }
    }

    /// Reads an optional text; an empty text counts as missing.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name).filter(|value| !value.is_empty())?.to_owned();
        if value.len() > TEXT_BYTES_MAX {
            self.fault(name, format!("this must have at most {TEXT_BYTES_MAX} bytes"), "string_too_long");
            return None;
        }
        Some(value)
    }

    /// Reads an optional time, and converts it to the stored form.
    pub fn time(&mut self, name: &'static str) -> Option<String> {
        let text = self.text(name)?;
        match text.parse::<Timestamp>() {
            Ok(time) => Some(stored_time(time)),
            Err(_) => {
                self.fault(name, "this must be a time such as 2026-01-31T00:00:00Z", "datetime_type");
                None
            }
        }
    }

    /// Reads `from` (inclusive) and `to` (exclusive) as conditions on the time.
    pub fn times(&mut self) -> impl Iterator<Item = Condition> + use<> {
        let from = self.time("from").map(|time| Condition::new("at", ">=", time.as_str()));
        let to = self.time("to").map(|time| Condition::new("at", "<", time.as_str()));
        from.into_iter().chain(to)
    }

    /// Reads the paging parameters for `filter`.
    ///
    /// # Errors
    /// 422 with every fault.
    pub fn page(mut self, filter: Filter) -> Result<PageAsked, ApiError> {
        let limit = self.number("limit", 1..=LIMIT_MAX).unwrap_or(LIMIT_DEFAULT);
        let offset = self.number("offset", 0..=i64::MAX as u64).unwrap_or(0);
        let start = match self.get("cursor").map(|cursor| (cursor.is_empty(), cursor.parse())) {
            None => Start::Offset(offset),
            Some((true, _)) => Start::Cursor(None),
            Some((false, Ok(id))) => Start::Cursor(Some(id)),
            Some((false, Err(_))) => {
                self.fault("cursor", "this must be the next_cursor of an answer, or empty", "value_error");
                Start::Offset(offset)
            }
        };
        if self.values.contains_key("cursor") && self.values.contains_key("offset") {
            self.fault("offset", "a cursor says where the page begins: leave offset out", "value_error");
        }
        self.done(PageAsked { filter, limit, start })
    }

    /// Returns `asked` if there are no faults.
    ///
    /// # Errors
    /// 422 with every fault.
    pub fn done<T>(self, asked: T) -> Result<T, ApiError> {
        if self.faults.is_empty() { Ok(asked) } else { Err(ApiError::unprocessable(self.faults)) }
    }
}
