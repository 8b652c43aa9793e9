//! `GET /api/search…`: what somebody searches for, among what the access rules let them see. A record that the index found is
//! shown only as `records@1` tells it to that caller now, and only where the index is made of its present texts.

use std::collections::{BTreeMap, HashMap};

use tinybase_plugin_api::{caller::ToldCaller, prelude::*};

use crate::{
    Search, Settings,
    builds::{Build, is_gone},
    limits,
    query::Query,
    records, text,
};

/// What somebody asks.
struct Asked {
    query: Query,
    limit: usize,
    offset: usize,
    highlight: bool,
    caller: Option<ToldCaller>,
    settings: Settings,
}

impl Asked {
    /// How many hits must be known: those passed over, the page's, and one that tells whether there are more.
    fn wanted(&self) -> usize {
        self.offset + self.limit + 1
    }
}

/// A record that was found and that the caller may see.
struct Hit {
    collection: String,
    number: i64,
    doc: i64,
    score: f64,
    /// Whether the score may be answered: it is computed over all records.
    tells_score: bool,
    digest: String,
    record: Json,
}

/// A row of the index that matches.
struct Candidate {
    id: String,
    digest: String,
    score: f64,
    doc: i64,
}

/// What was found in some collections.
#[derive(Default)]
struct Found {
    hits: Vec<Hit>,
    /// Whether there may be more than were looked at.
    truncated: bool,
    /// The collections whose index is being made.
    building: Vec<String>,
}

impl Search {
    /// Several collections, or all that are indexed.
    pub async fn find(self: Arc<Self>, request: Request) -> Result<Response> {
        let named = request.query_value("collections").filter(|names| !names.trim().is_empty());
        let named: Option<Vec<String>> = named.map(|names| {
            let mut names: Vec<String> = names.split(',').map(|name| name.trim().to_owned()).collect();
            names.sort();
            names.dedup();
            names
        });
        self.answer(&request, named).await
    }

    /// One collection.
    pub async fn find_in(self: Arc<Self>, request: Request) -> Result<Response> {
        let name = request.param(0).to_owned();
        self.answer(&request, Some(vec![name])).await
    }

    async fn answer(&self, request: &Request, named: Option<Vec<String>>) -> Result<Response> {
        let asked = self.asked(request).await?;
        if named.as_ref().is_some_and(|names| names.len() > limits::COLLECTIONS_MAX) {
            return Err(too_many());
        }
        for _ in 1..limits::ATTEMPTS_MAX {
            match self.page(&asked, named.as_deref()).await {
                Err(error) if is_gone(&error) => {}
                answered => return answered,
            }
        }
        self.page(&asked, named.as_deref()).await
    }

    async fn asked(&self, request: &Request) -> Result<Asked> {
        let highlight = match request.query_value("highlight").as_deref() {
            None | Some("false" | "") => false,
            Some("true") => true,
            Some(_) => return Err(fault("highlight", "must be true or false")),
        };
        Ok(Asked {
            query: Query::parse(&request.query_value("q").unwrap_or_default())?,
            limit: number(request, "limit", 1, limits::LIMIT_MAX, limits::LIMIT_DEFAULT)?,
            offset: number(request, "offset", 0, limits::OFFSET_MAX, 0)?,
            highlight,
            caller: ToldCaller::of(request),
            settings: self.host.settings().await?,
        })
    }

    async fn page(&self, asked: &Asked, named: Option<&[String]>) -> Result<Response> {
        let mut found = Found::default();
        for build in self.searched(named).await? {
            match self.find_visible(asked, &build, &mut found).await {
                // Whoever names no collection searches those that they may.
                Err(error) if named.is_none() && is_refusal(&error) => {}
                answered => answered?,
            }
        }
        found.hits.sort_by(|left, right| right.score.total_cmp(&left.score));
        let more = found.hits.len() > asked.offset + asked.limit;
        let shown: Vec<Hit> = found.hits.into_iter().skip(asked.offset).take(asked.limit).collect();
        let snippets = self.snippets(asked, &shown).await?;
        let hits: Vec<Json> = shown
            .into_iter()
            .map(|hit| {
                let snippet =
                    snippets.get(&(hit.number, hit.doc)).filter(|(digest, _)| *digest == hit.digest);
                json!({
                    "collection": hit.collection,
                    "id": hit.record["id"],
                    "score": hit.tells_score.then_some(hit.score),
                    "snippet": snippet.map(|(_, marked)| text::snippet(marked, asked.highlight)),
                    "record": hit.record,
                })
            })
            .collect();
        let next = asked.offset + asked.limit;
        Response::json(&json!({
            "hits": hits,
            "limit": asked.limit,
            "offset": asked.offset,
            "next_offset": (more && next <= limits::OFFSET_MAX).then_some(next),
            "truncated": found.truncated,
            "building": found.building,
        }))
    }

    /// The builds that are searched: of each collection the one that is ready, or else the one that is being made.
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

    /// 404 for a collection that is not there, or not indexed.
    async fn not_indexed(&self, name: &str) -> Error {
        match records::collection(&self.host, name).await {
            Err(error) => error,
            Ok(collection) => {
                let message = format!("{} has no index to search: an admin may make one", collection.name);
                Error::not_found("not_indexed", message)
            }
        }
    }

    /// Adds the best hits in a collection that the caller may see, as many as are wanted or as were looked at.
    async fn find_visible(&self, asked: &Asked, build: &Build, found: &mut Found) -> Result<()> {
        let budget = asked.settings.candidates_max;
        let mut hits = Vec::new();
        let mut looked_at = 0;
        loop {
            // Most callers see most of what is found: the rest is fetched where they do not.
            let room = if looked_at == 0 { asked.wanted() } else { budget };
            let room = room.min(budget - looked_at);
            let candidates = self.candidates(asked, build, room, looked_at).await?;
            let is_first = looked_at == 0;
            looked_at += candidates.len();
            self.keep_visible(asked, build, &candidates, is_first, &mut hits).await?;
            let is_last = candidates.len() < room;
            if is_last || hits.len() >= asked.wanted() || looked_at >= budget {
                found.truncated |= !is_last && hits.len() < asked.wanted();
                break;
            }
        }
        if !build.is_ready {
            found.building.push(build.collection.clone());
        }
        found.hits.append(&mut hits);
        Ok(())
    }

    async fn candidates(
        &self,
        asked: &Asked,
        build: &Build,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<Candidate>> {
        let (sql, params) = self.words(build).matches(&asked.query, limit, offset);
        let rows = self.database.query(Cost::Unknown, &sql, &params).await?;
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

    /// Keeps those that the caller may see and whose texts are the indexed ones still. The first call asks even for
    /// nothing, so that whoever may not search here is refused whatever is found.
    async fn keep_visible(
        &self,
        asked: &Asked,
        build: &Build,
        candidates: &[Candidate],
        is_first: bool,
        hits: &mut Vec<Hit>,
    ) -> Result<()> {
        let none: [&[Candidate]; 1] = [&[]];
        let chunks = candidates.chunks(limits::READ_IDS_MAX);
        let nothing = none.into_iter().filter(|_| is_first && candidates.is_empty());
        for chunk in chunks.chain(nothing) {
            let ids: Vec<&str> = chunk.iter().map(|candidate| candidate.id.as_str()).collect();
            let seen = records::seen_by(&self.host, asked.caller.as_ref(), &build.collection, &ids).await?;
            let by_id: HashMap<&str, &Candidate> = ids.iter().copied().zip(chunk).collect();
            for record in seen.records {
                let Some(candidate) = by_id.get(record.id.as_str()) else { continue };
                let digest = text::digest(&text::of_record(&record.data, &build.definition.fields));
                // The index may change between two looks at it.
                let is_known = hits.iter().any(|hit| hit.doc == candidate.doc);
                if digest == candidate.digest && !is_known {
                    hits.push(Hit {
                        collection: build.collection.clone(),
                        number: build.number,
                        doc: candidate.doc,
                        score: candidate.score,
                        tells_score: seen.sees_all,
                        digest,
                        record: record.answer,
                    });
                }
            }
            if hits.len() >= asked.wanted() {
                break;
            }
        }
        Ok(())
    }

    /// The marked snippets of the hits on the page, with the digest of the texts that they are cut from.
    async fn snippets(&self, asked: &Asked, hits: &[Hit]) -> Result<HashMap<(i64, i64), (String, String)>> {
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
            let (sql, params) = words.snippets(&asked.query, docs, asked.settings.snippet_words);
            let rows = self.database.query(Cost::Unknown, &sql, &params).await?;
            for row in &rows {
                let snippet = (row.text(1)?.to_owned(), row.text(2)?.to_owned());
                snippets.insert((build.number, row.integer(0)?), snippet);
            }
        }
        Ok(snippets)
    }
}

/// Whether a collection is none that this caller may search.
fn is_refusal(error: &Error) -> bool {
    matches!(error.code(), "access_denied" | "scope_missing" | "collection_not_found")
}

fn too_many() -> Error {
    fault("collections", format!("at most {} are searched at once: name them", limits::COLLECTIONS_MAX))
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
