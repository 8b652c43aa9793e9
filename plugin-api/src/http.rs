//! Requests to other servers, sent by the host. The host resolves names, owns the connections, and rejects addresses
//! outside the public internet unless the operator allowed them. It never follows redirects.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tinybase_abi::{bytes::Bytes, codec::http as packed, interfaces::http::Client};

use crate::{Error, Result};

/// The client for requests to other servers.
#[derive(Clone, Copy)]
pub struct Http {
    client: Client,
}

/// A request to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    timeout: Option<Duration>,
    response_bytes_max: Option<u64>,
}

/// The response of another server, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Http {
    pub(crate) fn new(client: Client) -> Http {
        Http { client }
    }

    /// Sends a request and reads the whole response. Any status is returned as a response, including redirects and
    /// statuses of 400 and above.
    ///
    /// # Errors
    /// Fails if there is no response: `http_url_invalid`, `http_request_invalid`, `http_denied_address` (the server's
    /// address is outside the public internet, and the operator did not allow it), `http_timeout`,
    /// `http_response_too_large`, `http_failed`.
    pub async fn send(&self, request: &HttpRequest) -> Result<HttpResponse> {
        let packed = request.pack();
        HttpResponse::read(&self.client.send(packed).await.into_result()?)
    }
}

impl HttpRequest {
    /// Creates a request with this method, in capitals, to an absolute `http` or `https` URL.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> HttpRequest {
        HttpRequest {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: None,
            response_bytes_max: None,
        }
    }

    /// Creates a `GET` request.
    pub fn get(url: impl Into<String>) -> HttpRequest {
        HttpRequest::new("GET", url)
    }

    /// Creates a `POST` request.
    pub fn post(url: impl Into<String>) -> HttpRequest {
        HttpRequest::new("POST", url)
    }

    /// Adds a header. The host sets `host`, `content-length` and the connection's headers itself.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> HttpRequest {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body to these bytes.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> HttpRequest {
        self.body = body.into();
        self
    }

    /// Sets the body to this value as JSON.
    ///
    /// # Errors
    /// Fails if the value cannot be serialized to JSON.
    pub fn with_json(self, value: &impl Serialize) -> Result<HttpRequest> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::internal("http_request_invalid", error.to_string()))?;
        Ok(self.with_header("content-type", "application/json").with_body(body))
    }

    /// Sets the timeout of the whole request, from name resolution to the last byte of the response. The operator's
    /// `plugins.http_timeout_ms` applies as well.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> HttpRequest {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the size limit of the response body, in bytes. The operator's `plugins.http_response_bytes_max` applies
    /// as well.
    #[must_use]
    pub fn with_response_bytes_max(mut self, bytes: u64) -> HttpRequest {
        self.response_bytes_max = Some(bytes);
        self
    }

    /// Returns the method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns a header's first value by its lower-case name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the timeout; `None` if it is not set.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn pack(&self) -> Bytes {
        let timeout_ms =
            self.timeout.map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1));
        let request = packed::Request {
            method: &self.method,
            url: &self.url,
            headers: borrowed(&self.headers),
            body: &self.body,
            timeout_ms,
            // 0 means no limit of the request's own, so a limit of 0 becomes one byte.
            response_bytes_max: self.response_bytes_max.map_or(0, |bytes| bytes.max(1)),
        };
        request.pack().into()
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn read(packed: &[u8]) -> Result<HttpRequest> {
        let request = packed::Request::read(packed)?;
        Ok(HttpRequest {
            method: request.method.to_owned(),
            url: request.url.to_owned(),
            headers: owned(&request.headers),
            body: request.body.to_vec(),
            timeout: (request.timeout_ms > 0).then(|| Duration::from_millis(request.timeout_ms)),
            response_bytes_max: (request.response_bytes_max > 0).then_some(request.response_bytes_max),
        })
    }
}

impl HttpResponse {
    /// Creates a response, for a test's replacement of another server.
    pub fn new(status: u16) -> HttpResponse {
        HttpResponse { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl Into<Vec<u8>>) -> HttpResponse {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// Sets the body to these bytes.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> HttpResponse {
        self.body = body.into();
        self
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns a header's first value by its lower-case name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Iterates over the headers in order, with names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Parses the body as JSON of this shape.
    ///
    /// # Errors
    /// `http_answer_shape` (502) if the body has another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::new(
                502,
                "http_answer_shape",
                format!("the other server's answer is not as expected: {error}"),
            )
        })
    }

    fn read(packed: &[u8]) -> Result<HttpResponse> {
        let response = packed::Response::read(packed)?;
        Ok(HttpResponse {
            status: response.status,
            headers: owned(&response.headers),
            body: response.body.to_vec(),
        })
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn pack(&self) -> Vec<u8> {
        let headers = borrowed(&self.headers);
        packed::Response { status: self.status, headers, body: &self.body }.pack()
    }
}

fn find<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Option<&'a str> {
    let (_, value) = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(value).ok()
}

fn borrowed(headers: &[(String, Vec<u8>)]) -> packed::Headers<'_> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect()
}

fn owned(headers: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
}
