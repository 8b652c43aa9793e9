//! The HTTP request that a handler receives.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::json;
use tinybase_abi::{bytes::Bytes, interfaces};

use crate::{Error, Result};

/// A request. It owns its memory, so it may be kept across awaits and moved to other tasks.
pub struct Request {
    inner: tinybase_abi::request::Request,
}

/// The caller of a request.
pub use interfaces::Caller;

impl Request {
    pub(crate) fn new(inner: tinybase_abi::request::Request) -> Request {
        Request { inner }
    }

    /// Returns the HTTP method, in capitals.
    pub fn method(&self) -> &str {
        self.inner.method()
    }

    /// Returns the path as received, percent-encoded.
    pub fn path(&self) -> &str {
        self.inner.path()
    }

    /// Returns the query as received, without its `?`.
    pub fn query(&self) -> &str {
        self.inner.query().unwrap_or_default()
    }

    /// Iterates over the decoded pairs of the query, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().as_bytes())
    }

    /// Returns the first value of a query parameter, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        if self.query().is_empty() {
            return None;
        }
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the decoded value of the route's `{…}` part at `index`. The host passes as many as the route has.
    pub fn param(&self, index: usize) -> &str {
        self.inner.param(index).unwrap_or_default()
    }

    /// Returns the request's id, as in the log and in the `x-request-id` header of the response.
    pub fn request_id(&self) -> &str {
        self.inner.request_id()
    }

    /// Returns the caller; `None` for an anonymous request.
    pub fn caller(&self) -> Option<&Caller> {
        self.inner.caller()
    }

    /// Returns a header's first value by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.header(name)
    }

    /// Returns the client's address.
    pub fn client_address(&self) -> &str {
        self.inner.client_address()
    }

    /// Returns the whole body; empty on routes that stream it.
    pub fn body(&self) -> &[u8] {
        self.inner.body()
    }

    /// Returns the next chunk of a streamed body; `None` at its end.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.inner.next_chunk().await?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// Parses the body as JSON of this shape. Otherwise returns a 422 error with the position and the reason.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.body()).map_err(|error| {
            let fault = json!([{
                "loc": ["body", error.line(), error.column()],
                "msg": error.to_string(),
                "type": if error.is_data() { "value_error" } else { "json_invalid" },
            }]);
            let code = if error.is_data() { "invalid_body" } else { "invalid_json" };
            Error::unprocessable(code, error.to_string()).with_details(fault)
        })
    }
}
