//! The host as an extension sees it. What the manifest does not declare is refused here by name.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use tinybase_abi::{bytes::Bytes, future, host::HostClients};

use crate::{
    Error, Result, audit::Audit, command::Console, database::Database, events::Topic, http::Http,
    sessions::SignIn,
};

/// The door to the host. Cheap to clone.
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

/// A user, as the host knows them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The user's email, normalised.
    pub email: String,
    /// Whether the user is an admin. Of a token's user: whether the token may do all that an admin may, which one that is
    /// limited to scopes never may.
    pub is_admin: bool,
    /// When the account was made, RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    #[serde(default)]
    pub role: String,
    /// Whether the account is switched on. Whatever is done for a user who is not there to ask must look: an account that an
    /// admin switched off is still found by id.
    #[serde(default = "switched_on")]
    pub is_active: bool,
    /// The scopes, separated by spaces, that the application token is limited to; `None` for a signed-in user, and for one
    /// that was found by id.
    #[serde(default)]
    pub scopes: Option<String>,
    /// The application token's id; `None` for a signed-in user.
    #[serde(default)]
    pub token_id: Option<String>,
}

/// A host of before tells of no account whether it is switched on.
fn switched_on() -> bool {
    true
}

impl User {
    /// Whether the token that was authenticated may be used for `scope`: a signed-in user's always, an application token
    /// where it has it. It says nothing of the role.
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes.as_deref().is_none_or(|scopes| tinybase_abi::scopes::covers(scopes, scope))
    }
}

/// An application token, as the host knows it now: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct ApplicationToken {
    /// The token's id, as [`Caller::token_id`](crate::request::Caller::token_id) tells it.
    pub id: String,
    /// The id of the user in whose name it acts.
    pub user_id: String,
    /// The scopes that it is limited to now: an admin may have changed them since it was used.
    pub scopes: Vec<String>,
    /// When it expires, RFC 3339; `None` if never.
    pub expires_at: Option<String>,
    /// Whether it works now: it is switched on and not expired, and its user may sign in.
    pub is_valid: bool,
}

/// What the host answers of a token. Scopes must be told, as `null` too: a token whose scopes were forgotten would be a user
/// who may do everything.
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
            // Nobody else's token is authenticated.
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

    /// The database. Capability `database`.
    pub fn database(&self) -> Result<Database> {
        granted!(self, database).map(Database::new)
    }

    /// The audit log. Capability `audit`.
    pub fn audit(&self) -> Result<Audit> {
        granted!(self, audit).map(Audit::new)
    }

    /// Requests to other servers. Capability `http`.
    pub fn http(&self) -> Result<Http> {
        granted!(self, http).map(Http::new)
    }

    /// A topic that this extension emits. Capability `events`.
    pub fn topic(&self, name: &'static str) -> Result<Topic> {
        granted!(self, events).map(|client| Topic::new(client, name))
    }

    /// The extension's settings in this shape, defaults filled in: read from memory, so ask whenever they are needed.
    /// Capability `settings`.
    pub async fn settings<T: DeserializeOwned>(&self) -> Result<T> {
        let snapshot = granted!(self, settings)?.snapshot().await.into_result()?;
        serde_json::from_slice(&snapshot).map_err(|error| {
            Error::internal("settings_shape", format!("the settings are not as expected: {error}"))
        })
    }

    /// Changes settings, given as a JSON object; refused where the manifest's schema does not allow them.
    pub async fn update_settings(&self, values: &Json) -> Result<()> {
        let client = granted!(self, settings)?;
        Ok(client.update(values.to_string().into()).await.into_result()?)
    }

    /// The user whose access token or application token this is, with what the token is limited to: ask
    /// [`User::allows`] before anything is done in its name. Capability `identity`.
    pub async fn authenticate(&self, token: &str) -> Result<User> {
        let user = granted!(self, identity)?.authenticate(token).await.into_result()?;
        parse::<Authenticated>(&user).map(User::from)
    }

    /// A user by id. Capability `identity`.
    pub async fn user(&self, id: &str) -> Result<Option<User>> {
        let user = granted!(self, identity)?.user(id).await.into_result()?;
        if &*user == b"null" { Ok(None) } else { parse(&user).map(Some) }
    }

    /// An application token by id; `None` for one that was deleted. Whatever is done for a token later than in its own request
    /// must ask first: it ends with the token, and goes no further than the token's scopes at that time. Capability `identity`.
    ///
    /// # Errors
    /// A host before ABI 1.4 does not say, which is an error as well.
    pub async fn application_token(&self, id: &str) -> Result<Option<ApplicationToken>> {
        let token = granted!(self, identity)?.application_token(id).await.into_result()?;
        if &*token == b"null" { Ok(None) } else { parse(&token).map(Some) }
    }

    /// Begins a session of somebody whom the extension has verified. Answers what `POST /api/auth/login` does, to be passed on
    /// to the client as it is: tokens, or `mfa_required` with a ticket for the second factor. Capability `sessions`.
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

    /// Whether a service is offered now. Capability `services`.
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

    /// Completes after this long, on the host's clock.
    pub async fn sleep(&self, duration: Duration) -> Result<()> {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(granted!(self, timers)?.sleep(milliseconds).await.into_result()?)
    }

    /// Runs a task beside everything else. It is dropped when the extension is shut down.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let client = granted!(self, timers)?;
        client.spawn(future::guard(async {
            task.await;
            Ok(())
        }));
        Ok(())
    }

    /// The terminal, while a command of this extension runs.
    pub fn console(&self) -> Result<Console> {
        granted!(self, console).map(Console::new)
    }

    /// The absolute path of the extension's own data folder, which exists. Capability `storage`.
    pub fn data_dir(&self) -> Result<std::path::PathBuf> {
        let path = granted!(self, storage)?.data_dir();
        let path = std::str::from_utf8(&path)
            .map_err(|_| Error::internal("data_dir", "the data folder's path is not UTF-8"))?;
        Ok(path.into())
    }

    /// The largest answer in bytes that the host passes on from an extension, and the most bytes of rows that one read returns
    /// to it: the operator's `plugins.response_bytes_max`. A host before ABI 1.3 does not say; its default is returned then.
    pub fn response_bytes_max(&self) -> usize {
        const UNKNOWN: u64 = 64 << 20;
        let told = self.clients.limits.map_or(0, |client| client.response_bytes_max());
        usize::try_from(if told == 0 { UNKNOWN } else { told }).unwrap_or(usize::MAX)
    }

    /// Makes room for so many bytes that the extension is about to hold, among what all requests may hold together: waits a while
    /// where there is none. To be called before an answer or a batch of more than some hundred kilobytes is put together; small
    /// ones need no room of their own. A host before ABI 1.3 does not count.
    ///
    /// # Errors
    /// 503 `overloaded`, where others hold too much for too long.
    pub async fn reserve(&self, bytes: usize) -> Result<Reserved> {
        let room = match self.clients.limits {
            Some(client) => client.reserve(bytes as u64).await.into_result()?,
            None => Bytes::empty(),
        };
        Ok(Reserved { _room: room })
    }

    /// A number that changes whenever another process has changed the data: what is cached of it is stale then.
    pub fn foreign_changes(&self) -> Result<u64> {
        granted!(self, database).map(|client| client.foreign_changes())
    }
}

/// Room among what all requests may hold; given back when dropped.
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
