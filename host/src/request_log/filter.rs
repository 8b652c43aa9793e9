//! Parses the query of the request log into filters. It never reads the log.

use crate::{
    error::ApiError,
    log_query::{Condition, Filter, Given, PAGE_PARAMS, PageAsked},
};

/// The query parameters that filter rows.
const FILTERS: [&str; 9] =
    ["method", "status", "route", "path", "user_id", "request_id", "min_duration_ms", "from", "to"];

/// The maximum duration to filter by, in milliseconds: one day.
pub(super) const DURATION_MS_MAX: u64 = 86_400_000;

/// Parses the query of a page.
///
/// # Errors
/// 422 with every fault.
pub(super) fn read_page(query: &str) -> Result<PageAsked, ApiError> {
    let mut given = Given::read(query, &[&FILTERS[..], &PAGE_PARAMS].concat());
    let mut conditions = Vec::from_iter(status(&mut given));
    for column in ["method", "route", "user_id", "request_id"] {
        let text = given.text(column);
        conditions.extend(text.map(|text| Condition::new(column, "=", text.as_str())));
    }
    conditions.extend(given.text("path").map(|start| Condition::begins("path", &start)));
    let least = given.number("min_duration_ms", 0..=DURATION_MS_MAX);
    conditions.extend(
        least.map(|least| Condition::new("duration_us", ">=", (least * 1000).cast_signed()).in_order(false)),
    );
    conditions.extend(given.times());
    given.page(Filter::new(conditions))
}

fn status(given: &mut Given<'_>) -> Option<Condition> {
    let status = given.text("status")?;
    if let [class @ b'1'..=b'5', b'x', b'x'] = status.as_bytes() {
        let least = i64::from(class - b'0') * 100;
        return Some(Condition::between("status", least, least + 100));
    }
    match status.parse::<u16>() {
        Ok(status) if (100..600).contains(&status) => {
            Some(Condition::new("status", "=", i64::from(status)).in_order(false))
        }
        _ => {
            given.fault("status", "this must be a status such as 404, or a class such as 5xx", "value_error");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tinybase_abi::codec::Value;

    use super::*;
    use crate::db::Engine;

    #[test]
    fn a_query_becomes_conditions_with_every_value_bound() {
        let asked = read_page(
            "status=5xx&method=GET&path=/api/a&user_id=u1&min_duration_ms=250&to=2026-01-31T00:00:00Z",
        );
        let mut params = Vec::new();
        assert_eq!(
            asked.unwrap().filter.sql(Engine::Sqlite, &mut params),
            "1 = 1 AND +status >= ?1 AND +status < ?2 AND method = ?3 AND user_id = ?4 AND +path >= ?5 \
             AND +path < ?6 AND +duration_us >= ?7 AND at < ?8"
        );
        let expected = [
            Value::Integer(500),
            Value::Integer(600),
            "GET".into(),
            "u1".into(),
            "/api/a".into(),
            "/api/a\u{10ffff}".into(),
            Value::Integer(250_000),
            "2026-01-31T00:00:00.000000Z".into(),
        ];
        assert_eq!(params, expected);
    }

    #[test]
    fn what_is_no_status_or_time_is_refused() {
        for query in [
            "status=6xx",
            "status=5x",
            "status=99",
            "status=600",
            "min_duration_ms=-1",
            "min_duration_ms=86400001",
            "from=yesterday",
            "limit=0",
            "query=x",
        ] {
            assert_eq!(read_page(query).unwrap_err().status.as_u16(), 422, "{query}");
        }
    }
}
