//! A page of records: its parameters, and the one statement that answers it.

use super::{
    Pairs, QueryFault, check_names,
    cursor::Position,
    expand,
    expand::ExpandNode,
    keyset,
    pick::Pick,
    sort::{Sort, SortKey},
    value, window,
};
use crate::{
    access::{Action, Rule, Verdict},
    dialect::Dialect,
    filter::{Compare, Context, Expr, Filter, Operand, Place, RecordColumn, SqlWriter, Writer},
    limits,
    schema::Schema,
    sql_value::SqlValue,
};

/// The columns of a page's statement, by position.
pub mod columns {
    /// How many records there are; null where it is not asked for.
    pub const TOTAL: usize = 0;
    /// The record's id.
    pub const ID: usize = 1;
    /// Who created it.
    pub const OWNER_ID: usize = 2;
    /// When it was created.
    pub const CREATED_AT: usize = 3;
    /// When it was last changed.
    pub const UPDATED_AT: usize = 4;
    /// Its data.
    pub const DATA: usize = 5;
    /// Its place in the order of creation.
    pub const SEQ: usize = 6;
    /// With a cursor: the first of the sort values.
    pub const SORT: usize = 7;
}

/// The parameters of a list.
const PARAMETERS: [&str; 10] =
    ["filter", "sort", "sort_by", "sort_order", "fields", "expand", "limit", "offset", "count", "cursor"];

/// Whether an answer tells how many records there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// It does.
    Exact,
    /// It does not.
    None,
}

/// Where a collection's records are kept.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// Whose SQL is spoken there.
    pub dialect: Dialect,
    /// The collection's number.
    pub number: i64,
    /// The table's name.
    pub name: &'a str,
    /// The schema of what is in it.
    pub schema: &'a Schema,
}

/// The parameters of a list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Which records.
    pub filter: Option<Filter>,
    /// The filter as the client wrote it.
    pub filter_text: String,
    /// In which order.
    pub sort: Sort,
    /// Which fields.
    pub pick: Option<Pick>,
    /// Which references are followed.
    pub expand: Vec<ExpandNode>,
    /// How many records.
    pub limit: u64,
    /// How many are passed over.
    pub offset: u64,
    /// Whether they are counted.
    pub count: Count,
    /// The cursor as it came, empty for the first page; `None` where paging is by offset.
    pub cursor: Option<String>,
}

/// A statement to run.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// Its values.
    pub params: Vec<SqlValue>,
    /// Whether it reads a few rows by key or index.
    pub is_short: bool,
}

impl ListQuery {
    /// Reads `filter, sort, sort_by, sort_order, fields, expand, limit, offset, count, cursor`.
    pub fn parse(pairs: &Pairs<'_>, schema: &Schema) -> Result<ListQuery, QueryFault> {
        check_names(pairs, &PARAMETERS)?;
        let (limit, offset) = window(pairs)?;
        let filter_text = value(pairs, "filter")?.unwrap_or_default().trim().to_owned();
        let cursor = value(pairs, "cursor")?.map(str::to_owned);
        if cursor.is_some() && offset != 0 {
            return Err(QueryFault::new("offset", "invalid_query", "must not be given beside a cursor"));
        }
        let count = match value(pairs, "count")? {
            Some("exact") => Count::Exact,
            Some("none") => Count::None,
            // A cursor is for those who walk through everything: they need no total on each page.
            None if cursor.is_some() => Count::None,
            None => Count::Exact,
            Some(_) => return Err(QueryFault::new("count", "invalid_query", "must be exact or none")),
        };
        Ok(ListQuery {
            filter: parse_filter(&filter_text, schema)?,
            filter_text,
            sort: parse_sort(pairs, schema)?,
            pick: given(pairs, "fields")?.map(|text| Pick::parse(text, schema)).transpose()?,
            expand: given(pairs, "expand")?.map(expand::parse).transpose()?.unwrap_or_default(),
            limit,
            offset,
            count,
            cursor,
        })
    }

    /// The statement that answers the page, behind `position` where there is one; `rows` is how many it may answer.
    pub fn statement(
        &self,
        table: Table<'_>,
        rule: &Rule,
        context: &Context<'_>,
        position: Option<&Position>,
        rows: u64,
    ) -> Statement {
        let mut out = SqlWriter::new(table.dialect);
        let condition = self.condition(rule, context, &mut out);
        let count = match (self.count, &condition) {
            (Count::None, _) => "NULL".to_owned(),
            (Count::Exact, None) => {
                format!("({})", table.dialect.count_of(table.number))
            }
            (Count::Exact, Some(condition)) => {
                format!("(SELECT count(*) FROM {} WHERE {condition})", table.name)
            }
        };
        out.push(&format!("SELECT {count},id,owner_id,created_at,updated_at,data,seq"));
        if self.cursor.is_some() {
            for key in &self.sort.keys {
                for column in table.dialect.seen(&mut out, &key.place).columns() {
                    out.push(&format!(",{column}"));
                }
            }
        }
        out.push(&format!(" FROM {}", table.name));
        if let Some(condition) = &condition {
            out.push(&format!(" WHERE {condition}"));
        }
        if let Some(position) = position {
            out.push(if condition.is_some() { " AND " } else { " WHERE " });
            keyset::write(&mut out, &self.sort, position);
        }
        self.sort.write_sql(&mut out);
        out.push_window(rows, self.offset);
        let depends = rule.verdict(Action::List, context.caller) == Verdict::Depends;
        let is_short =
            self.is_light(rule, depends) && self.is_short(table.schema, condition.is_some(), depends);
        let (sql, params) = out.finish();
        Statement { sql, params, is_short }
    }

    /// The statement that counts what the list is about: for a page without records, which tells no total.
    pub fn count_statement(&self, table: Table<'_>, rule: &Rule, context: &Context<'_>) -> Statement {
        let mut out = SqlWriter::new(table.dialect);
        let condition = self.condition(rule, context, &mut out);
        let is_short = condition.is_none();
        out.text = match condition {
            None => table.dialect.count_of(table.number),
            Some(condition) => format!("SELECT count(*) FROM {} WHERE {condition}", table.name),
        };
        let (sql, params) = out.finish();
        Statement { sql, params, is_short }
    }

    /// The position of a row of the statement, given its columns from [`columns::SORT`] on.
    pub fn position(
        &self,
        dialect: Dialect,
        seq: i64,
        mut columns: impl Iterator<Item = SqlValue>,
    ) -> Position {
        let mut scratch = SqlWriter::new(dialect);
        let value = |key: &SortKey| {
            let width = dialect.seen(&mut scratch, &key.place).columns().count();
            let values: Vec<SqlValue> = columns.by_ref().take(width).collect();
            values.into_iter().find(|value| *value != SqlValue::Null).unwrap_or(SqlValue::Null)
        };
        Position { values: self.sort.keys.iter().map(value).collect(), seq }
    }

    /// The rule and the filter as one condition, its values bound in `out`.
    fn condition(&self, rule: &Rule, context: &Context<'_>, out: &mut SqlWriter) -> Option<String> {
        let depends = rule.verdict(Action::List, context.caller) == Verdict::Depends;
        if depends {
            rule.write_sql(out, context);
        }
        if let Some(filter) = &self.filter {
            out.push(if depends { " AND " } else { "" });
            filter.write_sql(out, context);
        }
        let condition = std::mem::take(&mut out.text);
        (!condition.is_empty()).then_some(condition)
    }

    /// Whether what is asked of each row takes little time, whatever the row holds: else not even one row is read on a
    /// request's own thread.
    fn is_light(&self, rule: &Rule, depends: bool) -> bool {
        let of_rule = match rule {
            Rule::Expression(filter) if depends => filter.root().is_light(),
            _ => true,
        };
        of_rule && self.filter.as_ref().is_none_or(|filter| filter.root().is_light())
    }

    /// Whether the statement reads few rows, whatever the table holds.
    fn is_short(&self, schema: &Schema, has_condition: bool, depends: bool) -> bool {
        if self.offset.saturating_add(self.limit) > limits::SHORT_ROWS_MAX {
            return false;
        }
        if let Some(filter) = &self.filter
            && names_one(filter.root(), schema)
        {
            return true;
        }
        // The page's own rows are read and no more, as long as an index or the key has their order, and the filter asks
        // for a stretch of that index.
        let in_order = match self.sort.keys.as_slice() {
            [] => true,
            [key] => is_indexed(&key.place),
            _ => false,
        };
        in_order
            && match &self.filter {
                None => !has_condition,
                Some(filter) => {
                    let alone = !depends && self.count == Count::None;
                    let place = self.sort.keys.first().map(|key| &key.place);
                    alone && is_stretch(filter.root(), place)
                }
            }
    }
}

/// Whether the expression bounds the place that is sorted by, and nothing else; in the order of creation, whether it is
/// one value of an indexed field.
fn is_stretch(expr: &Expr, sorted_by: Option<&Place>) -> bool {
    let Expr::Compare { left: Operand::Place(place), compare, right, mixed: false } = expr else {
        return matches!(expr, Expr::And(parts) if sorted_by.is_some() && parts.iter().all(|part| is_stretch(part, sorted_by)));
    };
    let bounded = match sorted_by {
        Some(sorted_by) => place == sorted_by && *compare != Compare::NotEqual,
        None => is_indexed(place) && *compare == Compare::Equal,
    };
    bounded && !matches!(right, Operand::Place(_))
}

/// Whether the expression can hold for a few records alone, which an index finds.
fn names_one(expr: &Expr, schema: &Schema) -> bool {
    let is_key = |operand: &Operand| match operand {
        Operand::Place(Place::Record(column)) => *column == RecordColumn::Id,
        Operand::Place(Place::Field { name, below, .. }) => {
            below.is_empty() && schema.field(name).is_some_and(|field| field.unique)
        }
        _ => false,
    };
    match expr {
        Expr::And(parts) => parts.iter().any(|part| names_one(part, schema)),
        Expr::Compare { left, compare: Compare::Equal, right, mixed: false } => {
            (is_key(left) && !matches!(right, Operand::Place(_)))
                || (is_key(right) && !matches!(left, Operand::Place(_)))
        }
        Expr::In(operand, _) => is_key(operand),
        _ => false,
    }
}

fn is_indexed(place: &Place) -> bool {
    match place {
        Place::Record(column) => *column == RecordColumn::Id,
        Place::Field { has_column, below, .. } => *has_column && below.is_empty(),
    }
}

/// A parameter that is given and not empty.
fn given<'a>(pairs: &'a Pairs<'_>, name: &str) -> Result<Option<&'a str>, QueryFault> {
    Ok(value(pairs, name)?.filter(|text| !text.trim().is_empty()))
}

/// Reads a `filter` parameter; an empty one is none.
pub(super) fn parse_filter(text: &str, schema: &Schema) -> Result<Option<Filter>, QueryFault> {
    if text.is_empty() {
        return Ok(None);
    }
    let filter = Filter::parse(text, schema, Writer::Client);
    filter.map(Some).map_err(|error| QueryFault::new("filter", "invalid_filter", error.to_string()))
}

fn parse_sort(pairs: &Pairs<'_>, schema: &Schema) -> Result<Sort, QueryFault> {
    let (by, order) = (given(pairs, "sort_by")?, value(pairs, "sort_order")?);
    match given(pairs, "sort")? {
        Some(_) if by.is_some() || order.is_some() => {
            Err(QueryFault::new("sort", "invalid_sort", "must not be given beside sort_by or sort_order"))
        }
        Some(text) => Sort::parse(text, schema),
        None => Sort::of_contract(by, order, schema),
    }
}
