//! Filters the index's matches by what the caller may see. For hits that the page skips, only their position is kept;
//! the page's own records are read at the end. The memory for kept records is reserved.

use std::collections::HashMap;

use tinybase_plugin_api::{host::Reserved, prelude::*};

use crate::{
    Search,
    builds::Build,
    find::{Candidate, SearchRequest},
    limits,
    records::{self, Record, Seen},
    text,
};

/// A found record that the caller may see.
pub(crate) struct Hit {
    pub(crate) collection: String,
    /// The build's number.
    pub(crate) number: i64,
    pub(crate) doc: i64,
    pub(crate) id: String,
    pub(crate) score: f64,
    /// Whether the response may include the score, which is computed over all records.
    pub(crate) tells_score: bool,
    pub(crate) digest: String,
    /// Only set for a hit that is known to be on the page.
    pub(crate) record: Option<Json>,
}

/// The hits in some collections.
pub(crate) struct Found {
    pub(crate) hits: Vec<Hit>,
    /// Whether there may be more hits than were checked.
    pub(crate) truncated: bool,
    /// The collections whose index is being built.
    pub(crate) building: Vec<String>,
    /// Whether only one collection is searched. Its hits arrive in their final order, so the page's hits are known at
    /// once.
    is_in_order: bool,
    /// The reserved memory for the kept records.
    rooms: Vec<Reserved>,
}

impl Found {
    /// Returns an empty result for these builds.
    pub(crate) fn of(builds: &[Build]) -> Found {
        Found {
            hits: Vec::new(),
            truncated: false,
            building: Vec::new(),
            is_in_order: builds.len() == 1,
            rooms: Vec::new(),
        }
    }
}

/// Iterates over ids in chunks. The chunk size is halved after each response that would be too large.
struct Walk<'a, T> {
    left: &'a [T],
    at_once: usize,
}

impl<'a, T> Walk<'a, T> {
    fn of(all: &'a [T]) -> Walk<'a, T> {
        Walk { left: all, at_once: limits::READ_IDS_MAX }
    }

    /// Returns the next chunk.
    fn next(&self) -> &'a [T] {
        &self.left[..self.left.len().min(self.at_once)]
    }

    /// Advances past the chunk.
    fn pass(&mut self) {
        self.left = &self.left[self.next().len()..];
    }

    /// Halves the chunk size; returns false if the chunk has only one item.
    fn halve(&mut self) -> bool {
        let count = self.next().len();
        self.at_once = (count / 2).max(1);
        count > 1
    }
}

impl Search {
    /// Keeps the candidates that the caller may see and whose texts are still the indexed ones. `first` is the position
    /// of the build's first hit.
    pub(crate) async fn keep_visible(
        &self,
        search: &SearchRequest,
        build: &Build,
        candidates: &[Candidate],
        first: usize,
        found: &mut Found,
    ) -> Result<()> {
        let mut walk = Walk::of(candidates);
        loop {
            let chunk = walk.next();
            let ids: Vec<&str> = chunk.iter().map(|candidate| candidate.id.as_str()).collect();
            match records::seen_by(&self.host, search.caller.as_ref(), &build.collection, &ids).await {
                Err(error) if error.status() == 413 => {
                    if walk.halve() {
                        continue;
                    }
                    // A record too large for any response cannot be shown.
                    found.truncated = true;
                }
                Err(error) => return Err(error),
                Ok(seen) => self.keep(search, build, (chunk, first), seen, found).await?,
            }
            walk.pass();
            if walk.left.is_empty() || found.hits.len() - first >= search.wanted() {
                return Ok(());
            }
        }
    }

    async fn keep(
        &self,
        search: &SearchRequest,
        build: &Build,
        (candidates, first): (&[Candidate], usize),
        seen: Seen,
        found: &mut Found,
    ) -> Result<()> {
        let room = self.room_for(&seen.records).await?;
        let by_id: HashMap<&str, &Candidate> =
            candidates.iter().map(|candidate| (candidate.id.as_str(), candidate)).collect();
        let mut holds_page = false;
        for record in seen.records {
            let Some(candidate) = by_id.get(record.id.as_str()) else { continue };
            // The index may change between two reads.
            let is_known = found.hits[first..].iter().any(|hit| hit.doc == candidate.doc);
            if is_known || digest(&record, build) != candidate.digest {
                continue;
            }
            let place = found.hits.len();
            let is_on_page =
                found.is_in_order && (search.offset..search.offset + search.limit).contains(&place);
            holds_page |= is_on_page;
            found.hits.push(Hit {
                collection: build.collection.clone(),
                number: build.number,
                doc: candidate.doc,
                id: record.id,
                score: candidate.score,
                tells_score: seen.sees_all,
                digest: candidate.digest.clone(),
                record: is_on_page.then_some(record.answer),
            });
        }
        found.rooms.extend(room.filter(|_| holds_page));
        Ok(())
    }

    /// Reserves memory for records; a few small ones need none.
    async fn room_for(&self, records: &[Record]) -> Result<Option<Reserved>> {
        let bytes = records.iter().map(Record::bytes).sum();
        if bytes < limits::RESERVED_BYTES_MIN {
            return Ok(None);
        }
        self.host.reserve(bytes).await.map(Some)
    }

    /// Reads the missing records of the page's hits. Records that changed, or that the caller may no longer see, are
    /// left out.
    pub(crate) async fn read_page(
        &self,
        search: &SearchRequest,
        builds: &[Build],
        found: &mut Found,
    ) -> Result<()> {
        for build in builds {
            let of_build = found.hits.iter().filter(|hit| hit.number == build.number && hit.record.is_none());
            let ids: Vec<String> = of_build.map(|hit| hit.id.clone()).collect();
            let mut walk = Walk::of(&ids);
            while !walk.left.is_empty() {
                let chunk: Vec<&str> = walk.next().iter().map(String::as_str).collect();
                match records::seen_by(&self.host, search.caller.as_ref(), &build.collection, &chunk).await {
                    Err(error) if error.status() == 413 => {
                        if walk.halve() {
                            continue;
                        }
                        found.truncated = true;
                    }
                    // The collection was just closed or deleted.
                    Err(error) if error.status() == 403 || error.status() == 404 => break,
                    Err(error) => return Err(error),
                    Ok(seen) => {
                        found.rooms.extend(self.room_for(&seen.records).await?);
                        put_in(build, seen.records, &mut found.hits);
                    }
                }
                walk.pass();
            }
        }
        Ok(())
    }
}

/// Puts records into their hits, if their texts are still the indexed ones.
fn put_in(build: &Build, records: Vec<Record>, hits: &mut [Hit]) {
    for record in records {
        let digest = digest(&record, build);
        let mut of_build = hits.iter_mut().filter(|hit| hit.number == build.number);
        if let Some(hit) = of_build.find(|hit| hit.id == record.id && hit.digest == digest) {
            hit.record = Some(record.answer);
        }
    }
}

fn digest(record: &Record, build: &Build) -> String {
    text::digest(&text::of_record(record.data(), &build.definition.fields))
}
