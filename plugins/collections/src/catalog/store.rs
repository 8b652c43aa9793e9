//! The catalog in memory: read from the database at startup, after each change, and when another process changed the
//! data. Readers never wait for it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use tinybase_plugin_api::{
    Error, Host, Result,
    database::{Database, ReadHint, Row},
    log,
};

use super::{Catalog, Collection, Meta};
use crate::{access::Caller, dialect::Dialect, limits};

/// All collections, with the sizes of their definitions. The definitions are only read if they are not known yet.
const SELECT_ALL: &str = "SELECT number,id,name,revision,octet_length(schema)+octet_length(options) \
                          FROM collections_meta ORDER BY number";

const SELECT_SOME: &str = "SELECT number,id,name,label,schema,options,created_at,updated_at,revision \
                           FROM collections_meta WHERE number>=?1 AND number<=?2 ORDER BY number";

const SELECT_BY_NAME: &str = "SELECT number FROM collections_meta WHERE name=?1";

/// Holds the catalog.
pub struct CatalogStore {
    host: Host,
    database: Database,
    current: ArcSwap<Catalog>,
    /// The host's count of foreign changes when the catalog was read.
    seen: AtomicU64,
}

impl CatalogStore {
    /// Creates an empty catalog; [`CatalogStore::reload`] fills it.
    pub fn new(host: Host, database: Database) -> CatalogStore {
        CatalogStore { host, database, current: ArcSwap::default(), seen: AtomicU64::new(u64::MAX) }
    }

    /// Returns the current catalog.
    pub async fn current(&self) -> Result<Arc<Catalog>> {
        if self.host.foreign_changes()? != self.seen.load(Ordering::Relaxed) {
            self.reload().await?;
        }
        Ok(self.current.load_full())
    }

    /// Reads the catalog again. An unchanged collection stays the same object.
    pub async fn reload(&self) -> Result<Arc<Catalog>> {
        let changes = self.host.foreign_changes()?;
        let rows = self.database.query(ReadHint::Indexed, SELECT_ALL, &[]).await?;
        let before = self.current.load_full();
        let mut collections = Vec::with_capacity(rows.len());
        let mut unknown = Unknown::default();
        for row in &rows {
            let known = before.get(row.text(2)?);
            let known = known.filter(|known| row.text(1).is_ok_and(|id| known.id == id));
            match known.filter(|known| row.integer(3).is_ok_and(|revision| known.revision == revision)) {
                Some(known) => {
                    self.read(&mut unknown, &mut collections).await?;
                    collections.push(Arc::clone(known));
                }
                None => {
                    let bytes = usize::try_from(row.integer(4)?).unwrap_or(0);
                    if unknown.bytes + bytes > limits::WORK_PAGE_BYTES {
                        self.read(&mut unknown, &mut collections).await?;
                    }
                    unknown.add(row.integer(0)?, bytes);
                }
            }
        }
        self.read(&mut unknown, &mut collections).await?;
        let catalog = Arc::new(Catalog::new(collections));
        self.current.store(Arc::clone(&catalog));
        self.seen.store(changes, Ordering::Relaxed);
        Ok(catalog)
    }

    /// Reads collections that are new or changed, and empties `unknown`.
    async fn read(&self, unknown: &mut Unknown, collections: &mut Vec<Arc<Collection>>) -> Result<()> {
        let Unknown { numbers: Some((first, last)), .. } = std::mem::take(unknown) else { return Ok(()) };
        let rows = self.database.query(ReadHint::Indexed, SELECT_SOME, &[first.into(), last.into()]).await?;
        let dialect = Dialect::of(self.database.engine());
        for row in &rows {
            // An unreadable collection must not break the others.
            match Collection::new(&meta(&row)?, dialect) {
                Ok(collection) => collections.push(Arc::new(collection)),
                Err(problem) => log::error(format!("{problem}; the collection is not served")),
            }
        }
        Ok(())
    }

    /// Returns the collection with this name, or 404.
    pub async fn collection(&self, name: &str) -> Result<Arc<Collection>> {
        let catalog = self.current().await?;
        if let Some(collection) = catalog.get(name) {
            return Ok(Arc::clone(collection));
        }
        // Another process's change is noticed with a short delay. A client that just created a collection there must
        // find it here.
        let catalog = if self.is_stored(name).await? { self.reload().await? } else { catalog };
        catalog.get(name).cloned().ok_or_else(|| not_found(name, &catalog))
    }

    async fn is_stored(&self, name: &str) -> Result<bool> {
        let rows = self.database.query(ReadHint::Indexed, SELECT_BY_NAME, &[name.into()]).await?;
        Ok(!rows.is_empty())
    }
}

/// Collections with consecutive numbers whose definitions are not read yet.
#[derive(Default)]
struct Unknown {
    numbers: Option<(i64, i64)>,
    bytes: usize,
}

impl Unknown {
    fn add(&mut self, number: i64, bytes: usize) {
        self.numbers = Some((self.numbers.map_or(number, |(first, _)| first), number));
        self.bytes += bytes;
    }
}

/// Returns 404: no such collection, or none that the caller may know about.
pub(crate) fn not_found(name: &str, catalog: &Catalog) -> Error {
    // Everybody sees the hint, so it only names collections that everybody may see.
    let shown = catalog.all().iter().filter(|collection| collection.is_shown_to(&Caller::default()));
    let hint = crate::fault::did_you_mean(name, shown.map(|collection| collection.name.as_str()));
    let name = crate::fault::shorten(name);
    Error::not_found("collection_not_found", format!("there is no collection {name}{hint}"))
}

/// Reads the columns of [`Meta`] in order.
pub(crate) fn meta(row: &Row<'_>) -> Result<Meta> {
    let text = |at| row.text(at).map(str::to_owned);
    Ok(Meta {
        number: row.integer(0)?,
        id: text(1)?,
        name: text(2)?,
        label: text(3)?,
        schema: text(4)?,
        options: text(5)?,
        created_at: text(6)?,
        updated_at: text(7)?,
        revision: row.integer(8)?,
    })
}
