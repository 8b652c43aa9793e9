//! The database for plugins: runs statements in the plugin's scope and maps errors to codes.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, guard, ready},
    interfaces::database,
};

use super::{OpenTransaction, PluginHost};
use crate::{
    db::{DbError, DbFuture, Engine, Query, ReadHint},
    isolation::threads,
    memory::Share,
};

/// The maximum number of open transactions per plugin. Each keeps every other writer waiting.
const TRANSACTIONS_MAX: usize = 64;

/// The minimum size of results that count toward the memory limit, in bytes.
const COUNTED_BYTES_MIN: usize = 64 << 10;

/// Converts a database error into one for plugins. The codes are [`DbError::code`].
pub fn raw_error(error: &DbError) -> RawError {
    let (status, retryable) = match error {
        DbError::Unique { .. } | DbError::ForeignKey | DbError::Condition { .. } => (409, false),
        DbError::Constraint(_) => (400, false),
        DbError::Timeout(_) => (504, true),
        DbError::DiskFull(_) => (507, true),
        DbError::FileReplaced(_) => (503, false),
        DbError::InvalidValue(_) => (422, false),
        DbError::Busy
        | DbError::NoRoom
        | DbError::Closed(_)
        | DbError::Unavailable(_)
        | DbError::SchemaChanged(_) => (503, true),
        DbError::TooLarge { .. } => (413, false),
        DbError::Denied { .. } | DbError::TooDeep(_) | DbError::Sql(_) | DbError::Codec(_) => (500, false),
    };
    let details = match error {
        DbError::Unique { table, columns } => json!({"table": table, "columns": columns}).to_string(),
        DbError::Condition { statement, affected } => {
            json!({"statement": statement, "affected": affected}).to_string()
        }
        DbError::Denied { table, .. } => json!({"table": table}).to_string(),
        _ => String::new(),
    };
    let mut raw = RawError::with_details(status, error.code(), &error.to_string(), &details);
    raw.retryable = retryable.into();
    raw
}

fn packed(answer: DbFuture<Vec<u8>>) -> RawFuture<Bytes> {
    match answer {
        DbFuture::Ready(result) => {
            let result = result.expect("an answer is taken once");
            ready(result.map(counted).map_err(|error| raw_error(&error)))
        }
        DbFuture::Later(future) => {
            guard(async { threads::displacing(future).await.map(counted).map_err(|error| raw_error(&error)) })
        }
    }
}

/// Wraps bytes passed to a plugin. Large ones count toward the memory limit for as long as the plugin keeps
/// them.
fn counted(bytes: Vec<u8>) -> Bytes {
    if bytes.len() < COUNTED_BYTES_MIN {
        return bytes.into();
    }
    let share = Share::forced_rows(bytes.capacity());
    Bytes::guarded(bytes, share)
}

impl PluginHost {
    fn transaction(&self, id: u64) -> Result<OpenTransaction, RawError> {
        self.transactions.lock().open.get(&id).cloned().ok_or_else(no_transaction)
    }
}

fn no_transaction() -> RawError {
    RawError::new(500, "no_such_transaction", "the transaction has ended already")
}

impl database::Server for PluginHost {
    fn engine(&self) -> u8 {
        match self.shared.database.engine() {
            Engine::Sqlite => 0,
            Engine::Postgres => 1,
        }
    }

    fn query(&self, sql: &str, params: &[u8], hint: u8, deadline_ms: u32) -> RawFuture<Bytes> {
        let _host = threads::in_host();
        packed(self.shared.database.query(Query {
            scope: &self.scope,
            sql,
            params,
            hint: match hint {
                0 => ReadHint::Indexed,
                2 => ReadHint::PointLookup,
                _ => ReadHint::Scan,
            },
            deadline: (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms.into())),
        }))
    }

    fn apply(&self, batch: Bytes) -> RawFuture<Bytes> {
        let _host = threads::in_host();
        packed(self.shared.database.apply(&self.scope, batch.into_vec()))
    }

    fn begin(&self, deadline_ms: u32) -> RawFuture<u64> {
        if self.transactions.lock().open.len() >= TRANSACTIONS_MAX {
            let message = format!("the plugin has {TRANSACTIONS_MAX} transactions open already");
            return ready(Err(RawError::new(503, "too_many_transactions", message)));
        }
        let begun = self.shared.database.begin(&self.scope, Duration::from_millis(deadline_ms.into()));
        let keep = self.keeper();
        guard(async move { Ok(keep(begun.await.map_err(|error| raw_error(&error))?)) })
    }

    fn transaction_query(&self, transaction: u64, sql: &str, params: &[u8]) -> RawFuture<Bytes> {
        let (open, sql, params) = (self.transaction(transaction), sql.to_owned(), params.to_owned());
        guard(async move {
            let open = open?;
            let mut open = open.lock().await;
            let rows = open.as_mut().ok_or_else(no_transaction)?.query(sql, params).await;
            rows.map(counted).map_err(|error| raw_error(&error))
        })
    }

    fn transaction_apply(&self, transaction: u64, batch: Bytes) -> RawFuture<Bytes> {
        let open = self.transaction(transaction);
        guard(async move {
            let open = open?;
            let mut open = open.lock().await;
            let applied = open.as_mut().ok_or_else(no_transaction)?.apply(batch.into_vec()).await;
            applied.map(counted).map_err(|error| raw_error(&error))
        })
    }

    fn transaction_end(&self, transaction: u64, commit: bool) -> RawFuture<()> {
        let open = self.transactions.lock().open.remove(&transaction);
        guard(async move {
            let open = open.ok_or_else(no_transaction)?;
            let ended = open.lock().await.take().ok_or_else(no_transaction)?;
            let ended = if commit { ended.commit() } else { ended.rollback() };
            ended.await.map_err(|error| raw_error(&error))
        })
    }

    fn transaction_abandon(&self, transaction: u64) {
        // Dropping it rolls it back. If one of its calls is in progress, this happens when that call ends.
        self.transactions.lock().open.remove(&transaction);
        threads::displace_inside();
    }

    fn foreign_changes(&self) -> u64 {
        self.shared.database.external_change_count()
    }
}

impl PluginHost {
    /// Returns a function that stores a transaction under a new number.
    fn keeper(&self) -> impl FnOnce(Box<dyn crate::db::Transaction>) -> u64 + Send + 'static {
        let transactions = Arc::clone(&self.transactions);
        move |transaction| {
            let mut transactions = transactions.lock();
            transactions.next += 1;
            let id = transactions.next;
            transactions.open.insert(id, Arc::new(tokio::sync::Mutex::new(Some(transaction))));
            id
        }
    }
}
