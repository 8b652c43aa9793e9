//! From an event to deliveries: one row a hook that hears of it. An event that is told twice is queued once, since a hook
//! has one delivery of each event.

use serde::Deserialize;
use tinybase_plugin_api::prelude::*;
use uuid::Uuid;

use crate::{Webhooks, hook::Hook, settings::Settings, time::Moment};

/// What is heard of; the subject is the collection's name.
pub(crate) const TOPICS: [&str; 3] = ["record.create", "record.update", "record.delete"];

const INSERT: &str = "INSERT INTO webhooks_deliveries (id, hook_id, event_id, event_type, payload, state, attempts, \
                      next_attempt_at, created_at) \
                      SELECT ?1, id, ?2, ?3, ?4, 'pending', 0, ?5, ?5 FROM webhooks_hooks WHERE id = ?6 \
                      ON CONFLICT (hook_id, event_id) DO NOTHING";

/// An event of the collections extension.
#[derive(Debug, Deserialize)]
struct Change {
    event_id: String,
    id: String,
    owner_id: Option<String>,
    #[serde(default)]
    record: Json,
    #[serde(default)]
    previous: Json,
}

/// What is delivered.
pub(crate) struct Message<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) data: Json,
}

impl Message<'_> {
    /// The body, the same for every try.
    fn body(&self, now: Moment) -> String {
        json!({"type": self.event_type, "timestamp": now.text(), "data": self.data}).to_string()
    }
}

/// The statement that queues a message for a hook; answers the delivery's id as well.
pub(crate) fn push(
    batch: &mut Batch,
    hook_id: &str,
    message: &Message<'_>,
    body: &str,
    now: Moment,
) -> String {
    let (id, now) = (Uuid::now_v7().to_string(), now.text());
    let params = params![id.as_str(), message.event_id, message.event_type, body, now, hook_id];
    batch.push(INSERT, params);
    id
}

impl Change {
    /// The message for a hook: with the record where the hook wants it and it fits.
    fn message(
        &self,
        hook: &Hook,
        event: &Event,
        event_type: &'static str,
        bytes_max: usize,
        now: Moment,
    ) -> (Message<'_>, String) {
        let bare = json!({"collection": event.subject, "id": self.id, "owner_id": self.owner_id});
        let mut data = bare.clone();
        if hook.include_record {
            for (name, value) in [("record", &self.record), ("old", &self.previous)] {
                if !value.is_null() {
                    data[name] = value.clone();
                }
            }
        }
        let mut message = Message { event_id: &self.event_id, event_type, data };
        let mut body = message.body(now);
        if body.len() > bytes_max {
            message.data = bare;
            message.data["truncated"] = true.into();
            body = message.body(now);
        }
        (message, body)
    }
}

fn words(topic: &str) -> (&'static str, &'static str) {
    match topic {
        "record.create" => ("create", "record.created"),
        "record.update" => ("update", "record.updated"),
        _ => ("delete", "record.deleted"),
    }
}

impl Webhooks {
    /// Told at least once after each change.
    pub(crate) async fn hear(self: Arc<Self>, event: Event) -> Result<()> {
        let (word, event_type) = words(&event.topic);
        let mut hooks = self.hooks().await?;
        hooks.retain(|hook| hook.is_active && hook.hears(word, &event.subject));
        if hooks.is_empty() {
            return Ok(());
        }
        let change: Change = event.parse()?;
        let Settings { payload_bytes_max, .. } = self.settings().await?;
        let now = Moment::now(self.database).await?;
        let mut batch = Batch::default();
        for hook in &hooks {
            let (message, body) = change.message(hook, &event, event_type, payload_bytes_max, now);
            push(&mut batch, &hook.id, &message, &body, now);
        }
        self.database.apply(batch).await.map(|_| ())
    }

    /// Queues a message that says nothing, to see whether a hook's receiver takes it.
    pub(crate) async fn queue_test(&self, hook: &Hook) -> Result<String> {
        let now = Moment::now(self.database).await?;
        let event_id = Uuid::now_v7().to_string();
        let message =
            Message { event_id: &event_id, event_type: "webhook.test", data: json!({"hook_id": hook.id}) };
        let mut batch = Batch::default();
        let id = push(&mut batch, &hook.id, &message, &message.body(now), now);
        self.database.apply(batch).await?;
        Ok(id)
    }
}
