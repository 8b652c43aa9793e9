//! Records when each application token was last used, at most once a minute per token and outside the request path. It
//! never decides whether a token works.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::sync::Cache;
use tinybase_abi::codec::BatchWriter;

use super::statements;
use crate::sql::HostSql;

/// The minimum number of seconds between two writes for one token.
const WRITE_EVERY_SECONDS: u64 = 60;

/// The number of tokens whose last write is remembered. A forgotten token is only written earlier than necessary.
const REMEMBERED_MAX: usize = 4096;

/// The time of the last write for each token, in seconds since 1970.
pub(in crate::accounts) struct Usage {
    sql: HostSql,
    written: Cache<Arc<str>, Arc<AtomicU64>>,
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Usage({} tokens)", self.written.len())
    }
}

impl Usage {
    pub(in crate::accounts) fn new(sql: HostSql) -> Usage {
        Usage { sql, written: Cache::new(REMEMBERED_MAX) }
    }

    /// Records that the token is used now. Costs one lookup, and once a minute also a task that writes.
    pub(in crate::accounts) fn note(&self, token_id: &Arc<str>, now_seconds: u64) {
        if !self.is_due(token_id, now_seconds) {
            return;
        }
        let (sql, token_id) = (self.sql.clone(), Arc::clone(token_id));
        tokio::spawn(async move {
            let mut batch = BatchWriter::default();
            statements::used(&mut batch, &token_id);
            if let Err(error) = sql.apply(batch).await {
                tracing::warn!(
                    token_id = &*token_id,
                    "the use of an application token was not written down: {error}"
                );
            }
        });
    }

    fn is_due(&self, token_id: &Arc<str>, now_seconds: u64) -> bool {
        let Some(written) = self.written.get(token_id) else {
            self.written.insert(Arc::clone(token_id), Arc::new(AtomicU64::new(now_seconds)));
            return true;
        };
        let last = written.load(Ordering::Relaxed);
        let is_over = now_seconds.saturating_sub(last) >= WRITE_EVERY_SECONDS;
        // Of concurrent requests, only one writes.
        is_over && written.compare_exchange(last, now_seconds, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
