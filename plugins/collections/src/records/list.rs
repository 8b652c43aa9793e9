//! `GET {name}/records`: returns a page of records under the rule `list`, read by one statement.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use tinybase_plugin_api::{
    Error, Request, Response, Result,
    database::{ReadHint, Row, Rows, Value, ValueRef},
    task::Pace,
};

use super::{
    answer::{Answer, FRAME_BYTES},
    expand::{self, Loading},
    read, retry_on_schema_change,
};
use crate::{
    access::{Action, Caller, Rule, Verdict},
    budget::{Budget, Room},
    catalog::Collection,
    error,
    filter::Context,
    http, limits,
    plugin::Collections,
    query::{Count, ListQuery, Position, QueryFault, Statement, columns, fingerprint},
};

/// Handles a request for a page.
pub async fn list(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    retry_on_schema_change(&plugin, || page(&plugin, &request)).await
}

async fn page(plugin: &Collections, request: &Request) -> Result<Response> {
    let collection = plugin.catalog.collection(request.param(0)).await?;
    let caller = http::caller(request);
    let rule = collection.options.rules.of(Action::List);
    let verdict = rule.verdict(Action::List, &caller);
    if verdict == Verdict::Deny {
        return Err(error::refused(Action::List, &caller, &collection));
    }
    if verdict == Verdict::Allow
        && let Some((limit, offset, newest)) = plain(request.query())?
    {
        return plain_page(plugin, &collection, limit, offset, newest).await;
    }
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = request.query_pairs().collect();
    let query = ListQuery::parse(&pairs, &collection.schema)?;
    let now = http::now();
    let context = Context {
        caller: &caller,
        now: &now,
        method: request.method(),
        action: Action::List.name(),
        data: None,
    };
    Page { plugin, request, collection: &collection, query, rule, context }.answer().await
}

/// Parses the window of a list without any other parameters: limit, offset, newest first.
fn plain(query: &str) -> Result<Option<(u64, u64, bool)>, QueryFault> {
    let (mut limit, mut offset, mut newest) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let number = || text.parse::<u64>().ok();
        match name {
            // Everything unusual is left to the full parser, which has the error messages.
            "limit" if limit.is_none() => match number() {
                Some(number @ 1..=limits::PAGE_LIMIT_MAX) => limit = Some(number),
                _ => return Ok(None),
            },
            "offset" if offset.is_none() => match number() {
                Some(number) if number <= limits::PAGE_OFFSET_MAX => offset = Some(number),
                _ => return Ok(None),
            },
            "sort_order" if newest.is_none() && text == "asc" => newest = Some(false),
            "sort_order" if newest.is_none() && text == "desc" => newest = Some(true),
            _ => return Ok(None),
        }
    }
    Ok(Some((limit.unwrap_or(limits::PAGE_LIMIT_DEFAULT), offset.unwrap_or(0), newest.unwrap_or(true))))
}

async fn plain_page(
    plugin: &Collections,
    collection: &Collection,
    limit: u64,
    offset: u64,
    newest: bool,
) -> Result<Response> {
    let list = if newest { &collection.sql.list } else { &collection.sql.list_oldest };
    let mut bound = Vec::with_capacity(2);
    let window = collection.dialect.window(limit, offset, |number| {
        bound.push(integer(number));
        format!("?{}", bound.len())
    });
    let sql = [list.as_str(), &window].concat();
    let cost = if limit.saturating_add(offset) <= limits::SHORT_ROWS_MAX {
        ReadHint::Indexed
    } else {
        ReadHint::Scan
    };
    let rows = plugin.database.query(cost, &sql, &bound).await.map_err(error::of_read(plugin))?;
    let total = match rows.first() {
        Some(row) => row.integer(columns::TOTAL)?,
        None if offset == 0 => 0,
        None => {
            let sql = collection.dialect.count_of(collection.number);
            plugin
                .database
                .query(ReadHint::Indexed, &sql, &[])
                .await?
                .first()
                .map_or(Ok(0), |row| row.integer(0))?
        }
    };
    let (mut budget, mut pace) = (Budget::of(plugin), Pace::default());
    budget.take(PAGE_BYTES)?;
    let bytes = len_max(&rows).min(budget.left());
    let mut room = Room::of(plugin);
    room.grow(bytes).await?;
    let mut out = start(bytes);
    for (at, row) in rows.iter().enumerate() {
        separate(&mut out, at);
        let record = answer(collection, &row)?;
        budget.take(record.len_max())?;
        record.write(&mut out);
        pace.worked(record.data.len()).await;
    }
    finish(&mut out, Some(total), limit, offset);
    Ok(Response::json_bytes(out))
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).expect("limits keep pages within 63 bits"))
}

/// Bytes of a page without its records and its cursor: names and numbers.
const PAGE_BYTES: usize = 256;

/// Returns the maximum size in bytes of a page of these rows, unchanged.
fn len_max(rows: &Rows) -> usize {
    PAGE_BYTES + rows.len_bytes() + rows.len() * FRAME_BYTES
}

/// Starts a page of this many bytes.
fn start(bytes: usize) -> String {
    let mut out = String::with_capacity(bytes);
    out.push_str("{\"records\":[");
    out
}

fn separate(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

fn finish(out: &mut String, total: Option<i64>, limit: u64, offset: u64) {
    let total = total.map_or("null".to_owned(), |total| total.to_string());
    write!(out, "],\"total\":{total},\"limit\":{limit},\"offset\":{offset}}}")
        .expect("a string takes all that is written");
}

fn answer<'a>(collection: &'a Collection, row: &Row<'a>) -> Result<Answer<'a>> {
    use ValueRef::{Null, Text};
    let [_, id, owner, created_at, updated_at, data] = row.first()?;
    match (id, owner, created_at, updated_at, data) {
        (Text(id), Text(_) | Null, Text(created_at), Text(updated_at), Text(data)) => Ok(Answer {
            collection_id: &collection.id,
            id,
            owner_id: if let Text(owner) = owner { Some(owner) } else { None },
            data,
            created_at,
            updated_at,
        }),
        _ => Err(Error::internal(
            "stored_record",
            "a record's columns do not hold text: see the collection's status",
        )),
    }
}

/// A page whose query has more than a window.
struct Page<'a> {
    plugin: &'a Collections,
    request: &'a Request,
    collection: &'a Arc<Collection>,
    query: ListQuery,
    rule: &'a Rule,
    context: Context<'a>,
}

impl Page<'_> {
    async fn answer(self) -> Result<Response> {
        let position = self.position()?;
        // With a cursor, one extra record shows whether there is a next page.
        let wanted = self.query.limit + u64::from(self.query.cursor.is_some());
        let table = self.collection.table();
        let statement = self.query.statement(table, self.rule, &self.context, position.as_ref(), wanted);
        let rows = self.run(&statement).await?;
        let total = self.total(&rows).await?;
        let shown: Vec<Row<'_>> =
            rows.iter().take(usize::try_from(self.query.limit).expect("a page's limit is small")).collect();
        let data = shown.iter().map(|row| row.text(columns::DATA)).collect::<Result<Vec<_>>>()?;
        let catalog = self.plugin.catalog.current().await?;
        let mut budget = Budget::of(self.plugin);
        budget.take(PAGE_BYTES)?;
        let mut loading = Loading {
            plugin: self.plugin,
            catalog: &catalog,
            request: self.request,
            budget,
            room: Room::of(self.plugin),
            pace: Pace::default(),
        };
        let followed = expand::load(&mut loading, self.collection, &self.query.expand, data.clone()).await?;
        let picked = self.picked(&data, &mut loading).await?;
        let records = shown.iter().enumerate().map(|(at, row)| {
            let record = answer(self.collection, row)?;
            Ok(Answer { data: picked.as_ref().map_or(record.data, |picked| picked[at].as_str()), ..record })
        });
        let records = records.collect::<Result<Vec<_>>>()?;
        let before = budget.left();
        for (at, record) in records.iter().enumerate() {
            expand::measure(record, &followed, at, &mut budget)?;
        }
        let bytes = PAGE_BYTES + before - budget.left();
        loading.room.grow(bytes).await?;
        let mut out = start(bytes);
        for (at, record) in records.iter().enumerate() {
            separate(&mut out, at);
            let before = out.len();
            expand::write(record, &followed, at, &mut out);
            loading.pace.worked(out.len() - before).await;
        }
        finish(&mut out, total, self.query.limit, self.query.offset);
        if self.query.cursor.is_some() {
            let more = rows.len() > shown.len();
            let next = shown.last().filter(|_| more).map(|row| self.next_cursor(row)).transpose()?;
            budget.take(next.as_ref().map_or(0, String::len))?;
            out.pop();
            out.push_str(",\"next_cursor\":");
            out.push_str(&next.map_or("null".to_owned(), |cursor| format!("\"{cursor}\"")));
            out.push('}');
        }
        Ok(Response::json_bytes(out))
    }

    /// Returns the selected fields of each record, if only some are requested.
    async fn picked(&self, data: &[&str], loading: &mut Loading<'_>) -> Result<Option<Vec<String>>> {
        let Some(pick) = &self.query.pick else { return Ok(None) };
        let mut all = Vec::with_capacity(data.len());
        for data in data {
            let picked = read::pick(pick, data)?;
            loading.room.grow(picked.len()).await?;
            all.push(picked);
            loading.pace.worked(data.len()).await;
        }
        Ok(Some(all))
    }

    async fn run(&self, statement: &Statement) -> Result<Rows> {
        let cost = if statement.is_short { ReadHint::Indexed } else { ReadHint::Scan };
        let rows = self.plugin.database.query(cost, &statement.sql, &statement.params).await;
        rows.map_err(error::of_read(self.plugin))
    }

    async fn total(&self, rows: &Rows) -> Result<Option<i64>> {
        if self.query.count == Count::None {
            return Ok(None);
        }
        if let Some(row) = rows.first() {
            return row.integer(columns::TOTAL).map(Some);
        }
        if self.query.offset == 0 && self.query.cursor.is_none() {
            return Ok(Some(0));
        }
        let statement = self.query.count_statement(self.collection.table(), self.rule, &self.context);
        let rows = self.run(&statement).await?;
        rows.first().map_or(Ok(0), |row| row.integer(0)).map(Some)
    }

    /// Returns the fingerprint for this list's cursors: its collection, filter, order and caller.
    fn fingerprint(&self) -> u64 {
        let value = |name: &str| self.request.query_value(name).unwrap_or_default();
        let (sort, by, order) = (value("sort"), value("sort_by"), value("sort_order"));
        let Caller { id, .. } = *self.context.caller;
        fingerprint(&[
            &self.collection.id,
            &self.query.filter_text,
            &sort,
            &by,
            &order,
            id.unwrap_or_default(),
        ])
    }

    fn position(&self) -> Result<Option<Position>, QueryFault> {
        match self.query.cursor.as_deref() {
            None | Some("") => Ok(None),
            Some(cursor) => {
                Position::decode(cursor, self.fingerprint(), self.query.sort.keys.len()).map(Some)
            }
        }
    }

    fn next_cursor(&self, row: &Row<'_>) -> Result<String> {
        let values = row.values()?.into_iter().skip(columns::SORT);
        let position = self.query.position(self.collection.dialect, row.integer(columns::SEQ)?, values);
        Ok(position.encode(self.fingerprint()))
    }
}
