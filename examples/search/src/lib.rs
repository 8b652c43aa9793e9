//! Full-text search over selected fields of collections, under their access rules: FTS5 on SQLite, `tsvector` on
//! PostgreSQL. It keeps its own index, and requests each record that it shows from the extension `collections`.
#![forbid(unsafe_code)]

mod admin;
mod builds;
mod definition;
mod find;
mod index;
mod keep;
mod limits;
mod query;
mod records;
mod text;
mod visible;
mod watch;
mod words;

use std::sync::Mutex;

use serde::Deserialize;
use tinybase_plugin_api::{audit::Audit, log, prelude::*};

/// The extension.
pub struct Search {
    host: Host,
    database: Database,
    audit: Audit,
    /// The id of this node among those that build indexes.
    node: String,
    counts: Mutex<watch::Counts>,
}

/// The settings, as `extension.toml` describes them.
#[derive(Deserialize)]
struct Settings {
    candidates_max: usize,
    snippet_words: u32,
    page_records: u64,
}

#[tinybase_plugin_api::export]
impl Plugin for Search {
    fn create(host: Host) -> Result<Search> {
        let (database, audit) = (host.database()?, host.audit()?);
        let node = uuid::Uuid::new_v4().to_string();
        Ok(Search { host, database, audit, node, counts: Mutex::default() })
    }

    fn register(registry: &mut Registry<Search>) {
        registry
            .get("/api/search", Search::find)
            .summary("Search several collections, or all that are indexed");
        registry.get("/api/search/{collection}", Search::find_in).summary("Search one collection");
        registry.get("/api/search/indexes", Search::indexes).auth(Auth::Viewer).summary("List the indexes");
        let index = "/api/search/indexes/{collection}";
        registry.get(index, Search::index).auth(Auth::Viewer).summary("An index, and how far it is");
        registry.put(index, Search::put_index).auth(Auth::Admin).summary("Make or change an index");
        registry.delete(index, Search::delete_index).auth(Auth::Admin).summary("End an index");
        registry
            .post("/api/search/indexes/{collection}/rebuild", Search::reindex)
            .auth(Auth::Admin)
            .summary("Build an index again");
        registry.after_durable("record.create", None, Search::changed);
        registry.after_durable("record.update", None, Search::changed);
        registry.after_durable("record.delete", None, Search::deleted);
        registry.before("copy.tables", None, 0, Search::before_copy);
        registry.every(limits::BUILD_EVERY, "build", Search::build);
        registry.every(limits::WATCH_EVERY, "watch", Search::watch);
        registry.every(limits::TIDY_EVERY, "tidy", Search::tidy);
    }

    async fn shut_down(self: Arc<Self>) {
        // Another node, or the next version, can continue without waiting for this node's lease to expire.
        if let Err(error) = self.leave_builds().await {
            log::warn(format!("the next node waits for a moment before it goes on with an index: {error}"));
        }
    }
}
