//! The syntax trees of a filter: as parsed, with the position of each part, and as checked against a schema. Data only.

use crate::{limits, schema::Kind, sql_value::SqlValue};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member of an object.
    Name(String),
    /// An entry of an array, from 0.
    Index(u32),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `=`
    Equal,
    /// `!=`, `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A parsed term, with its byte position.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    pub(super) at: usize,
    pub(super) kind: TermKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TermKind {
    Path(Vec<Step>),
    /// The path after `@`.
    Variable(Vec<Step>),
    Text(String),
    Integer(i64),
    Real(f64),
    Bool(bool),
}

/// A parsed filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// A term without a comparison: it must be true or false.
    Test(Term),
    Compare(Term, Compare, Term),
    In(Term, Vec<Term>),
    Like(Term, Term),
    IsNull(Term),
    Has(Term, Term),
}

/// A column that every record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordColumn {
    /// The record's id.
    Id,
    /// The user who created it.
    OwnerId,
    /// When it was created.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
}

impl RecordColumn {
    /// All columns, for lookups and messages.
    pub const ALL: [RecordColumn; 4] =
        [RecordColumn::Id, RecordColumn::OwnerId, RecordColumn::CreatedAt, RecordColumn::UpdatedAt];

    /// Returns its name in filters, responses and tables.
    pub fn name(self) -> &'static str {
        match self {
            RecordColumn::Id => "id",
            RecordColumn::OwnerId => "owner_id",
            RecordColumn::CreatedAt => "created_at",
            RecordColumn::UpdatedAt => "updated_at",
        }
    }
}

/// The place of a value in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A column of every record.
    Record(RecordColumn),
    /// A field, or a value within it.
    Field {
        /// The field's name, an identifier.
        name: String,
        /// The field's type.
        kind: Kind,
        /// Whether the field has a column of its own.
        has_column: bool,
        /// The steps below the field; none means the field itself.
        below: Vec<Step>,
    },
}

/// A value that is only known when the filter runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `@me`, `@me.id`
    MyId,
    /// `@me.email`
    MyEmail,
    /// `@me.is_admin`
    IsAdmin,
    /// `@now`
    Now,
    /// `@request.method`
    Method,
    /// `@request.action`
    Action,
    /// `@request.data.…`
    Data(Vec<Step>),
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A value of the record.
    Place(Place),
    /// A value written in the filter.
    Value(SqlValue),
    /// A value of the caller or request.
    Variable(Variable),
}

/// The known type of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    Number,
    Boolean,
    Date,
    /// A whole array or object.
    Container,
    /// A value of any type, at a path into JSON.
    Any,
}

/// A filter checked against a schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// All are true.
    And(Vec<Expr>),
    /// At least one is true.
    Or(Vec<Expr>),
    /// It is not true.
    Not(Box<Expr>),
    /// `true` or `false`.
    Constant(bool),
    /// A comparison of two operands; `mixed` if the type of a side is only known at run time.
    Compare {
        /// The left side.
        left: Operand,
        /// The comparison operator.
        compare: Compare,
        /// The right side.
        right: Operand,
        /// Whether a side may have any type.
        mixed: bool,
    },
    /// The operand equals one of the values.
    In(Operand, Vec<Operand>),
    /// The operand is text that matches a pattern of `%`, `_` and `\`.
    Like {
        /// The tested operand.
        operand: Operand,
        /// The pattern.
        pattern: String,
    },
    /// The operand is null or absent.
    IsNull(Operand),
    /// An entry of the array equals the operand.
    Has(Place, Operand),
}

impl Expr {
    /// Calls `show` with every operand.
    pub(super) fn each_operand<'a>(&'a self, show: &mut impl FnMut(&'a Operand)) {
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| part.each_operand(show)),
            Expr::Not(inner) => inner.each_operand(show),
            Expr::Constant(_) => {}
            Expr::Compare { left, right, .. } => {
                show(left);
                show(right);
            }
            Expr::In(operand, entries) => {
                show(operand);
                entries.iter().for_each(show);
            }
            Expr::Like { operand, .. } | Expr::IsNull(operand) | Expr::Has(_, operand) => show(operand),
        }
    }

    /// Returns whether it searches an array of the record with `has`.
    pub(super) fn has_entries(&self) -> bool {
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().any(Expr::has_entries),
            Expr::Not(inner) => inner.has_entries(),
            Expr::Has(..) => true,
            _ => false,
        }
    }

    /// Returns whether the time for one record is bounded by the record's size alone: a few values are compared, no
    /// text is searched and no array scanned.
    pub fn is_light(&self) -> bool {
        let mut terms = 0;
        self.is_light_within(&mut terms) && terms <= limits::SHORT_TERMS_MAX
    }

    fn is_light_within(&self, terms: &mut usize) -> bool {
        *terms += 1;
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().all(|part| part.is_light_within(terms)),
            Expr::Not(part) => part.is_light_within(terms),
            Expr::Compare { .. } | Expr::Constant(_) | Expr::IsNull(_) => true,
            Expr::In(_, entries) => {
                *terms += entries.len();
                true
            }
            Expr::Like { .. } | Expr::Has(..) => false,
        }
    }
}
