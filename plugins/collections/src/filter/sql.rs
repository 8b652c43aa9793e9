//! A checked filter as SQL text and bound values. The only names in the text are those of columns and of fields, which
//! are identifiers; every value and every path into JSON is bound.

use super::{
    Context,
    ast::{Compare, Expr, Operand, Place, Step, Variable},
    eval,
};
use crate::{dialect::Dialect, sql_value::SqlValue};

/// A builder for SQL text with numbered parameters.
#[derive(Debug)]
pub struct SqlWriter {
    /// The SQL dialect.
    pub dialect: Dialect,
    /// The text so far.
    pub text: String,
    /// The values of `?1`, `?2`, …
    pub params: Vec<SqlValue>,
}

/// A side of a comparison whose variables have values.
#[derive(Debug, Clone, PartialEq)]
pub enum Side<'a> {
    /// A value of the record.
    Place(&'a Place),
    /// A bound value.
    Value(SqlValue),
}

impl<'a> Side<'a> {
    fn new(operand: &'a Operand, context: &Context<'_>) -> Side<'a> {
        match operand {
            Operand::Place(place) => Side::Place(place),
            Operand::Value(value) => Side::Value(value.clone()),
            Operand::Variable(variable) => Side::Value(eval::variable(variable, context).into_sql()),
        }
    }
}

/// Returns a path into JSON in SQLite's syntax: `$."a"[0]`. The parser ensures that names have neither `"` nor `\`.
pub fn json_path(name: &str, below: &[Step]) -> String {
    let mut path = format!("$.\"{name}\"");
    for step in below {
        match step {
            Step::Name(name) => path.push_str(&format!(".\"{name}\"")),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

impl SqlWriter {
    /// Creates a builder without text.
    pub fn new(dialect: Dialect) -> SqlWriter {
        SqlWriter { dialect, text: String::new(), params: Vec::new() }
    }

    /// Appends this crate's own SQL text.
    pub fn push(&mut self, sql: &str) {
        self.text.push_str(sql);
    }

    /// Binds a value and returns the name of its parameter.
    pub fn bind(&mut self, value: SqlValue) -> String {
        self.params.push(value);
        format!("?{}", self.params.len())
    }

    /// Binds a value and appends the name of its parameter.
    pub fn push_bound(&mut self, value: SqlValue) {
        let name = self.bind(value);
        self.text.push_str(&name);
    }

    /// Returns the text and the values that it uses. Unused bound values are left out: PostgreSQL refuses a parameter
    /// whose type it cannot infer.
    pub fn finish(self) -> (String, Vec<SqlValue>) {
        let SqlWriter { text, params, .. } = self;
        let mut numbers = vec![0; params.len()];
        for (at, _) in text.match_indices('?') {
            numbers[number_at(&text, at) - 1] = 1;
        }
        if numbers.iter().all(|used| *used == 1) {
            return (text, params);
        }
        let mut next = 0;
        for number in numbers.iter_mut().filter(|number| **number == 1) {
            next += 1;
            *number = next;
        }
        let mut parts = text.split('?');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = digits(part);
            let number = part[..end].parse::<usize>().expect("a `?` is followed by its number");
            out.push_str(&format!("?{}{}", numbers[number - 1], &part[end..]));
        }
        let used = params.into_iter().zip(&numbers).filter(|(_, number)| **number > 0);
        (out, used.map(|(value, _)| value).collect())
    }

    /// Appends the end of a statement for one page.
    pub fn push_window(&mut self, limit: u64, offset: u64) {
        let window = self.dialect.window(limit, offset, |number| {
            self.bind(SqlValue::Integer(i64::try_from(number).expect("limits keep pages within 63 bits")))
        });
        self.text.push_str(&window);
    }

    pub(super) fn expr(&mut self, expr: &Expr, context: &Context<'_>) {
        let dialect = self.dialect;
        match expr {
            Expr::And(exprs) => self.joined(exprs, " AND ", context),
            Expr::Or(exprs) => self.joined(exprs, " OR ", context),
            Expr::Not(inner) => {
                self.push("(NOT ");
                self.expr(inner, context);
                self.push(")");
            }
            Expr::Constant(flag) => self.push(dialect.constant(*flag)),
            Expr::Compare { left, compare, right, mixed } => {
                let (left, right) = (Side::new(left, context), Side::new(right, context));
                dialect.compare(self, &left, *compare, &right, *mixed);
            }
            Expr::In(operand, entries) => {
                let of_any_type = |entry: &Operand| matches!(entry, Operand::Variable(Variable::Data(_)));
                let is_mixed = entries.iter().any(of_any_type);
                let entries: Vec<Side<'_>> = entries.iter().map(|entry| Side::new(entry, context)).collect();
                dialect.is_in(self, &Side::new(operand, context), &entries, is_mixed);
            }
            Expr::Like { operand, pattern } => dialect.like(self, &Side::new(operand, context), pattern),
            Expr::IsNull(operand) => dialect.is_null(self, &Side::new(operand, context)),
            Expr::Has(place, operand) => dialect.has(self, place, &Side::new(operand, context)),
        }
    }

    fn joined(&mut self, exprs: &[Expr], between: &str, context: &Context<'_>) {
        self.push("(");
        for (position, expr) in exprs.iter().enumerate() {
            if position > 0 {
                self.push(between);
            }
            self.expr(expr, context);
        }
        self.push(")");
    }
}

/// Returns the number of digits at the start of a text.
fn digits(text: &str) -> usize {
    text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len())
}

/// Returns the number of the parameter whose `?` is at this byte.
fn number_at(text: &str, at: usize) -> usize {
    let rest = &text[at + 1..];
    rest[..digits(rest)].parse().expect("a `?` is followed by its number")
}

impl Compare {
    /// Returns its SQL symbol.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Compare::Equal => "=",
            Compare::NotEqual => "<>",
            Compare::Less => "<",
            Compare::LessOrEqual => "<=",
            Compare::Greater => ">",
            Compare::GreaterOrEqual => ">=",
        }
    }
}
