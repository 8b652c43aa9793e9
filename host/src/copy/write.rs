//! Writes the rows of one table into the target, each page together with the progress. It does not read the source.

use std::collections::HashMap;

use tinybase_abi::codec::{BatchWriter, Expect, Reader, Value, ValueRef, pack_values};

use super::{
    CopyError,
    pages::{Page, show_key, values},
    side::{Side, quoted},
    state::{self, Progress},
    tables::Table,
};
use crate::{
    db::{DbError, SqlOwner},
    plugins::package::hex,
};

/// The numbers of rows that one statement may insert; the largest that fits is used.
const ROWS_OF_A_STATEMENT: [usize; 3] = [256, 32, 1];
/// The maximum number of parameters of a statement, on both engines.
const PARAMS_MAX: usize = 30_000;

/// Writes rows into a table.
pub struct Writer<'a> {
    side: &'a Side,
    table: &'a Table,
    columns: &'a [String],
    progress: Progress,
}

impl<'a> Writer<'a> {
    /// Returns a writer for these columns, in their order, that continues after `progress`.
    pub fn new(side: &'a Side, table: &'a Table, columns: &'a [String], progress: Progress) -> Writer<'a> {
        Writer { side, table, columns, progress }
    }

    /// Returns the progress of the table.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Appends the rows of a page. An empty page is the last one.
    ///
    /// # Errors
    /// [`CopyError::Row`] for a row that the target rejects, [`CopyError::TwoCopies`], and those of the database.
    pub async fn append(&mut self, page: &Page) -> Result<(), CopyError> {
        let mut batch = BatchWriter::default();
        self.push_inserts(&mut batch, page);
        let mut next = self.progress.clone();
        next.rows += page.len() as u64;
        if page.is_empty() {
            next.copied = true;
        } else {
            next.last_key = hex(&pack_values(page.last_key.iter().map(Value::as_ref)));
        }
        let inserts = batch.len();
        state::push_progress(&mut batch, &self.table.name, &self.progress, &next);
        match self.side.apply(batch, Vec::new()).await {
            Ok(()) => self.progress = next,
            Err(error) if is_about_a_row(&error) => return Err(self.find_fault(page, error).await),
            Err(error) => return Err(state::explain(&self.table.name, error, inserts)),
        }
        Ok(())
    }

    fn push_inserts(&self, batch: &mut BatchWriter, page: &Page) {
        let columns = self.columns.len();
        let rows: Vec<&[u8]> = page.rows().collect();
        let mut rest = rows.as_slice();
        for size in ROWS_OF_A_STATEMENT.into_iter().filter(|size| *size == 1 || size * columns <= PARAMS_MAX)
        {
            let sql = self.insert(size);
            while rest.len() >= size {
                let (now, later) = rest.split_at(size);
                let params = now.iter().flat_map(|row| values(row, columns));
                batch.push(&sql, params, Expect::Exactly(size as u64));
                rest = later;
            }
        }
    }

    fn insert(&self, rows: usize) -> String {
        let columns: Vec<String> = self.columns.iter().map(|column| quoted(column)).collect();
        let row = |number: usize| {
            let first = number * columns.len();
            let params: Vec<String> = (1..=columns.len()).map(|at| format!("?{}", first + at)).collect();
            format!("({})", params.join(","))
        };
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!("INSERT INTO {} ({}) VALUES {}", quoted(&self.table.name), columns.join(", "), rows.join(","))
    }

    /// Finds the row of a refused page that caused the error. Each row is tried alone and rolled back.
    async fn find_fault(&self, page: &Page, error: DbError) -> CopyError {
        match self.first_refused(page).await {
            Ok(Some((row, problem))) => {
                CopyError::Row { table: self.table.name.clone(), key: self.key_of(row), problem }
            }
            Ok(None) => error.into(),
            Err(error) => error.into(),
        }
    }

    async fn first_refused<'p>(&self, page: &'p Page) -> Result<Option<(&'p [u8], DbError)>, DbError> {
        let sql = self.insert(1);
        let mut transaction =
            self.side.database().begin(&SqlOwner::Host, super::side::STATEMENT_TIME_MAX).await?;
        let mut refused = None;
        for row in page.rows() {
            let mut batch = BatchWriter::default();
            batch.push(&sql, values(row, self.columns.len()), Expect::Exactly(1));
            if let Err(problem) = transaction.apply(batch.finish()).await {
                refused = Some((row, problem));
                break;
            }
        }
        transaction.rollback().await?;
        Ok(refused)
    }

    fn key_of(&self, row: &[u8]) -> String {
        let values: Vec<ValueRef<'_>> = values(row, self.columns.len()).collect();
        let named = self.columns.iter().zip(&values);
        let is_key = |column: &String| self.table.key.is_empty() || self.table.key.contains(column);
        let key: Vec<Value> =
            named.filter(|(column, _)| is_key(column)).map(|(_, value)| (*value).to_owned()).collect();
        show_key(&key)
    }

    /// Replaces the rows that migrations inserted by those of the source: a row with the same key is updated, and one
    /// that the source does not have is deleted. Triggers that forbid deletions are thereby not fired for the updated
    /// rows.
    ///
    /// # Errors
    /// As those of [`Writer::append`].
    pub async fn replace(&mut self, pages: &[Page]) -> Result<(), CopyError> {
        let key: Vec<usize> = self
            .table
            .key
            .iter()
            .filter_map(|name| self.columns.iter().position(|column| column == name))
            .collect();
        if key.is_empty() {
            let problem = "migrations fill it, and it has no primary key to tell its rows apart".to_owned();
            return Err(CopyError::Table { table: self.table.name.clone(), problem });
        }
        let mut there = self.keys_there().await?;
        let mut batch = BatchWriter::default();
        let mut next = Progress { rows: 0, copied: true, ..self.progress.clone() };
        for row in pages.iter().flat_map(Page::rows) {
            let values: Vec<ValueRef<'_>> = values(row, self.columns.len()).collect();
            let key_values: Vec<ValueRef<'_>> = key.iter().map(|at| values[*at]).collect();
            let sql = match there.remove(&pack_values(key_values)) {
                Some(_) => self.update(),
                None => self.insert(1),
            };
            batch.push(&sql, values, Expect::Exactly(1));
            next.rows += 1;
        }
        for key in there.into_values() {
            batch.push(&self.delete(), key.iter().map(Value::as_ref), Expect::Exactly(1));
        }
        let at = batch.len();
        state::push_progress(&mut batch, &self.table.name, &self.progress, &next);
        let applied = self.side.apply(batch, Vec::new()).await;
        applied.map_err(|error| state::explain(&self.table.name, error, at))?;
        self.progress = next;
        Ok(())
    }

    async fn keys_there(&self) -> Result<HashMap<Vec<u8>, Vec<Value>>, DbError> {
        let key: Vec<String> = self.table.key.iter().map(|column| quoted(column)).collect();
        let sql = format!("SELECT {} FROM {}", key.join(", "), quoted(&self.table.name));
        let rows = self.side.rows(&sql, &[]).await?;
        Ok(rows.into_iter().map(|row| (pack_values(row.iter().map(Value::as_ref)), row)).collect())
    }

    fn update(&self) -> String {
        let numbered = || (1..).zip(self.columns).map(|(at, column)| (at, column, quoted(column)));
        let set: Vec<String> = numbered().map(|(at, _, name)| format!("{name} = ?{at}")).collect();
        let key = numbered().filter(|(_, column, _)| self.table.key.contains(column));
        let key: Vec<String> = key.map(|(at, _, name)| format!("{name} = ?{at}")).collect();
        format!("UPDATE {} SET {} WHERE {}", quoted(&self.table.name), set.join(", "), key.join(" AND "))
    }

    fn delete(&self) -> String {
        let key = (1..).zip(&self.table.key);
        let key: Vec<String> =
            key.map(|(at, column): (usize, _)| format!("{} = ?{at}", quoted(column))).collect();
        format!("DELETE FROM {} WHERE {}", quoted(&self.table.name), key.join(" AND "))
    }
}

/// Whether an error may be caused by a row's values.
fn is_about_a_row(error: &DbError) -> bool {
    matches!(error, DbError::Unique { .. } | DbError::ForeignKey | DbError::Constraint(_) | DbError::Sql(_))
}

/// Decodes the last key of a state; empty before the first row.
///
/// # Errors
/// [`CopyError::Database`] if it was changed by hand.
pub fn last_key(progress: &Progress) -> Result<Vec<Value>, CopyError> {
    let unreadable = || DbError::Sql(format!("tb_copy holds no key: {:?}", progress.last_key));
    if progress.last_key.is_empty() {
        return Ok(Vec::new());
    }
    let digits = progress.last_key.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let bytes = bytes.ok_or_else(unreadable)?;
    let mut key = Vec::new();
    Reader::new(&bytes).values(|_, value| {
        key.push(value.to_owned());
        Ok::<_, CopyError>(())
    })?;
    Ok(key)
}
