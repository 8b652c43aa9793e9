//! Queries on a collection beyond one record: pages, their order and selection, aggregates. It converts query
//! parameters to statements, and never runs one.

mod aggregate;
mod cursor;
mod expand;
mod keyset;
mod list;
mod pick;
mod sort;

use std::borrow::Cow;

pub use aggregate::Aggregate;
pub use cursor::{Position, fingerprint};
pub use expand::{ExpandNode, parse as parse_expand};
pub use list::{Count, ListQuery, Statement, Table, columns};
pub use pick::Pick;
pub use sort::{Sort, SortKey};

use crate::limits;

/// An invalid query parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryFault {
    /// The parameter's name.
    pub param: String,
    /// A stable error code for programs.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
    /// The unknown parameters, if these are the fault.
    pub unknown: Vec<String>,
    /// The known parameters, in that case.
    pub known: &'static [&'static str],
}

impl QueryFault {
    /// Creates a fault of a parameter.
    pub fn new(param: &str, code: &'static str, message: impl Into<String>) -> QueryFault {
        let (unknown, known) = (Vec::new(), &[][..]);
        QueryFault { param: param.to_owned(), code, message: message.into(), unknown, known }
    }
}

/// The decoded pairs of a query string.
pub type Pairs<'a> = [(Cow<'a, str>, Cow<'a, str>)];

/// Refuses unknown parameters. Those that begin with `_` are the client's own, for instance to bypass a cache.
pub fn check_names(pairs: &Pairs<'_>, known: &'static [&'static str]) -> Result<(), QueryFault> {
    let is_unknown = |name: &&str| !name.starts_with('_') && !known.contains(name);
    let unknown: Vec<String> =
        pairs.iter().map(|(name, _)| &**name).filter(is_unknown).map(str::to_owned).collect();
    match unknown.first() {
        None => Ok(()),
        Some(first) => {
            let fault = QueryFault::new(first, "invalid_query", "is not a parameter of this route");
            Err(QueryFault { unknown, known, ..fault })
        }
    }
}

/// Returns the value of a parameter; a duplicate parameter is a fault.
pub fn value<'a>(pairs: &'a Pairs<'_>, name: &str) -> Result<Option<&'a str>, QueryFault> {
    let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| &**value);
    let first = values.next();
    if values.next().is_some() {
        return Err(QueryFault::new(name, "invalid_query", "is given twice"));
    }
    Ok(first)
}

/// Parses a number within bounds; returns `default` if it is not given.
fn number(pairs: &Pairs<'_>, name: &str, min: u64, max: u64, default: u64) -> Result<u64, QueryFault> {
    let Some(text) = value(pairs, name)? else { return Ok(default) };
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(QueryFault::new(name, "invalid_query", format!("must be an integer of {min} to {max}"))),
    }
}

/// Parses `limit` and `offset`.
pub fn window(pairs: &Pairs<'_>) -> Result<(u64, u64), QueryFault> {
    let limit = number(pairs, "limit", 1, limits::PAGE_LIMIT_MAX, limits::PAGE_LIMIT_DEFAULT)?;
    let offset = number(pairs, "offset", 0, limits::PAGE_OFFSET_MAX, 0)?;
    Ok((limit, offset))
}

#[cfg(test)]
mod tests;
