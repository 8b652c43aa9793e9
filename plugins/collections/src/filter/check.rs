//! Checks a parsed filter against a schema: names, types, dates. It never touches SQL.

use super::{
    FilterError, Writer,
    ast::{Class, Expr, Node, Operand, Place, RecordColumn, Step, Term, TermKind, Variable},
};
use crate::{
    fault::{did_you_mean, shorten},
    limits,
    schema::{Item, Kind, Schema, normalise_date},
    sql_value::SqlValue,
};

pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
    pub(super) schema: &'a Schema,
    pub(super) writer: Writer,
}

type Checked<T> = Result<T, FilterError>;

impl Checker<'_> {
    fn fault<T>(&self, at: usize, message: impl Into<String>) -> Checked<T> {
        Err(FilterError::at(self.text, at, message))
    }

    pub(super) fn expr(&self, node: &Node) -> Checked<Expr> {
        Ok(match node {
            Node::And(nodes) => Expr::And(self.exprs(nodes)?),
            Node::Or(nodes) => Expr::Or(self.exprs(nodes)?),
            Node::Not(node) => Expr::Not(Box::new(self.expr(node)?)),
            Node::Test(term) => self.test(term)?,
            Node::Compare(left, compare, right) => {
                let (left, right, mixed) = self.pair(left, right)?;
                Expr::Compare { left, compare: *compare, right, mixed }
            }
            Node::In(term, entries) => self.list(term, entries)?,
            Node::Like(term, pattern) => self.like(term, pattern)?,
            Node::IsNull(term) => Expr::IsNull(self.operand(term)?.0),
            Node::Has(term, value) => self.has(term, value)?,
        })
    }

    fn exprs(&self, nodes: &[Node]) -> Checked<Vec<Expr>> {
        nodes.iter().map(|node| self.expr(node)).collect()
    }

    fn test(&self, term: &Term) -> Checked<Expr> {
        if let TermKind::Bool(flag) = term.kind {
            return Ok(Expr::Constant(flag));
        }
        let (left, class) = self.operand(term)?;
        if !matches!(class, Class::Boolean | Class::Any) {
            let message = format!("{} is {} and needs a comparison", self.word(term), describe(class));
            return self.fault(term.at, message);
        }
        let right = Operand::Value(SqlValue::Integer(1));
        Ok(Expr::Compare { left, compare: super::Compare::Equal, right, mixed: class == Class::Any })
    }

    /// Returns two operands whose types match, and whether one may have any type.
    fn pair(&self, left: &Term, right: &Term) -> Checked<(Operand, Operand, bool)> {
        let (left_operand, left_class) = self.operand(left)?;
        let (right_operand, right_class) = self.operand(right)?;
        for (term, class) in [(left, left_class), (right, right_class)] {
            if class == Class::Container {
                let word = self.word(term);
                let message = format!("{word} is an array or object: use `has`, `is null` or a path into it");
                return self.fault(term.at, message);
            }
        }
        let mixed = left_class == Class::Any || right_class == Class::Any;
        if mixed || left_class == right_class {
            return Ok((left_operand, right_operand, mixed));
        }
        let (left_operand, right_operand) = match (left_class, right_class) {
            (Class::Date, Class::Text) => (left_operand, self.date(right, right_operand)?),
            (Class::Text, Class::Date) => (self.date(left, left_operand)?, right_operand),
            _ => {
                let (left_word, right_word) = (self.word(left), self.word(right));
                let (left_class, right_class) = (describe(left_class), describe(right_class));
                let message = format!(
                    "{left_word} is {left_class} and cannot be compared with {right_word}, {right_class}"
                );
                return self.fault(right.at, message);
            }
        };
        Ok((left_operand, right_operand, false))
    }

    fn date(&self, term: &Term, operand: Operand) -> Checked<Operand> {
        let Operand::Value(SqlValue::Text(text)) = &operand else {
            return self.fault(
                term.at,
                format!("{} is a string and cannot be compared with a date", self.word(term)),
            );
        };
        match normalise_date(text) {
            Some(date) => Ok(Operand::Value(SqlValue::Text(date))),
            None => self.fault(term.at, "expected an RFC 3339 date or date-time, as in '2026-11-23'"),
        }
    }

    fn list(&self, term: &Term, entries: &[Term]) -> Checked<Expr> {
        let mut values = Vec::with_capacity(entries.len());
        for entry in entries {
            if matches!(entry.kind, TermKind::Path(_)) {
                return self.fault(entry.at, "expected a value: a list holds no fields");
            }
            values.push(self.pair(term, entry)?.1);
        }
        Ok(Expr::In(self.operand(term)?.0, values))
    }

    fn like(&self, term: &Term, pattern: &Term) -> Checked<Expr> {
        let (operand, class) = self.operand(term)?;
        if !matches!(class, Class::Text | Class::Date | Class::Any) {
            let message = format!("`like` needs a string, {} is {}", self.word(term), describe(class));
            return self.fault(term.at, message);
        }
        let TermKind::Text(text) = &pattern.kind else {
            return self.fault(pattern.at, "expected a pattern in quotes, as in 'The %'");
        };
        if text.len() > limits::LIKE_PATTERN_BYTES_MAX {
            let message = format!("the pattern is longer than {} bytes", limits::LIKE_PATTERN_BYTES_MAX);
            return self.fault(pattern.at, message);
        }
        if text.matches(['%', '_']).count() > limits::LIKE_WILDCARDS_MAX {
            return self.fault(
                pattern.at,
                format!("the pattern has more than {} wildcards", limits::LIKE_WILDCARDS_MAX),
            );
        }
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            if char == '\\' && !matches!(chars.next(), Some('%' | '_' | '\\')) {
                return self.fault(pattern.at, "in a pattern, `\\` stands before %, _ or \\ alone");
            }
        }
        Ok(Expr::Like { operand, pattern: text.clone() })
    }

    fn has(&self, term: &Term, value: &Term) -> Checked<Expr> {
        let (operand, class) = self.operand(term)?;
        let (Operand::Place(place @ Place::Field { .. }), Class::Container | Class::Any) = (operand, class)
        else {
            let message = format!("`has` needs an array, {} is {}", self.word(term), describe(class));
            return self.fault(term.at, message);
        };
        if matches!(value.kind, TermKind::Path(_)) {
            return self.fault(value.at, "expected a value after `has`, found a field");
        }
        Ok(Expr::Has(place, self.operand(value)?.0))
    }

    fn operand(&self, term: &Term) -> Checked<(Operand, Class)> {
        Ok(match &term.kind {
            TermKind::Text(text) => (Operand::Value(SqlValue::Text(text.clone())), Class::Text),
            TermKind::Integer(number) => (Operand::Value(SqlValue::Integer(*number)), Class::Number),
            TermKind::Real(number) => (Operand::Value(SqlValue::Real(*number)), Class::Number),
            TermKind::Bool(flag) => (Operand::Value(SqlValue::Integer((*flag).into())), Class::Boolean),
            TermKind::Path(steps) => {
                let (place, class) = self.place(term.at, steps)?;
                (Operand::Place(place), class)
            }
            TermKind::Variable(steps) => {
                let (variable, class) = self.variable(term.at, steps)?;
                (Operand::Variable(variable), class)
            }
        })
    }

    /// Resolves a path: its place and the type there.
    pub(super) fn place(&self, at: usize, steps: &[Step]) -> Checked<(Place, Class)> {
        let Step::Name(name) = &steps[0] else { return self.fault(at, "expected a field") };
        let below = &steps[1..];
        // Only schemas of earlier versions have fields with these names. Such a field must not shadow the record's own
        // column: a rule such as `owner_id = @me` would trust what clients write.
        let own = RecordColumn::ALL.into_iter().find(|column| column.name() == name);
        let field = match (own, self.schema.field(name)) {
            (None, Some(field)) => field,
            (own, _) => return self.record_column(at, name, own, below),
        };
        let class = match (field.kind, below) {
            (kind, []) => class_of(kind),
            (Kind::Array(Some(item)), [Step::Index(_)]) => class_of_item(item),
            (Kind::Array(None) | Kind::Object, _) => Class::Any,
            (kind, _) => {
                let message = format!("{name} is of type {} and has nothing below it", kind.name());
                return self.fault(at, message);
            }
        };
        Ok((
            Place::Field {
                name: name.clone(),
                kind: field.kind,
                has_column: field.has_column(),
                below: below.to_vec(),
            },
            class,
        ))
    }

    fn record_column(
        &self,
        at: usize,
        name: &str,
        own: Option<RecordColumn>,
        below: &[Step],
    ) -> Checked<(Place, Class)> {
        let Some(column) = own else {
            let fields = self.schema.fields().iter().map(|field| field.name.as_str());
            let columns = RecordColumn::ALL.into_iter().map(|column| -> &str { column.name() });
            let hint = did_you_mean(name, fields.chain(columns));
            return self.fault(at, format!("there is no field {}{hint}", shorten(name)));
        };
        if !below.is_empty() {
            return self.fault(at, format!("{name} has nothing below it"));
        }
        let class = match column {
            RecordColumn::Id | RecordColumn::OwnerId => Class::Text,
            RecordColumn::CreatedAt | RecordColumn::UpdatedAt => Class::Date,
        };
        Ok((Place::Record(column), class))
    }

    fn variable(&self, at: usize, steps: &[Step]) -> Checked<(Variable, Class)> {
        let names: Vec<&str> = steps
            .iter()
            .map_while(|step| match step {
                Step::Name(name) => Some(name.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        let author = self.writer == Writer::Author;
        Ok(match (names.as_slice(), steps.len()) {
            (["me"] | ["me", "id"], 1 | 2) => (Variable::MyId, Class::Text),
            (["me", "email"], 2) => (Variable::MyEmail, Class::Text),
            (["me", "is_admin"], 2) => (Variable::IsAdmin, Class::Boolean),
            (["now"], 1) => (Variable::Now, Class::Date),
            (["request", "method"], 2) if author => (Variable::Method, Class::Text),
            (["request", "action"], 2) if author => (Variable::Action, Class::Text),
            (["request", "data", _, ..], _) if author => (Variable::Data(steps[2..].to_vec()), Class::Any),
            _ => {
                let known = if author {
                    "@me, @me.email, @me.is_admin, @now, @request.method, @request.action, @request.data.<field>"
                } else {
                    "@me, @me.email, @me.is_admin, @now"
                };
                return self.fault(at, format!("there is no such variable; there are {known}"));
            }
        })
    }

    /// Returns how an error names a term.
    fn word(&self, term: &Term) -> String {
        match &term.kind {
            TermKind::Path(steps) => match &steps[0] {
                Step::Name(name) => shorten(name),
                Step::Index(_) => "this".to_owned(),
            },
            TermKind::Variable(_) => "the variable".to_owned(),
            _ => "the value".to_owned(),
        }
    }
}

fn class_of(kind: Kind) -> Class {
    match kind {
        Kind::Text | Kind::Reference => Class::Text,
        Kind::Integer | Kind::Number => Class::Number,
        Kind::Boolean => Class::Boolean,
        Kind::Date => Class::Date,
        Kind::Array(_) | Kind::Object => Class::Container,
    }
}

fn class_of_item(item: Item) -> Class {
    match item {
        Item::Text => Class::Text,
        Item::Integer | Item::Number => Class::Number,
        Item::Boolean => Class::Boolean,
    }
}

fn describe(class: Class) -> &'static str {
    match class {
        Class::Text => "a string",
        Class::Number => "a number",
        Class::Boolean => "a boolean",
        Class::Date => "a date",
        Class::Container => "an array or object",
        Class::Any => "of any type",
    }
}
