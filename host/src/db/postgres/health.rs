//! Whether the server responds, as far as is known. While it is known not to, calls fail immediately instead of
//! waiting. Connections from before a loss are checked before they are used again. It makes no connection itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::db::DbError;

/// The state that all connections of a process share.
#[derive(Debug)]
pub(super) struct Health {
    is_up: AtomicBool,
    /// The number of losses; connections that were made at a lower number may be broken.
    losses: AtomicU64,
    /// Wakes the watcher of the server.
    doubt: Notify,
}

impl Health {
    pub(super) fn new() -> Health {
        Health { is_up: AtomicBool::new(true), losses: AtomicU64::new(0), doubt: Notify::new() }
    }

    /// Returns how often the server was lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Acquire)
    }

    /// Notes that a connection broke, and that the others are suspect.
    pub(super) fn doubt(&self) {
        self.losses.fetch_add(1, Ordering::AcqRel);
        self.doubt.notify_one();
    }

    /// Waits for the next doubt.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    pub(super) fn set_up(&self) {
        if !self.is_up.swap(true, Ordering::AcqRel) {
            tracing::info!("PostgreSQL answers again");
        }
    }

    pub(super) fn set_down(&self, cause: &dyn std::fmt::Display) {
        if self.is_up.swap(false, Ordering::AcqRel) {
            self.losses.fetch_add(1, Ordering::AcqRel);
            tracing::warn!(%cause, "PostgreSQL does not answer; requests that need it are refused until it does");
        }
    }

    /// Refuses if the server is known not to respond.
    pub(super) fn check(&self) -> Result<(), DbError> {
        if self.is_up.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(DbError::Unavailable("the server does not answer".to_owned()))
    }
}
