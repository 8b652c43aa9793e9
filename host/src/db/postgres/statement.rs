//! Statements before they run: `?1` becomes `$1`, a statement of an extension is checked against its scope, and the
//! server tells the types of its parameters and columns. All of that once a text.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use quick_cache::{Equivalent, sync::Cache};
use sqlx::{AssertSqlSafe, Column, Either, Executor, Row, SqlSafeStr, Statement, postgres::PgRow};
use tinybase_abi::codec::RowsWriter;

use super::{
    errors::{self, Fault},
    gather::Gate,
    pool::Link,
    scope::{self, StatementKind},
    values::{Param, Wire},
};
use crate::db::Scope;

/// Longer texts are prepared each time: they were put together for one use.
const CACHED_TEXT_BYTES_MAX: usize = 32 << 10;

/// A statement as the server knows it.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The text with `$1` in place of `?1`.
    pub(super) sql: Arc<str>,
    pub(super) params: Vec<Param>,
    pub(super) columns: Vec<Wire>,
    names: Vec<String>,
    /// Whether it reads or changes.
    pub(super) kind: StatementKind,
    /// Whether connections keep it.
    pub(super) is_kept: bool,
    /// Where reads by key wait to be run together; `None` where the statement cannot run for many.
    pub(super) gate: Option<Gate>,
}

impl Prepared {
    /// Begins the rows of its answer.
    pub(super) fn rows(&self) -> RowsWriter {
        RowsWriter::new(self.names.iter().map(String::as_str))
    }

    /// Whether a row has the columns that were told when it was prepared. A connection that prepares it itself, after the
    /// schema has changed, answers by the new one.
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
    scope: Scope,
    sql: Box<str>,
}

struct Borrowed<'a> {
    scope: &'a Scope,
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

/// What is known of statements, for all connections.
#[derive(Debug)]
pub(super) struct Statements {
    known: Cache<Key, Arc<Prepared>>,
}

impl Statements {
    pub(super) fn new(entries: usize) -> Statements {
        Statements { known: Cache::new(entries.max(1) * 4) }
    }

    /// The statement `sql` of `scope`, where it is known already.
    pub(super) fn known(&self, scope: &Scope, sql: &str) -> Option<Arc<Prepared>> {
        self.known.get(&Borrowed { scope, sql })
    }

    /// The statement `sql` of `scope`; where it is not known yet, the server is asked on `link`.
    pub(super) async fn prepare(
        &self,
        link: &mut Link,
        scope: &Scope,
        sql: &str,
    ) -> Result<Arc<Prepared>, Fault> {
        if let Some(known) = self.known(scope, sql) {
            return Ok(known);
        }
        let text: Arc<str> = number_params(sql).into();
        let kind = scope::check(scope, &text)?;
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
            Some(Either::Left(infos)) => {
                infos.iter().map(|info| Param { info: info.clone(), wire: Wire::of(info) }).collect()
            }
            _ => Vec::new(),
        };
        let is_kept = sql.len() <= CACHED_TEXT_BYTES_MAX;
        let gate = (is_kept && kind == StatementKind::Read).then(|| Gate::of(sql, &params)).flatten();
        let known = Arc::new(Prepared {
            sql: text,
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

    /// Forgets a statement that was prepared under another schema.
    pub(super) fn forget(&self, scope: &Scope, sql: &str) {
        self.known.remove(&Borrowed { scope, sql });
    }
}

/// Writes `?1` as `$1`, outside of strings, quoted names and comments.
pub(super) fn number_params(sql: &str) -> String {
    name_params(sql, "$")
}

/// Writes `?1` as `<prefix>1`, outside of strings, quoted names and comments.
pub(super) fn name_params(sql: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'', '"', '-', '/', '$']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = quoted_length(rest).unwrap_or_else(|| {
            let is_param = rest.starts_with('?') && rest[1..].starts_with(|next: char| next.is_ascii_digit());
            // What was looked for is ASCII.
            out.push_str(if is_param { prefix } else { &rest[..1] });
            rest = &rest[1..];
            0
        });
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out
}

/// The length of the string, quoted name or comment at the start of `text`, if there is one.
fn quoted_length(text: &str) -> Option<usize> {
    let end =
        |close: &str, from: usize| text[from..].find(close).map_or(text.len(), |at| from + at + close.len());
    match text.as_bytes() {
        // A doubled quote ends one string and begins the next, which comes to the same.
        [b'\'', ..] => Some(end("'", 1)),
        [b'"', ..] => Some(end("\"", 1)),
        [b'-', b'-', ..] => Some(end("\n", 2)),
        [b'/', b'*', ..] => Some(end("*/", 2)),
        [b'$', ..] => {
            let tag_end = 2 + text[1..].find('$')?;
            let tag = &text[..tag_end];
            let is_tag = tag[1..tag_end - 1].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !tag[1..].starts_with(|first: char| first.is_ascii_digit());
            is_tag.then(|| end(tag, tag_end))
        }
        _ => None,
    }
}

/// Whether a text without parameters is run as a script, by the protocol that keeps no statement: one that may hold
/// several statements, and any that changes the schema.
pub(super) fn is_script(sql: &str) -> bool {
    let text = sql.trim();
    let word = text.split(|next: char| !next.is_ascii_alphabetic()).next().unwrap_or_default();
    let is_plain = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES"]
        .iter()
        .any(|plain| plain.eq_ignore_ascii_case(word));
    !is_plain || text.trim_end_matches(';').contains(';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_outside_of_quotes_alone() {
        for (sql, expected) in [
            ("SELECT ?1, ?12", "SELECT $1, $12"),
            ("SELECT '?1', \"?1\", ?1", "SELECT '?1', \"?1\", $1"),
            ("SELECT 'it''s ?1' || ?1", "SELECT 'it''s ?1' || $1"),
            ("SELECT 1 -- ?1\n, ?1", "SELECT 1 -- ?1\n, $1"),
            ("SELECT 1 /* ?1 */ - ?1 / ?2", "SELECT 1 /* ?1 */ - $1 / $2"),
            ("SELECT d ? 'a', d -> ?1", "SELECT d ? 'a', d -> $1"),
            ("SELECT $x$ ?1 $x$, ?1", "SELECT $x$ ?1 $x$, $1"),
            ("SELECT $$ ?1 ' $$, ?1", "SELECT $$ ?1 ' $$, $1"),
            ("SELECT 'ä?1', ?1, 'open", "SELECT 'ä?1', $1, 'open"),
        ] {
            assert_eq!(number_params(sql), expected);
        }
    }
}
