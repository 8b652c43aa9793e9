//! Queues deliveries for an event: one row for each hook that wants it. An event that arrives twice is queued once,
//! since a hook has one delivery per event.

use serde::Deserialize;
use tinybase_plugin_api::prelude::*;
use uuid::Uuid;

use crate::{
    Webhooks,
    access::{ReadPermission, RecordSnapshots},
    hook::Hook,
    settings::Settings,
    time::Moment,
};

/// The topics of the durable listener; the subject is the collection's name.
pub(crate) const TOPICS: [&str; 3] = ["record.create", "record.update", "record.delete"];

const INSERT: &str = "INSERT INTO webhooks_deliveries (id, hook_id, event_id, event_type, payload, state, attempts, \
                      next_attempt_at, created_at, judged) \
                      SELECT ?1, id, ?2, ?3, ?4, 'pending', 0, ?5, ?5, ?7 FROM webhooks_hooks WHERE id = ?6 \
                      ON CONFLICT (hook_id, event_id) DO NOTHING";

/// An event of the collections extension.
#[derive(Debug, Deserialize)]
struct Change {
    event_id: String,
    // Missing in an event that an older server stored.
    collection_id: Option<String>,
    id: String,
    owner_id: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    #[serde(default)]
    record: Json,
    #[serde(default)]
    previous: Json,
}

/// The message to deliver.
pub(crate) struct Message<'a> {
    pub(crate) event_id: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) data: Json,
}

impl Message<'_> {
    /// Returns the body, which is the same for every try.
    fn body(&self, now: Moment) -> String {
        json!({"type": self.event_type, "timestamp": now.text(), "data": self.data}).to_string()
    }
}

/// Appends the statement that queues a message for a hook. It returns the delivery's id.
pub(crate) fn push(
    batch: &mut Batch,
    hook_id: &str,
    message: &Message<'_>,
    (body, snapshots): (&str, Option<&RecordSnapshots>),
    now: Moment,
) -> String {
    let (id, now) = (Uuid::now_v7().to_string(), now.text());
    let snapshots = snapshots.map(RecordSnapshots::stored);
    let params = params![id.as_str(), message.event_id, message.event_type, body, now, hook_id, snapshots];
    batch.push(INSERT, params);
    id
}

impl Change {
    /// Returns the data that decides who may receive the change.
    fn snapshots(&self, collection: &str, now: Moment) -> RecordSnapshots {
        // The change itself sets the record's times, so an event sent with it does not contain them yet.
        let created_at = self.created_at.clone().unwrap_or_else(|| now.text());
        RecordSnapshots {
            collection: collection.to_owned(),
            collection_id: self.collection_id.clone(),
            id: self.id.clone(),
            owner_id: self.owner_id.clone(),
            updated_at: self.updated_at.clone().unwrap_or_else(|| now.text()),
            created_at,
            record: self.record.clone(),
            old: self.previous.clone(),
        }
    }

    /// Returns the message for a hook. It includes what the owner may read of the record, if the hook wants it and
    /// it fits.
    fn message(
        &self,
        hook: &Hook,
        event: &Event,
        event_type: &'static str,
        (permission, bytes_max): (ReadPermission, usize),
        now: Moment,
    ) -> (Message<'_>, String) {
        let bare = json!({"collection": event.subject, "id": self.id, "owner_id": self.owner_id});
        let mut data = bare.clone();
        if hook.include_record {
            for (name, value, is_permitted) in
                [("record", &self.record, permission.record), ("old", &self.previous, permission.old)]
            {
                if is_permitted && !value.is_null() {
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
    /// Queues a change for every hook that wants it. Called at least once after each change.
    pub(crate) async fn queue_change(self: Arc<Self>, event: Event) -> Result<()> {
        let (word, event_type) = words(&event.topic);
        let mut hooks = self.hooks().await?;
        hooks.retain(|hook| hook.is_active && hook.wants(word, &event.subject));
        if hooks.is_empty() {
            return Ok(());
        }
        let change: Change = event.parse()?;
        let Settings { payload_bytes_max, .. } = self.settings().await?;
        let now = Moment::now(self.database).await?;
        let snapshots = change.snapshots(&event.subject, now);
        let permissions = self.read_permissions(&hooks, &snapshots).await?;
        let mut batch = Batch::default();
        for (hook, permission) in hooks.iter().zip(permissions) {
            if !permission.any() {
                continue;
            }
            let permission = (permission, payload_bytes_max);
            let (message, body) = change.message(hook, &event, event_type, permission, now);
            let left_out = snapshots.without(&message.data);
            push(&mut batch, &hook.id, &message, (&body, Some(&left_out)), now);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.database.apply(batch).await.map(|_| ())
    }

    /// Queues a test message without data, to check whether a hook's receiver accepts it.
    pub(crate) async fn queue_test(&self, hook: &Hook) -> Result<String> {
        let now = Moment::now(self.database).await?;
        let event_id = Uuid::now_v7().to_string();
        let message =
            Message { event_id: &event_id, event_type: "webhook.test", data: json!({"hook_id": hook.id}) };
        let mut batch = Batch::default();
        let id = push(&mut batch, &hook.id, &message, (&message.body(now), None), now);
        self.database.apply(batch).await?;
        Ok(id)
    }
}
