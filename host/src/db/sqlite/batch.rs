//! Applies one packed batch on the writer's connection, atomically. It neither begins nor commits a transaction.

use std::time::Duration;

use tinybase_abi::codec::{BatchResultWriter, Expect, Reader};

use super::connection::{SqliteConnection, looks_like_script};
use crate::db::{DbError, ScopedBatch, SqlOwner};

/// The outcome of a batch.
pub(super) enum Outcome {
    /// It was applied, or it was refused and fully undone.
    Answered(Result<Vec<u8>, DbError>),
    /// It failed in a way that spoiled the enclosing transaction. That must be rolled back, and its other batches
    /// applied again.
    TransactionAborted(DbError),
}

/// A batch together with its attached batches.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) scope: &'a SqlOwner,
    pub(super) packed: &'a [u8],
    pub(super) attached: &'a [ScopedBatch],
}

impl Parts<'_> {
    /// Returns the number of statements that the buffers declare.
    pub(super) fn statements(&self) -> u64 {
        let packed =
            std::iter::once(self.packed).chain(self.attached.iter().map(|(_, packed)| packed.as_slice()));
        packed.map(|packed| u64::from(Reader::new(packed).u32().unwrap_or(0))).sum()
    }
}

/// How a batch that fails part way is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undo {
    /// With a savepoint around it, so that the transaction goes on without it. SQLite keeps the old pages of a
    /// savepoint in a list and walks it after each statement: the cost grows with the square of a batch's length.
    Savepoint,
    /// With a rollback of the transaction; its other batches are applied again. It costs nothing unless a batch fails.
    Transaction,
}

/// Applies all parts within the open transaction of `link`.
pub(super) fn apply(
    link: &mut SqliteConnection,
    parts: &Parts<'_>,
    now: &str,
    time_max: Duration,
    undo: Undo,
) -> Outcome {
    let mut head = Reader::new(parts.packed);
    let parsed = head.u32().and_then(|count| Ok((count, head.clone().statement()?)));
    let (is_alone, first) = match parsed {
        Ok((count, first)) => (count == 1 && first.expect == Expect::Any, first.sql),
        // An empty batch succeeds without doing anything.
        Err(_) if parts.packed == [0; 4] => (true, ""),
        Err(error) => return Outcome::Answered(Err(error.into())),
    };
    let is_undone_by_itself = is_alone && parts.attached.is_empty() && changes_rows_alone(first);
    if undo == Undo::Transaction || is_undone_by_itself {
        return apply_bare(link, parts, now, time_max, changes_rows_alone(first));
    }
    if let Err(error) = link.engine("SAVEPOINT job") {
        return Outcome::TransactionAborted(link.guard.explain(error));
    }
    let result = run_parts(link, parts, now, time_max, &mut 0);
    link.take_must_undo();
    if link.connection.is_autocommit() {
        return Outcome::TransactionAborted(result.err().unwrap_or_else(transaction_lost));
    }
    let undone = match result {
        Ok(_) => link.engine("RELEASE job"),
        Err(_) => link.engine("ROLLBACK TO job").and_then(|()| link.engine("RELEASE job")),
    };
    match undone {
        Ok(()) => Outcome::Answered(result),
        Err(error) => Outcome::TransactionAborted(link.guard.explain(error)),
    }
}

/// Applies all parts without a savepoint. SQLite undoes a statement that fails, so a batch whose first statement was
/// refused has changed nothing, unless the count of changes shows that it did (`OR FAIL`, too many rows to return, or
/// more affected rows than expected). Such a change spoils the transaction, as that of any earlier statement does.
fn apply_bare(
    link: &mut SqliteConnection,
    parts: &Parts<'_>,
    now: &str,
    time_max: Duration,
    first_is_counted: bool,
) -> Outcome {
    let changes_before = link.connection.total_changes();
    let mut begun = 0;
    match run_parts(link, parts, now, time_max, &mut begun) {
        Ok(result) if !link.connection.is_autocommit() => Outcome::Answered(Ok(result)),
        Ok(_) => Outcome::TransactionAborted(transaction_lost()),
        Err(error) => {
            let nothing_left = begun <= 1
                && first_is_counted
                && !link.take_must_undo()
                && link.connection.total_changes() == changes_before;
            link.take_must_undo();
            if nothing_left && !link.connection.is_autocommit() {
                Outcome::Answered(Err(error))
            } else {
                Outcome::TransactionAborted(error)
            }
        }
    }
}

/// Whether the text is one statement that changes rows, which SQLite counts; it does not count schema changes. A false
/// negative only makes the undo more expensive.
fn changes_rows_alone(sql: &str) -> bool {
    let word = sql.trim_start().split(|char: char| !char.is_ascii_alphabetic()).next().unwrap_or_default();
    let known = ["INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "SELECT"];
    sql.is_empty() || (known.iter().any(|known| word.eq_ignore_ascii_case(known)) && !looks_like_script(sql))
}

fn transaction_lost() -> DbError {
    DbError::Sql("the statement ended the transaction it ran in".to_owned())
}

/// `begun` is incremented as each statement begins.
fn run_parts(
    link: &mut SqliteConnection,
    parts: &Parts<'_>,
    now: &str,
    time_max: Duration,
    begun: &mut usize,
) -> Result<Vec<u8>, DbError> {
    let result = run_statements(link, parts.scope, parts.packed, now, time_max, begun)?;
    for (scope, packed) in parts.attached {
        run_statements(link, scope, packed, now, time_max, begun)?;
    }
    Ok(result)
}

fn run_statements(
    link: &mut SqliteConnection,
    scope: &SqlOwner,
    packed: &[u8],
    now: &str,
    time_max: Duration,
    begun: &mut usize,
) -> Result<Vec<u8>, DbError> {
    let mut reader = Reader::new(packed);
    let mut result = BatchResultWriter::new(now);
    let (mut bytes, bytes_max) = (0, link.rows_bytes_max(scope));
    for position in 0..reader.u32()? as usize {
        *begun += 1;
        let head = reader.statement()?;
        let effect = link.execute(scope, head.sql, &mut reader, now, time_max)?;
        let met = match head.expect {
            Expect::Any => true,
            Expect::Exactly(rows) => effect.affected == rows,
            Expect::AtLeast(rows) => effect.affected >= rows,
        };
        if !met {
            return Err(DbError::Condition { statement: position, affected: effect.affected });
        }
        bytes += effect.rows.len();
        if bytes > bytes_max {
            return Err(DbError::TooLarge { bytes_max });
        }
        result.push(effect.affected, &effect.rows);
    }
    Ok(result.finish())
}
