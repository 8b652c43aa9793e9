//! Events of records: the payloads for hooks and listeners of other extensions. It changes nothing itself.
//!
//! Topics `record.create`, `record.update` and `record.delete`, with the collection's name as subject. The payload is
//! `{"event_id", "collection", "collection_id", "id", "owner_id", "version", "created_at", "updated_at", "record",
//! "previous", "caller", "request_id"}`:
//!
//! - `event_id` is the same for every receiver of a change, even if it is delivered more than once.
//! - `record` is the data (null on delete), `previous` the data before (null on create).
//! - `version` is the record's version after the change (on delete, its last version).
//! - `created_at` is the creation time (null on create, if the change sets it).
//! - `updated_at` is the time of the last change on delete, and otherwise null, since the change sets it.
//! - `caller` is `{"user_id", "email", "is_admin"}` or null.
//!
//! A hook may alter `record`, which is validated again, refuse the change by an error, or add statements that commit
//! with it.

use serde::Serialize;
use serde_json::value::RawValue;
use tinybase_plugin_api::{
    Error, Host, Result,
    events::{HookResult, Topic},
};
use uuid::Uuid;

use super::prepare::{Change, PreparedWrite, RequestContext};

/// The topics of records.
pub struct Events {
    create: Topic,
    update: Topic,
    delete: Topic,
}

#[derive(Serialize)]
struct Payload<'a> {
    event_id: Uuid,
    collection: &'a str,
    collection_id: &'a str,
    id: &'a str,
    owner_id: Option<&'a str>,
    version: i64,
    created_at: Option<&'a str>,
    updated_at: Option<&'a str>,
    record: Option<&'a RawValue>,
    previous: Option<&'a RawValue>,
    caller: Option<PayloadCaller<'a>>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct PayloadCaller<'a> {
    user_id: &'a str,
    email: &'a str,
    is_admin: bool,
}

impl Events {
    /// Registers the topics with the host.
    pub fn new(host: &Host) -> Result<Events> {
        Ok(Events {
            create: host.topic("record.create")?,
            update: host.topic("record.update")?,
            delete: host.topic("record.delete")?,
        })
    }

    fn topic(&self, change: Change) -> &Topic {
        match change {
            Change::Create => &self.create,
            Change::Update => &self.update,
            Change::Delete => &self.delete,
        }
    }

    /// Returns whether such a change has listeners or hooks.
    pub(super) fn are_heard(&self, change: Change) -> bool {
        let topic = self.topic(change);
        topic.has_before() || topic.has_after()
    }

    /// Runs the hooks before a change.
    pub(super) async fn before(
        &self,
        prepared: &PreparedWrite,
        context: &RequestContext<'_>,
    ) -> Result<HookResult> {
        let topic = self.topic(prepared.change);
        if !topic.has_before() && !topic.has_after() {
            return Ok(HookResult::default());
        }
        topic.before(&prepared.collection.name, &payload(prepared, context)?).await
    }

    /// Notifies listeners of a committed change.
    pub(super) fn after(&self, prepared: &PreparedWrite, context: &RequestContext<'_>) -> Result<()> {
        let topic = self.topic(prepared.change);
        if topic.has_after() {
            topic.after(&prepared.collection.name, &payload(prepared, context)?)?;
        }
        Ok(())
    }
}

fn payload<'a>(prepared: &'a PreparedWrite, context: &RequestContext<'a>) -> Result<Payload<'a>> {
    let deleted = prepared.change == Change::Delete;
    Ok(Payload {
        event_id: *prepared.event_id.get_or_init(Uuid::now_v7),
        collection: &prepared.collection.name,
        collection_id: &prepared.collection.id,
        id: &prepared.record.id,
        owner_id: prepared.record.owner_id.as_deref(),
        version: prepared.record.version,
        created_at: prepared.record.created_at.as_deref(),
        updated_at: prepared.record.updated_at.as_deref(),
        record: if deleted { None } else { Some(raw(&prepared.record.data)?) },
        previous: prepared.previous.as_deref().map(raw).transpose()?,
        caller: context.caller.id.map(|id| PayloadCaller {
            user_id: id,
            email: context.caller.email.unwrap_or_default(),
            is_admin: context.caller.is_admin,
        }),
        request_id: context.request_id,
    })
}

fn raw(data: &str) -> Result<&RawValue> {
    serde_json::from_str(data)
        .map_err(|fault| Error::internal("stored_data", format!("a record's data is no JSON: {fault}")))
}
