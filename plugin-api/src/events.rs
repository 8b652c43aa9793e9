//! Events between extensions, brokered by the host.
//!
//! Hooks run in order before an event. Each may change the payload, reject the event with an error, or add statements
//! that commit with the change. Listeners are notified after the commit.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value as Json;
use tinybase_abi::{
    bytes::Bytes,
    interfaces::{Outcome, TopicRef, events},
};

use crate::{Error, Result, database::Batch};

/// An event as delivered to a listener.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened, such as `record.create`.
    pub topic: String,
    /// The subject of the event, such as a collection's name.
    pub subject: String,
    /// The topic's data, as described in its documentation.
    pub payload: Json,
}

impl Event {
    /// Parses the payload into this shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.payload).map_err(|error| {
            Error::internal("event_shape", format!("{}: the payload is not as expected: {error}", self.topic))
        })
    }
}

/// What a hook returns for an event.
#[derive(Debug, Default)]
pub struct HookOutcome {
    payload: Option<Json>,
    statements: Batch,
}

impl HookOutcome {
    /// Accepts the event unchanged.
    pub fn accept() -> HookOutcome {
        HookOutcome::default()
    }

    /// Accepts the event with another payload.
    #[must_use]
    pub fn with_payload(mut self, payload: Json) -> HookOutcome {
        self.payload = Some(payload);
        self
    }

    /// Adds statements that commit with the change, or fail with it.
    #[must_use]
    pub fn with_statements(mut self, statements: Batch) -> HookOutcome {
        self.statements = statements;
        self
    }

    pub(crate) fn into_raw(self) -> Outcome {
        Outcome {
            payload: self.payload.map_or(Bytes::empty(), |payload| Bytes::from(payload.to_string())),
            statements: if self.statements.is_empty() {
                Bytes::empty()
            } else {
                self.statements.finish().into()
            },
        }
    }
}

/// A topic that an extension emits.
#[derive(Clone, Copy)]
pub struct Topic {
    client: events::Client,
    name: &'static str,
    listeners: TopicRef,
}

/// What the hooks returned for an event that this extension emits.
#[derive(Debug, Default)]
pub struct HookResult {
    /// The new payload, if a hook changed it.
    pub payload: Option<Json>,
    /// Statements to apply together with the change.
    pub statements: Batch,
}

impl Topic {
    pub(crate) fn new(client: events::Client, name: &'static str) -> Topic {
        Topic { client, name, listeners: client.topic(name) }
    }

    /// Returns whether there are hooks before events of this topic, or durable listeners, whose events are stored
    /// with the change. Costs one atomic load.
    #[inline]
    pub fn has_before(&self) -> bool {
        self.listeners.0.has_before()
    }

    /// Returns whether there are listeners after events of this topic. Costs one atomic load.
    #[inline]
    pub fn has_after(&self) -> bool {
        self.listeners.0.has_after()
    }

    /// Runs the hooks before an event. An error means that a hook rejected it; make no change then. Never call it
    /// within a transaction.
    pub async fn before(&self, subject: &str, payload: &impl Serialize) -> Result<HookResult> {
        if !self.has_before() {
            return Ok(HookResult::default());
        }
        let outcome = self.client.before(self.name, subject, self.pack(payload)?).await.into_result()?;
        let payload = match &*outcome.payload {
            [] => None,
            payload => Some(serde_json::from_slice(payload).map_err(|error| {
                Error::internal("event_shape", format!("a hook made no JSON of {}: {error}", self.name))
            })?),
        };
        Ok(HookResult { payload, statements: Batch::from_packed(&outcome.statements)? })
    }

    /// Notifies the listeners that an event was committed. Returns without waiting for them.
    pub fn after(&self, subject: &str, payload: &impl Serialize) -> Result<()> {
        if self.has_after() {
            self.client.after(self.name, subject, self.pack(payload)?);
        }
        Ok(())
    }

    fn pack(&self, payload: &impl Serialize) -> Result<Bytes> {
        let packed = serde_json::to_vec(payload)
            .map_err(|error| Error::internal("event_shape", format!("{}: {error}", self.name)))?;
        Ok(packed.into())
    }
}
