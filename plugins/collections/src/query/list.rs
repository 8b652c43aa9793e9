//! A page of records: its parameters, and the one statement that returns it.

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

/// The column positions of a page's statement.
pub mod columns {
    /// The number of records; null if it was not requested.
    pub const TOTAL: usize = 0;
    /// The record's id.
    pub const ID: usize = 1;
    /// The user who created it.
    pub const OWNER_ID: usize = 2;
    /// When it was created.
    pub const CREATED_AT: usize = 3;
    /// When it was last changed.
    pub const UPDATED_AT: usize = 4;
    /// Its data.
    pub const DATA: usize = 5;
    /// Its position in the order of creation.
    pub const SEQ: usize = 6;
    /// With a cursor: the first of the sort values.
    pub const SORT: usize = 7;
}

/// The parameters of a list.
const PARAMETERS: [&str; 10] =
    ["filter", "sort", "sort_by", "sort_order", "fields", "expand", "limit", "offset", "count", "cursor"];

/// Whether a response includes the total number of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// It does.
    Exact,
    /// It does not.
    None,
}

/// The table of a collection's records.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// The SQL dialect.
    pub dialect: Dialect,
    /// The collection's number.
    pub number: i64,
    /// The table's name.
    pub name: &'a str,
    /// The schema of its records.
    pub schema: &'a Schema,
}

/// The parameters of a list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// The filter on the records.
    pub filter: Option<Filter>,
    /// The filter as the client wrote it.
    pub filter_text: String,
    /// The order.
    pub sort: Sort,
    /// The selected fields.
    pub pick: Option<Pick>,
    /// The references to follow.
    pub expand: Vec<ExpandNode>,
    /// The maximum number of records.
    pub limit: u64,
    /// The number of records to skip.
    pub offset: u64,
    /// Whether the total is counted.
    pub count: Count,
    /// The cursor as received, empty for the first page; `None` for paging by offset.
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
    /// Parses `filter, sort, sort_by, sort_order, fields, expand, limit, offset, count, cursor`.
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
            // Cursors are for clients that walk through everything. They need no total on each page.
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

    /// Returns the statement for the page, after `position` if set; `rows` is the maximum number of rows.
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

    /// Returns the statement for the total, for a page without records, whose rows include no total.
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

    /// Returns the position of a row of the statement, given its columns from [`columns::SORT`] on.
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

    /// Returns the rule and the filter as one condition, with its values bound in `out`.
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

    /// Returns whether the condition takes little time per row, whatever the row's content. Otherwise not even one row
    /// is read on a request's own thread.
    fn is_light(&self, rule: &Rule, depends: bool) -> bool {
        let of_rule = match rule {
            Rule::Expression(filter) if depends => filter.root().is_light(),
            _ => true,
        };
        of_rule && self.filter.as_ref().is_none_or(|filter| filter.root().is_light())
    }

    /// Returns whether the statement reads few rows, however large the table is.
    fn is_short(&self, schema: &Schema, has_condition: bool, depends: bool) -> bool {
        if self.offset.saturating_add(self.limit) > limits::SHORT_ROWS_MAX {
            return false;
        }
        if let Some(filter) = &self.filter
            && names_one(filter.root(), schema)
        {
            return true;
        }
        // Only the page's own rows are read if an index or the key has their order and the filter selects a range of
        // that index.
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

/// Returns whether the expression only bounds the sorted place; in the order of creation, whether it requires one value
/// of an indexed field.
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

/// Returns whether the expression can only match a few records, found by an index.
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

/// Returns a parameter that is given and not empty.
fn given<'a>(pairs: &'a Pairs<'_>, name: &str) -> Result<Option<&'a str>, QueryFault> {
    Ok(value(pairs, name)?.filter(|text| !text.trim().is_empty()))
}

/// Parses a `filter` parameter; an empty one means no filter.
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
