//! Records of an import on their way into the database, beside whatever reads the next ones. It reads no file and prints nothing.

use std::sync::Arc;

use async_lock::Mutex;
use tinybase_plugin_api::{Error, Result};

use super::{
    row::Row,
    update::{self, Key, Written},
};
use crate::{catalog::Collection, error, plugin::Collections};

/// Records that are written together.
pub(super) struct Chunk {
    pub(super) plugin: Arc<Collections>,
    pub(super) collection: Arc<Collection>,
    pub(super) key: Option<Arc<Key>>,
    pub(super) rows: Vec<Row>,
    /// Whether records behind one that is refused are written all the same.
    pub(super) skip: bool,
}

/// What became of a chunk.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) written: Written,
    /// The lines of the records that the database refused, and why.
    pub(super) refused: Vec<(u64, String)>,
    /// What ended it part way, which is no record's fault.
    pub(super) failure: Option<Error>,
}

/// A chunk that is being written.
pub(super) struct UnderWay(Arc<Mutex<Option<Stored>>>);

impl Chunk {
    /// Fails where the collection is not the one that the records were read for any more.
    async fn check_unchanged(&self, fault: &Error) -> Result<()> {
        let catalog = self.plugin.catalog.reload().await?;
        let now = catalog.get(&self.collection.name);
        if now.is_none_or(|now| (&now.id, now.revision) != (&self.collection.id, self.collection.revision)) {
            let message = "the collection was changed meanwhile: import the rest again, as it is now";
            return Err(Error::conflict("collection_changed", message));
        }
        if fault.code() == "db_condition" { Err(error::contended()) } else { Ok(()) }
    }

    /// Begins to write it in a task of its own.
    pub(super) fn begin(self) -> Result<UnderWay> {
        let outcome = Arc::new(Mutex::new(None));
        // Held until the task has ended, in whatever way.
        let mut place = outcome.try_lock_arc().expect("nobody else knows of it yet");
        let plugin = Arc::clone(&self.plugin);
        plugin.spawn(async move { *place = Some(self.write().await) })?;
        Ok(UnderWay(outcome))
    }

    /// Where the database refuses it, it is halved until the record is found.
    async fn write(&self) -> Stored {
        let mut stored = Stored::default();
        let mut is_checked = false;
        let mut parts = vec![self.rows.as_slice()];
        while let Some(part) = parts.pop() {
            match (update::apply(&self.plugin, &self.collection, self.key.as_deref(), part).await, part) {
                (Ok(written), _) => stored.written.add(&written),
                (Err(fault), _) if fault.is_retryable() || fault.status() >= 500 => {
                    stored.failure = Some(fault);
                    break;
                }
                // No record is to blame for what it is refused for then.
                (Err(fault), _) if fault.code() == "db_condition" || !is_checked => {
                    is_checked = true;
                    if let Err(fault) = self.check_unchanged(&fault).await {
                        stored.failure = Some(fault);
                        break;
                    }
                    parts.push(part);
                }
                (Err(fault), part) => match middle(part) {
                    Some(at) => {
                        let (first, second) = part.split_at(at);
                        parts.extend([second, first]);
                    }
                    None => {
                        let refused = part.iter().map(|row| (row.line, fault.message().to_owned()));
                        stored.refused.extend(refused);
                        if !self.skip {
                            break;
                        }
                    }
                },
            }
        }
        stored
    }
}

/// Where a part is halved; `None` where it is one record, or records that refer to one another in a circle.
fn middle(part: &[Row]) -> Option<usize> {
    let is_between = |at: &usize| {
        !(part[*at].in_circle && part[*at].group == part[at - 1].group && part[at - 1].in_circle)
    };
    let half = (part.len() / 2).max(1);
    (half..part.len()).find(is_between).or_else(|| (1..half).rev().find(is_between))
}

impl UnderWay {
    /// Waits until it is written.
    pub(super) async fn stored(self) -> Stored {
        let ended = || Error::internal("import_ended", "the records were not written: the server is ending");
        let outcome = self.0.lock().await.take();
        outcome.unwrap_or_else(|| Stored { failure: Some(ended()), ..Stored::default() })
    }
}
