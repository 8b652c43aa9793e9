//! Reads a table page by page in the order of its key. It writes nothing, and keeps only one page in memory.

use std::ops::Range;

use tinybase_abi::codec::{Reader, RowsHead, Value, ValueRef};

use super::{
    CopyError,
    side::{Side, quoted},
    tables::Table,
};
use crate::db::DbError;

/// The number of rows per page.
const PAGE_ROWS: usize = 2_048;
/// The approximate size of a page in bytes.
const PAGE_BYTES: usize = 4 << 20;

/// Some rows of a table.
#[derive(Debug)]
pub struct Page {
    packed: Vec<u8>,
    rows: Vec<Range<usize>>,
    /// The key of the last row; empty if there is no row.
    pub last_key: Vec<Value>,
}

impl Page {
    /// Returns the rows, each as its packed values.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.rows.iter().map(|row| &self.packed[row.clone()])
    }

    /// Whether the table has no more rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// Decodes the values of one row.
pub fn values(row: &[u8], columns: usize) -> impl Iterator<Item = ValueRef<'_>> {
    let mut reader = Reader::new(row);
    (0..columns).map(move |_| reader.value().expect("the row was read once already"))
}

/// The pages of a table.
pub struct Pages {
    side: Side,
    table: String,
    columns: usize,
    select: String,
    behind: String,
    order: String,
    key_parts: usize,
    limit: usize,
    last_key: Vec<Value>,
}

impl Pages {
    /// Returns the pages of `table` on `side`, with its columns in the order of `columns`. They start after the row
    /// with the key `last_key`, or with the first row if that is empty.
    ///
    /// # Errors
    /// [`CopyError::Table`] if the table has no key to page by.
    pub fn new(
        side: &Side,
        table: &Table,
        columns: &[String],
        last_key: Vec<Value>,
    ) -> Result<Pages, CopyError> {
        let key = table.key_sql(side.engine());
        if key.is_empty() {
            let problem = "it has no primary key to go by".to_owned();
            return Err(CopyError::Table { table: table.name.clone(), problem });
        }
        let selected =
            columns.iter().map(|column| quoted(column)).chain(key.iter().map(|part| part.select.clone()));
        let list = |parts: Vec<String>| parts.join(", ");
        let order = list(key.iter().map(|part| part.order.clone()).collect());
        let params = list((1..).zip(&key).map(|(at, part)| format!("?{at}{}", part.cast)).collect());
        Ok(Pages {
            side: side.clone(),
            table: table.name.clone(),
            columns: columns.len(),
            select: format!("SELECT {} FROM {}", list(selected.collect()), quoted(&table.name)),
            behind: format!("WHERE ({order}) > ({params})"),
            order,
            key_parts: key.len(),
            limit: PAGE_ROWS,
            last_key,
        })
    }

    /// Returns the next page; an empty one at the end.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn next(&mut self) -> Result<Page, CopyError> {
        let packed = loop {
            let behind = if self.last_key.is_empty() { "" } else { &self.behind };
            let (select, order, limit) = (&self.select, &self.order, self.limit);
            // The limit is not a parameter, so that the engine plans for it.
            let sql = format!("{select} {behind} ORDER BY {order} LIMIT {limit}");
            match self.side.packed(&sql, &self.last_key).await {
                Err(DbError::TooLarge { .. }) if self.limit > 1 => self.limit = (self.limit / 8).max(1),
                Err(error) => return Err(self.explain(error)),
                Ok(packed) => break packed,
            }
        };
        let page = self.split(packed)?;
        self.last_key.clone_from(&page.last_key);
        if !page.is_empty() {
            let row_bytes = (page.packed.len() / page.len()).max(1);
            let fitting = (PAGE_BYTES / row_bytes).clamp(1, PAGE_ROWS);
            // A power of two, so that there are only few different statements.
            self.limit = 1 << fitting.ilog2();
        }
        Ok(page)
    }

    fn split(&self, packed: Vec<u8>) -> Result<Page, CopyError> {
        let head = RowsHead::read(&packed)?;
        let mut reader = Reader::new(&packed[head.start..]);
        let (mut rows, mut last_key) = (Vec::with_capacity(head.rows), Vec::new());
        for row in 0..head.rows {
            let start = head.start + reader.offset();
            for _ in 0..self.columns {
                reader.skip_value()?;
            }
            rows.push(start..head.start + reader.offset());
            for _ in 0..self.key_parts {
                let value = reader.value()?;
                if row + 1 == head.rows {
                    last_key.push(value.to_owned());
                }
            }
        }
        Ok(Page { packed, rows, last_key })
    }

    fn explain(&self, error: DbError) -> CopyError {
        match error {
            DbError::TooLarge { .. } | DbError::Sql(_) => {
                let behind = show_key(&self.last_key);
                let problem = format!("the rows behind {behind} cannot be read: {error}");
                CopyError::Table { table: self.table.clone(), problem }
            }
            other => other.into(),
        }
    }
}

/// Formats a key for people.
pub fn show_key(key: &[Value]) -> String {
    let part = |value: &Value| match value {
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Blob(bytes) => format!("x'{}'", crate::plugins::package::hex(bytes)),
        Value::Null | Value::Now => "null".to_owned(),
    };
    let parts: Vec<String> = key.iter().map(part).collect();
    if parts.is_empty() { "the start".to_owned() } else { parts.join(", ") }
}
