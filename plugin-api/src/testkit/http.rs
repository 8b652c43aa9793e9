//! Requests to the plugin's routes, which are routed, checked and handled as on the server. No socket is opened.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value as Json, json};
use tinybase_abi::{
    export::PluginExport,
    request::{OwnedCaller, OwnedRequest, Request as AbiRequest},
    response::RawResponse,
};

use super::{TestHost, clock::lock};
use crate::{Error, Plugin};

/// A route that the plugin registered.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Route {
    pub(super) method: String,
    pub(super) path: String,
    auth: String,
    stream_body: bool,
    body_bytes_max: Option<usize>,
}

impl Route {
    /// Returns the values of the `{…}` parts and the number of literal parts, if the path matches.
    fn matches(&self, path: &str) -> Option<(Vec<String>, usize)> {
        let mut params = Vec::new();
        let mut literal = 0;
        let mut rest = path.trim_start_matches('/').split('/');
        for part in self.path.trim_start_matches('/').split('/') {
            let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
                if rest.next()? != part {
                    return None;
                }
                literal += 1;
                continue;
            };
            if name.starts_with('*') {
                let all = rest.collect::<Vec<_>>().join("/");
                params.push(decode(&all)?);
                return Some((params, literal));
            }
            params.push(decode(rest.next().filter(|part| !part.is_empty())?)?);
        }
        rest.next().is_none().then_some((params, literal))
    }
}

fn decode(part: &str) -> Option<String> {
    percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// A builder for a request; [`TestRequest::send`] sends it.
pub struct TestRequest<'h, P: Plugin> {
    host: &'h TestHost<P>,
    request: OwnedRequest,
}

impl<'h, P: Plugin> TestRequest<'h, P> {
    pub(super) fn new(host: &'h TestHost<P>, method: &str, target: &str) -> TestRequest<'h, P> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let request = OwnedRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            request_id: "test-request".to_owned(),
            client_address: "127.0.0.1".to_owned(),
            ..OwnedRequest::default()
        };
        TestRequest { host, request }
    }

    /// Sets the caller to a user with this id: one added by [`TestHost::add_user`], or a new one with the email
    /// `<id>@example.com`.
    #[must_use]
    pub fn user(self, id: &str) -> Self {
        self.caller(id, "user")
    }

    /// Sets the caller to a user with this id and the role `viewer` or `editor`.
    #[must_use]
    pub fn role(self, id: &str, role: &str) -> Self {
        self.caller(id, role)
    }

    /// Limits the caller to an application token with these scopes, separated by spaces. Call it after the method
    /// that sets the caller.
    #[must_use]
    pub fn scopes(mut self, scopes: &str) -> Self {
        if let Some(caller) = &mut self.request.caller {
            caller.scopes = Some(scopes.to_owned());
            caller.token_id = Some("test-token".to_owned());
        }
        self
    }

    /// Sets the caller to an application token added by [`TestHost::add_token`], in the name of its account.
    ///
    /// # Panics
    /// If the token or its account does not exist.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        let known = lock(&self.host.services.tokens).get(token).cloned();
        let (user_id, scopes) = known.expect("the token was added before");
        let users = lock(&self.host.services.users);
        let user =
            users.iter().find(|user| user.id == user_id).expect("the token's account was added before");
        let role = user.role.clone();
        drop(users);
        let mut request = self.caller(&user_id, &role);
        if let Some(caller) = &mut request.request.caller {
            caller.scopes = Some(scopes);
            caller.token_id = Some(token.to_owned());
        }
        request
    }

    /// Sets the caller to an admin with the id `admin`.
    #[must_use]
    pub fn admin(self) -> Self {
        self.caller("admin", "admin")
    }

    fn caller(mut self, id: &str, role: &str) -> Self {
        let users = lock(&self.host.services.users);
        let known = users.iter().find(|user| user.id == id);
        self.request.caller = Some(match known {
            Some(user) => OwnedCaller {
                user_id: user.id.clone(),
                email: user.email.clone(),
                role: if user.is_admin { "admin" } else { role }.to_owned(),
                scopes: None,
                token_id: None,
            },
            None => OwnedCaller {
                user_id: id.to_owned(),
                email: format!("{id}@example.com"),
                role: role.to_owned(),
                scopes: None,
                token_id: None,
            },
        });
        drop(users);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
        self
    }

    /// Sets the body to these bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = body.into();
        self
    }

    /// Sets the body to this value as JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Self {
        let body = serde_json::to_vec(value).expect("a test's body is JSON");
        self.header("content-type", "application/json").body(body)
    }

    /// Sends the request and waits for the whole response. Errors become responses as on the server.
    pub fn send(self) -> TestResponse {
        self.answer().unwrap_or_else(|error| TestResponse::of_error(&error))
    }

    fn answer(mut self) -> Result<TestResponse, Error> {
        let path = &self.request.path;
        let of_path = self.host.routes.iter().enumerate().filter_map(|(position, route)| {
            let (params, literal) = route.matches(path)?;
            Some((position, route, params, literal))
        });
        let mut of_path: Vec<_> = of_path.collect();
        of_path.sort_by_key(|(.., literal)| std::cmp::Reverse(*literal));
        if of_path.is_empty() {
            return Err(Error::not_found("not_found", format!("no route serves {path}")));
        }
        let found = of_path.into_iter().find(|(_, route, ..)| route.method == self.request.method);
        let Some((position, route, params, _)) = found else {
            return Err(Error::new(405, "method_not_allowed", "the path is not served with this method"));
        };
        self.check(route)?;
        self.request.params = params;
        if route.stream_body {
            let parts = self.request.body.chunks(1024).map(<[u8]>::to_vec).collect();
            self.request.chunks = Some(std::sync::Arc::new(std::sync::Mutex::new(parts)));
        }
        let position = u32::try_from(position).expect("a plugin has fewer routes than 2^32");
        let host = self.host;
        host.run(async {
            let request = AbiRequest::lend(self.request);
            let raw = host.instance().handle(position, request).await.into_result()?;
            TestResponse::read(raw).await
        })
    }

    fn check(&self, route: &Route) -> Result<(), Error> {
        let role = self.request.caller.as_ref().map(|caller| caller.role.as_str());
        match (route.auth.as_str(), role) {
            ("anyone", _) => {}
            (_, None) => return Err(Error::unauthorized("token_missing", "sign in first")),
            (wanted, Some(role)) if rank(role) < rank(wanted) => {
                return Err(Error::forbidden(
                    "role_required",
                    format!("only a user with the role {wanted} may do this"),
                ));
            }
            _ => {}
        }
        if route.body_bytes_max.is_some_and(|max| self.request.body.len() > max) {
            return Err(Error::too_large("body_too_large", "the body is larger than this route takes"));
        }
        Ok(())
    }
}

/// Returns the rank of a role. Each role includes the rights of those before it.
fn rank(role: &str) -> Option<usize> {
    ["user", "viewer", "editor", "admin"].iter().position(|known| *known == role)
}

/// The plugin's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl TestResponse {
    async fn read(mut raw: RawResponse) -> Result<TestResponse, Error> {
        let bad = |what: String| Error::new(502, "invalid_response", what);
        if !(200..=599).contains(&raw.status) {
            return Err(bad(format!("the plugin answered the status {}", raw.status)));
        }
        let mut headers = Vec::new();
        if raw.is_json != 0 {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        for pair in raw.header_pairs() {
            let (name, value) = pair.map_err(|error| bad(error.to_string()))?;
            let text = |bytes: &[u8]| {
                let clean = bytes.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t');
                let text = String::from_utf8_lossy(bytes).into_owned();
                if clean { Ok(text) } else { Err(bad(format!("the plugin answered the header {text:?}"))) }
            };
            headers.push((text(name)?.to_ascii_lowercase(), text(value)?));
        }
        let mut body = raw.body.to_vec();
        loop {
            let chunk = raw.stream.pull().await?;
            if chunk.is_empty() {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(TestResponse { status: raw.status, headers, body })
    }

    fn of_error(error: &Error) -> TestResponse {
        let list = error.details().filter(|details| error.status() == 422 && details.is_array());
        let detail = list.cloned().unwrap_or_else(|| Json::from(error.message()));
        let mut body = json!({"detail": detail, "code": error.code()});
        if let Some(details) = error.details().filter(|_| list.is_none()) {
            body["details"] = details.clone();
        }
        TestResponse {
            status: error.status(),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns a header's first value by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Parses the body as JSON. Fails the test if it is not JSON.
    pub fn json(&self) -> Json {
        self.parse()
    }

    /// Parses the body into this shape. Fails the test if it has another.
    pub fn parse<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in the body of {}: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// Returns the code of an error response; empty for any other response.
    pub fn code(&self) -> String {
        let body: Json = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }
}
