//! Creates and deletes collections: the row in the catalog and the table, in one transaction.

use std::{collections::HashMap, sync::Arc};

use serde_json::json;
use tinybase_plugin_api::{
    Error, Request, Result,
    database::{Batch, Transaction, Value},
};
use uuid::Uuid;

use super::{
    audit::{self, Audited},
    check_match, name_taken,
};
use crate::{
    catalog::{Collection, Options},
    error,
    fault::{Faults, did_you_mean},
    json::Json,
    limits,
    plugin::Collections,
    schema::{Schema, USERS, check_field_names},
    storage::Shape,
};

/// Names with another meaning.
const RESERVED: [(&str, &str); 2] =
    [(USERS, "the name of the accounts, which references may lead to"), ("batch", "a path of its own")];

/// The definition of a new collection.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) schema: Schema,
    pub(crate) options: Options,
}

impl Definition {
    /// Parses schema and options; every fault is listed.
    pub(crate) fn parse(
        name: &str,
        label: &str,
        schema: &Json<'_>,
        options: &Json<'_>,
    ) -> Result<Definition> {
        let schema = Schema::parse_new(schema).map_err(|faults| error::schema(&faults))?;
        if let Some(field) = schema.fields().iter().find(|field| field.renamed_from.is_some()) {
            let mut faults = Faults::default();
            faults.push(format!("schema.{}.renamed_from", field.name), "has no meaning in a new collection");
            return Err(error::schema(&faults));
        }
        let mut faults = Faults::default();
        check_field_names(&schema, None, &mut faults);
        let options = Options::parse(options, &schema, &mut faults);
        faults.into_result().map_err(|faults| error::schema(&faults))?;
        Ok(Definition { name: name.to_owned(), label: label.to_owned(), schema, options })
    }
}

/// Returns the collections' numbers by name, as seen by the transaction.
pub(super) async fn numbers(transaction: &mut Transaction) -> Result<HashMap<String, i64>> {
    let rows = transaction.query("SELECT name,number FROM collections_meta", &[]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.integer(1)?))).collect()
}

/// Returns a number that no collection ever had. Another node may still remember a deleted collection; it must not
/// access the next one's table.
async fn next_number(transaction: &mut Transaction) -> Result<i64> {
    let mut batch = Batch::default();
    batch.push("UPDATE collections_numbers SET highest=highest+1 RETURNING highest", &[]);
    let applied = transaction.apply(batch).await?;
    let row = applied.statements.first().and_then(|statement| statement.rows.first());
    row.map_or_else(
        || Err(Error::internal("stored_number", "the table collections_numbers has lost its row")),
        |row| row.integer(0),
    )
}

/// Reports references to collections that do not exist.
pub(super) fn check_references(schema: &Schema, numbers: &HashMap<String, i64>) -> Result<()> {
    let mut faults = Faults::default();
    for (at, field) in schema.fields().iter().enumerate() {
        let Some(reference) = &field.reference else { continue };
        let target = &reference.collection;
        if target != USERS && !numbers.contains_key(target) {
            let hint = did_you_mean(target, numbers.keys().map(String::as_str));
            let message = format!("there is no collection {target}{hint}; make it first");
            faults.push(format!("schema.fields[{at}].collection"), message);
        }
    }
    faults.into_result().map_err(|faults| error::schema(&faults))
}

/// Runs statements in order within the transaction.
pub(super) async fn run(
    transaction: &mut Transaction,
    statements: impl IntoIterator<Item = String>,
) -> Result<()> {
    for statement in statements {
        let mut batch = Batch::default();
        batch.push(&statement, &[]);
        transaction.apply(batch).await?;
    }
    Ok(())
}

/// Creates a collection for the caller of `request`, or for the user who runs a command.
pub(crate) async fn make(
    plugin: &Collections,
    definition: &Definition,
    request: Option<&Request>,
) -> Result<Arc<Collection>> {
    let name = &definition.name;
    if let Some((_, why)) = RESERVED.iter().find(|(reserved, _)| reserved == name) {
        return Err(Error::bad_request("name_reserved", format!("{name} is {why}; choose another name")));
    }
    let mut transaction = plugin.database.begin(limits::ALTER_TIME_MAX).await?;
    let mut numbers = numbers(&mut transaction).await?;
    if numbers.contains_key(name) {
        return Err(name_taken(name));
    }
    let number = next_number(&mut transaction).await?;
    // A collection may refer to itself.
    numbers.insert(name.clone(), number);
    check_references(&definition.schema, &numbers)?;
    let mut batch = Batch::default();
    batch.push(
        "INSERT INTO collections_meta(number,id,name,label,schema,options,created_at,updated_at,revision) \
         VALUES(?1,?2,?3,?4,?5,?6,?7,?7,1)",
        &[
            number.into(),
            Uuid::now_v7().to_string().into(),
            name.into(),
            (&definition.label).into(),
            definition.schema.text().into(),
            definition.options.text().into(),
            Value::Now,
        ],
    );
    batch.push("INSERT INTO collections_counts(number,count) VALUES(?1,0)", &[number.into()]);
    let after = Audited::of_parts(&definition.label, definition.schema.text(), definition.options.text());
    audit::push(plugin, &mut batch, request, ("create", name), (&Audited::default(), &after)).await?;
    transaction.apply(batch).await?;
    let number_of = |name: &str| numbers.get(name).copied();
    let shape = Shape::of(plugin.dialect(), number, &definition.schema, &definition.options, &number_of);
    run(&mut transaction, shape.create(number)).await?;
    transaction.commit().await?;
    plugin.catalog.reload().await?;
    plugin.catalog.collection(name).await
}

/// Deletes a collection for the caller of `request`. Collections that reference it keep their references.
pub(super) async fn end(plugin: &Collections, name: &str, request: &Request) -> Result<()> {
    let mut transaction = plugin.database.begin(limits::ALTER_TIME_MAX).await?;
    // Nothing else changes the catalog within the transaction.
    let catalog = plugin.catalog.reload().await?;
    let collection = plugin.catalog.collection(name).await?;
    check_match(request, &collection)?;
    let referrers: Vec<String> = catalog
        .referrers(name)
        .filter(|referrer| referrer.collection.name != name)
        .map(|referrer| format!("{}.{}", referrer.collection.name, referrer.field))
        .collect();
    if !referrers.is_empty() {
        let message = format!("{} refer to {name}: change or delete them first", referrers.join(", "));
        let fault = Error::conflict("collection_referenced", message);
        return Err(fault.with_details(json!({"references": referrers})));
    }
    let numbers = numbers(&mut transaction).await?;
    let number = collection.number;
    let number_of = |name: &str| numbers.get(name).copied();
    let shape = Shape::of(collection.dialect, number, &collection.schema, &collection.options, &number_of);
    run(&mut transaction, shape.drop(number)).await?;
    let mut batch = Batch::default();
    batch.push("DELETE FROM collections_counts WHERE number=?1", &[number.into()]);
    batch.push("DELETE FROM collections_meta WHERE number=?1", &[number.into()]);
    let before = Audited::of(&collection);
    audit::push(plugin, &mut batch, Some(request), ("delete", name), (&before, &Audited::default())).await?;
    transaction.apply(batch).await?;
    transaction.commit().await?;
    plugin.catalog.reload().await.map(drop)
}
