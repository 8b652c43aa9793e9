//! The query of a request, read and held against what is allowed, and as conditions of SQL. It never reads a log.

use std::{borrow::Cow, collections::HashMap, ops::RangeInclusive};

use jiff::Timestamp;
use tinybase_abi::codec::Value;

use crate::{
    db::Engine,
    error::{ApiError, Fault},
    sql::stored_time,
};

/// The most entries of a page.
const LIMIT_MAX: u64 = 1000;
const LIMIT_DEFAULT: u64 = 100;
/// The longest text to filter by, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;

/// The parameters that choose a page.
pub const PAGE_PARAMS: [&str; 3] = ["limit", "offset", "cursor"];

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// After so many entries; the answer counts all.
    Offset(u64),
    /// After the entry of this id; from the newest on where there is none.
    Cursor(Option<i64>),
}

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PageAsked {
    /// Which entries.
    pub filter: Filter,
    /// The most of them.
    pub limit: u64,
    /// Where it begins.
    pub start: Start,
}

/// Which entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// What a column must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    column: &'static str,
    /// Operators with what is on their right.
    compared: Vec<(&'static str, Value)>,
    /// Whether the index that finds it has the entries in the order of time.
    in_order: bool,
}

impl Condition {
    /// A column held against a value. An index of the column, if there is one, has to hold its entries by time.
    pub fn new(column: &'static str, operator: &'static str, value: impl Into<Value>) -> Condition {
        Condition { column, compared: vec![(operator, value.into())], in_order: true }
    }

    /// A column from `least` on and below `end`.
    pub fn between(column: &'static str, least: impl Into<Value>, end: impl Into<Value>) -> Condition {
        Condition { column, compared: vec![(">=", least.into()), ("<", end.into())], in_order: false }
    }

    /// A column's text that begins so.
    pub fn begins(column: &'static str, start: &str) -> Condition {
        // Behind every text that begins so.
        Condition::between(column, start, format!("{start}\u{10ffff}").as_str())
    }

    /// Says whether the index that finds it has the entries in the order of time.
    #[must_use]
    pub fn in_order(self, in_order: bool) -> Condition {
        Condition { in_order, ..self }
    }
}

impl Filter {
    /// All of these.
    pub fn new(conditions: Vec<Condition>) -> Filter {
        Filter { conditions }
    }

    /// The conditions of a `WHERE`, with their values appended to `params`. On SQLite no index is used that would have to
    /// be sorted: everything is read in the order of time, and no further than to the end of the page. PostgreSQL chooses
    /// by what it knows of the rows.
    pub fn sql(&self, engine: Engine, params: &mut Vec<Value>) -> String {
        let mut sql = String::from("1 = 1");
        for Condition { column, compared, in_order } in &self.conditions {
            // SQLite finds nothing by an index of `+column`.
            let sign = if *in_order || engine == Engine::Postgres { "" } else { "+" };
            for (operator, value) in compared {
                params.push(value.clone());
                sql.push_str(&format!(" AND {sign}{column} {operator} ?{}", params.len()));
            }
        }
        sql
    }
}

/// The pairs of a query, and what is wrong with them.
pub struct Given<'q> {
    values: HashMap<Cow<'q, str>, Cow<'q, str>>,
    faults: Vec<Fault>,
}

impl<'q> Given<'q> {
    /// Reads a query that may have these parameters.
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

    /// Notes that something is wrong with a parameter.
    pub fn fault(&mut self, name: impl Into<String>, msg: impl Into<String>, kind: &'static str) {
        self.faults.push(Fault::new(["query".to_owned(), name.into()], msg, kind));
    }

    /// The value of a parameter as it was sent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| &**value)
    }

    /// A whole number, where it was given.
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

    /// A text that is not empty, where it was given.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name).filter(|value| !value.is_empty())?.to_owned();
        if value.len() > TEXT_BYTES_MAX {
            self.fault(name, format!("this must have at most {TEXT_BYTES_MAX} bytes"), "string_too_long");
            return None;
        }
        Some(value)
    }

    /// A time in the form in which times are stored, where it was given.
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

    /// Entries `from` a time on and before the time `to`.
    pub fn times(&mut self) -> impl Iterator<Item = Condition> + use<> {
        let from = self.time("from").map(|time| Condition::new("at", ">=", time.as_str()));
        let to = self.time("to").map(|time| Condition::new("at", "<", time.as_str()));
        from.into_iter().chain(to)
    }

    /// The page of what `filter` leaves.
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

    /// What was asked for, unless something is wrong.
    ///
    /// # Errors
    /// 422 with every fault.
    pub fn done<T>(self, asked: T) -> Result<T, ApiError> {
        if self.faults.is_empty() { Ok(asked) } else { Err(ApiError::unprocessable(self.faults)) }
    }
}
