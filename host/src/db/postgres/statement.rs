//! Prepares statements: replaces `?1` by `$1`, checks a statement of an extension against its scope, and gets the types
//! of its parameters and columns from the server. All of that happens once per text.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use quick_cache::{Equivalent, sync::Cache};
use sqlx::{AssertSqlSafe, Column, Either, Executor, Row, SqlSafeStr, Statement, postgres::PgRow};
use tinybase_abi::codec::RowsWriter;
use tinybase_postgres::{
    scope::{self, StatementKind},
    text::number_params,
    values::{Param, Wire},
};

use super::{
    errors::{self, Fault},
    pool::Link,
    read_coalescing::Coalescer,
};
use crate::db::SqlOwner;

/// Longer texts are prepared each time: they are built for a single use.
const CACHED_TEXT_BYTES_MAX: usize = 32 << 10;

/// A statement as the server knows it.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The text with `$1` in place of `?1`.
    pub(super) sql: Arc<str>,
    pub(super) params: Vec<Param>,
    pub(super) columns: Vec<Wire>,
    names: Vec<String>,
    /// The owner in whose name it runs.
    pub(super) scope: SqlOwner,
    /// Whether it reads or changes.
    pub(super) kind: StatementKind,
    /// Whether connections cache it.
    pub(super) is_kept: bool,
    /// Coalesces concurrent reads by key; `None` if the statement cannot run for many.
    pub(super) gate: Option<Coalescer>,
}

impl Prepared {
    /// Starts the rows of its result.
    pub(super) fn rows(&self) -> RowsWriter {
        RowsWriter::new(self.names.iter().map(String::as_str))
    }

    /// Whether a row has the columns that were reported when it was prepared. A connection that prepares it itself
    /// after a schema change returns the new columns.
    pub(super) fn is_answered_by(&self, row: &PgRow) -> bool {
        let columns = row.columns();
        let known = self.columns.iter().zip(&self.names);
        columns.len() == self.columns.len()
            && columns
                .iter()
                .zip(known)
                .all(|(column, (wire, name))| Wire::of(column.type_info()) == *wire && column.name() == name)
    }
}

#[derive(Debug, PartialEq, Eq, Clone)]
struct Key {
    scope: SqlOwner,
    sql: Box<str>,
}

struct Borrowed<'a> {
    scope: &'a SqlOwner,
    sql: &'a str,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrowed { scope: &self.scope, sql: &self.sql }.hash(state);
    }
}

impl Hash for Borrowed<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scope.hash(state);
        self.sql.hash(state);
    }
}

impl Equivalent<Key> for Borrowed<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.scope == key.scope && *self.sql == *key.sql
    }
}

/// The known statements, for all connections.
#[derive(Debug)]
pub(super) struct Statements {
    known: Cache<Key, Arc<Prepared>>,
}

impl Statements {
    pub(super) fn new(entries: usize) -> Statements {
        Statements { known: Cache::new(entries.max(1) * 4) }
    }

    /// Returns the statement `sql` of `scope`, if it is known.
    pub(super) fn known(&self, scope: &SqlOwner, sql: &str) -> Option<Arc<Prepared>> {
        self.known.get(&Borrowed { scope, sql })
    }

    /// Returns the statement `sql` of `scope`; if it is not known yet, prepares it on `link`.
    pub(super) async fn prepare(
        &self,
        link: &mut Link,
        scope: &SqlOwner,
        sql: &str,
    ) -> Result<Arc<Prepared>, Fault> {
        if let Some(known) = self.known(scope, sql) {
            return Ok(known);
        }
        let text: Arc<str> = number_params(sql).into();
        let kind = scope::check(scope.extension(), &text)?;
        link.is_busy = true;
        let prepared = link.connection.prepare(AssertSqlSafe(Arc::clone(&text)).into_sql_str()).await;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                link.settle(&error);
                return Err(errors::of_reading(error));
            }
        };
        link.is_busy = false;
        let params: Vec<Param> = match prepared.parameters() {
            Some(Either::Left(infos)) => infos.iter().cloned().map(Param::new).collect(),
            _ => Vec::new(),
        };
        let is_kept = sql.len() <= CACHED_TEXT_BYTES_MAX;
        let gate = (is_kept && kind == StatementKind::Read).then(|| Coalescer::of(sql, &params)).flatten();
        let known = Arc::new(Prepared {
            sql: text,
            scope: scope.clone(),
            params,
            columns: prepared.columns().iter().map(|column| Wire::of(column.type_info())).collect(),
            names: prepared.columns().iter().map(|column| column.name().to_owned()).collect(),
            kind,
            is_kept,
            gate,
        });
        if is_kept {
            self.known.insert(Key { scope: scope.clone(), sql: sql.into() }, Arc::clone(&known));
        }
        Ok(known)
    }

    /// Forgets a statement that was prepared with another schema.
    pub(super) fn forget(&self, scope: &SqlOwner, sql: &str) {
        self.known.remove(&Borrowed { scope, sql });
    }
}
