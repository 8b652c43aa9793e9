//! Aggregates: `count=*&sum=price&avg=price,rating&group_by=genre&filter=…&sort=-count`. One statement computes them.

use super::{Pairs, QueryFault, Statement, Table, check_names, list::parse_filter, value, window};
use crate::{
    access::{Action, Rule, Verdict},
    dialect::Function,
    fault::{did_you_mean, shorten},
    filter::{Context, Filter, Place, SqlWriter},
    json::{write_float, write_text},
    limits,
    schema::{Kind, Schema},
    sql_value::SqlValue,
};

/// The parameters of an aggregate.
const PARAMETERS: [&str; 10] =
    ["count", "sum", "avg", "min", "max", "group_by", "filter", "sort", "limit", "offset"];

/// A function of a field; `*`, which counts records, has no field.
#[derive(Debug, Clone)]
struct Call {
    function: Function,
    field: Option<String>,
    is_boolean: bool,
}

#[derive(Debug, Clone)]
struct Group {
    field: String,
    is_boolean: bool,
}

/// The parameters of an aggregate.
#[derive(Debug, Clone)]
pub struct Aggregate {
    filter: Option<Filter>,
    groups: Vec<Group>,
    calls: Vec<Call>,
    /// Column positions, groups first, and whether the largest comes first.
    order: Vec<(usize, bool)>,
    /// The maximum number of groups.
    pub limit: u64,
    /// The number of groups to skip.
    pub offset: u64,
}

impl Aggregate {
    /// Parses `count, sum, avg, min, max, group_by, filter, sort, limit, offset`.
    pub fn parse(pairs: &Pairs<'_>, schema: &Schema) -> Result<Aggregate, QueryFault> {
        check_names(pairs, &PARAMETERS)?;
        let (limit, offset) = window(pairs)?;
        let groups = match value(pairs, "group_by")? {
            Some(text) => parse_groups(text, schema)?,
            None => Vec::new(),
        };
        let mut calls = Vec::new();
        for (function, name) in Function::ALL {
            for path in value(pairs, name)?.into_iter().flat_map(|text| text.split(',')).map(str::trim) {
                calls.push(call(function, path, schema)?);
            }
        }
        if calls.is_empty() {
            calls.push(Call { function: Function::Count, field: None, is_boolean: false });
        }
        if calls.len() > limits::AGGREGATE_FUNCTIONS_MAX {
            let message = format!("has more than {} functions", limits::AGGREGATE_FUNCTIONS_MAX);
            return Err(fault("count", message));
        }
        let filter = parse_filter(value(pairs, "filter")?.unwrap_or_default().trim(), schema)?;
        let mut aggregate = Aggregate { filter, groups, calls, order: Vec::new(), limit, offset };
        aggregate.order = aggregate.parse_order(value(pairs, "sort")?)?;
        Ok(aggregate)
    }

    /// Returns the column names for `sort`: a group's field, `count`, or as in `sum.price`.
    fn names(&self) -> Vec<String> {
        let calls = self.calls.iter().map(|call| match &call.field {
            Some(field) => format!("{}.{field}", call.function.name()),
            None => call.function.name().to_owned(),
        });
        self.groups.iter().map(|group| group.field.clone()).chain(calls).collect()
    }

    fn parse_order(&self, text: Option<&str>) -> Result<Vec<(usize, bool)>, QueryFault> {
        let names = self.names();
        let mut order = Vec::new();
        for part in
            text.into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty())
        {
            let (name, descending) = part.strip_prefix('-').map_or((part, false), |name| (name, true));
            let Some(at) = names.iter().position(|other| other == name) else {
                let hint = did_you_mean(name, names.iter().map(String::as_str));
                let message = format!("{} is not among {}{hint}", shorten(name), names.join(", "));
                return Err(QueryFault::new("sort", "invalid_sort", message));
            };
            order.push((at, descending));
        }
        // Groups also get a fixed order, so that pages do not overlap.
        for at in 0..self.groups.len() {
            if !order.iter().any(|(other, _)| *other == at) {
                order.push((at, false));
            }
        }
        Ok(order)
    }

    /// Returns its statement, under the `list` rule: the groups' fields, then the functions.
    pub fn statement(&self, table: Table<'_>, rule: &Rule, context: &Context<'_>) -> Statement {
        let dialect = table.dialect;
        let mut out = SqlWriter::new(dialect);
        out.push("SELECT ");
        for group in &self.groups {
            let column = dialect.group(&mut out, &place(table.schema, &group.field));
            out.push(&format!("{column},"));
        }
        for (at, call) in self.calls.iter().enumerate() {
            let column = match &call.field {
                None => "count(*)".to_owned(),
                Some(field) => dialect.aggregate(&mut out, call.function, &place(table.schema, field)),
            };
            out.push(if at > 0 { "," } else { "" });
            out.push(&column);
        }
        out.push(&format!(" FROM {}", table.name));
        let mut between = " WHERE ";
        if rule.verdict(Action::List, context.caller) == Verdict::Depends {
            out.push(between);
            rule.write_sql(&mut out, context);
            between = " AND ";
        }
        if let Some(filter) = &self.filter {
            out.push(between);
            filter.write_sql(&mut out, context);
        }
        self.write_grouping(&mut out);
        let (sql, params) = out.finish();
        Statement { sql, params, is_short: false }
    }

    fn write_grouping(&self, out: &mut SqlWriter) {
        if self.groups.is_empty() {
            return;
        }
        let positions: Vec<String> = (1..=self.groups.len()).map(|at| at.to_string()).collect();
        out.push(&format!(" GROUP BY {}", positions.join(",")));
        let key = |(at, descending): &(usize, bool)| out.dialect.order_by_position(at + 1, *descending);
        let order: Vec<String> = self.order.iter().map(key).collect();
        out.push(&format!(" ORDER BY {}", order.join(",")));
        out.push_window(self.limit, self.offset);
    }

    /// Appends one row of the statement as JSON: `{"by": {…}, "count": n, "sum": {…}, …}`.
    pub fn write_row(&self, values: &[SqlValue], out: &mut String) {
        out.push_str("{\"by\":{");
        for (at, group) in self.groups.iter().enumerate() {
            write_member(out, at > 0, &group.field, &values[at], group.is_boolean);
        }
        out.push('}');
        let results = &values[self.groups.len()..];
        for (function, _) in Function::ALL {
            self.write_function(function, results, out);
        }
        out.push('}');
    }

    fn write_function(&self, function: Function, results: &[SqlValue], out: &mut String) {
        let name = function.name();
        let all = || self.calls.iter().zip(results).filter(|(call, _)| call.function == function);
        for (_, result) in all().filter(|(call, _)| call.field.is_none()) {
            write_member(out, true, name, result, false);
        }
        let fields =
            all().filter_map(|(call, result)| Some((call.field.as_deref()?, result, call.is_boolean)));
        let mut closing = "";
        for (field, result, is_boolean) in fields {
            if closing.is_empty() {
                // Counts of fields need another name than the plain count of records.
                let name = if name == "count" { "count_of" } else { name };
                out.push_str(&format!(",\"{name}\":{{"));
            }
            write_member(out, !closing.is_empty(), field, result, is_boolean);
            closing = "}";
        }
        out.push_str(closing);
    }
}

fn write_member(out: &mut String, separate: bool, name: &str, value: &SqlValue, is_boolean: bool) {
    if separate {
        out.push(',');
    }
    write_text(out, name);
    out.push(':');
    match value {
        SqlValue::Integer(number) if is_boolean => out.push_str(if *number == 0 { "false" } else { "true" }),
        SqlValue::Integer(number) => out.push_str(&number.to_string()),
        SqlValue::Real(number) if number.is_finite() => write_float(out, *number),
        SqlValue::Text(text) => write_text(out, text),
        _ => out.push_str("null"),
    }
}

fn fault(param: &str, message: impl Into<String>) -> QueryFault {
    QueryFault::new(param, "invalid_aggregate", message)
}

fn field_kind(param: &str, name: &str, schema: &Schema) -> Result<Kind, QueryFault> {
    match schema.field(name) {
        Some(field) if field.kind.is_scalar() => Ok(field.kind),
        Some(field) => {
            let message = format!("{name} is of type {}, which has no single value", field.kind.name());
            Err(fault(param, message))
        }
        None => {
            let hint = did_you_mean(name, schema.fields().iter().map(|field| field.name.as_str()));
            Err(fault(param, format!("there is no field {}{hint}", shorten(name))))
        }
    }
}

fn parse_groups(text: &str, schema: &Schema) -> Result<Vec<Group>, QueryFault> {
    let mut groups: Vec<Group> = Vec::new();
    for name in text.split(',').map(str::trim) {
        let is_boolean = field_kind("group_by", name, schema)? == Kind::Boolean;
        if groups.iter().any(|group| group.field == name) {
            return Err(fault("group_by", format!("names {name} twice")));
        }
        groups.push(Group { field: name.to_owned(), is_boolean });
    }
    if groups.len() > limits::AGGREGATE_GROUPS_MAX {
        return Err(fault("group_by", format!("has more than {} fields", limits::AGGREGATE_GROUPS_MAX)));
    }
    Ok(groups)
}

/// Returns the place of an existing field.
fn place(schema: &Schema, name: &str) -> Place {
    let field = schema.field(name).expect("the fields of an aggregate were found when it was read");
    Place::Field {
        name: name.to_owned(),
        kind: field.kind,
        has_column: field.has_column(),
        below: Vec::new(),
    }
}

fn call(function: Function, path: &str, schema: &Schema) -> Result<Call, QueryFault> {
    let name = function.name();
    if path == "*" && function == Function::Count {
        return Ok(Call { function, field: None, is_boolean: false });
    }
    let kind = field_kind(name, path, schema)?;
    if matches!(function, Function::Sum | Function::Avg) && !matches!(kind, Kind::Integer | Kind::Number) {
        return Err(fault(name, format!("{path} is of type {}; only numbers have a {name}", kind.name())));
    }
    let is_boolean = kind == Kind::Boolean && matches!(function, Function::Min | Function::Max);
    Ok(Call { function, field: Some(path.to_owned()), is_boolean })
}
