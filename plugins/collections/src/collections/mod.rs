//! Collections themselves: their routes, and changes of their tables.

mod alter;
mod audit;
mod define;
mod migrate;
mod plan;
mod status;

use std::sync::Arc;

use tinybase_plugin_api::{Error, Request, Response, Result};

pub use alter::alter;
pub(crate) use define::{Definition, make};
pub(crate) use plan::convert;
pub use status::{status, status_all};

use crate::{
    budget::{Budget, Room},
    catalog::{Collection, not_found},
    error, etag, http,
    json::Json,
    plugin::Collections,
    query, schema,
};

/// The maximum size in bytes of a page of collections, without the collections.
const PAGE_BYTES: usize = 128;

/// `GET ""`: returns every collection, or a page of them if `limit` or `offset` is given.
pub async fn list(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let window = window(&request)?;
    let catalog = plugin.catalog.current().await?;
    let mut shown: Vec<Shown<'_>> =
        catalog.all().iter().filter_map(|collection| Shown::to(&request, collection)).collect();
    let total = shown.len();
    keep(&mut shown, window);
    let bytes = PAGE_BYTES + shown.iter().map(|one| one.text.len() + 1).sum::<usize>();
    Budget::of(&plugin).take(bytes)?;
    let mut room = Room::of(&plugin);
    room.grow(bytes).await?;
    let mut answer = String::with_capacity(bytes);
    answer.push_str(if window.is_some() { "{\"collections\":[" } else { "[" });
    for (at, one) in shown.iter().enumerate() {
        answer.push_str(if at > 0 { "," } else { "" });
        answer.push_str(one.text);
    }
    answer.push(']');
    if let Some((limit, offset)) = window {
        answer.push_str(&format!(",\"total\":{total},\"limit\":{limit},\"offset\":{offset}}}"));
    }
    Ok(varying(Response::json_bytes(answer)))
}

/// Parses `limit` and `offset`; returns `None` if neither is given.
fn window(request: &Request) -> Result<Option<(u64, u64)>> {
    http::check_query(request, &["limit", "offset"])?;
    let pairs: Vec<_> = request.query_pairs().collect();
    match pairs.iter().any(|(name, _)| name == "limit" || name == "offset") {
        true => Ok(Some(query::window(&pairs)?)),
        false => Ok(None),
    }
}

/// Keeps the items of the page.
fn keep<T>(all: &mut Vec<T>, window: Option<(u64, u64)>) {
    let Some((limit, offset)) = window else { return };
    let at_most = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    all.drain(..at_most(offset).min(all.len()));
    all.truncate(at_most(limit));
}

/// `GET {name}`: returns one collection.
pub async fn read(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    http::check_query(&request, &[])?;
    let name = request.param(0);
    let collection = plugin.catalog.collection(name).await?;
    let catalog = plugin.catalog.current().await?;
    let shown = Shown::to(&request, &collection).ok_or_else(|| not_found(name, &catalog))?;
    if request.header("if-none-match").is_some_and(|header| etag::matches(header, &shown.tag, true)) {
        return Ok(varying(Response::empty(304)).with_header("etag", &shown.tag));
    }
    Ok(varying(Response::json_bytes(shown.text.to_owned())).with_header("etag", &shown.tag))
}

/// A collection as visible to a caller.
struct Shown<'a> {
    text: &'a str,
    tag: String,
}

impl<'a> Shown<'a> {
    /// Returns the whole collection for managers of the instance, without its rules for others who may list or read in
    /// it, and otherwise `None`.
    fn to(request: &Request, collection: &'a Collection) -> Option<Shown<'a>> {
        let with_rules = http::sees_rules(request);
        if !with_rules && !collection.is_shown_to(&http::caller(request)) {
            return None;
        }
        let text = if with_rules { &collection.answer } else { &collection.answer_without_rules };
        Some(Shown {
            text,
            tag: etag::of_collection(collection.revision, &collection.created_at, with_rules),
        })
    }
}

/// Marks a response as caller-specific, so that no cache returns it to another caller.
fn varying(response: Response) -> Response {
    response.with_header("vary", "authorization, cookie")
}

/// Returns the response for a caller who changed the collection.
fn changed(collection: &Collection) -> Response {
    Response::json_bytes(collection.answer.clone()).with_header("etag", &tag_of(collection))
}

/// Returns the tag for `If-Match`.
fn tag_of(collection: &Collection) -> String {
    etag::of_collection(collection.revision, &collection.created_at, true)
}

/// Refuses a change if `If-Match` names another version of the collection.
fn check_match(request: &Request, collection: &Collection) -> Result<()> {
    let tag = tag_of(collection);
    match request.header("if-match") {
        Some(header) if !etag::matches(header, &tag, false) => Err(error::precondition(format!(
            "If-Match: the collection was changed meanwhile; its tag is {tag} now: read it again"
        ))),
        _ => Ok(()),
    }
}

/// `POST ""`: creates a collection and its table.
pub async fn create(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    http::check_query(&request, &[])?;
    let body = http::object_of(&request, &["name", "label", "schema", "options"], 3)?;
    let name = http::text(&body, "name")?;
    schema::check_collection_name(name).map_err(|fault| error::body_fault(&fault))?;
    let label = http::text(&body, "label")?;
    schema::check_label(label).map_err(|fault| error::body_fault(&fault))?;
    let options = body.get("options").unwrap_or(&Json::Null);
    let definition = Definition::parse(name, label, http::member(&body, "schema")?, options)?;
    let collection = make(&plugin, &definition, Some(&request)).await?;
    Ok(changed(&collection).with_status(201))
}

/// `DELETE {name}`: deletes a collection, its table and its records.
pub async fn delete(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    http::check_query(&request, &[])?;
    let name = request.param(0);
    plugin.catalog.collection(name).await?;
    define::end(&plugin, name, &request).await?;
    Ok(Response::empty(204))
}

/// Returns 400: the name of a collection is taken.
fn name_taken(name: &str) -> Error {
    Error::bad_request(
        "collection_exists",
        format!("there is a collection {name} already; choose another name"),
    )
}
