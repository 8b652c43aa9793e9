//! The query of a request: pages of lists by `limit` and `offset`, and that it holds nothing else. It reads no table.

use std::{collections::HashSet, ops::RangeInclusive};

use tinybase_plugin_api::prelude::*;

const LIMIT_MAX: i64 = 1000;
const LIMIT_DEFAULT: i64 = 100;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

impl Page {
    /// What the query says.
    ///
    /// # Errors
    /// 422 `invalid_query`.
    pub(crate) fn of(request: &Request) -> Result<Page> {
        Ok(Page {
            limit: number(request, "limit", LIMIT_DEFAULT, 1..=LIMIT_MAX)?,
            offset: number(request, "offset", 0, 0..=i64::MAX)?,
        })
    }
}

/// Refuses parameters that the route does not have, and those that are given twice: a misspelt one would be ignored. Those that begin
/// with `_` are the client's own, for instance to pass a cache by.
///
/// # Errors
/// 422 `invalid_query`.
pub(crate) fn check_query(request: &Request, known: &[&str]) -> Result<()> {
    let mut seen = HashSet::new();
    for (name, _) in request.query_pairs().filter(|(name, _)| !name.starts_with('_')) {
        if !known.contains(&&*name) {
            return Err(fault(&name, format!("{name} is not a parameter of this route")));
        }
        if !seen.insert(name.to_string()) {
            return Err(fault(&name, format!("{name} is given twice")));
        }
    }
    Ok(())
}

/// A query parameter that cannot be used.
pub(crate) fn fault(name: &str, message: String) -> Error {
    let details = json!([{"loc": ["query", name], "msg": message, "type": "value_error"}]);
    Error::unprocessable("invalid_query", message).with_details(details)
}

fn number(request: &Request, name: &str, default: i64, allowed: RangeInclusive<i64>) -> Result<i64> {
    let Some(text) = request.query_value(name) else { return Ok(default) };
    match text.parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => {
            let message = format!("{name} is a whole number from {} to {}", allowed.start(), allowed.end());
            Err(fault(name, message))
        }
    }
}
