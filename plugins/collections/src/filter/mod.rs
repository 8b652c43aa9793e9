//! The filter language: text to a checked expression, and from there to SQL with bound values or to a result for one
//! record. A client's text never becomes SQL text.
//!
//! `year >= 1990 and (genre in ('Drama', 'Comedy') or meta.awards[0].name like 'Oscar%') and owner_id = @me`
//!
//! Null works as in SQL: neither a comparison with null nor its opposite is true; only `is null` finds it. `like`
//! supports `%`, `_` and the escape `\`, and ignores the case of ASCII letters. `tags has 'x'` finds an entry of an
//! array. Dates are compared as dates, in any RFC 3339 form.

mod ast;
mod check;
mod eval;
mod lex;
mod parse;
mod sql;

use std::fmt;

pub use ast::{Compare, Expr, Operand, Place, RecordColumn, Step, Variable};
pub use eval::{Datum, Record};
pub use sql::{Side, SqlWriter, json_path};

use crate::{access::Caller, json::Json, schema::Schema};

/// A filter with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The position of the error, in characters from 1.
    pub position: usize,
    /// What is wrong there and what was expected.
    pub message: String,
}

impl FilterError {
    fn at(text: &str, byte: usize, message: impl Into<String>) -> FilterError {
        let position = text[..byte].chars().count() + 1;
        FilterError { position, message: message.into() }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at character {}: {}", self.position, self.message)
    }
}

/// The author of a filter, which decides which variables are available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A client, in a query: `@me…` and `@now`.
    Client,
    /// The author of a collection, in an access rule: also `@request…`.
    Author,
}

/// The values of a filter's variables.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The caller.
    pub caller: &'a Caller<'a>,
    /// The current time, RFC 3339 UTC with microseconds.
    pub now: &'a str,
    /// The request's method, such as `GET`.
    pub method: &'a str,
    /// The requested action: `list`, `read`, `create`, `update` or `delete`.
    pub action: &'a str,
    /// The data in the request, if any.
    pub data: Option<&'a Json<'a>>,
}

/// A filter that is parsed and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    root: Expr,
}

impl Filter {
    /// Parses `text` and checks it against `schema`.
    pub fn parse(text: &str, schema: &Schema, writer: Writer) -> Result<Filter, FilterError> {
        let node = parse::parse(text)?;
        check::Checker { text, schema, writer }.expr(&node).map(|root| Filter { root })
    }

    /// Returns the checked expression.
    pub fn root(&self) -> &Expr {
        &self.root
    }

    /// Returns the fields' names in `@request.data.<name>`.
    pub fn names_of_given_data(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.root.each_operand(&mut |operand| {
            if let Operand::Variable(Variable::Data(steps)) = operand
                && let Some(Step::Name(name)) = steps.first()
            {
                names.push(name.as_str());
            }
        });
        names
    }

    /// Returns whether the result depends on the record.
    pub fn names_places(&self) -> bool {
        let mut found = false;
        self.root.each_operand(&mut |operand| found |= matches!(operand, Operand::Place(_)));
        found || self.root.has_entries()
    }

    /// Appends the filter as SQL, in parentheses, with its values bound.
    pub fn write_sql(&self, out: &mut SqlWriter, context: &Context<'_>) {
        out.expr(&self.root, context);
    }

    /// Returns whether the filter is true for a record; `None` is SQL's unknown.
    pub fn holds(&self, record: &Record<'_>, context: &Context<'_>) -> Option<bool> {
        eval::expr(&self.root, record, context)
    }
}

/// Resolves a client's dotted path outside of a filter, as in `sort`, and returns its place.
pub fn place(text: &str, schema: &Schema) -> Result<Place, FilterError> {
    match parse::parse(text)? {
        ast::Node::Test(ast::Term { at: _, kind: ast::TermKind::Path(steps) }) => {
            check::Checker { text, schema, writer: Writer::Client }.place(0, &steps).map(|(place, _)| place)
        }
        _ => Err(FilterError { position: 1, message: "expected a field".to_owned() }),
    }
}

#[cfg(test)]
mod tests;
