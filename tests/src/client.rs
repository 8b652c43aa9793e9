//! A client of the server's API: JSON through an HTTP library, and raw bytes that no library would send.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value as Json, json};
use ureq::{Agent, http};

use crate::site::PASSWORD;

/// The maximum wait for a response.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// The maximum size of a response in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// A client, with or without a token.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    address: String,
    token: Option<String>,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns the body as JSON; fails the test if it is not JSON.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in the body of {}: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// Returns the code of an error response; empty if it has none.
    pub fn code(&self) -> String {
        let body: Json = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Returns status and code, for a single comparison.
    pub fn outcome(&self) -> (u16, String) {
        (self.status, self.code())
    }

    /// Returns the body; fails the test if the status is another one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Json {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    /// Creates a client of the server at `host:port`.
    pub fn new(address: &str) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WAIT_MAX))
            .user_agent("tinybase-tests")
            .build();
        Client { agent: config.into(), address: address.to_owned(), token: None }
    }

    /// Returns the client with this token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Client {
        self.token = Some(token.to_owned());
        self
    }

    /// Returns host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Returns the client signed in to an existing account.
    #[must_use]
    pub fn signed_in(self, email: &str) -> Client {
        let login = self.post("/api/auth/login", &json!({"email": email, "password": PASSWORD})).expect(200);
        let token = login["access_token"].as_str().expect("a login answers a token").to_owned();
        self.with_token(&token)
    }

    /// Returns the client signed in to a new account.
    #[must_use]
    pub fn registered(self, email: &str) -> Client {
        self.post("/api/auth/register", &json!({"email": email, "password": PASSWORD})).expect(201);
        self.signed_in(email)
    }

    /// Returns the client signed in to an account, which is created if it does not exist.
    #[must_use]
    pub fn joined(self, email: &str) -> Client {
        let made = self.post("/api/auth/register", &json!({"email": email, "password": PASSWORD}));
        assert!(made.status == 201 || made.code() == "email_taken", "{made:?}");
        self.signed_in(email)
    }

    /// Sends any request. The result may be a connection error, such as an interrupted body.
    ///
    /// # Errors
    /// The error of the connection.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut request =
            http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let mut answer = self.agent.run(request).map_err(|error| error.to_string())?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok(Answer { status, headers, body: body.map_err(|error| error.to_string())? })
    }

    /// Sends any request with a JSON body; an empty body is not sent.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let headers: &[(&str, &str)] =
            if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a `GET` request.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, b"")
    }

    /// Sends a `POST` request with JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.send("POST", path, body.to_string().as_bytes())
    }

    /// Sends a `PATCH` request with JSON.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Json) -> Answer {
        self.send("PATCH", path, body.to_string().as_bytes())
    }

    /// Sends a `DELETE` request.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, b"")
    }

    /// Opens a connection on which a test writes any bytes.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).expect("a timeout can be set");
        stream
    }

    /// Writes bytes on a new connection, and reads until the server closes it. Returns the status of the first
    /// response, or 0 if there is none, and everything that was read.
    pub fn raw(&self, bytes: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        // The server may respond and close the connection before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        (status_of(&answer), answer)
    }
}

/// Returns the status in the first line of a response; 0 if there is none.
pub fn status_of(answer: &[u8]) -> u16 {
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let status =
        String::from_utf8_lossy(line).split(' ').nth(1).and_then(|status| status.trim().parse().ok());
    status.unwrap_or_default()
}
