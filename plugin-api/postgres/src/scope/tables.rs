//! The tables that a statement names: the extension's own, names that the statement defines itself, and what it reveals
//! of users. It reads no expressions.

use std::collections::HashSet;

use sqlparser::{
    ast::{ObjectName, Query, TableAlias},
    tokenizer::Token,
};

use super::{
    StatementKind,
    names::{self, Owner, USERS, folded, simple},
};
use crate::StatementError;

/// The tables of a statement, as known so far.
pub(super) struct Tables<'a> {
    owner: &'a Owner,
    /// The queries around the current position, outermost first.
    frames: Vec<Frame>,
    /// The names of the users' table in the statement.
    users: HashSet<String>,
    /// Every column or whole row that is read by its name, split into its parts.
    pub(super) identifiers: Vec<Vec<String>>,
    pub(super) has_wildcard: bool,
    renames_users: bool,
    reads_catalogs: bool,
    reads_others: bool,
}

/// A query, with the names its `WITH` defines.
struct Frame {
    /// The query's address in memory, used as its identity.
    query: usize,
    ctes: Vec<(String, usize)>,
    is_recursive: bool,
    /// How many of the names are visible at the current position.
    visible: usize,
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}

impl<'a> Tables<'a> {
    pub(super) fn new(owner: &'a Owner) -> Tables<'a> {
        Tables {
            owner,
            frames: Vec::new(),
            users: HashSet::new(),
            identifiers: Vec::new(),
            has_wildcard: false,
            renames_users: false,
            reads_catalogs: false,
            reads_others: false,
        }
    }

    /// Enters a query. One that is defined by a `WITH` sees the names before its own, or all of them with
    /// `RECURSIVE`.
    pub(super) fn enter(&mut self, query: &Query) {
        if let Some(around) = self.frames.last_mut()
            && !around.is_recursive
            && let Some(place) = around.ctes.iter().position(|(_, of)| *of == address(query))
        {
            around.visible = place;
        }
        let with = query.with.as_ref();
        let ctes: Vec<(String, usize)> = with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .map(|cte| (folded(&cte.alias.name), address(&cte.query)))
            .collect();
        let is_recursive = with.is_some_and(|with| with.recursive);
        self.frames.push(Frame { query: address(query), visible: ctes.len(), ctes, is_recursive });
    }

    /// Leaves a query.
    pub(super) fn leave(&mut self, query: &Query) {
        if self.frames.last().is_some_and(|frame| frame.query == address(query)) {
            self.frames.pop();
        }
        if let Some(around) = self.frames.last_mut() {
            around.visible = around.ctes.len();
        }
    }

    fn is_given(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.ctes[..frame.visible].iter().any(|(cte, _)| cte == name))
    }

    /// Records a table with its alias.
    pub(super) fn named(&mut self, name: &ObjectName, alias: Option<&TableAlias>) {
        let Some(alias) = alias.filter(|_| simple(name).is_some_and(|name| name == USERS)) else { return };
        self.users.insert(folded(&alias.name));
        self.renames_users |= !alias.columns.is_empty();
    }

    /// Checks a table that is read.
    pub(super) fn relation(&mut self, name: &ObjectName) -> Result<(), StatementError> {
        if names::is_catalog(name) {
            self.reads_catalogs = true;
            return Ok(());
        }
        match simple(name) {
            Some(table) if self.owner.owns(&table) || self.is_given(&table) => {
                self.reads_others = true;
                Ok(())
            }
            Some(table) if table == USERS => {
                self.users.insert(table);
                Ok(())
            }
            _ => Err(self.owner.denied(&name.to_string())),
        }
    }

    /// Checks what is only known at the end of the statement.
    pub(super) fn end(&self, tokens: &[Token], kind: StatementKind) -> Result<(), StatementError> {
        if self.reads_catalogs && kind == StatementKind::Change {
            return Err(self.owner.denied("a catalog"));
        }
        if self.users.is_empty() {
            return Ok(());
        }
        if self.has_wildcard || self.renames_users || joins_by_columns(tokens) {
            return Err(self.owner.denied(USERS));
        }
        match self.identifiers.iter().find(|parts| self.tells_of_users(parts)) {
            Some(parts) => Err(self.owner.denied(&format!("{USERS}, by {}", parts.join(".")))),
            None => Ok(()),
        }
    }

    /// Returns whether a name reveals more of users than their id. A table's name used as a value is its whole row.
    fn tells_of_users(&self, parts: &[String]) -> bool {
        let Some(last) = parts.last() else { return false };
        match parts {
            [name] => {
                self.users.contains(name)
                    || names::tells_of_users(name)
                    || (!self.reads_others && name != "id")
            }
            [table, .., column] if self.users.contains(table) => column != "id",
            _ => names::tells_of_users(last),
        }
    }
}

/// Returns whether tables are joined by the names of their columns: `NATURAL`, or `USING` with a column other than
/// `id`.
fn joins_by_columns(tokens: &[Token]) -> bool {
    let word = |token: &Token| match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
        _ => None,
    };
    tokens.iter().enumerate().any(|(at, token)| match word(token).as_deref() {
        Some("natural") => true,
        Some("using") if tokens.get(at + 1) == Some(&Token::LParen) => {
            let is_id = tokens.get(at + 2).and_then(word).as_deref() == Some("id");
            !(is_id && tokens.get(at + 3) == Some(&Token::RParen))
        }
        _ => false,
    })
}
