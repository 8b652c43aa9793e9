//! The audit log: who did what to which object, when, from where, and what changed. An extension can add entries
//! but never reads them.

use serde::Serialize;
use serde_json::{Value as Json, json};
use tinybase_abi::interfaces::audit::Client;

use crate::{Error, Request, Result, database::Batch};

/// The audit log. The host prefixes every action with the extension's name: `create` of the extension `notes` becomes
/// `notes.create`.
#[derive(Clone, Copy)]
pub struct Audit {
    client: Client,
}

/// An audit entry: an action, its target, and its caller.
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
    /// Creates an entry. `action` is what was done (such as `create`: lower-case words separated by `.`),
    /// `target_kind` the kind of object (such as `note`), and `target_id` its id or name. Without [`Entry::by`], the
    /// actor is the extension itself, or the person who runs its command.
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

    /// Sets the caller of this request as the actor.
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

    /// Sets the change: an object, by convention of field → `{"from", "to"}`. Never include secrets. A change longer
    /// than 64 KiB is truncated.
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

    /// Returns a batch that represents the entry. Append it to the batch that makes the change: both are committed,
    /// or neither is. It can be used once, within a minute. The statements that a hook adds to another extension's
    /// change may include it too.
    pub async fn entry(&self, entry: &Entry) -> Result<Batch> {
        Batch::from_packed(&self.client.entry(entry.pack()?).await.into_result()?)
    }

    /// Writes a single entry, for an action that changes nothing in the database.
    pub async fn record(&self, entry: &Entry) -> Result<()> {
        Ok(self.client.record(entry.pack()?).await.into_result()?)
    }
}
