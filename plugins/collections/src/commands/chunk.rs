//! Writes the records of an import to the database while the next ones are read. It reads no file and prints nothing.

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
    /// Whether the records after a refused one are still written.
    pub(super) skip: bool,
}

/// The result of writing a chunk.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) written: Written,
    /// The lines of the records that the database refused, with the reasons.
    pub(super) refused: Vec<(u64, String)>,
    /// The error that stopped the write part way and was not caused by a record.
    pub(super) failure: Option<Error>,
}

/// A chunk that is being written.
pub(super) struct UnderWay(Arc<Mutex<Option<Stored>>>);

impl Chunk {
    /// Fails if the collection changed after the records were read.
    async fn check_unchanged(&self, fault: &Error) -> Result<()> {
        let catalog = self.plugin.catalog.reload().await?;
        let now = catalog.get(&self.collection.name);
        if now.is_none_or(|now| (&now.id, now.revision) != (&self.collection.id, self.collection.revision)) {
            let message = "the collection was changed meanwhile: import the rest again, as it is now";
            return Err(Error::conflict("collection_changed", message));
        }
        if fault.code() == "db_condition" { Err(error::contended()) } else { Ok(()) }
    }

    /// Starts writing it in a separate task.
    pub(super) fn begin(self) -> Result<UnderWay> {
        let outcome = Arc::new(Mutex::new(None));
        // Locked until the task has ended for any reason.
        let mut place = outcome.try_lock_arc().expect("nobody else knows of it yet");
        let plugin = Arc::clone(&self.plugin);
        plugin.spawn(async move { *place = Some(self.write().await) })?;
        Ok(UnderWay(outcome))
    }

    /// Writes the chunk. If the database refuses it, the chunk is halved until the bad record is found.
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
                // Then no single record caused the error.
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

/// Returns where to halve a part; `None` if it is one record, or one circle of records that reference each other.
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
