//! `/api/search/indexes`: the indexed collections and their progress. It reads no records.

use tinybase_plugin_api::{audit::Entry, prelude::*};

use crate::{Search, builds::Build, definition::Definition, find::check_query, records};

impl Search {
    /// Lists every index.
    pub async fn indexes(self: Arc<Self>, request: Request) -> Result<Response> {
        check_query(&request, &[])?;
        let builds = self.builds().await?;
        let mut told = Vec::new();
        for of_one in builds.chunk_by(|left, right| left.collection == right.collection) {
            told.push(self.told(of_one).await?);
        }
        Response::json(&json!({"indexes": told}))
    }

    /// Returns one index.
    pub async fn index(self: Arc<Self>, request: Request) -> Result<Response> {
        check_query(&request, &[])?;
        self.told_of(request.param(0)).await
    }

    /// Creates an index, or rebuilds it with a new definition.
    pub async fn put_index(self: Arc<Self>, request: Request) -> Result<Response> {
        let name = request.param(0);
        let collection = records::collection(&self.host, name).await?;
        let definition = Definition::parse(&request, &collection.field_names())?;
        let builds = self.builds_of(name).await?;
        let newest = builds.last().filter(|build| build.collection_id == collection.id);
        if newest.is_some_and(|build| build.definition == definition) {
            return self.told_of(name).await;
        }
        let change = json!({
            "fields": {"from": newest.map(|build| build.definition.fields_json()), "to": definition.fields_json()},
            "language": {"from": newest.map(|build| build.definition.language.name()), "to": definition.language.name()},
        });
        let entry = Entry::new("index.set", "search_index", name).by(&request).with_change(change);
        self.begin_build(&collection, &definition, Some(entry)).await?;
        let status = if builds.is_empty() { 201 } else { 200 };
        Ok(self.told_of(name).await?.with_status(status))
    }

    /// Rebuilds an index with its current definition.
    pub async fn reindex(self: Arc<Self>, request: Request) -> Result<Response> {
        let name = request.param(0);
        let builds = self.builds_of(name).await?;
        let newest = builds.last().ok_or_else(|| missing(name))?;
        let collection = records::collection(&self.host, name).await?;
        let entry = Entry::new("index.rebuild", "search_index", name).by(&request);
        self.begin_build(&collection, &newest.definition, Some(entry)).await?;
        Ok(self.told_of(name).await?.with_status(202))
    }

    /// Ends an index.
    pub async fn delete_index(self: Arc<Self>, request: Request) -> Result<Response> {
        let name = request.param(0);
        if self.builds_of(name).await?.is_empty() {
            return Err(missing(name));
        }
        let entry = Entry::new("index.delete", "search_index", name).by(&request);
        self.end_builds(name, Some(entry)).await?;
        Ok(Response::empty(204))
    }

    async fn told_of(&self, name: &str) -> Result<Response> {
        let builds = self.builds_of(name).await?;
        if builds.is_empty() {
            return Err(missing(name));
        }
        Response::json(&self.told(&builds).await?)
    }

    /// Returns an index for the response: the searched build and the progress of its successor. `builds` are in
    /// order.
    async fn told(&self, builds: &[Build]) -> Result<Json> {
        let (Some(first), Some(newest)) = (builds.first(), builds.last()) else { return Ok(Json::Null) };
        let state = match (first.is_ready, newest.is_ready) {
            (true, true) => "ready",
            (true, false) => "rebuilding",
            _ => "building",
        };
        Ok(json!({
            "collection": newest.collection,
            "state": state,
            "fields": newest.definition.fields_json(),
            "language": newest.definition.language.name(),
            "indexed": newest.indexed,
            "total": newest.total.max(newest.indexed),
            "documents": self.documents(first.number).await?,
            "problem": newest.problem,
            "started_at": newest.created_at,
            "finished_at": newest.finished_at,
        }))
    }
}

fn missing(name: &str) -> Error {
    let name = crate::definition::shorten(name);
    Error::not_found("index_not_found", format!("{name} has no index"))
}
