//! A checked filter as SQL text and bound values. The only names in the text are those of columns and of fields,
//! which are identifiers; every value and every path into JSON is bound.

use super::{
    Context,
    ast::{Compare, Expr, Operand, Place, Step, Variable},
    eval,
};
use crate::sql_value::SqlValue;

/// SQL text as it grows, with numbered parameters.
#[derive(Debug, Default)]
pub struct SqlWriter {
    /// The text so far.
    pub text: String,
    /// The values of `?1`, `?2`, …
    pub params: Vec<SqlValue>,
}

/// A path into JSON as SQLite reads it: `$."a"[0]`. Names hold neither `"` nor `\`, which the parser sees to.
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
    /// Appends SQL text of this crate's own.
    pub fn push(&mut self, sql: &str) {
        self.text.push_str(sql);
    }

    /// Binds a value; answers how the text names it.
    pub fn bind(&mut self, value: SqlValue) -> String {
        self.params.push(value);
        format!("?{}", self.params.len())
    }

    /// Binds a value and appends its name.
    pub fn push_bound(&mut self, value: SqlValue) {
        let name = self.bind(value);
        self.text.push_str(&name);
    }

    /// The SQL that reads a place.
    pub fn place(&mut self, place: &Place) -> String {
        match place {
            Place::Record(column) => column.name().to_owned(),
            Place::Field { name, has_column: true, below } if below.is_empty() => format!("f_{name}"),
            Place::Field { name, below, .. } if below.is_empty() => format!("json_extract(data,'$.{name}')"),
            Place::Field { name, below, .. } => {
                let path = self.bind(SqlValue::Text(json_path(name, below)));
                format!("json_extract(data,{path})")
            }
        }
    }

    fn operand(&mut self, operand: &Operand, context: &Context<'_>) -> String {
        match operand {
            Operand::Place(place) => self.place(place),
            Operand::Value(value) => self.bind(value.clone()),
            Operand::Variable(variable) => {
                let value = variable_value(variable, context);
                self.bind(value)
            }
        }
    }

    /// An operand that is compared with one of any type: a column's own type must not convert the other.
    fn untyped(&mut self, operand: &Operand, context: &Context<'_>) -> String {
        let sql = self.operand(operand, context);
        if matches!(operand, Operand::Place(Place::Record(_))) { format!("+{sql}") } else { sql }
    }

    pub(super) fn expr(&mut self, expr: &Expr, context: &Context<'_>) {
        match expr {
            Expr::And(exprs) => self.joined(exprs, " AND ", context),
            Expr::Or(exprs) => self.joined(exprs, " OR ", context),
            Expr::Not(inner) => {
                self.push("(NOT ");
                self.expr(inner, context);
                self.push(")");
            }
            Expr::Constant(flag) => self.push(if *flag { "(1)" } else { "(0)" }),
            Expr::Compare { left, compare, right, mixed } => {
                let (left, right) = if *mixed {
                    (self.untyped(left, context), self.untyped(right, context))
                } else {
                    (self.operand(left, context), self.operand(right, context))
                };
                self.push(&format!("({left} {} {right})", symbol(*compare)));
            }
            Expr::In(operand, entries) => {
                let operand = self.untyped_where_variables(operand, entries, context);
                let entries: Vec<String> = entries.iter().map(|entry| self.operand(entry, context)).collect();
                self.push(&format!("({operand} IN ({}))", entries.join(",")));
            }
            Expr::Like { operand, pattern } => {
                let operand = self.operand(operand, context);
                let pattern = self.bind(SqlValue::Text(pattern.clone()));
                // Of what is no text, SQLite would compare the digits.
                self.push(&format!(
                    "(CASE WHEN typeof({operand})='text' THEN {operand} END LIKE {pattern} ESCAPE '\\')"
                ));
            }
            Expr::IsNull(operand) => {
                let operand = self.operand(operand, context);
                self.push(&format!("({operand} IS NULL)"));
            }
            Expr::Has(place, operand) => {
                let Place::Field { name, below, .. } = place else {
                    unreachable!("the check lets fields alone have entries");
                };
                let path = self.bind(SqlValue::Text(json_path(name, below)));
                let operand = self.operand(operand, context);
                self.push(&format!("(EXISTS(SELECT 1 FROM json_each(data,{path}) WHERE value={operand}))"));
            }
        }
    }

    fn untyped_where_variables(
        &mut self,
        operand: &Operand,
        entries: &[Operand],
        context: &Context<'_>,
    ) -> String {
        let of_any_type = |entry: &Operand| matches!(entry, Operand::Variable(Variable::Data(_)));
        if entries.iter().any(of_any_type) {
            self.untyped(operand, context)
        } else {
            self.operand(operand, context)
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

fn symbol(compare: Compare) -> &'static str {
    match compare {
        Compare::Equal => "=",
        Compare::NotEqual => "<>",
        Compare::Less => "<",
        Compare::LessOrEqual => "<=",
        Compare::Greater => ">",
        Compare::GreaterOrEqual => ">=",
    }
}

/// What a variable stands for, as a bound value.
fn variable_value(variable: &Variable, context: &Context<'_>) -> SqlValue {
    eval::variable(variable, context).into_sql()
}
