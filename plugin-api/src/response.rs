//! The HTTP response that a handler returns.

use serde::Serialize;
use tinybase_abi::{
    bytes::Bytes,
    response::{PullBody, RawResponse, RawStream},
};

use crate::{Error, Result};

/// A response: a status, headers, and a body that is either complete or streamed.
pub struct Response {
    status: u16,
    is_json: bool,
    headers: Vec<u8>,
    body: Bytes,
    stream: RawStream,
}

impl Response {
    /// Returns a response without a body, such as 204.
    pub fn empty(status: u16) -> Response {
        Response {
            status,
            is_json: false,
            headers: Vec::new(),
            body: Bytes::empty(),
            stream: RawStream::absent(),
        }
    }

    /// Returns 200 with JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Response> {
        let body = serde_json::to_vec(value)
            .map_err(|error| Error::internal("answer_not_json", format!("the answer is no JSON: {error}")))?;
        Ok(Response::json_bytes(body))
    }

    /// Returns 200 with text that is already JSON.
    pub fn json_bytes(body: impl Into<Bytes>) -> Response {
        Response { is_json: true, body: body.into(), ..Response::empty(200) }
    }

    /// Returns 200 with bytes of this content type.
    pub fn bytes(content_type: &str, body: impl Into<Bytes>) -> Response {
        Response { body: body.into(), ..Response::empty(200) }.with_header("content-type", content_type)
    }

    /// Returns 200 with a streamed body of this content type, produced as fast as the client reads it.
    pub fn stream(content_type: &str, body: impl PullBody) -> Response {
        Response { stream: RawStream::new(body), ..Response::empty(200) }
            .with_header("content-type", content_type)
    }

    /// Sets the status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Response {
        self.status = status;
        self
    }

    /// Adds a header. If HTTP does not allow the name or value, the host responds with 502.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Response {
        for part in [name, value] {
            let len = u32::try_from(part.len()).expect("a header is shorter than 4 GiB");
            self.headers.extend_from_slice(&len.to_le_bytes());
            self.headers.extend_from_slice(part.as_bytes());
        }
        self
    }

    /// Returns the status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the body; empty if it is streamed.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn into_raw(self) -> RawResponse {
        RawResponse {
            status: self.status,
            is_json: self.is_json.into(),
            headers: if self.headers.is_empty() { Bytes::empty() } else { self.headers.into() },
            body: self.body,
            stream: self.stream,
        }
    }
}
