//! Writes rows of an import: new records, or changes of records found by a key. A chunk is written completely or not at
//! all.

use std::{borrow::Cow, collections::HashMap};

use tinybase_plugin_api::{
    Error, Result,
    database::{Batch, Expect, ReadHint, ValueRef},
};
use uuid::Uuid;

use super::{links, row::Row};
use crate::{
    catalog::{Collection, INSERTED_MAX},
    error,
    fault::{did_you_mean, shorten},
    filter::{Datum, Place, RecordColumn, Side, SqlWriter},
    json::Json,
    limits,
    plugin::Collections,
    records::parsed,
    schema::{Kind, normalise_date},
    sql_value::SqlValue,
    validate,
};

/// The counts of written records.
#[derive(Default)]
pub(super) struct Written {
    /// The number of records, new and changed.
    pub(super) records: u64,
    /// The number of changed records.
    pub(super) updated: u64,
    /// Whether some records came with their creation time.
    pub(super) with_times: bool,
}

impl Written {
    /// Adds other counts.
    pub(super) fn add(&mut self, other: &Written) {
        self.records += other.records;
        self.updated += other.updated;
        self.with_times |= other.with_times;
    }
}

/// The field that identifies existing records.
pub(super) struct Key {
    name: String,
    place: Place,
}

impl Key {
    /// Parses the name of a scalar field, or `id`.
    pub(super) fn parse(name: &str, collection: &Collection) -> Result<Key> {
        let fault = |message: String| Err(Error::bad_request("invalid_key", format!("--key: {message}")));
        if name == "id" {
            return Ok(Key { name: name.to_owned(), place: Place::Record(RecordColumn::Id) });
        }
        let schema = &collection.schema;
        match schema.field(name) {
            Some(field) if field.kind.is_scalar() => {
                let (kind, has_column) = (field.kind, field.has_column());
                let place = Place::Field { name: name.to_owned(), kind, has_column, below: Vec::new() };
                Ok(Key { name: name.to_owned(), place })
            }
            Some(field) => {
                fault(format!("{name} is of type {}, which has no single value", field.kind.name()))
            }
            None => {
                let hint = did_you_mean(name, schema.fields().iter().map(|field| field.name.as_str()));
                fault(format!("{} has no field {}{hint}", collection.name, shorten(name)))
            }
        }
    }

    /// Returns the value of a row; `None` if it has none.
    fn value<'a>(&self, data: &Json<'a>, id: Option<&'a str>) -> Option<Json<'a>> {
        let value = match &self.place {
            Place::Record(_) => Json::Text(id?.into()),
            Place::Field { name, kind: Kind::Date, .. } => match data.get(name)? {
                Json::Text(text) => Json::Text(normalise_date(text)?.into()),
                other => other.clone(),
            },
            Place::Field { name, .. } => data.get(name)?.clone(),
        };
        Some(value).filter(|value| *value != Json::Null)
    }

    /// Returns the value of a row, in a form in which equal values are equal.
    pub(super) fn of(&self, data: &Json<'_>, id: Option<&str>) -> Result<String, String> {
        let value = self.value(data, id).ok_or_else(|| format!("{}: the key has no value", self.name))?;
        Ok(form(&value))
    }
}

/// Returns the same form for equal values, such as 1 and 1.0.
fn form(value: &Json<'_>) -> String {
    match value {
        Json::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        // Quotes distinguish a text from a number.
        other => other.to_text(),
    }
}

/// An existing record.
struct Found {
    id: String,
    data: String,
    version: i64,
}

/// Writes rows.
pub(super) async fn apply(
    plugin: &Collections,
    collection: &Collection,
    key: Option<&Key>,
    rows: &[Row],
) -> Result<Written> {
    if rows.is_empty() {
        return Ok(Written::default());
    }
    for _ in 1..limits::WRITE_ATTEMPTS_MAX {
        match try_apply(plugin, collection, key, rows).await {
            // One of the records was changed after the lookup.
            Err(fault) if fault.code() == "db_condition" && key.is_some() => {}
            outcome => return outcome,
        }
    }
    try_apply(plugin, collection, key, rows).await
}

async fn try_apply(
    plugin: &Collections,
    collection: &Collection,
    key: Option<&Key>,
    rows: &[Row],
) -> Result<Written> {
    let found = match key {
        Some(key) => find(plugin, collection, key, rows).await?,
        None => HashMap::new(),
    };
    let mut written = Written { records: rows.len() as u64, ..Written::default() };
    let (mut batch, mut new) = (Batch::default(), Vec::new());
    let there =
        |row: &Row| row.key.as_ref().and_then(|key| found.get(key)).map(Vec::as_slice).unwrap_or_default();
    let circles = rows.iter().filter(|row| row.in_circle && there(row).is_empty());
    let circles = circles.map(|row| New::of(collection, row, key.is_some())).collect::<Result<Vec<_>>>()?;
    insert_circles(collection, &circles, &mut batch)?;
    for row in rows {
        match there(row) {
            [] if row.in_circle => {}
            [] => new.push(New::of(collection, row, key.is_some())?),
            [record] => {
                insert(collection, &std::mem::take(&mut new), &mut batch);
                update(collection, row, record, &mut batch)?;
                written.updated += 1;
            }
            several => {
                let message = format!("{} records have this key, which must find one", several.len());
                return Err(Error::bad_request("key_not_unique", message));
            }
        }
        written.with_times |= row.times.is_some();
    }
    insert(collection, &new, &mut batch);
    for record in &circles {
        let values = [ValueRef::Text(&record.data), ValueRef::Text(&record.id)];
        batch.push_refs(Expect::Exactly(1), &collection.sql.set_data, values);
    }
    match plugin.database.apply(batch).await {
        Ok(_) => Ok(written),
        Err(fault) if fault.code() == "db_foreign_key" => {
            Err(Error::conflict("reference_violation", "a reference leads to no record"))
        }
        Err(fault) => Err(error::not_stored(fault, std::iter::once(collection))),
    }
}

/// Returns the records that match the keys of some rows.
async fn find(
    plugin: &Collections,
    collection: &Collection,
    key: &Key,
    rows: &[Row],
) -> Result<HashMap<String, Vec<Found>>> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let data = parsed(&row.data)?;
        let value = key.value(&data, row.id.as_deref());
        let value = value.map_or(SqlValue::Null, |value| Datum::of_json(&value).into_sql());
        values.push(Side::Value(value));
    }
    let mut out = SqlWriter::new(collection.dialect);
    out.push(&format!("SELECT id,data,version FROM {} WHERE ", collection.table));
    collection.dialect.is_in(&mut out, &Side::Place(&key.place), &values, true);
    let (sql, params) = out.finish();
    let mut found: HashMap<String, Vec<Found>> = HashMap::new();
    for row in &plugin.database.query(ReadHint::Scan, &sql, &params).await? {
        let record =
            Found { id: row.text(0)?.to_owned(), data: row.text(1)?.to_owned(), version: row.integer(2)? };
        let data = parsed(&record.data)?;
        let form =
            key.of(&data, Some(&record.id)).map_err(|problem| Error::internal("stored_data", problem))?;
        drop(data);
        found.entry(form).or_default().push(record);
    }
    Ok(found)
}

fn invalid(faults: &crate::fault::Faults) -> Error {
    Error::bad_request("validation_error", faults.to_string())
}

/// A record to be created.
struct New<'a> {
    id: Cow<'a, str>,
    row: &'a Row,
    data: Cow<'a, str>,
}

impl<'a> New<'a> {
    /// Creates the record of a row. If a key lookup came first, its data is only validated now.
    fn of(collection: &Collection, row: &'a Row, by_key: bool) -> Result<New<'a>> {
        let id = row.id.as_deref().map_or_else(|| Uuid::now_v7().to_string().into(), Cow::Borrowed);
        let (schema, unknown) = (&collection.schema, collection.options.unknown_fields);
        let checked = match (by_key, &row.id) {
            (false, _) => None,
            (true, Some(_)) => Some(validate::exact(schema, unknown, &parsed(&row.data)?)),
            (true, None) => Some(validate::data(schema, unknown, &parsed(&row.data)?)),
        };
        let checked = checked.transpose().map_err(|faults| invalid(&faults))?;
        Ok(New { id, row, data: checked.map_or(Cow::Borrowed(row.data.as_str()), Cow::Owned) })
    }

    fn values(&self) -> [ValueRef<'_>; 5] {
        let (created_at, updated_at) = match &self.row.times {
            Some((created_at, updated_at)) => (ValueRef::Text(created_at), ValueRef::Text(updated_at)),
            None => (ValueRef::Now, ValueRef::Now),
        };
        let owner = self.row.owner_id.as_deref().map_or(ValueRef::Null, ValueRef::Text);
        [ValueRef::Text(&self.id), owner, created_at, updated_at, ValueRef::Text(&self.data)]
    }
}

/// Inserts records that reference one another in circles: first without their references to the collection.
fn insert_circles(collection: &Collection, circles: &[New<'_>], batch: &mut Batch) -> Result<()> {
    let own = links::fields(collection);
    for record in circles {
        let data = parsed(&record.data)?;
        let members = data.as_object().unwrap_or_default().iter();
        let others = members.filter(|(name, _)| !own.iter().any(|field| field == name)).cloned().collect();
        let others = Json::Object(others).to_text();
        let mut values = record.values();
        values[4] = ValueRef::Text(&others);
        batch.push_refs(Expect::Exactly(1), collection.sql.insert_whole(1), values);
    }
    Ok(())
}

/// Inserts records in order, many per statement while enough are left.
fn insert(collection: &Collection, new: &[New<'_>], batch: &mut Batch) {
    let (many, few) = new.as_chunks::<INSERTED_MAX>();
    for records in many.iter().map(<[_; INSERTED_MAX]>::as_slice).chain(few.chunks(1)) {
        let values = records.iter().flat_map(New::values);
        batch.push_refs(
            Expect::Exactly(records.len() as u64),
            collection.sql.insert_whole(records.len()),
            values,
        );
    }
}

/// Merges a row into a record; a whole record replaces it.
fn update(collection: &Collection, row: &Row, record: &Found, batch: &mut Batch) -> Result<()> {
    let (schema, unknown) = (&collection.schema, collection.options.unknown_fields);
    let (stored, given) = (parsed(&record.data)?, parsed(&row.data)?);
    let is_whole = row.id.is_some();
    let data = if is_whole {
        validate::exact(schema, unknown, &given)
    } else {
        validate::merged(schema, unknown, &stored, &given)
    };
    let data = data.map_err(|faults| invalid(&faults))?;
    if row.id.as_ref().is_some_and(|id| *id != record.id) {
        let message = format!("id: the key finds the record {}, which has another id", record.id);
        return Err(Error::bad_request("key_not_unique", message));
    }
    let (data, id, version) =
        (ValueRef::Text(&data), ValueRef::Text(&record.id), ValueRef::Integer(record.version));
    match &row.times {
        Some((created_at, updated_at)) if is_whole => {
            let owner = row.owner_id.as_deref().map_or(ValueRef::Null, ValueRef::Text);
            let times = (ValueRef::Text(created_at), ValueRef::Text(updated_at));
            let values = [data, owner, times.0, times.1, id, version];
            batch.push_refs(Expect::Exactly(1), &collection.sql.update_whole, values);
        }
        _ => batch.push_refs(Expect::Exactly(1), &collection.sql.update, [data, ValueRef::Now, id, version]),
    }
    Ok(())
}
