//! The state of a copy: the table `tb_copy` in the target, which is written in the same batch as the rows it describes.
//! It exists only while the copy is unfinished.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{CopyError, side::Side, tables};
use crate::{db::DbError, sql::text};

/// The table.
pub const TABLE: &str = "tb_copy";

/// The name of the row for the copy as a whole; no table has this name.
const WHOLE: &str = "";

const CREATE: &str = "CREATE TABLE tb_copy (name TEXT PRIMARY KEY NOT NULL, state TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO tb_copy (name, state) VALUES (?1, ?2)";
const UPDATE: &str = "UPDATE tb_copy SET state = ?2 WHERE name = ?1 AND state = ?3";
const DROP: &str = "DROP TABLE tb_copy";

/// The stage of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The target's tables are created.
    Schema,
    /// The rows of all tables that migrations create are copied.
    Rows,
    /// The rows of the tables that extensions create at run time are copied, and those tables completed.
    Made,
    /// Everything is copied, and is compared with the source.
    Verify,
}

/// The state of the copy as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Identifies the source and the structure of its tables.
    pub source: String,
    /// The current stage.
    pub stage: Stage,
    /// Tables that an extension derives from others, and that are not compared.
    pub derived: Vec<String>,
}

/// The state of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of copied rows.
    pub rows: u64,
    /// The key of the last copied row, packed and in hex; empty before the first.
    pub last_key: String,
    /// Whether all rows are copied.
    pub copied: bool,
    /// Whether the target's migrations inserted rows, so that these are replaced.
    pub seeded: bool,
    /// The extension that declares how it is created, in whose name it is completed.
    pub extension: Option<String>,
    /// The statements that complete it once all tables are copied.
    pub finish: Vec<String>,
    /// Whether these have run.
    pub finished: bool,
}

/// The state of a copy, as stored in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The copy as a whole.
    pub whole: Whole,
    /// All tables that are copied.
    pub tables: BTreeMap<String, Progress>,
}

impl State {
    /// Reads the state from a target; `None` if no copy to it was started.
    ///
    /// # Errors
    /// Those of the database, and decoding errors.
    pub async fn read(side: &Side) -> Result<Option<State>, DbError> {
        if !tables::exists(side, TABLE).await? {
            return Ok(None);
        }
        let (mut whole, mut tables) = (None, BTreeMap::new());
        for row in side.rows("SELECT name, state FROM tb_copy", &[]).await? {
            let (name, state) = (text(&row, 0), text(&row, 1));
            let unreadable =
                |error| DbError::Sql(format!("the row {name:?} of tb_copy cannot be read: {error}"));
            if name == WHOLE {
                whole = Some(serde_json::from_str(&state).map_err(unreadable)?);
            } else {
                tables.insert(name.clone(), serde_json::from_str(&state).map_err(unreadable)?);
            }
        }
        let whole = whole.ok_or_else(|| DbError::Sql("tb_copy tells of no copy".to_owned()))?;
        Ok(Some(State { whole, tables }))
    }

    /// Starts a copy to an empty target.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn begin(side: &Side, source: String) -> Result<State, DbError> {
        let whole = Whole { source, stage: Stage::Schema, derived: Vec::new() };
        let mut batch = BatchWriter::default();
        batch.push(CREATE, [], Expect::Any);
        push_insert(&mut batch, WHOLE, &whole);
        side.apply(batch, Vec::new()).await?;
        Ok(State { whole, tables: BTreeMap::new() })
    }

    /// Adds statements to a batch that store the initial progress of these tables.
    pub fn push_tables(batch: &mut BatchWriter, tables: &BTreeMap<String, Progress>) {
        tables.iter().for_each(|(name, progress)| push_insert(batch, name, progress));
    }

    /// Adds a statement to a batch that updates the copy as a whole to `next`.
    pub fn push_whole(&self, batch: &mut BatchWriter, next: &Whole) {
        push_update(batch, WHOLE, &self.whole, next);
    }

    /// Adds a statement to a batch that deletes the state.
    pub fn push_end(batch: &mut BatchWriter) {
        batch.push(DROP, [], Expect::Any);
    }
}

/// Adds a statement to a batch that updates a table from `now` to `next`. The batch fails if another process has
/// updated it.
pub fn push_progress(batch: &mut BatchWriter, table: &str, now: &Progress, next: &Progress) {
    push_update(batch, table, now, next);
}

/// Names the cause if a batch failed because another process changed the state.
pub fn explain(table: &str, error: DbError, update_at: usize) -> CopyError {
    match error {
        DbError::Condition { statement, .. } if statement == update_at => {
            CopyError::TwoCopies(table.to_owned())
        }
        other => other.into(),
    }
}

fn written(state: &impl Serialize) -> String {
    serde_json::to_string(state).expect("the state is plain data")
}

fn push_insert(batch: &mut BatchWriter, name: &str, state: &impl Serialize) {
    batch.push(INSERT, [ValueRef::Text(name), ValueRef::Text(&written(state))], Expect::Exactly(1));
}

fn push_update(batch: &mut BatchWriter, name: &str, now: &impl Serialize, next: &impl Serialize) {
    let (now, next) = (written(now), written(next));
    let params = [ValueRef::Text(name), ValueRef::Text(&next), ValueRef::Text(&now)];
    batch.push(UPDATE, params, Expect::Exactly(1));
}
