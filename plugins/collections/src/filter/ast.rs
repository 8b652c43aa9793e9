//! The shapes of a filter: as parsed, with where each part stood, and as checked against a schema. Data alone.

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

/// A part as parsed, and the byte at which it stood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    pub(super) at: usize,
    pub(super) kind: TermKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TermKind {
    Path(Vec<Step>),
    /// What follows `@`.
    Variable(Vec<Step>),
    Text(String),
    Integer(i64),
    Real(f64),
    Bool(bool),
}

/// A filter as parsed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    /// A term that stands alone: it must be true or false.
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
    /// Who created it.
    OwnerId,
    /// When it was created.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
}

impl RecordColumn {
    /// Every one, for lookups and messages.
    pub const ALL: [RecordColumn; 4] =
        [RecordColumn::Id, RecordColumn::OwnerId, RecordColumn::CreatedAt, RecordColumn::UpdatedAt];

    /// Its name in filters, answers and tables alike.
    pub fn name(self) -> &'static str {
        match self {
            RecordColumn::Id => "id",
            RecordColumn::OwnerId => "owner_id",
            RecordColumn::CreatedAt => "created_at",
            RecordColumn::UpdatedAt => "updated_at",
        }
    }
}

/// Where a value of a record is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A column of every record.
    Record(RecordColumn),
    /// A field, or what lies below it.
    Field {
        /// The field's name, an identifier.
        name: String,
        /// What the field holds.
        kind: Kind,
        /// Whether the field has a column of its own.
        has_column: bool,
        /// The steps below the field; none means the field itself.
        below: Vec<Step>,
    },
}

/// A value that is known when the filter runs.
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

/// What an operand is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Text,
    Number,
    Boolean,
    Date,
    /// An array or object, whole.
    Container,
    /// Whatever a path into JSON leads to.
    Any,
}

/// A filter checked against a schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// All hold.
    And(Vec<Expr>),
    /// One holds.
    Or(Vec<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// `true` or `false`.
    Constant(bool),
    /// A comparison of two operands; `mixed` where a side's type is only known when it runs.
    Compare {
        /// The left side.
        left: Operand,
        /// How they compare.
        compare: Compare,
        /// The right side.
        right: Operand,
        /// Whether a side may be of any type.
        mixed: bool,
    },
    /// The operand equals one of the values.
    In(Operand, Vec<Operand>),
    /// The operand is text that fits a pattern of `%`, `_` and `\`.
    Like {
        /// What is tested.
        operand: Operand,
        /// The pattern.
        pattern: String,
    },
    /// The operand is null or not there.
    IsNull(Operand),
    /// An entry of the array equals the operand.
    Has(Place, Operand),
}

impl Expr {
    /// Shows every operand.
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

    /// Whether it looks into an array of the record by `has`.
    pub(super) fn has_entries(&self) -> bool {
        match self {
            Expr::And(parts) | Expr::Or(parts) => parts.iter().any(Expr::has_entries),
            Expr::Not(inner) => inner.has_entries(),
            Expr::Has(..) => true,
            _ => false,
        }
    }

    /// Whether to ask a record takes a time that its size alone bounds: a few values are compared, no text is searched
    /// and no array walked through.
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
