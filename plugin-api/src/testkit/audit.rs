//! The audit log of the test host. An entry waits for the change it belongs to, and is kept once the change is
//! applied.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value as Json;
use tinybase_abi::{
    bytes::Bytes,
    codec::{BatchWriter, split_tickets},
    error::RawError,
    future::{RawFuture, ready},
    interfaces::audit,
};

use super::{clock::lock, services::Services};

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditEntry {
    /// The action, prefixed with the extension's name.
    pub action: String,
    /// The kind of the target.
    pub target_kind: String,
    /// The id or name of the target.
    pub target_id: String,
    /// The change.
    pub change: Json,
    /// The request that caused it, if any: `{"caller", "address", "request_id"}`.
    #[serde(default)]
    pub request: Option<Json>,
}

impl AuditEntry {
    /// Returns the id of the user for whom the action was done.
    pub fn user_id(&self) -> Option<&str> {
        self.request.as_ref()?["caller"]["user_id"].as_str()
    }
}

/// The entries in the log, and those that wait for their change.
#[derive(Default)]
pub(super) struct AuditLog {
    issued: u64,
    waiting: HashMap<u64, AuditEntry>,
    /// The entries of the open transaction.
    uncommitted: Vec<AuditEntry>,
    pub(super) kept: Vec<AuditEntry>,
}

fn invalid(problem: impl AsRef<str>) -> RawError {
    RawError::new(500, "audit_entry_invalid", problem)
}

impl Services {
    fn audit_entry(&self, entry: &[u8]) -> Result<AuditEntry, RawError> {
        let mut entry: AuditEntry =
            serde_json::from_slice(entry).map_err(|error| invalid(error.to_string()))?;
        let is_word = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_lowercase())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte))
        };
        if let Some(odd) = [&entry.action, &entry.target_kind].into_iter().find(|word| !is_word(word)) {
            return Err(invalid(format!("{odd:?} must be lower-case letters, digits, _ and .")));
        }
        if !entry.change.is_object() {
            return Err(invalid("the change must be an object"));
        }
        entry.action = format!("{}.{}", self.manifest.name, entry.action);
        Ok(entry)
    }

    /// Applies a batch, with the entries that its tickets represent.
    pub(super) fn apply(&self, transaction: Option<u64>, batch: &[u8]) -> Result<Vec<u8>, RawError> {
        let (batch, tickets) =
            split_tickets(batch).map_err(|error| RawError::new(500, "db_codec", error.to_string()))?;
        let entries: Option<Vec<_>> = {
            let mut log = lock(&self.audit);
            tickets.iter().map(|ticket| log.waiting.remove(ticket)).collect()
        };
        let entries = entries.ok_or_else(|| invalid("an entry was applied already"))?;
        let applied = self.database.apply(transaction, &batch)?;
        let mut log = lock(&self.audit);
        match transaction {
            Some(_) => log.uncommitted.extend(entries),
            None => log.kept.extend(entries),
        }
        Ok(applied)
    }

    /// Ends a transaction, and keeps or drops its entries.
    pub(super) fn end_transaction(&self, transaction: u64, commit: bool) -> Result<(), RawError> {
        let ended = self.database.end(transaction, commit);
        let mut log = lock(&self.audit);
        let entries = std::mem::take(&mut log.uncommitted);
        if commit && ended.is_ok() {
            log.kept.extend(entries);
        }
        ended
    }
}

impl audit::Server for Services {
    fn entry(&self, entry: Bytes) -> RawFuture<Bytes> {
        ready(self.audit_entry(&entry).map(|entry| {
            let mut log = lock(&self.audit);
            log.issued += 1;
            let ticket = log.issued;
            log.waiting.insert(ticket, entry);
            let mut batch = BatchWriter::default();
            batch.push_ticket(ticket);
            batch.finish().into()
        }))
    }

    fn record(&self, entry: Bytes) -> RawFuture<()> {
        ready(self.audit_entry(&entry).map(|entry| lock(&self.audit).kept.push(entry)))
    }
}
