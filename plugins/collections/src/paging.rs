//! Pages of work: ranges of a table that are small in bytes, however large a record is. It runs no statement.

use tinybase_plugin_api::{Result, database::Rows};

use crate::limits;

/// Returns the query for the sizes of the records after `?1`, in order. Neither engine reads the records for it.
pub(crate) fn sizes(table: &str, rows_max: u64) -> String {
    format!("SELECT seq,octet_length(data) FROM {table} WHERE seq>?1 ORDER BY seq LIMIT {rows_max}")
}

/// Returns the end of a page, given the rows of [`sizes`]. A page has at least one record. Returns `None` if there are
/// no more.
pub(crate) fn end(sizes: &Rows) -> Result<Option<i64>> {
    let (mut last, mut bytes) = (None, 0);
    for row in sizes {
        bytes += usize::try_from(row.integer(1)?).unwrap_or(0);
        if last.is_some() && bytes > limits::WORK_PAGE_BYTES {
            break;
        }
        last = Some(row.integer(0)?);
    }
    Ok(last)
}
