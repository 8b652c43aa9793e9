//! Checks queries and changes of rows: every table they name, every function they call, and of users nothing but ids.

use std::{collections::HashSet, ops::ControlFlow};

use sqlparser::{
    ast::{
        Expr, ObjectName, Query, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
        TableFactor, Visit, Visitor,
    },
    dialect::PostgreSqlDialect,
    parser::Parser,
    tokenizer::Token,
};

use super::{
    StatementKind,
    names::{self, Owner, USERS, folded, simple},
};
use crate::StatementError;

/// How deep a statement may nest.
const DEPTH_MAX: usize = 160;

/// Checks one statement.
pub(super) fn check(owner: &Owner, tokens: &[Token]) -> Result<StatementKind, StatementError> {
    let statements = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens(tokens.to_vec())
        .parse_statements()
        .map_err(|error| StatementError::Sql(format!("the statement cannot be understood: {error}")))?;
    let mut walk = Walk {
        owner,
        kind: StatementKind::Read,
        ctes: HashSet::new(),
        functions: HashSet::new(),
        users: HashSet::new(),
        tells_of_users: None,
        has_wildcard: false,
        catalogs: false,
    };
    for statement in &statements {
        if let ControlFlow::Break(refused) = statement.visit(&mut walk) {
            return Err(refused);
        }
    }
    walk.end()
}

struct Walk<'a> {
    owner: &'a Owner,
    kind: StatementKind,
    ctes: HashSet<String>,
    /// Functions that stand where tables stand.
    functions: HashSet<String>,
    /// The names by which the users' table is known in the statement.
    users: HashSet<String>,
    tells_of_users: Option<String>,
    has_wildcard: bool,
    catalogs: bool,
}

impl Walk<'_> {
    fn end(self) -> Result<StatementKind, StatementError> {
        if !self.users.is_empty() {
            if let Some(column) = self.tells_of_users {
                return Err(self.owner.denied(&format!("{USERS}.{column}")));
            }
            if self.has_wildcard || self.kind == StatementKind::Change && self.users.contains("") {
                return Err(self.owner.denied(USERS));
            }
        }
        if self.catalogs && self.kind == StatementKind::Change {
            return Err(self.owner.denied("a catalog"));
        }
        Ok(self.kind)
    }

    fn function(&self, name: &ObjectName) -> ControlFlow<StatementError> {
        let checked = match simple(name) {
            Some(name) => self.owner.check_function(&name),
            None => Err(self.owner.denied(&name.to_string())),
        };
        checked.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }

    fn table(&mut self, name: &ObjectName, changed: bool) -> ControlFlow<StatementError> {
        if names::is_catalog(name) && !changed {
            self.catalogs = true;
            return ControlFlow::Continue(());
        }
        match simple(name) {
            Some(table) if self.owner.owns(&table) || self.ctes.contains(&table) => ControlFlow::Continue(()),
            Some(table) if table == USERS && !changed => {
                self.users.insert(table);
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(self.owner.denied(&name.to_string())),
        }
    }
}

impl Visitor for Walk<'_> {
    type Break = StatementError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<StatementError> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| folded(&cte.alias.name)));
        if let SetExpr::Select(select) = &*query.body
            && select.into.is_some()
        {
            return ControlFlow::Break(self.owner.denied("a table that SELECT INTO makes"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &sqlparser::ast::Select) -> ControlFlow<StatementError> {
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => self.has_wildcard = true,
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(_), _) => {
                    self.has_wildcard = true;
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<StatementError> {
        match statement {
            Statement::Query(_) => return ControlFlow::Continue(()),
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
                self.kind = StatementKind::Change
            }
            other => {
                let word = other.to_string();
                let word = word.split(' ').next().unwrap_or_default();
                return ControlFlow::Break(self.owner.denied(&format!("the statement {word}")));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<StatementError> {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                if let Some(name) = simple(name) {
                    self.functions.insert(name);
                }
                self.function(name)
            }
            TableFactor::Table { name, alias: Some(alias), .. }
                if simple(name).is_some_and(|name| name == USERS) =>
            {
                self.users.insert(folded(&alias.name));
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<StatementError> {
        if simple(name).is_some_and(|name| self.functions.contains(&name)) {
            return ControlFlow::Continue(());
        }
        self.table(name, false)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<StatementError> {
        match expr {
            Expr::Function(function) => return self.function(&function.name),
            // A table's name where a value stands is its whole row.
            Expr::Identifier(ident) => {
                let name = folded(ident);
                if names::tells_of_users(&name) || name == USERS {
                    self.tells_of_users.get_or_insert(name);
                }
            }
            Expr::CompoundIdentifier(parts) => {
                let column = parts.last().map(folded).unwrap_or_default();
                if names::tells_of_users(&column) {
                    self.tells_of_users.get_or_insert(column);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, statement: &Statement) -> ControlFlow<StatementError> {
        // What is changed must be the extension's own, though a read of it would be let through.
        let changed = match statement {
            Statement::Insert(insert) => Some(insert.table.to_string()),
            Statement::Update(update) => Some(update.table.relation.to_string()),
            Statement::Delete(delete) => {
                let (sqlparser::ast::FromTable::WithFromKeyword(from)
                | sqlparser::ast::FromTable::WithoutKeyword(from)) = &delete.from;
                from.first().map(|table| table.relation.to_string())
            }
            _ => None,
        };
        let Some(changed) = changed else { return ControlFlow::Continue(()) };
        let table = changed.split([' ', '(']).next().unwrap_or_default().trim_matches('"');
        if self.owner.owns(&table.to_ascii_lowercase()) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(self.owner.denied(table))
        }
    }
}
