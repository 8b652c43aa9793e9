//! Records of collections, read from the service `records@1`: those that a caller may see, or all of them for indexing.
//! It trusts only what the service returns.

use serde::Deserialize;
use tinybase_plugin_api::{caller::CallerPayload, prelude::*};

const SERVICE: &str = "records";
const MAJOR: u16 = 1;

/// A record returned by the service.
pub struct Record {
    /// The record's id.
    pub id: String,
    /// When the record was created.
    pub created_at: String,
    /// The record's version.
    pub version: i64,
    /// The record as the routes of collections return it.
    pub answer: Json,
}

impl Record {
    fn of(mut told: Json) -> Result<Record> {
        let version = told.as_object_mut().and_then(|told| told.remove("version"));
        let text = |name: &str| told[name].as_str().map(str::to_owned).ok_or_else(|| shape(name));
        Ok(Record {
            id: text("id")?,
            created_at: text("created_at")?,
            version: version.and_then(|version| version.as_i64()).ok_or_else(|| shape("version"))?,
            answer: told,
        })
    }

    /// Returns the record's content.
    pub fn data(&self) -> &Json {
        &self.answer["data"]
    }

    /// Returns the approximate memory use in bytes.
    pub fn bytes(&self) -> usize {
        held_bytes(&self.answer)
    }
}

/// Returns the approximate memory use of a value in bytes: its texts and their structure.
fn held_bytes(value: &Json) -> usize {
    const NODE_BYTES: usize = 64;
    let within = match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(held_bytes).sum(),
        Json::Object(fields) => {
            fields.iter().map(|(name, value)| NODE_BYTES + name.len() + held_bytes(value)).sum()
        }
        _ => 0,
    };
    NODE_BYTES + within
}

fn shape(what: &str) -> Error {
    Error::internal("service_shape", format!("records@1 answered a record without {what}"))
}

fn records(answer: &mut Json) -> Result<Vec<Record>> {
    match answer["records"].take() {
        Json::Array(told) => told.into_iter().map(Record::of).collect(),
        _ => Err(shape("records")),
    }
}

/// The records that a caller may see.
pub struct Seen {
    /// The records, in the requested order.
    pub records: Vec<Record>,
    /// Whether the access rule lets the caller see every record.
    pub sees_all: bool,
}

/// Returns the records with these ids that the caller may list.
pub async fn seen_by(
    host: &Host,
    caller: Option<&CallerPayload>,
    collection: &str,
    ids: &[&str],
) -> Result<Seen> {
    let asked = json!({"collection": collection, "ids": ids, "caller": caller, "rule": "list"});
    let mut answer = host.call(SERVICE, MAJOR, "read", &asked).await?;
    Ok(Seen { records: records(&mut answer)?, sees_all: answer["sees_all"] == true })
}

/// Records to be indexed, and the current state of their collection.
pub struct Page {
    /// The collection's id.
    pub collection_id: String,
    /// The number of changes of the collection's schema.
    pub revision: i64,
    /// The records.
    pub records: Vec<Record>,
    /// The start of the next page.
    pub next: Option<String>,
}

async fn list(host: &Host, asked: &Json) -> Result<Page> {
    let mut answer = host.call(SERVICE, MAJOR, "list", asked).await?;
    Ok(Page {
        records: records(&mut answer)?,
        collection_id: answer["collection_id"].as_str().unwrap_or_default().to_owned(),
        revision: answer["revision"].as_i64().unwrap_or_default(),
        next: answer["next"].as_str().map(str::to_owned),
    })
}

/// Returns a page of all records.
pub async fn page(host: &Host, collection: &str, after: Option<&str>, limit: u64) -> Result<Page> {
    list(host, &json!({"collection": collection, "after": after, "limit": limit})).await
}

/// Returns one record, independent of access rules.
pub async fn one(host: &Host, collection: &str, id: &str) -> Result<Page> {
    list(host, &json!({"collection": collection, "ids": [id]})).await
}

/// The current state of a collection.
#[derive(Deserialize)]
pub struct Collection {
    /// The collection's id. A later collection of the same name has another.
    pub id: String,
    /// The collection's name.
    pub name: String,
    /// The number of changes of its schema.
    pub revision: i64,
    /// The number of its records.
    pub records: i64,
    fields: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Collection {
    /// Returns the names of its fields.
    pub fn field_names(&self) -> Vec<String> {
        self.fields.iter().map(|field| field.name.clone()).collect()
    }
}

async fn told(host: &Host, asked: &Json) -> Result<Vec<Collection>> {
    let answer = host.call(SERVICE, MAJOR, "collections", asked).await?;
    Vec::deserialize(&answer["collections"]).map_err(|error| {
        Error::internal("service_shape", format!("records@1 answered collections otherwise: {error}"))
    })
}

/// Returns every collection.
pub async fn collections(host: &Host) -> Result<Vec<Collection>> {
    told(host, &json!({})).await
}

/// Returns one collection.
///
/// # Errors
/// 404 `collection_not_found`.
pub async fn collection(host: &Host, name: &str) -> Result<Collection> {
    let found = told(host, &json!({"name": name})).await?.into_iter().next();
    found.ok_or_else(|| Error::not_found("collection_not_found", "there is no such collection"))
}
