//! The test host's services for the plugin: the same interfaces as the server's, kept in memory. Calls that a test
//! may inspect afterwards are recorded.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Map, Value as Json};
use tempfile::TempDir;
use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, guard, ready},
    host::HostServices,
    interfaces::{
        Outcome, Topic, TopicRef, console, database, events, identity, limits, log, services, sessions,
        settings, storage, timers,
    },
};

use super::{
    audit::AuditLog,
    clock::{Clock, lock},
    database::TestDatabase,
    manifest::Manifest,
    outbound::Outbound,
};
use crate::{Error, events::Event, host::User};

/// A service that the test replaces.
pub(super) type ServiceStub = Box<dyn Fn(&str, Json) -> Result<Json, Error> + Send + Sync>;

pub(super) struct Services {
    pub(super) manifest: Manifest,
    pub(super) clock: Clock,
    pub(super) database: TestDatabase,
    pub(super) audit: Mutex<AuditLog>,
    pub(super) settings: Mutex<Map<String, Json>>,
    pub(super) users: Mutex<Vec<User>>,
    /// Application tokens: the user's id and the scopes of each.
    pub(super) tokens: Mutex<HashMap<String, (String, String)>>,
    pub(super) offered: Mutex<HashMap<String, ServiceStub>>,
    pub(super) outbound: Outbound,
    pub(super) out_lines: Mutex<Vec<String>>,
    pub(super) error_lines: Mutex<Vec<String>>,
    pub(super) emitted: Mutex<Vec<Event>>,
    pub(super) refusals: Mutex<HashMap<String, Error>>,
    pub(super) response_bytes_max: AtomicU64,
    pub(super) data_dir: Mutex<Option<TempDir>>,
}

impl Services {
    /// Changes settings that the manifest declares.
    pub(super) fn change_settings(&self, values: Map<String, Json>) -> Result<(), Error> {
        if let Some(unknown) = values.keys().find(|name| !self.manifest.has_setting(name)) {
            let message = format!("the manifest's `settings` have no property {unknown}");
            return Err(Error::unprocessable("invalid_settings", message));
        }
        lock(&self.settings).extend(values);
        Ok(())
    }

    /// Releases what would outlive the process: the database and the folder.
    pub(super) fn close(&self) {
        self.database.close();
        drop(lock(&self.data_dir).take());
    }
}

impl HostServices for Services {
    fn grants(&self, interface: &str) -> bool {
        self.manifest.grants(interface)
    }
}

impl console::Server for Services {
    fn is_terminal(&self) -> bool {
        false
    }

    fn line(&self, text: &str) {
        lock(&self.out_lines).push(text.to_owned());
    }

    fn error_line(&self, text: &str) {
        lock(&self.error_lines).push(text.to_owned());
    }

    fn progress(&self, _done: u64, _total: u64, _unit: &str) {}
}

impl database::Server for Services {
    fn engine(&self) -> u8 {
        self.database.engine()
    }

    fn query(&self, sql: &str, params: &[u8], _cost: u8, _deadline_ms: u32) -> RawFuture<Bytes> {
        ready(self.database.query(None, sql, params).map(Bytes::from))
    }

    fn apply(&self, batch: Bytes) -> RawFuture<Bytes> {
        ready(Services::apply(self, None, &batch).map(Bytes::from))
    }

    fn begin(&self, _deadline_ms: u32) -> RawFuture<u64> {
        ready(self.database.begin())
    }

    fn transaction_query(&self, transaction: u64, sql: &str, params: &[u8]) -> RawFuture<Bytes> {
        ready(self.database.query(Some(transaction), sql, params).map(Bytes::from))
    }

    fn transaction_apply(&self, transaction: u64, batch: Bytes) -> RawFuture<Bytes> {
        ready(Services::apply(self, Some(transaction), &batch).map(Bytes::from))
    }

    fn transaction_end(&self, transaction: u64, commit: bool) -> RawFuture<()> {
        ready(self.end_transaction(transaction, commit))
    }

    fn transaction_abandon(&self, transaction: u64) {
        // It may have ended already, which is fine.
        let _ = self.end_transaction(transaction, false);
    }

    fn foreign_changes(&self) -> u64 {
        0
    }
}

impl events::Server for Services {
    fn topic(&self, _name: &str) -> TopicRef {
        static LISTENED: std::sync::OnceLock<Topic> = std::sync::OnceLock::new();
        TopicRef(LISTENED.get_or_init(|| {
            let topic = Topic::default();
            topic.set(1, 1);
            topic
        }))
    }

    fn before(&self, topic: &str, _subject: &str, _payload: Bytes) -> RawFuture<Outcome> {
        match lock(&self.refusals).get(topic) {
            Some(refusal) => ready(Err(refusal.clone().into())),
            None => ready(Ok(Outcome::unchanged())),
        }
    }

    fn after(&self, topic: &str, subject: &str, payload: Bytes) {
        let payload = serde_json::from_slice(&payload).expect("the SDK packs JSON");
        lock(&self.emitted).push(Event { topic: topic.to_owned(), subject: subject.to_owned(), payload });
    }
}

impl identity::Server for Services {
    fn authenticate(&self, token: &str) -> RawFuture<Bytes> {
        let limited = lock(&self.tokens).get(token).cloned();
        let id = limited.as_ref().map(|(user, _)| user.as_str()).or_else(|| token.strip_prefix("token-"));
        let users = lock(&self.users);
        let user = id.and_then(|id| users.iter().find(|user| user.id == id && user.is_active));
        let scopes = limited.as_ref().map(|(_, scopes)| scopes.split_whitespace().collect::<Vec<_>>());
        let told = user.map(|user| {
            let User { id, email, is_admin, role, .. } = user;
            let json = serde_json::json!({
                "id": id,
                "email": email,
                "is_admin": *is_admin && scopes.is_none(),
                "role": role,
                "scopes": scopes,
                "token_id": scopes.as_ref().map(|_| token),
            });
            Bytes::from(json.to_string())
        });
        ready(told.ok_or_else(|| RawError::new(401, "invalid_token", "the token is not valid")))
    }

    fn user(&self, id: &str) -> RawFuture<Bytes> {
        let user = lock(&self.users).iter().find(|user| user.id == id).map(user_json);
        ready(Ok(user.unwrap_or_else(|| Bytes::from("null"))))
    }

    fn application_token(&self, id: &str) -> RawFuture<Bytes> {
        let Some((user_id, scopes)) = lock(&self.tokens).get(id).cloned() else {
            return ready(Ok(Bytes::from("null")));
        };
        let told = serde_json::json!({
            "id": id,
            "user_id": user_id,
            "scopes": scopes.split_whitespace().collect::<Vec<_>>(),
            "expires_at": null,
            "is_valid": lock(&self.users).iter().any(|user| user.id == user_id && user.is_active),
        });
        ready(Ok(Bytes::from(told.to_string())))
    }
}

fn user_json(user: &User) -> Bytes {
    let User { id, email, is_admin, created_at, role, is_active, .. } = user;
    let json = serde_json::json!({
        "id": id, "email": email, "is_admin": is_admin, "role": role, "created_at": created_at, "is_active": is_active
    });
    json.to_string().into()
}

/// Creates an account for a test.
pub(super) fn account(id: &str, email: &str, role: &str, created_at: &str) -> User {
    User {
        id: id.to_owned(),
        email: email.to_owned(),
        is_admin: role == "admin",
        created_at: created_at.to_owned(),
        role: role.to_owned(),
        is_active: true,
        scopes: None,
        token_id: None,
    }
}

impl log::Server for Services {
    fn enabled(&self, _level: u8) -> bool {
        true
    }

    fn write(&self, level: u8, message: &str, fields: &[u8]) {
        eprintln!("[log {level}] {message} {}", String::from_utf8_lossy(fields));
    }
}

impl services::Server for Services {
    fn offered(&self, name: &str, major: u16) -> bool {
        lock(&self.offered).contains_key(&format!("{name}@{major}"))
    }

    fn call(&self, name: &str, major: u16, method: &str, payload: Bytes) -> RawFuture<Bytes> {
        let service = format!("{name}@{major}");
        if !self.manifest.may_call(&service) {
            let message =
                format!("the manifest does not declare {service}: add it to `uses` in extension.toml");
            return ready(Err(RawError::new(500, "capability_missing", message)));
        }
        let answer = match (lock(&self.offered).get(&service), serde_json::from_slice(&payload)) {
            (Some(stub), Ok(payload)) => stub(method, payload),
            (None, _) => Err(Error::new(503, "service_missing", format!("nobody offers {service}"))),
            (_, Err(error)) => Err(Error::internal("payload_not_json", error.to_string())),
        };
        ready(answer.map(|answer| Bytes::from(answer.to_string())).map_err(RawError::from))
    }
}

impl sessions::Server for Services {
    fn sign_in(&self, who: Bytes) -> RawFuture<Bytes> {
        ready(self.begin_session(&who).map(|answer| Bytes::from(answer.to_string())).map_err(RawError::from))
    }
}

impl Services {
    /// Signs in an existing user, or a new one created for the call.
    fn begin_session(&self, who: &[u8]) -> Result<Json, Error> {
        let who: Json = serde_json::from_slice(who)
            .map_err(|error| Error::internal("sign_in_invalid", error.to_string()))?;
        let (email, id) = (who["email"].as_str(), who["user_id"].as_str());
        let mut users = lock(&self.users);
        let known = users.iter().find(|user| id == Some(&user.id) || email == Some(&user.email)).cloned();
        let user = match (known, email.filter(|_| who["create"] == true)) {
            (Some(user), _) => user,
            (None, Some(email)) => {
                let id = format!("user-{}", users.len() + 1);
                self.database.add_user(&id)?;
                let user = account(&id, email, "user", "");
                users.push(user.clone());
                user
            }
            (None, None) => {
                return Err(Error::unauthorized("sign_in_refused", "this account cannot sign in"));
            }
        };
        Ok(serde_json::json!({
            "access_token": format!("token-{}", user.id),
            "refresh_token": format!("refresh-{}", user.id),
            "token_type": "bearer",
            "user_id": user.id,
            "email": user.email,
            "is_admin": user.is_admin,
            "admin_created": false,
        }))
    }
}

impl settings::Server for Services {
    fn snapshot(&self) -> RawFuture<Bytes> {
        ready(Ok(Json::Object(lock(&self.settings).clone()).to_string().into()))
    }

    fn update(&self, values: Bytes) -> RawFuture<()> {
        let changed = serde_json::from_slice(&values)
            .map_err(|error| Error::unprocessable("invalid_settings", error.to_string()))
            .and_then(|values| self.change_settings(values));
        ready(changed.map_err(RawError::from))
    }
}

impl limits::Server for Services {
    fn response_bytes_max(&self) -> u64 {
        self.response_bytes_max.load(Ordering::Relaxed)
    }

    fn reserve(&self, _bytes: u64) -> RawFuture<Bytes> {
        ready(Ok(Bytes::empty()))
    }
}

impl storage::Server for Services {
    fn data_dir(&self) -> Bytes {
        let folder = lock(&self.data_dir);
        folder.as_ref().map_or(Bytes::empty(), |folder| Bytes::from(&*folder.path().to_string_lossy()))
    }
}

impl timers::Server for Services {
    fn sleep(&self, milliseconds: u64) -> RawFuture<()> {
        let sleep = self.clock.sleep(std::time::Duration::from_millis(milliseconds));
        guard(async {
            sleep.await;
            Ok(())
        })
    }

    fn spawn(&self, task: RawFuture<()>) {
        self.clock.spawn(task);
    }
}
