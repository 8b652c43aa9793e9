//! `PATCH {name}`: changes the label, schema or options. With `?dry_run=true` the same work is done and rolled back,
//! and the response lists what would change and which records would fail.

use std::sync::Arc;

use serde_json::json;
use tinybase_plugin_api::{
    Error, Request, Response, Result,
    database::{Batch, Expect, Value},
};

use super::{
    audit::{self, Audited},
    changed, check_match, define,
    migrate::{Migration, Outcome},
    plan::Plan,
    tag_of,
};
use crate::{
    access::Action,
    catalog::{Collection, Options},
    error,
    fault::Faults,
    http,
    json::Json,
    limits,
    plugin::Collections,
    query::QueryFault,
    schema::{self, Schema},
};

/// Changes a collection.
pub async fn alter(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let name = request.param(0);
    plugin.catalog.collection(name).await?;
    http::check_query(&request, &["dry_run"])?;
    let body = http::object_of(&request, &["label", "schema", "options"], 0)?;
    let dry_run = match request.query_value("dry_run").as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => return Err(QueryFault::new("dry_run", "invalid_query", "must be true or false").into()),
    };
    let mut transaction = plugin.database.begin(limits::ALTER_TIME_MAX).await?;
    // Nothing else changes the catalog while the transaction is open.
    plugin.catalog.reload().await?;
    let collection = plugin.catalog.collection(name).await?;
    check_match(&request, &collection)?;
    define::run(&mut transaction, collection.dialect.lock(&collection.table)).await?;
    let next = Next::parse(&body, &collection)?;
    let numbers = define::numbers(&mut transaction).await?;
    define::check_references(&next.schema, &numbers)?;
    let plan = Plan::new(&collection.schema, &next.schema).map_err(|faults| error::schema(&faults))?;
    let migration = Migration {
        collection: &collection,
        schema: &next.schema,
        options: &next.options,
        numbers: &numbers,
    };
    let outcome = migration.run(&mut transaction, &plan).await?;
    if dry_run {
        transaction.rollback().await?;
        return Ok(would_do(&plan, &outcome)?.with_header("etag", &tag_of(&collection)));
    }
    if outcome.failing > 0 {
        transaction.rollback().await?;
        return Err(would_fail(&outcome));
    }
    let mut batch = Batch::default();
    batch.push_expecting(
        Expect::Exactly(1),
        "UPDATE collections_meta SET label=?1,schema=?2,options=?3,updated_at=?4,revision=revision+1 \
         WHERE number=?5 AND revision=?6",
        &[
            (&next.label).into(),
            next.schema.text().into(),
            next.options.text().into(),
            Value::Now,
            collection.number.into(),
            collection.revision.into(),
        ],
    );
    let before = Audited::of(&collection).renamed(&next.schema);
    let after = Audited::of_parts(&next.label, next.schema.text(), next.options.text());
    audit::push(&plugin, &mut batch, Some(&request), ("alter", name), (&before, &after)).await?;
    transaction.apply(batch).await?;
    transaction.commit().await?;
    plugin.catalog.reload().await?;
    let collection = plugin.catalog.collection(name).await?;
    Ok(changed(&collection))
}

/// The collection after the change.
struct Next {
    label: String,
    schema: Schema,
    options: Options,
}

impl Next {
    /// Merges the body into the collection. A rule that names a removed field is a fault.
    fn parse(body: &Json<'_>, collection: &Collection) -> Result<Next> {
        let stored = Json::parse(&collection.answer).map_err(|fault| {
            Error::internal("stored_collection", format!("the collection is no JSON: {fault}"))
        })?;
        let given = |name: &str| body.get(name).filter(|value| !matches!(value, Json::Null));
        let of = |name: &str| given(name).or_else(|| stored.get(name)).unwrap_or(&Json::Null);
        let label = match of("label") {
            Json::Text(label) => label.to_string(),
            other => {
                return Err(error::body(
                    &["label"],
                    "string_type",
                    format!("must be a string, is {}", other.kind()),
                ));
            }
        };
        schema::check_label(&label).map_err(|fault| error::body_fault(&fault))?;
        let schema = Schema::parse_new(of("schema")).map_err(|faults| error::schema(&faults))?;
        let mut faults = Faults::default();
        schema::check_field_names(&schema, Some(&collection.schema), &mut faults);
        let options = match given("options") {
            Some(change) => Options::merged(stored.get("options").unwrap_or(&Json::Null), change),
            None => of("options").clone(),
        };
        let options = Options::parse(&options, &schema, &mut faults);
        lost_in_rules(&collection.schema, &schema, &options, &mut faults);
        faults.into_result().map_err(|faults| error::schema(&faults))?;
        Ok(Next { label, schema, options })
    }
}

/// Finds rules that use `@request.data.<field>` of a removed field. They would go on with null instead.
fn lost_in_rules(before: &Schema, after: &Schema, options: &Options, faults: &mut Faults) {
    for action in Action::ALL {
        let gone = |name: &&str| before.field(name).is_some() && after.field(name).is_none();
        for name in options.rules.of(action).names_of_given_data().into_iter().filter(gone) {
            let message = format!("asks for @request.data.{name}, a field that the new schema does not have");
            faults.push(format!("options.access.{action}"), message);
        }
    }
}

/// Returns the response of a dry run.
fn would_do(plan: &Plan<'_>, outcome: &Outcome) -> Result<Response> {
    Response::json(&json!({
        "dry_run": true,
        "changes": plan.describe(),
        "records_checked": outcome.checked,
        "records_changed": outcome.changed,
        "records_failing": outcome.failing,
        "failures": outcome.failures,
    }))
}

fn would_fail(outcome: &Outcome) -> Error {
    let first = outcome.failures.first().map(|failure| {
        let error = &failure["errors"][0];
        let word = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        format!(
            "; the first is {}: {}: {}",
            failure["id"].as_str().unwrap_or_default(),
            word("path"),
            word("message")
        )
    });
    let message = format!(
        "{} records do not fit the new schema{}. Nothing was changed; ?dry_run=true lists them",
        outcome.failing,
        first.unwrap_or_default()
    );
    let details = json!({"records_failing": outcome.failing, "failures": outcome.failures});
    Error::bad_request("records_do_not_fit", message).with_details(details)
}
