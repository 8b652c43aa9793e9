//! The audit log: who did what to which thing, when, from where, with the change. An extension adds to it and never
//! reads it.

use serde::Serialize;
use serde_json::{Value as Json, json};
use tinybase_abi::interfaces::audit::Client;

use crate::{Error, Request, Result, database::Batch};

/// The audit log. The host writes the extension's name before every action: `create` of the extension `notes` becomes
/// `notes.create`.
#[derive(Clone, Copy)]
pub struct Audit {
    client: Client,
}

/// An entry: what was done to which thing, and for whom.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    action: String,
    target_kind: String,
    target_id: String,
    change: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Json>,
}

impl Entry {
    /// What was done (`create`: lower-case words with `.` between them), to what kind of thing (`note`), and to which,
    /// by its id or name. It is done by the extension itself, or by whoever runs its command.
    pub fn new(
        action: impl Into<String>,
        target_kind: impl Into<String>,
        target_id: impl Into<String>,
    ) -> Entry {
        Entry {
            action: action.into(),
            target_kind: target_kind.into(),
            target_id: target_id.into(),
            change: json!({}),
            request: None,
        }
    }

    /// It is done for the caller of this request.
    #[must_use]
    pub fn by(mut self, request: &Request) -> Entry {
        let caller = request.caller().map(|caller| {
            json!({"user_id": caller.user_id(), "email": caller.email(), "token_id": caller.token_id()})
        });
        self.request = Some(json!({
            "caller": caller,
            "address": request.client_address(),
            "request_id": request.request_id(),
        }));
        self
    }

    /// The change: an object, by convention of field → `{"from", "to"}`. Never put a secret in it. What is longer than
    /// 64 KiB is cut.
    #[must_use]
    pub fn with_change(mut self, change: Json) -> Entry {
        self.change = change;
        self
    }

    fn pack(&self) -> Result<tinybase_abi::bytes::Bytes> {
        let packed = serde_json::to_vec(self)
            .map_err(|error| Error::internal("audit_entry_invalid", error.to_string()))?;
        Ok(packed.into())
    }
}

impl Audit {
    pub(crate) fn new(client: Client) -> Audit {
        Audit { client }
    }

    /// A batch that stands for the entry. Append it to the batch that makes the change: entry and change commit
    /// together, or neither does. It works once, within a minute. What a hook
    /// before another's change adds may hold it too.
    pub async fn entry(&self, entry: &Entry) -> Result<Batch> {
        Batch::from_packed(&self.client.entry(entry.pack()?).await.into_result()?)
    }

    /// Writes an entry down by itself, for what is no change of the database.
    pub async fn record(&self, entry: &Entry) -> Result<()> {
        Ok(self.client.record(entry.pack()?).await.into_result()?)
    }
}
