//! Parses the query of the host's own routes. A response lists all faults at once, each with its location. It never
//! knows what a parameter is for.

use std::{borrow::Cow, ops::RangeInclusive};

use super::extract::{UNKNOWN_NAMES_MAX, unknown_name};
use crate::error::{ApiError, Fault};

/// The maximum number of entries of a page, and the number if `limit` is missing.
const LIMIT_MAX: u64 = 1000;
const LIMIT_DEFAULT: u64 = 100;

/// The requested page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The maximum number of entries, 1 to 1000.
    pub limit: u64,
    /// The number of entries to skip.
    pub offset: u64,
}

/// A query, with the faults found so far.
#[derive(Debug)]
pub struct Query<'q> {
    given: Vec<(Cow<'q, str>, Cow<'q, str>)>,
    faults: Vec<Fault>,
}

impl<'q> Query<'q> {
    /// Parses the query `text`, which may only contain parameters with these names, each at most once. Names that begin
    /// with `_` are ignored: programs add them to bypass caches.
    pub fn parse(text: Option<&'q str>, names: &[&str]) -> Query<'q> {
        let mut query = Query { given: Vec::new(), faults: Vec::new() };
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if name.starts_with('_') {
                continue;
            }
            if !names.contains(&&*name) {
                query.refuse_unknown(&name, names);
            } else if query.get(&name).is_some() {
                query.fault(&name, "this may be given once", "value_error");
            } else {
                query.given.push((name, value));
            }
        }
        query
    }

    fn refuse_unknown(&mut self, name: &str, names: &[&str]) {
        if self.faults.len() < UNKNOWN_NAMES_MAX {
            self.fault(name, unknown_name("parameter", name, names), "extra_forbidden");
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Records a fault of the parameter `name`.
    pub fn fault(&mut self, name: &str, msg: impl Into<String>, kind: &'static str) {
        self.faults.push(Fault::new(["query".to_owned(), name.to_owned()], msg, kind));
    }

    /// Reads a text of at most `chars_max` characters; an empty text counts as missing.
    pub fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let text = self.get(name).filter(|text| !text.is_empty())?.to_owned();
        if text.chars().count() > chars_max {
            self.fault(name, format!("this has at most {chars_max} characters"), "string_too_long");
            return None;
        }
        Some(text)
    }

    /// Reads one of these words.
    pub fn word(&mut self, name: &str, allowed: &[&'static str]) -> Option<&'static str> {
        let given = self.get(name)?;
        let found = allowed.iter().find(|word| **word == given).copied();
        if found.is_none() {
            self.fault(name, format!("this must be one of {}", allowed.join(", ")), "enum");
        }
        found
    }

    /// Reads `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        Some(self.word(name, &["true", "false"])? == "true")
    }

    /// Reads an integer within `allowed`.
    pub fn number(&mut self, name: &str, allowed: RangeInclusive<u64>) -> Option<u64> {
        let number = self.get(name)?.parse().ok().filter(|number| allowed.contains(number));
        if number.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            self.fault(name, format!("this must be a whole number from {least} to {most}"), "int_parsing");
        }
        number
    }

    /// Reads `limit` and `offset`, the parameters of every list.
    pub fn page(&mut self) -> Page {
        Page {
            limit: self.number("limit", 1..=LIMIT_MAX).unwrap_or(LIMIT_DEFAULT),
            offset: self.number("offset", 0..=i64::MAX as u64).unwrap_or(0),
        }
    }

    /// Finishes parsing.
    ///
    /// # Errors
    /// 422 with all recorded faults.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::unprocessable(self.faults)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let mut query = Query::parse(Some(text), &["limit", "offset", "name", "on", "role"]);
        let page = query.page();
        let rest = (query.text("name", 3), query.flag("on"), query.word("role", &["user", "admin"]));
        match query.finish() {
            Ok(()) => format!("{}+{} {rest:?}", page.offset, page.limit),
            Err(error) => {
                let answer: serde_json::Value = serde_json::from_slice(&error.to_json()).unwrap();
                let faults = answer["detail"].as_array().unwrap().iter();
                let told = faults.map(|fault| format!("{} {}", fault["loc"][1], fault["type"]));
                told.collect::<Vec<_>>().join("; ").replace('"', "")
            }
        }
    }

    #[test]
    fn a_query_is_read_or_refused_with_every_fault() {
        let cases = [
            ("", "0+100 (None, None, None)"),
            (
                "limit=1000&offset=7&name=a%20b&on=true&role=user",
                r#"7+1000 (Some("a b"), Some(true), Some("user"))"#,
            ),
            ("name=&on=false", "0+100 (None, Some(false), None)"),
            ("limit=0&offset=-1", "limit int_parsing; offset int_parsing"),
            ("limit=1001&offset=9223372036854775808", "limit int_parsing; offset int_parsing"),
            (
                "name=abcd&on=yes&role=root&other=1",
                "other extra_forbidden; name string_too_long; on enum; role enum",
            ),
            ("limit=1&limit=2", "limit value_error"),
            ("_=17&_x=1&_x=2&limit=3", "0+3 (None, None, None)"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
