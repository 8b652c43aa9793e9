//! How far a copy has come: the table `tb_copy` in the target, written in the same batch as the rows it tells of. It is
//! there while the copy is unfinished, and goes with its end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{CopyError, side::Side, tables};
use crate::{db::DbError, sql::text};

/// The table.
pub const TABLE: &str = "tb_copy";

/// The row of the copy as a whole; no table is called so.
const WHOLE: &str = "";

const CREATE: &str = "CREATE TABLE tb_copy (name TEXT PRIMARY KEY NOT NULL, state TEXT NOT NULL)";
const INSERT: &str = "INSERT INTO tb_copy (name, state) VALUES (?1, ?2)";
const UPDATE: &str = "UPDATE tb_copy SET state = ?2 WHERE name = ?1 AND state = ?3";
const DROP: &str = "DROP TABLE tb_copy";

/// What is left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The target's tables are made.
    Schema,
    /// The rows of all tables that migrations make are copied.
    Rows,
    /// The rows of the tables that extensions made while they ran are copied, and those tables finished.
    Made,
    /// Everything is there, to be held against the source.
    Verify,
}

/// The copy as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Tells the source, and the form of its tables, from others.
    pub source: String,
    /// What is left to do.
    pub stage: Stage,
    /// Tables that an extension makes again from others, so that they are not held against the source.
    pub derived: Vec<String>,
}

/// The copy of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Rows that are copied.
    pub rows: u64,
    /// The key of the last of them, packed and in hex; empty before the first.
    pub last_key: String,
    /// Whether all are.
    pub copied: bool,
    /// Whether the target's migrations filled it, so that its rows are replaced.
    pub seeded: bool,
    /// The extension that says how it is made, in whose name it is finished.
    pub extension: Option<String>,
    /// The statements that finish it once every table is copied.
    pub finish: Vec<String>,
    /// Whether these have run.
    pub finished: bool,
}

/// The state of a copy, as the target holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The copy as a whole.
    pub whole: Whole,
    /// Each table that is copied.
    pub tables: BTreeMap<String, Progress>,
}

impl State {
    /// The state that a target holds; none where no copy was begun to it.
    ///
    /// # Errors
    /// Those of the database, and what of it cannot be read.
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

    /// Begins a copy to an empty target.
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

    /// Adds to a batch that these tables are to be copied.
    pub fn push_tables(batch: &mut BatchWriter, tables: &BTreeMap<String, Progress>) {
        tables.iter().for_each(|(name, progress)| push_insert(batch, name, progress));
    }

    /// Adds to a batch that the copy as a whole has come to `next`.
    pub fn push_whole(&self, batch: &mut BatchWriter, next: &Whole) {
        push_update(batch, WHOLE, &self.whole, next);
    }

    /// Adds the end of the record to a batch.
    pub fn push_end(batch: &mut BatchWriter) {
        batch.push(DROP, [], Expect::Any);
    }
}

/// Adds to a batch that a table has come from `now` to `next`. It fails as a whole where somebody else has taken it
/// further.
pub fn push_progress(batch: &mut BatchWriter, table: &str, now: &Progress, next: &Progress) {
    push_update(batch, table, now, next);
}

/// Names the cause where a batch failed because the state was not as this process left it.
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
