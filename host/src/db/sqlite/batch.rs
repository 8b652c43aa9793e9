//! Applies one packed batch on the writer's connection: all of it or nothing. It begins and commits no transaction.

use std::time::Duration;

use tinybase_abi::codec::{BatchResultWriter, Expect, Reader};

use super::link::Link;
use crate::db::{Attached, DbError, Scope};

/// What became of a batch.
pub(super) enum Outcome {
    /// It was applied, or refused and wholly undone.
    Answered(Result<Vec<u8>, DbError>),
    /// It failed in a way that spoiled the transaction around it: that one must be rolled back, and whatever else it
    /// held applied anew.
    Spoiled(DbError),
}

/// A batch with what is attached to it.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) scope: &'a Scope,
    pub(super) packed: &'a [u8],
    pub(super) attached: &'a [Attached],
}

/// Applies all parts within the transaction that is open on `link`.
pub(super) fn apply(link: &mut Link, parts: &Parts<'_>, now: &str, time_max: Duration) -> Outcome {
    let Parts { scope, packed, attached } = *parts;
    let mut head = Reader::new(packed);
    let parsed = head.u32().and_then(|count| Ok((count, head.clone().statement()?.expect)));
    let alone = match parsed {
        Ok((count, expect)) => count == 1 && expect == Expect::Any,
        // A batch without statements is applied by doing nothing.
        Err(_) if packed == [0; 4] => true,
        Err(error) => return Outcome::Answered(Err(error.into())),
    };
    if alone && attached.is_empty() {
        return apply_alone(link, scope, packed, now, time_max);
    }
    if let Err(error) = link.engine("SAVEPOINT job") {
        return Outcome::Spoiled(link.guard.explain(error));
    }
    let result = run_parts(link, parts, now, time_max);
    link.take_must_undo();
    if link.connection.is_autocommit() {
        return Outcome::Spoiled(result.err().unwrap_or_else(transaction_lost));
    }
    let undone = match result {
        Ok(_) => link.engine("RELEASE job"),
        Err(_) => link.engine("ROLLBACK TO job").and_then(|()| link.engine("RELEASE job")),
    };
    match undone {
        Ok(()) => Outcome::Answered(result),
        Err(error) => Outcome::Spoiled(link.guard.explain(error)),
    }
}

/// A single statement needs no savepoint: SQLite undoes a statement that fails. Where one did not (`OR FAIL`, or rows
/// that were too many to return), the change it left behind spoils the transaction.
fn apply_alone(link: &mut Link, scope: &Scope, packed: &[u8], now: &str, time_max: Duration) -> Outcome {
    let changes_before = link.connection.total_changes();
    match run_statements(link, scope, packed, now, time_max) {
        Ok(result) if !link.connection.is_autocommit() => Outcome::Answered(Ok(result)),
        Ok(_) => Outcome::Spoiled(transaction_lost()),
        Err(error) => {
            let left_behind = link.take_must_undo() || link.connection.total_changes() != changes_before;
            if left_behind || link.connection.is_autocommit() {
                Outcome::Spoiled(error)
            } else {
                Outcome::Answered(Err(error))
            }
        }
    }
}

fn transaction_lost() -> DbError {
    DbError::Sql("the statement ended the transaction it ran in".to_owned())
}

fn run_parts(link: &mut Link, parts: &Parts<'_>, now: &str, time_max: Duration) -> Result<Vec<u8>, DbError> {
    let result = run_statements(link, parts.scope, parts.packed, now, time_max)?;
    for (scope, packed) in parts.attached {
        run_statements(link, scope, packed, now, time_max)?;
    }
    Ok(result)
}

fn run_statements(
    link: &mut Link,
    scope: &Scope,
    packed: &[u8],
    now: &str,
    time_max: Duration,
) -> Result<Vec<u8>, DbError> {
    let mut reader = Reader::new(packed);
    let mut result = BatchResultWriter::new(now);
    let (mut bytes, bytes_max) = (0, link.rows_bytes_max(scope));
    for position in 0..reader.u32()? as usize {
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
