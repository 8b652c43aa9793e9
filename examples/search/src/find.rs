//! `GET /api/search…`: searches the records that the access rules let the caller see. A record found in the index is
//! shown only as `records@1` currently returns it to that caller, and only if its current texts are the indexed ones.

use std::collections::{BTreeMap, HashMap, HashSet};

use tinybase_plugin_api::{caller::CallerPayload, prelude::*};

use crate::{
    Search, Settings,
    builds::{Build, is_gone},
    limits,
    query::Query,
    records, text,
    visible::{Found, Hit},
};

/// A search request.
pub(crate) struct SearchRequest {
    query: Query,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
    highlight: bool,
    pub(crate) caller: Option<CallerPayload>,
    settings: Settings,
}

impl SearchRequest {
    /// Returns how many hits are needed: those skipped, those of the page, and one more to know whether there is a
    /// next page.
    pub(crate) fn wanted(&self) -> usize {
        self.offset + self.limit + 1
    }
}

/// A matching row of the index.
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) digest: String,
    pub(crate) score: f64,
    pub(crate) doc: i64,
}

impl Search {
    /// Searches several collections, or all indexed ones.
    pub async fn find(self: Arc<Self>, request: Request) -> Result<Response> {
        let named = request.query_value("collections").filter(|names| !names.trim().is_empty());
        let named: Option<Vec<String>> = named.map(|names| {
            let mut names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
            names.sort();
            names.dedup();
            names
        });
        let known = ["q", "collections", "limit", "offset", "highlight"];
        self.answer(&request, &known, named).await
    }

    /// Searches one collection.
    pub async fn find_in(self: Arc<Self>, request: Request) -> Result<Response> {
        let name = request.param(0).to_owned();
        self.answer(&request, &["q", "limit", "offset", "highlight"], Some(vec![name])).await
    }

    async fn answer(
        &self,
        request: &Request,
        known: &[&str],
        named: Option<Vec<String>>,
    ) -> Result<Response> {
        check_query(request, known)?;
        let search = self.search_of(request).await?;
        if named.as_ref().is_some_and(|names| names.len() > limits::COLLECTIONS_MAX) {
            return Err(too_many());
        }
        for _ in 1..limits::ATTEMPTS_MAX {
            match self.page(&search, named.as_deref()).await {
                Err(error) if is_gone(&error) => {}
                answered => return answered,
            }
        }
        self.page(&search, named.as_deref()).await
    }

    async fn search_of(&self, request: &Request) -> Result<SearchRequest> {
        let highlight = match request.query_value("highlight").as_deref() {
            None | Some("false" | "") => false,
            Some("true") => true,
            Some(_) => return Err(fault("highlight", "must be true or false")),
        };
        Ok(SearchRequest {
            query: Query::parse(&request.query_value("q").unwrap_or_default())?,
            limit: number(request, "limit", 1, limits::LIMIT_MAX, limits::LIMIT_DEFAULT)?,
            offset: number(request, "offset", 0, limits::OFFSET_MAX, 0)?,
            highlight,
            caller: CallerPayload::of(request),
            settings: self.host.settings().await?,
        })
    }

    async fn page(&self, search: &SearchRequest, named: Option<&[String]>) -> Result<Response> {
        let builds = self.searched(named).await?;
        let mut found = Found::of(&builds);
        for build in &builds {
            let first = found.hits.len();
            match self.find_visible(search, build, &mut found).await {
                // Without named collections, those that the caller may not search are skipped.
                Err(error) if named.is_none() && is_refusal(&error) => found.hits.truncate(first),
                answered => answered?,
            }
        }
        found.hits.sort_by(|left, right| right.score.total_cmp(&left.score));
        let more = found.hits.len() > search.offset + search.limit;
        found.hits.drain(..search.offset.min(found.hits.len()));
        found.hits.truncate(search.limit);
        self.read_page(search, &builds, &mut found).await?;
        let snippets = self.snippets(search, &found.hits).await?;
        let answer = |hit: Hit| {
            let snippet = snippets.get(&(hit.number, hit.doc)).filter(|(digest, _)| *digest == hit.digest);
            // Leaves out a record that was just deleted, closed or changed.
            let record = hit.record?;
            Some(json!({
                "collection": hit.collection,
                "id": hit.id,
                "score": hit.tells_score.then_some(hit.score),
                "snippet": snippet.map(|(_, marked)| text::snippet(marked, search.highlight)),
                "record": record,
            }))
        };
        let hits: Vec<Json> = std::mem::take(&mut found.hits).into_iter().filter_map(answer).collect();
        let next = search.offset + search.limit;
        Response::json(&json!({
            "hits": hits,
            "limit": search.limit,
            "offset": search.offset,
            "next_offset": (more && next <= limits::OFFSET_MAX).then_some(next),
            "truncated": found.truncated,
            "building": found.building,
        }))
    }

    /// Returns the builds to search: of each collection the ready one, or otherwise the one in progress.
    async fn searched(&self, named: Option<&[String]>) -> Result<Vec<Build>> {
        let mut by_collection = BTreeMap::new();
        for build in self.builds().await? {
            let is_named = named.is_none_or(|names| names.contains(&build.collection));
            if is_named && (build.is_ready || !by_collection.contains_key(&build.collection)) {
                by_collection.insert(build.collection.clone(), build);
            }
        }
        for name in named.unwrap_or_default() {
            if !by_collection.contains_key(name) {
                return Err(self.not_indexed(name).await);
            }
        }
        if by_collection.len() > limits::COLLECTIONS_MAX {
            return Err(too_many());
        }
        Ok(by_collection.into_values().collect())
    }

    /// Returns the 404 error for a collection that does not exist or is not indexed.
    async fn not_indexed(&self, name: &str) -> Error {
        match records::collection(&self.host, name).await {
            Err(error) => error,
            Ok(collection) => {
                let message = format!("{} has no index to search: an admin may make one", collection.name);
                Error::not_found("not_indexed", message)
            }
        }
    }

    /// Adds the best hits in a collection that the caller may see, until there are enough or the limit of
    /// candidates is reached.
    async fn find_visible(&self, search: &SearchRequest, build: &Build, found: &mut Found) -> Result<()> {
        let budget = search.settings.candidates_max;
        let first = found.hits.len();
        let mut looked_at = 0;
        loop {
            // Most callers see most matches. The rest is fetched only for those who do not.
            let room = if looked_at == 0 { search.wanted() } else { budget };
            let room = room.min(budget - looked_at);
            let candidates = self.candidates(search, build, room, looked_at).await?;
            // The first check is made even without candidates, so that a caller without access is rejected regardless
            // of matches.
            if looked_at == 0 || !candidates.is_empty() {
                self.keep_visible(search, build, &candidates, first, found).await?;
            }
            looked_at += candidates.len();
            let is_last = candidates.len() < room;
            let is_enough = found.hits.len() - first >= search.wanted();
            if is_last || is_enough || looked_at >= budget {
                found.truncated |= !is_last && !is_enough;
                break;
            }
        }
        if !build.is_ready {
            found.building.push(build.collection.clone());
        }
        Ok(())
    }

    async fn candidates(
        &self,
        search: &SearchRequest,
        build: &Build,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<Candidate>> {
        let (sql, params) = self.words(build).matches(&search.query, limit, offset);
        let rows = self.database.query(ReadHint::Scan, &sql, &params).await?;
        let candidate = |row: tinybase_plugin_api::database::Row<'_>| {
            Ok(Candidate {
                id: row.text(0)?.to_owned(),
                digest: row.text(1)?.to_owned(),
                score: row.real(2)?,
                doc: row.integer(3)?,
            })
        };
        rows.iter().map(candidate).collect()
    }

    /// Returns the marked snippets of the page's hits, with the digest of the texts they are taken from.
    async fn snippets(
        &self,
        search: &SearchRequest,
        hits: &[Hit],
    ) -> Result<HashMap<(i64, i64), (String, String)>> {
        let mut by_build: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for hit in hits {
            by_build.entry(hit.number).or_default().push(hit.doc);
        }
        let mut snippets = HashMap::with_capacity(hits.len());
        if by_build.is_empty() {
            return Ok(snippets);
        }
        for build in self.builds().await? {
            let Some(docs) = by_build.get(&build.number) else { continue };
            let words = self.words(&build);
            let (sql, params) = words.snippets(&search.query, docs, search.settings.snippet_words);
            let rows = self.database.query(ReadHint::Scan, &sql, &params).await?;
            for row in &rows {
                let snippet = (row.text(1)?.to_owned(), row.text(2)?.to_owned());
                snippets.insert((build.number, row.integer(0)?), snippet);
            }
        }
        Ok(snippets)
    }
}

/// Returns whether an error means that this caller may not search the collection.
fn is_refusal(error: &Error) -> bool {
    matches!(error.code(), "access_denied" | "scope_missing" | "collection_not_found")
}

fn too_many() -> Error {
    fault("collections", format!("at most {} are searched at once: name them", limits::COLLECTIONS_MAX))
}

/// Rejects unknown and repeated parameters: a misspelt one would otherwise be ignored. Parameters that begin with `_`
/// are for the client's own use, for example to bypass a cache.
pub(crate) fn check_query(request: &Request, known: &[&str]) -> Result<()> {
    let mut seen = HashSet::new();
    for (name, _) in request.query_pairs().filter(|(name, _)| !name.starts_with('_')) {
        if !known.contains(&&*name) {
            return Err(fault(&name, "is not a parameter of this route"));
        }
        if !seen.insert(name.to_string()) {
            return Err(fault(&name, "is given twice"));
        }
    }
    Ok(())
}

fn fault(name: &str, message: impl Into<String>) -> Error {
    let message = message.into();
    let detail = json!([{"loc": ["query", name], "msg": message, "type": "invalid_query"}]);
    Error::unprocessable("invalid_query", format!("{name}: {message}")).with_details(detail)
}

fn number(request: &Request, name: &str, min: usize, max: usize, default: usize) -> Result<usize> {
    match request.query_value(name) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(fault(name, format!("must be an integer of {min} to {max}"))),
        },
    }
}
