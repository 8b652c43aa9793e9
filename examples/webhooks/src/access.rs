//! What a hook may receive: what its owner may read under the collection's rules, as reported by `records@1`. It is
//! checked when an event is queued and again before each try, since roles, rules and records may change meanwhile.

use std::collections::HashMap;

use serde::Deserialize;
use tinybase_plugin_api::{caller::CallerPayload, prelude::*};

use crate::{Webhooks, hook::Hook, owner::both};

/// A record before and after a change, with the data that rules may use.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RecordSnapshots {
    pub(crate) collection: String,
    pub(crate) collection_id: Option<String>,
    pub(crate) id: String,
    pub(crate) owner_id: Option<String>,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// Null after a deletion.
    #[serde(default)]
    pub(crate) record: Json,
    /// Null after a creation.
    #[serde(default)]
    pub(crate) old: Json,
}

/// Which of the two snapshots may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadPermission {
    pub(crate) record: bool,
    pub(crate) old: bool,
    /// Whether the record was deleted, so that only `old` is left.
    is_deletion: bool,
}

impl ReadPermission {
    /// Returns whether anything may be sent: the current record must be readable, or the last version of a deleted
    /// one.
    pub(crate) fn any(self) -> bool {
        if self.is_deletion { self.old } else { self.record }
    }
}

impl RecordSnapshots {
    /// Returns the snapshots without the data that the message already contains, to be stored with it.
    pub(crate) fn without(&self, data: &Json) -> RecordSnapshots {
        let left =
            |name: &str, value: &Json| if data.get(name).is_some() { Json::Null } else { value.clone() };
        RecordSnapshots { record: left("record", &self.record), old: left("old", &self.old), ..self.clone() }
    }

    /// Returns the stored form of the snapshots.
    pub(crate) fn stored(&self) -> String {
        let mut stored = json!({
            "collection": self.collection,
            "collection_id": self.collection_id,
            "id": self.id,
            "owner_id": self.owner_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        });
        for (name, value) in [("record", &self.record), ("old", &self.old)] {
            if !value.is_null() {
                stored[name] = value.clone();
            }
        }
        stored.to_string()
    }

    /// Returns the snapshots of a queued message; `None` if it is not about a record.
    fn of(message: &Json, stored: Option<&str>) -> Result<Option<RecordSnapshots>> {
        let data = &message["data"];
        let Some(stored) = stored else { return Ok(RecordSnapshots::of_message(message)) };
        let stored: Json =
            stored.parse().map_err(|error| Error::internal("stored_delivery", format!("{error}")))?;
        let mut snapshots = RecordSnapshots::deserialize(stored)
            .map_err(|error| Error::internal("stored_delivery", error.to_string()))?;
        for (name, value) in [("record", &mut snapshots.record), ("old", &mut snapshots.old)] {
            if let Some(sent) = data.get(name) {
                *value = sent.clone();
            }
        }
        Ok(Some(snapshots))
    }

    /// Returns the snapshots that a message alone contains, as queued by an earlier version.
    fn of_message(message: &Json) -> Option<RecordSnapshots> {
        let data = &message["data"];
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let time = text(&message["timestamp"]).unwrap_or_default();
        Some(RecordSnapshots {
            collection: text(&data["collection"])?,
            collection_id: None,
            id: text(&data["id"])?,
            owner_id: text(&data["owner_id"]),
            created_at: time.clone(),
            updated_at: time,
            record: data["record"].clone(),
            old: data["old"].clone(),
        })
    }

    /// Returns the payload for `records@1` and a caller: the record as it is now and as it was, as far as both
    /// exist.
    fn question(&self, caller: Option<&CallerPayload>) -> Json {
        let snapshots = [&self.record, &self.old].into_iter().filter(|data| data.is_object());
        let snapshots = snapshots.map(|data| {
            json!({
                "id": self.id,
                "owner_id": self.owner_id,
                "created_at": self.created_at,
                "updated_at": self.updated_at,
                "data": data,
            })
        });
        json!({
            "collection": self.collection,
            "collection_id": self.collection_id,
            "caller": caller,
            "records": snapshots.collect::<Vec<_>>(),
        })
    }
}

/// The current rights of a hook.
pub(crate) enum Standing {
    /// It receives what all of these users may read: its owner, and every other user whose application token changed
    /// it. `None` is an anonymous user.
    Holds(Vec<Option<CallerPayload>>),
    /// It receives nothing, for this reason.
    Ended(&'static str),
}

/// A body to send, or the reason why it may no longer be sent.
pub(crate) enum Judgement {
    Send(String),
    Withhold(&'static str),
}

const OWNER_ENDED: &str = "its owner is gone, switched off, or neither editor nor admin any more";
const TOKEN_ENDED: &str = "an application token that made or changed it was deleted or switched off, has expired, or its user may \
                           have no hooks any more";
const TOKEN_UNKNOWN: &str = "it was made with an application token before hooks ended with theirs: its owner may change it, \
                             signed in, or make it again";
const MAY_NOT_READ: &str = "the hook's owner may not read the record";

impl Webhooks {
    /// Returns the current rights of a hook: those of its owner, within the scopes that its application tokens had and
    /// still have.
    pub(crate) async fn standing(&self, hook: &Hook) -> Result<Standing> {
        let mut scopes = hook.owner_scopes.clone();
        let mut users: Vec<&str> = hook.owner_id.as_deref().into_iter().collect();
        if scopes.is_some() && hook.owner_token_ids.is_empty() {
            return Ok(Standing::Ended(TOKEN_UNKNOWN));
        }
        let mut tokens = Vec::with_capacity(hook.owner_token_ids.len());
        for id in &hook.owner_token_ids {
            let token = self.host.application_token(id).await?.filter(|token| token.is_valid);
            let Some(token) = token else { return Ok(Standing::Ended(TOKEN_ENDED)) };
            let now = token.scopes.join(" ");
            scopes = Some(scopes.map_or_else(|| now.clone(), |before| both(&before, &now)));
            tokens.push(token);
        }
        for token in &tokens {
            if !users.contains(&token.user_id.as_str()) {
                users.push(&token.user_id);
            }
        }
        let mut callers = Vec::with_capacity(users.len());
        for id in users {
            match self.editor(id, scopes.as_deref()).await? {
                Some(caller) => callers.push(Some(caller)),
                None if hook.owner_id.as_deref() == Some(id) => return Ok(Standing::Ended(OWNER_ENDED)),
                None => return Ok(Standing::Ended(TOKEN_ENDED)),
            }
        }
        if hook.owner_id.is_none() {
            callers.push(None);
        }
        Ok(Standing::Holds(callers))
    }

    /// Returns a user as a caller; `None` for one who may no longer have hooks: deleted, deactivated, or neither editor
    /// nor admin.
    async fn editor(&self, id: &str, scopes: Option<&str>) -> Result<Option<CallerPayload>> {
        let user = self.host.user(id).await?;
        let user = user.filter(|user| user.is_active && matches!(user.role.as_str(), "editor" | "admin"));
        Ok(user.map(|user| CallerPayload {
            user_id: user.id,
            email: user.email,
            role: user.role,
            scopes: scopes.map(str::to_owned),
        }))
    }

    /// Returns a hook as routes show it to the sender of the request. One whose rights have ended is inactive and has a
    /// reason. Only its owner and admins see its whole URL.
    pub(crate) async fn shown(&self, hook: &Hook, request: &Request) -> Result<Json> {
        let mut shown = hook.json();
        if !hook.is_managed_by(request) {
            shown["url"] = hook.server().into();
        }
        if let Standing::Ended(reason) = self.standing(hook).await? {
            shown["is_active"] = false.into();
            shown["inactive_reason"] = reason.into();
        }
        Ok(shown)
    }

    /// Returns what a hook with these rights may currently receive of a record.
    pub(crate) async fn read_permission(
        &self,
        standing: &Standing,
        snapshots: &RecordSnapshots,
    ) -> Result<ReadPermission> {
        let is_deletion = snapshots.record.is_null();
        let mut permission = ReadPermission { record: false, old: false, is_deletion };
        let Standing::Holds(callers) = standing else { return Ok(permission) };
        for (at, caller) in callers.iter().enumerate() {
            let question = snapshots.question(caller.as_ref());
            let answer = match self.host.call("records", 1, "may_read", &question).await {
                Ok(answer) => answer,
                // The collection is gone, and its rules with it.
                Err(error) if error.code() == "collection_not_found" => {
                    return Ok(ReadPermission { record: false, old: false, is_deletion });
                }
                Err(error) => return Err(error),
            };
            let mut allowed = answer["allowed"].as_array().into_iter().flatten().map(|one| *one == true);
            let mut next = |data: &Json| data.is_object() && allowed.next().unwrap_or(false);
            let (record, old) = (next(&snapshots.record), next(&snapshots.old));
            permission.record = record && (at == 0 || permission.record);
            permission.old = old && (at == 0 || permission.old);
        }
        Ok(permission)
    }

    /// Does the same for several hooks of one event. Hooks with the same rights are checked once.
    pub(crate) async fn read_permissions(
        &self,
        hooks: &[Hook],
        snapshots: &RecordSnapshots,
    ) -> Result<Vec<ReadPermission>> {
        let mut known: HashMap<(Option<&str>, Option<&str>, &[String]), ReadPermission> = HashMap::new();
        let mut all = Vec::with_capacity(hooks.len());
        for hook in hooks {
            let rights =
                (hook.owner_id.as_deref(), hook.owner_scopes.as_deref(), hook.owner_token_ids.as_slice());
            let permission = match known.get(&rights) {
                Some(permission) => *permission,
                None => self.read_permission(&self.standing(hook).await?, snapshots).await?,
            };
            known.insert(rights, permission);
            all.push(permission);
        }
        Ok(all)
    }

    /// Returns the body of a delivery without what the hook's owner may no longer read, or the reason why nothing
    /// is sent.
    pub(crate) async fn judge_again(
        &self,
        hook: &Hook,
        body: &str,
        snapshots: Option<&str>,
    ) -> Result<Judgement> {
        let standing = self.standing(hook).await?;
        if let Standing::Ended(reason) = standing {
            return Ok(Judgement::Withhold(reason));
        }
        let mut message: Json =
            body.parse().map_err(|error| Error::internal("stored_delivery", format!("{error}")))?;
        // A test is not about a record.
        let Some(snapshots) = RecordSnapshots::of(&message, snapshots)? else {
            return Ok(Judgement::Send(body.to_owned()));
        };
        let permission = self.read_permission(&standing, &snapshots).await?;
        if !permission.any() {
            return Ok(Judgement::Withhold(MAY_NOT_READ));
        }
        let hides_old = !permission.old && message["data"].get("old").is_some();
        if let Some(data) = message["data"].as_object_mut().filter(|_| hides_old) {
            data.remove("old");
        }
        Ok(Judgement::Send(if hides_old { message.to_string() } else { body.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_of_a_message_comes_back_and_an_earlier_versions_message_stands_for_itself() {
        let whole = RecordSnapshots {
            collection: "posts".to_owned(),
            collection_id: Some("c1".to_owned()),
            id: "r1".to_owned(),
            owner_id: None,
            created_at: "t1".to_owned(),
            updated_at: "t2".to_owned(),
            record: json!({"a": 1}),
            old: json!({"a": 0}),
        };
        for data in [json!({}), json!({"record": {"a": 1}}), json!({"record": {"a": 1}, "old": {"a": 0}})] {
            let stored = whole.without(&data).stored();
            assert_eq!(stored.contains("\"a\":0"), data.get("old").is_none(), "nothing is stored twice");
            let snapshots = RecordSnapshots::of(&json!({"data": data}), Some(&stored)).unwrap().unwrap();
            assert_eq!(snapshots.stored(), whole.stored());
        }
        let data = json!({"collection": "posts", "id": "r1", "owner_id": null, "record": {"a": 1}});
        let snapshots = RecordSnapshots::of(&json!({"timestamp": "t", "data": data}), None).unwrap().unwrap();
        assert_eq!(
            (snapshots.collection_id, snapshots.created_at, snapshots.record),
            (None, "t".into(), json!({"a": 1}))
        );
        assert!(RecordSnapshots::of(&json!({"data": {"hook_id": "h"}}), None).unwrap().is_none(), "a test");
    }
}
