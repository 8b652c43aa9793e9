//! Pages of lists: `limit` and `offset` of the query. It reads no table.

use std::ops::RangeInclusive;

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

fn number(request: &Request, name: &str, default: i64, allowed: RangeInclusive<i64>) -> Result<i64> {
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
