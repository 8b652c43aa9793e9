//! The query of a request: `limit` and `offset` of a page, and a check for unknown parameters. It reads no table.

use std::{collections::HashSet, ops::RangeInclusive};

use tinybase_plugin_api::prelude::*;

const LIMIT_MAX: i64 = 1000;
const LIMIT_DEFAULT: i64 = 100;

/// The requested part of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) limit: i64,
    pub(crate) offset: i64,
}

impl Page {
    /// Reads the page from the query.
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

/// Rejects unknown and repeated parameters: a misspelt one would otherwise be ignored. Parameters that begin with `_`
/// are for the client's own use, for example to bypass a cache.
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

/// Returns the error for an invalid query parameter.
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
