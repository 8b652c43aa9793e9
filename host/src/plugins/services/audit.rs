//! The audit log for plugins. A plugin's entry is parsed and checked against limits, and its action is
//! prefixed with the extension's name. An entry commits with the plugin's change through a ticket. Never lets
//! a plugin read the log.

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use tinybase_abi::{
    bytes::Bytes,
    codec::BatchWriter,
    error::RawError,
    future::{RawFuture, guard, ready},
    interfaces::audit,
};

use super::{PluginHost, raw_error};
use crate::{
    audit::{Actor, ActorKind, Entry, push_of_extension},
    db::SqlOwner,
};

/// The maximum length of an action, without the extension's name, and of a target's kind.
const WORD_BYTES_MAX: usize = 64;
/// The maximum length of an id, name or address in an entry.
const TEXT_BYTES_MAX: usize = 512;

/// An entry as a plugin sends it.
#[derive(Debug, Deserialize)]
struct EntryPayload {
    action: String,
    target_kind: String,
    target_id: String,
    #[serde(default)]
    change: Map<String, Json>,
    #[serde(default)]
    request: Option<RequestPayload>,
}

/// The request that caused the action.
#[derive(Debug, Deserialize)]
struct RequestPayload {
    caller: Option<CallerPayload>,
    address: String,
    request_id: String,
}

#[derive(Debug, Deserialize)]
struct CallerPayload {
    user_id: String,
    email: String,
    #[serde(default)]
    token_id: Option<String>,
}

fn invalid(problem: impl std::fmt::Display) -> RawError {
    let message = format!("the entry of the audit log cannot be taken: {problem}");
    RawError::new(500, "audit_entry_invalid", message)
}

/// Returns whether a text consists of lower-case letters, digits and `_`, in parts separated by `.`.
fn is_word(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_lowercase())
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.len() <= WORD_BYTES_MAX && text.split('.').all(part)
}

impl EntryPayload {
    fn read(entry: &[u8]) -> Result<EntryPayload, RawError> {
        let told: EntryPayload = serde_json::from_slice(entry).map_err(invalid)?;
        for (what, word) in [("action", &told.action), ("target_kind", &told.target_kind)] {
            if !is_word(word) {
                return Err(invalid(format!(
                    "its {what} must be lower-case letters, digits and _, with . between parts, and at most \
                     {WORD_BYTES_MAX} bytes"
                )));
            }
        }
        let request = told.request.iter().flat_map(|request| [&request.address, &request.request_id]);
        let caller = told.request.iter().filter_map(|request| request.caller.as_ref());
        let caller =
            caller.flat_map(|caller| [&caller.user_id, &caller.email].into_iter().chain(&caller.token_id));
        if [&told.target_id].into_iter().chain(request).chain(caller).any(|text| text.len() > TEXT_BYTES_MAX)
        {
            return Err(invalid(format!("an id, a name or an address has more than {TEXT_BYTES_MAX} bytes")));
        }
        Ok(told)
    }

    /// Returns the actor: the caller of the request that caused the action, or else `by_itself`.
    fn actor(&mut self, by_itself: Actor) -> Actor {
        let Some(request) = self.request.take() else { return by_itself };
        let (kind, id, name) = match request.caller {
            None => (ActorKind::Nobody, None, String::new()),
            Some(CallerPayload { token_id: Some(token), email, .. }) => {
                (ActorKind::Token, Some(token), email)
            }
            Some(CallerPayload { user_id, email, .. }) => (ActorKind::User, Some(user_id), email),
        };
        let given = |text: String| (!text.is_empty()).then_some(text);
        Actor { kind, id, name, address: given(request.address), request_id: given(request.request_id) }
    }

    /// Returns the batch that stores the entry for the extension `name`.
    fn batch(mut self, name: &str, by_itself: Actor) -> Vec<u8> {
        let actor = self.actor(by_itself);
        let entry = Entry {
            action: &self.action,
            target_kind: &self.target_kind,
            target_id: &self.target_id,
            change: Json::Object(self.change),
        };
        let mut batch = BatchWriter::default();
        push_of_extension(&mut batch, &actor, name, &entry);
        batch.finish()
    }
}

impl PluginHost {
    fn audit_batch(&self, entry: &[u8]) -> Result<Vec<u8>, RawError> {
        let name = &self.manifest.name;
        let by_itself = if self.shared.console.is_of_command() {
            Actor::command()
        } else {
            Actor::local(ActorKind::Extension, name)
        };
        Ok(EntryPayload::read(entry)?.batch(name, by_itself))
    }
}

impl audit::Server for PluginHost {
    fn entry(&self, entry: Bytes) -> RawFuture<Bytes> {
        let batch = self.audit_batch(&entry);
        ready(batch.and_then(|batch| self.shared.bus.ticket(vec![(SqlOwner::Host, batch)])))
    }

    fn record(&self, entry: Bytes) -> RawFuture<()> {
        match self.audit_batch(&entry) {
            Ok(batch) => {
                let applied = self.shared.database.apply(&SqlOwner::Host, batch);
                guard(async { applied.await.map(drop).map_err(|error| raw_error(&error)) })
            }
            Err(error) => ready(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(change: impl FnOnce(&mut Json)) -> Result<EntryPayload, RawError> {
        let mut entry = json!({"action": "create", "target_kind": "note", "target_id": "n1"});
        change(&mut entry);
        EntryPayload::read(entry.to_string().as_bytes())
    }

    #[test]
    fn an_entry_is_held_against_its_limits() {
        assert!(told(|_| {}).is_ok());
        assert!(told(|entry| entry["action"] = "schema.alter_1".into()).is_ok());
        for (field, value) in [
            ("action", json!("")),
            ("action", json!("a..b")),
            ("action", json!("Create")),
            ("action", json!("a".repeat(65))),
            ("action", json!(1)),
            ("target_kind", json!("a note")),
            ("target_id", json!("x".repeat(513))),
            ("change", json!([])),
            ("request", json!({"address": "x".repeat(513), "request_id": ""})),
            (
                "request",
                json!({"caller": {"user_id": "u", "email": "e".repeat(513)}, "address": "", "request_id": ""}),
            ),
        ] {
            let error = told(|entry| entry[field] = value.clone()).unwrap_err().words();
            assert_eq!(error.code, "audit_entry_invalid", "{field} {value}");
        }
    }

    #[test]
    fn who_did_it_is_the_caller_of_the_request() {
        let itself = || Actor::local(ActorKind::Extension, "notes");
        let actor = |request: Json| told(|entry| entry["request"] = request).unwrap().actor(itself());
        assert_eq!(actor(Json::Null), itself());
        let nobody = actor(json!({"caller": null, "address": "::1", "request_id": "r1"}));
        assert_eq!(
            (nobody.kind, nobody.address.as_deref(), nobody.id),
            (ActorKind::Nobody, Some("::1"), None)
        );
        let caller = |token: Json| json!({"user_id": "u1", "email": "a@b.c", "token_id": token});
        for (token, kind, id) in [(Json::Null, ActorKind::User, "u1"), (json!("t1"), ActorKind::Token, "t1")]
        {
            let actor = actor(json!({"caller": caller(token), "address": "", "request_id": "r1"}));
            assert_eq!((actor.kind, actor.id.as_deref(), actor.address), (kind, Some(id), None));
            assert_eq!((actor.name.as_str(), actor.request_id.as_deref()), ("a@b.c", Some("r1")));
        }
    }
}
