//! The host's API for extensions. A call that the manifest does not declare is rejected by name.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tinybase_abi::{bytes::Bytes, future, host::HostClients};

use crate::{
    Error, Result, audit::Audit, command::Console, database::Database, events::Topic, http::Http,
    sessions::SignIn,
};

/// A handle to the host. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    clients: Arc<HostClients>,
}

macro_rules! granted {
    ($host:expr, $interface:ident) => {
        $host.clients.$interface.ok_or_else(|| capability_missing(stringify!($interface)))
    };
}

fn capability_missing(interface: &str) -> Error {
    let message = format!(
        "the extension uses «{interface}», which its manifest does not declare: add it to `capabilities` in \
         extension.toml"
    );
    Error::new(500, "capability_missing", message)
}

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The user's email, normalised.
    pub email: String,
    /// Whether the user is an admin. For the user of a token: whether the token grants all rights of an admin. A token
    /// that is limited to scopes never does.
    pub is_admin: bool,
    /// When the account was created, RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    #[serde(default)]
    pub role: String,
    /// Whether the account is active. Check it before you act for a user who did not send the request: an account that
    /// an admin deactivated is still found by id.
    #[serde(default = "switched_on")]
    pub is_active: bool,
    /// The scopes of the application token, separated by spaces. `None` for a signed-in user and for a user found by
    /// id.
    #[serde(default)]
    pub scopes: Option<String>,
    /// The application token's id; `None` for a signed-in user.
    #[serde(default)]
    pub token_id: Option<String>,
}

/// The default for older hosts, which do not send this field.
fn switched_on() -> bool {
    true
}

impl User {
    /// Returns whether the authenticated token may be used for `scope`: always for a signed-in user, only with that
    /// scope for an application token. It does not check the role.
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes.as_deref().is_none_or(|scopes| tinybase_abi::scopes::covers(scopes, scope))
    }
}

/// The current state of an application token. Never contains the token itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct ApplicationToken {
    /// The token's id, as returned by [`Caller::token_id`](crate::request::Caller::token_id).
    pub id: String,
    /// The id of the user in whose name the token acts.
    pub user_id: String,
    /// The token's current scopes. An admin may have changed them since the token was used.
    pub scopes: Vec<String>,
    /// When the token expires, RFC 3339; `None` if never.
    pub expires_at: Option<String>,
    /// Whether the token is valid now: it is active, it has not expired, and its user may sign in.
    pub is_valid: bool,
}

/// The host's response for a token. `scopes` must be present, even if it is `null`: without it, a limited token would
/// pass for a user with all rights.
#[derive(serde::Deserialize)]
struct Authenticated {
    id: String,
    email: String,
    role: String,
    #[serde(deserialize_with = "crate::caller::required_nullable")]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    token_id: Option<String>,
}

impl From<Authenticated> for User {
    fn from(told: Authenticated) -> User {
        let Authenticated { id, email, role, scopes, token_id } = told;
        User {
            id,
            email,
            is_admin: role == "admin" && scopes.is_none(),
            created_at: String::new(),
            role,
            // Tokens of inactive accounts are not authenticated.
            is_active: true,
            scopes: scopes.map(|scopes| scopes.join(" ")),
            token_id,
        }
    }
}

impl Host {
    pub(crate) fn new(clients: HostClients) -> Host {
        Host { clients: Arc::new(clients) }
    }

    /// Returns the database. Capability `database`.
    pub fn database(&self) -> Result<Database> {
        granted!(self, database).map(Database::new)
    }

    /// Returns the audit log. Capability `audit`.
    pub fn audit(&self) -> Result<Audit> {
        granted!(self, audit).map(Audit::new)
    }

    /// Returns the client for requests to other servers. Capability `http`.
    pub fn http(&self) -> Result<Http> {
        granted!(self, http).map(Http::new)
    }

    /// Returns a topic that this extension emits. Capability `events`.
    pub fn topic(&self, name: &'static str) -> Result<Topic> {
        granted!(self, events).map(|client| Topic::new(client, name))
    }

    /// Returns the extension's settings in this shape, with defaults filled in. They are read from memory, so call it
    /// whenever you need them. Capability `settings`.
    pub async fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        let snapshot = granted!(self, settings)?.snapshot().await.into_result()?;
        serde_json::from_slice(&snapshot).map_err(|error| {
            Error::internal("settings_shape", format!("the settings are not as expected: {error}"))
        })
    }

    /// Changes settings, given as a JSON object. Fails if the manifest's schema does not allow the values.
    pub async fn update_settings(&self, values: &Json) -> Result<()> {
        let client = granted!(self, settings)?;
        Ok(client.update(values.to_string().into()).await.into_result()?)
    }

    /// Returns the user of an access token or application token, with the token's limits. Check [`User::allows`]
    /// before you act in the user's name. Capability `identity`.
    pub async fn authenticate(&self, token: &str) -> Result<User> {
        let user = granted!(self, identity)?.authenticate(token).await.into_result()?;
        parse::<Authenticated>(&user).map(User::from)
    }

    /// Returns a user by id. Capability `identity`.
    pub async fn user(&self, id: &str) -> Result<Option<User>> {
        let user = granted!(self, identity)?.user(id).await.into_result()?;
        if &*user == b"null" { Ok(None) } else { parse(&user).map(Some) }
    }

    /// Returns an application token by id; `None` if it was deleted. Capability `identity`.
    ///
    /// Call it before you act for a token outside its own request. Such work must stop when the token is gone, and must
    /// stay within the token's current scopes.
    ///
    /// # Errors
    /// Fails on a host before ABI 1.4, which does not provide this call.
    pub async fn application_token(&self, id: &str) -> Result<Option<ApplicationToken>> {
        let token = granted!(self, identity)?.application_token(id).await.into_result()?;
        if &*token == b"null" { Ok(None) } else { parse(&token).map(Some) }
    }

    /// Begins a session for a person whom the extension has verified. Returns the response of `POST /api/auth/login`,
    /// to be passed on to the client unchanged: tokens, or `mfa_required` with a ticket for the second factor.
    /// Capability `sessions`.
    ///
    /// # Errors
    /// 401 `sign_in_refused` for an unknown or locked user, 403 `registration_disabled`, 429 `sign_in_rate_limited`.
    pub async fn sign_in(&self, who: &SignIn) -> Result<Json> {
        let packed =
            serde_json::to_vec(who).map_err(|error| Error::internal("sign_in_invalid", error.to_string()))?;
        let answer = granted!(self, sessions)?.sign_in(packed.into()).await.into_result()?;
        serde_json::from_slice(&answer)
            .map_err(|error| Error::internal("sessions_shape", format!("the host answered no JSON: {error}")))
    }

    /// Returns whether a service is currently offered. Capability `services`.
    pub fn offers(&self, service: &str, major: u16) -> Result<bool> {
        granted!(self, services).map(|client| client.offered(service, major))
    }

    /// Calls a method of a service that another extension offers. Capability `services`.
    pub async fn call(&self, service: &str, major: u16, method: &str, payload: &Json) -> Result<Json> {
        let client = granted!(self, services)?;
        let answer = client.call(service, major, method, payload.to_string().into()).await.into_result()?;
        serde_json::from_slice(&answer).map_err(|error| {
            Error::internal(
                "service_shape",
                format!("{service}@{major} answered no JSON to {method}: {error}"),
            )
        })
    }

    /// Waits for this duration, on the host's clock.
    pub async fn sleep(&self, duration: Duration) -> Result<()> {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(granted!(self, timers)?.sleep(milliseconds).await.into_result()?)
    }

    /// Runs a task in the background. It is dropped when the extension is shut down.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let client = granted!(self, timers)?;
        client.spawn(future::guard(async {
            task.await;
            Ok(())
        }));
        Ok(())
    }

    /// Returns the terminal, while a command of this extension runs.
    pub fn console(&self) -> Result<Console> {
        granted!(self, console).map(Console::new)
    }

    /// Returns the absolute path of the extension's data folder, which exists. Capability `storage`.
    pub fn data_dir(&self) -> Result<std::path::PathBuf> {
        let path = granted!(self, storage)?.data_dir();
        let path = std::str::from_utf8(&path)
            .map_err(|_| Error::internal("data_dir", "the data folder's path is not UTF-8"))?;
        Ok(path.into())
    }

    /// Returns the limit in bytes for a response of an extension and for the rows that one read returns: the operator's
    /// `plugins.response_bytes_max`. On a host before ABI 1.3, which does not report it, the default of such a host is
    /// returned.
    pub fn response_bytes_max(&self) -> usize {
        const UNKNOWN: u64 = 64 << 20;
        let told = self.clients.limits.map_or(0, |client| client.response_bytes_max());
        usize::try_from(if told == 0 { UNKNOWN } else { told }).unwrap_or(usize::MAX)
    }

    /// Reserves memory for this many bytes from the budget that all requests share. Waits a while if there is none
    /// left.
    ///
    /// Call it before you build a response or a batch of more than a few hundred kilobytes; smaller ones need no
    /// reservation. A host before ABI 1.3 does not limit this memory.
    ///
    /// # Errors
    /// 503 `overloaded`, if no memory becomes free in time.
    pub async fn reserve(&self, bytes: usize) -> Result<Reserved> {
        let room = match self.clients.limits {
            Some(client) => client.reserve(bytes as u64).await.into_result()?,
            None => Bytes::empty(),
        };
        Ok(Reserved { _room: room })
    }

    /// Returns a number that changes whenever another process has changed the data. Cached data is stale then.
    pub fn foreign_changes(&self) -> Result<u64> {
        granted!(self, database).map(|client| client.foreign_changes())
    }
}

/// Reserved memory from the budget of all requests. Released when dropped.
#[derive(Debug)]
pub struct Reserved {
    _room: Bytes,
}

fn parse<T: DeserializeOwned>(user: &[u8]) -> Result<T> {
    serde_json::from_slice(user)
        .map_err(|error| Error::internal("identity_shape", format!("the host answered no user: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_loses_its_scopes_on_the_way() {
        let read = |json: &str| parse::<Authenticated>(json.as_bytes()).map(User::from);
        let user = |rest: &str| read(&format!(r#"{{"id":"u","email":"u@x.y","role":"admin"{rest}}}"#));
        assert!(user("").is_err(), "scopes are told or it is refused");
        assert!(
            read(r#"{"id":"u","email":"u@x.y","is_admin":true,"scopes":null}"#).is_err(),
            "so is the role"
        );
        let signed_in = user(r#","scopes":null"#).unwrap();
        assert!(signed_in.is_admin && signed_in.allows("anything") && signed_in.token_id.is_none());
        let narrow = user(r#","scopes":["a:read"],"token_id":"t""#).unwrap();
        assert!(!narrow.is_admin && narrow.allows("a:read:x") && !narrow.allows("b"));
        assert_eq!((narrow.role.as_str(), narrow.token_id.as_deref()), ("admin", Some("t")));
        assert!(!user(r#","scopes":[]"#).unwrap().allows("a"));
    }
}
