//! `GET {name}/aggregate`: functions over records, by group, under the rule `list`.

use std::{borrow::Cow, sync::Arc};

use tinybase_plugin_api::{Error, Request, Response, Result, database::ReadHint, task::Pace};

use super::retry_on_schema_change;
use crate::{
    access::{Action, Verdict},
    budget::{Budget, Room},
    error,
    filter::Context,
    http,
    plugin::Collections,
    query::Aggregate,
};

/// Handles a request for an aggregate.
pub async fn aggregate(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    retry_on_schema_change(&plugin, || groups(&plugin, &request)).await
}

async fn groups(plugin: &Collections, request: &Request) -> Result<Response> {
    let collection = plugin.catalog.collection(request.param(0)).await?;
    let caller = http::caller(request);
    let rule = collection.options.rules.of(Action::List);
    if rule.verdict(Action::List, &caller) == Verdict::Deny {
        return Err(error::refused(Action::List, &caller, &collection));
    }
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = request.query_pairs().collect();
    let aggregate = Aggregate::parse(&pairs, &collection.schema)?;
    let now = http::now();
    let context = Context {
        caller: &caller,
        now: &now,
        method: request.method(),
        action: Action::List.name(),
        data: None,
    };
    let statement = aggregate.statement(collection.table(), rule, &context);
    let rows = plugin.database.query(ReadHint::Scan, &statement.sql, &statement.params).await;
    let rows = rows.map_err(overflow).map_err(error::of_read(plugin))?;
    let (mut budget, mut room, mut pace) = (Budget::of(plugin), Room::of(plugin), Pace::default());
    budget.take(GROUPS_BYTES)?;
    let mut out = String::from("{\"groups\":[");
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let before = out.len();
        aggregate.write_row(&row.values()?, &mut out);
        budget.take(out.len() - before + 1)?;
        // While the response grows, it is copied to a buffer of twice its size.
        room.grow(2 * (out.len() - before)).await?;
        pace.worked(out.len() - before).await;
    }
    out.push_str(&format!("],\"limit\":{},\"offset\":{}}}", aggregate.limit, aggregate.offset));
    Ok(Response::json_bytes(out))
}

/// Bytes of the response without its groups.
const GROUPS_BYTES: usize = 128;

fn overflow(error: Error) -> Error {
    if ["integer overflow", "bigint out of range"].iter().any(|words| error.message().contains(words)) {
        return Error::bad_request(
            "aggregate_overflow",
            "sum: the sum of the integers does not fit 64 bits; use avg",
        );
    }
    error
}
