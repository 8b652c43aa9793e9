//! Checks queries and changes of rows: every table they name, every function they call, every type they cast to, and
//! that they read only the ids of users. Unknown constructs are rejected.

use std::{collections::HashSet, ops::ControlFlow};

use sqlparser::{
    ast::{
        AccessExpr, BinaryOperator, Expr, FromTable, Function, FunctionArg, FunctionArgExpr,
        FunctionArguments, ObjectName, Query, Select, SelectFlavor, SelectItem,
        SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, TableObject, TableWithJoins, Visit,
        Visitor,
    },
    dialect::PostgreSqlDialect,
    parser::{Parser, ParserError},
    tokenizer::Token,
};

use super::{
    StatementKind, depth,
    functions::is_plain_type,
    names::{Owner, folded, simple},
    tables::Tables,
};
use crate::StatementError;

/// The parser's recursion limit. Each recursion uses much of the stack, and a nesting level takes several.
const RECURSION_MAX: usize = 160;

/// Checks one statement.
pub(super) fn check(owner: &Owner, tokens: &[Token]) -> Result<StatementKind, StatementError> {
    depth::check(tokens)?;
    let statements = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(RECURSION_MAX)
        .with_tokens(tokens.to_vec())
        .parse_statements()
        .map_err(|error| match error {
            ParserError::RecursionLimitExceeded => StatementError::TooDeep { depth_max: depth::DEPTH_MAX },
            error => StatementError::Sql(format!("the statement cannot be understood: {error}")),
        })?;
    let mut walk =
        Walk { owner, kind: StatementKind::Read, tables: Tables::new(owner), functions: HashSet::new() };
    for statement in &statements {
        if let ControlFlow::Break(refused) = statement.visit(&mut walk) {
            return Err(refused);
        }
    }
    walk.tables.end(tokens, walk.kind)?;
    Ok(walk.kind)
}

struct Walk<'a> {
    owner: &'a Owner,
    kind: StatementKind,
    tables: Tables<'a>,
    /// Functions used in the place of tables.
    functions: HashSet<String>,
}

type Flow = ControlFlow<StatementError>;

impl Walk<'_> {
    fn refuse(&self, what: &str) -> Flow {
        ControlFlow::Break(self.owner.denied(what))
    }

    fn allow_if(&self, allowed: bool, what: &str) -> Flow {
        if allowed { ControlFlow::Continue(()) } else { self.refuse(what) }
    }

    fn function(&self, name: &ObjectName) -> Flow {
        let checked = match simple(name) {
            Some(name) => self.owner.check_function(&name),
            None => Err(self.owner.denied(&format!("the function {name}"))),
        };
        checked.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }

    fn call(&mut self, function: &Function) -> Flow {
        if let FunctionArguments::List(list) = &function.args {
            for argument in &list.args {
                self.tables.has_wildcard |= is_row(argument);
            }
        }
        self.function(&function.name)
    }

    /// A changed table must be the extension's own, even if it may be read.
    fn changed(&self, name: Option<&ObjectName>) -> Flow {
        let table = name.and_then(simple);
        let is_own = table.as_deref().is_some_and(|table| self.owner.owns(table));
        self.allow_if(is_own, &name.map_or_else(String::new, ToString::to_string))
    }
}

/// Returns whether an argument is a whole row, `t.*`.
fn is_row(argument: &FunctionArg) -> bool {
    let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) =
        argument;
    matches!(arg, FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::WildcardWithOptions(_))
}

fn name_of(table: &TableWithJoins) -> Option<&ObjectName> {
    match &table.relation {
        TableFactor::Table { name, args: None, .. } if table.joins.is_empty() => Some(name),
        _ => None,
    }
}

/// Returns the first part of a query's body that is not known to be harmless.
fn odd_body(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Select(_)
        | SetExpr::Query(_)
        | SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_) => None,
        SetExpr::SetOperation { left, right, .. } => odd_body(left).or_else(|| odd_body(right)),
        SetExpr::Table(_) => Some("TABLE, which stands for SELECT * FROM"),
        SetExpr::Merge(_) => Some("the statement MERGE"),
    }
}

impl Visitor for Walk<'_> {
    type Break = StatementError;

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        self.tables.enter(query);
        if !query.locks.is_empty() {
            self.kind = StatementKind::Change;
        }
        let is_plain = query.for_clause.is_none()
            && query.settings.is_none()
            && query.format_clause.is_none()
            && query.pipe_operators.is_empty();
        match odd_body(&query.body) {
            Some(odd) => self.refuse(odd),
            None => self.allow_if(is_plain, "a clause that PostgreSQL has not"),
        }
    }

    fn post_visit_query(&mut self, query: &Query) -> Flow {
        self.tables.leave(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => self.tables.has_wildcard = true,
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(_), _) => {
                    self.tables.has_wildcard = true;
                }
                SelectItem::QualifiedWildcard(..) => return self.refuse("a row as columns"),
                SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => {}
                _ => return self.refuse("a column of an unknown kind"),
            }
        }
        if select.into.is_some() {
            return self.refuse("a table that SELECT INTO makes");
        }
        let is_plain = select.flavor == SelectFlavor::Standard
            && select.top.is_none()
            && select.exclude.is_none()
            && select.lateral_views.is_empty()
            && select.connect_by.is_empty()
            && select.value_table_mode.is_none();
        self.allow_if(is_plain, "a clause that PostgreSQL has not")
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> Flow {
        match statement {
            Statement::Query(_) => ControlFlow::Continue(()),
            Statement::Insert(insert) => {
                self.kind = StatementKind::Change;
                self.changed(match &insert.table {
                    TableObject::TableName(name) => Some(name),
                    _ => None,
                })
            }
            Statement::Update(update) => {
                self.kind = StatementKind::Change;
                self.changed(name_of(&update.table))
            }
            Statement::Delete(delete) => {
                self.kind = StatementKind::Change;
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
                if delete.tables.is_empty() && from.len() == 1 {
                    self.changed(name_of(&from[0]))
                } else {
                    self.refuse("a deletion from several tables")
                }
            }
            other => {
                let word = other.to_string();
                self.refuse(&format!("the statement {}", word.split(' ').next().unwrap_or_default()))
            }
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        match factor {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                self.functions.extend(simple(name));
                self.function(name)
            }
            TableFactor::Table { name, alias, version: None, json_path: None, sample: None, .. } => {
                self.tables.named(name, alias.as_ref());
                ControlFlow::Continue(())
            }
            TableFactor::Derived { sample: None, .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => ControlFlow::Continue(()),
            _ => self.refuse("a table of an unknown kind"),
        }
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> Flow {
        if simple(name).is_some_and(|name| self.functions.contains(&name)) {
            return ControlFlow::Continue(());
        }
        self.tables.relation(name).map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        match expr {
            Expr::Function(function) => self.call(function),
            Expr::Identifier(ident) => {
                self.tables.identifiers.push(vec![folded(ident)]);
                ControlFlow::Continue(())
            }
            Expr::CompoundIdentifier(parts) => {
                self.tables.identifiers.push(parts.iter().map(folded).collect());
                ControlFlow::Continue(())
            }
            Expr::Cast { data_type, .. } => {
                self.allow_if(is_plain_type(data_type), &format!("the type {data_type}"))
            }
            Expr::TypedString(typed) => {
                self.allow_if(is_plain_type(&typed.data_type), &format!("the type {}", typed.data_type))
            }
            Expr::CompoundFieldAccess { access_chain, .. } => {
                let is_field = access_chain.iter().any(|access| matches!(access, AccessExpr::Dot(_)));
                self.allow_if(!is_field, "a field of a row")
            }
            Expr::BinaryOp { op: BinaryOperator::PGCustomBinaryOperator(name), .. } => {
                self.allow_if(name.len() == 1, "an operator of another schema")
            }
            Expr::Wildcard(_) => ControlFlow::Continue(()),
            Expr::QualifiedWildcard(..) => {
                self.tables.has_wildcard = true;
                ControlFlow::Continue(())
            }
            other => self.allow_if(is_known(other), "an expression of an unknown kind"),
        }
    }
}

/// Returns whether an expression only computes with its parts, which are checked separately.
fn is_known(expr: &Expr) -> bool {
    use Expr as E;
    matches!(
        expr,
        E::IsFalse(_)
            | E::IsNotFalse(_)
            | E::IsTrue(_)
            | E::IsNotTrue(_)
            | E::IsNull(_)
            | E::IsNotNull(_)
            | E::IsUnknown(_)
            | E::IsNotUnknown(_)
            | E::IsDistinctFrom(..)
            | E::IsNotDistinctFrom(..)
            | E::IsJson { .. }
            | E::IsNormalized { .. }
            | E::In { .. }
            | E::Between { .. }
            | E::BinaryOp { .. }
            | E::Like { .. }
            | E::ILike { .. }
            | E::SimilarTo { .. }
            | E::AnyOp { .. }
            | E::AllOp { .. }
            | E::UnaryOp { .. }
            | E::AtTimeZone { .. }
            | E::Extract { .. }
            | E::Ceil { .. }
            | E::Floor { .. }
            | E::Position { .. }
            | E::Substring { .. }
            | E::Trim { .. }
            | E::Overlay { .. }
            | E::Collate { .. }
            | E::Nested(_)
            | E::Value(_)
            | E::Case { .. }
            | E::Exists { .. }
            | E::Subquery(_)
            | E::GroupingSets(_)
            | E::Cube(_)
            | E::Rollup(_)
            | E::Tuple(_)
            | E::Array(_)
            | E::Interval(_)
    )
}
