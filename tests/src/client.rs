//! A client of the server's API: JSON through a well-kept HTTP library, and raw bytes where no library would send them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value as Json, json};
use ureq::{Agent, http};

use crate::site::PASSWORD;

/// How long an answer is waited for.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// A client, with or without a token.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    address: String,
    token: Option<String>,
}

/// An answer.
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
    /// The body as JSON; fails the test where it is none.
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in the body of {}: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The code of an error's answer; empty where it has none.
    pub fn code(&self) -> String {
        let body: Json = serde_json::from_slice(&self.body).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and code, to be compared at once.
    pub fn outcome(&self) -> (u16, String) {
        (self.status, self.code())
    }

    /// The body, which must come with this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Json {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    /// A client of the server at `host:port`.
    pub fn new(address: &str) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WAIT_MAX))
            .user_agent("tinybase-tests")
            .build();
        Client { agent: config.into(), address: address.to_owned(), token: None }
    }

    /// The same client with this token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Client {
        self.token = Some(token.to_owned());
        self
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same client, signed in to an account that exists.
    #[must_use]
    pub fn signed_in(self, email: &str) -> Client {
        let login = self.post("/api/auth/login", &json!({"email": email, "password": PASSWORD})).expect(200);
        let token = login["access_token"].as_str().expect("a login answers a token").to_owned();
        self.with_token(&token)
    }

    /// The same client, signed in to an account that is made for it.
    #[must_use]
    pub fn registered(self, email: &str) -> Client {
        self.post("/api/auth/register", &json!({"email": email, "password": PASSWORD})).expect(201);
        self.signed_in(email)
    }

    /// The same client, signed in to an account that is made for it unless it is there.
    #[must_use]
    pub fn joined(self, email: &str) -> Client {
        let made = self.post("/api/auth/register", &json!({"email": email, "password": PASSWORD}));
        assert!(made.status == 201 || made.code() == "email_taken", "{made:?}");
        self.signed_in(email)
    }

    /// Sends any request. The answer may be an error of the connection's, such as a body that broke off.
    ///
    /// # Errors
    /// What went wrong with the connection.
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

    /// Sends any request with a JSON body; an empty one sends none.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let headers: &[(&str, &str)] =
            if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A `GET` request.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, b"")
    }

    /// A `POST` request with JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.send("POST", path, body.to_string().as_bytes())
    }

    /// A `PATCH` request with JSON.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Json) -> Answer {
        self.send("PATCH", path, body.to_string().as_bytes())
    }

    /// A `DELETE` request.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, b"")
    }

    /// A connection on which a test writes what it likes.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("the server listens");
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).expect("a timeout can be set");
        stream
    }

    /// Writes bytes on a connection of their own, and reads until the server closes it. Answers the status of the
    /// first answer and everything that was read; 0 where there was none.
    pub fn raw(&self, bytes: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = self.connect();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        (status_of(&answer), answer)
    }
}

/// The status in the first line of an answer; 0 where there is none.
pub fn status_of(answer: &[u8]) -> u16 {
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let status =
        String::from_utf8_lossy(line).split(' ').nth(1).and_then(|status| status.trim().parse().ok());
    status.unwrap_or_default()
}
