//! Collections themselves: their routes, and the changes of their tables.

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

use crate::{budget::Budget, error, http, json::Json, plugin::Collections, schema};

/// `GET ""`: every collection.
pub async fn list(plugin: Arc<Collections>, _request: Request) -> Result<Response> {
    let catalog = plugin.catalog.current().await?;
    let mut budget = Budget::of(&plugin);
    budget.take("[]".len())?;
    for collection in catalog.all() {
        budget.take(collection.answer.len() + 1)?;
    }
    let answers: Vec<&str> = catalog.all().iter().map(|collection| collection.answer.as_str()).collect();
    Ok(Response::json_bytes(format!("[{}]", answers.join(","))))
}

/// `GET {name}`: one collection.
pub async fn read(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let collection = plugin.catalog.collection(request.param(0)).await?;
    Ok(Response::json_bytes(collection.answer.clone()))
}

/// `POST ""`: a new collection and its table.
pub async fn create(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let body = http::object(&request)?;
    let name = http::text(&body, "name")?;
    schema::check_collection_name(name).map_err(|fault| error::body_fault(&fault))?;
    let label = http::text(&body, "label")?;
    schema::check_label(label).map_err(|fault| error::body_fault(&fault))?;
    let options = body.get("options").unwrap_or(&Json::Null);
    let definition = Definition::parse(name, label, http::member(&body, "schema")?, options)?;
    let collection = make(&plugin, &definition, Some(&request)).await?;
    Ok(Response::json_bytes(collection.answer.clone()).with_status(201))
}

/// `DELETE {name}`: the end of a collection, its table and its records.
pub async fn delete(plugin: Arc<Collections>, request: Request) -> Result<Response> {
    let name = request.param(0);
    plugin.catalog.collection(name).await?;
    define::end(&plugin, name, &request).await?;
    Ok(Response::empty(204))
}

/// 400: the name of a collection is taken.
fn name_taken(name: &str) -> Error {
    Error::bad_request(
        "collection_exists",
        format!("there is a collection {name} already; choose another name"),
    )
}
