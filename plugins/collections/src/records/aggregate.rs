//! `GET {name}/aggregate`: functions over records, by group, under the rule `list`.

use std::{borrow::Cow, sync::Arc};

use tinybase_plugin_api::{Error, Request, Response, Result, database::Cost};

use super::current;
use crate::{
    access::{Action, Verdict},
    error,
    filter::Context,
    http,
    plugin::Collections,
    query::Aggregate,
};

/// Answers an aggregate.
pub async fn aggregate(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    current(&plugin, || groups(&plugin, &request)).await
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
    let rows =
        plugin.database.query(Cost::Unknown, &statement.sql, &statement.params).await.map_err(overflow)?;
    let mut out = String::from("{\"groups\":[");
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        aggregate.write_row(&row.values()?, &mut out);
    }
    out.push_str(&format!("],\"limit\":{},\"offset\":{}}}", aggregate.limit, aggregate.offset));
    Ok(Response::json_bytes(out))
}

fn overflow(error: Error) -> Error {
    if ["integer overflow", "bigint out of range"].iter().any(|words| error.message().contains(words)) {
        return Error::bad_request(
            "aggregate_overflow",
            "sum: the sum of the integers does not fit 64 bits; use avg",
        );
    }
    error
}
