//! A request, as a handler gets it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::json;
use tinybase_abi::{bytes::Bytes, interfaces};

use crate::{Error, Result};

/// A request. It owns its memory, so it may be kept across awaits and moved to other tasks.
pub struct Request {
    inner: tinybase_abi::request::Request,
}

/// Who calls.
pub use interfaces::Caller;

impl Request {
    pub(crate) fn new(inner: tinybase_abi::request::Request) -> Request {
        Request { inner }
    }

    /// The HTTP method, in capitals.
    pub fn method(&self) -> &str {
        self.inner.method()
    }

    /// The path as it came, percent-encoded.
    pub fn path(&self) -> &str {
        self.inner.path()
    }

    /// The query without its `?`, as it came.
    pub fn query(&self) -> &str {
        self.inner.query().unwrap_or_default()
    }

    /// The pairs of the query, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().as_bytes())
    }

    /// The first value of a query parameter, decoded.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        if self.query().is_empty() {
            return None;
        }
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The value of the route's `index`-th `{…}` part, decoded. The host hands in as many as the route has.
    pub fn param(&self, index: usize) -> &str {
        self.inner.param(index).unwrap_or_default()
    }

    /// The request's id, the one in the log and in the `x-request-id` header of the answer.
    pub fn request_id(&self) -> &str {
        self.inner.request_id()
    }

    /// Who calls; `None` for nobody.
    pub fn caller(&self) -> Option<&Caller> {
        self.inner.caller()
    }

    /// A header's first value by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.header(name)
    }

    /// The client's address.
    pub fn client_address(&self) -> &str {
        self.inner.client_address()
    }

    /// The whole body; empty on routes that take it as a stream.
    pub fn body(&self) -> &[u8] {
        self.inner.body()
    }

    /// The next part of a streamed body; `None` at its end.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.inner.next_chunk().await?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// The body as JSON of this shape; otherwise 422 that says where and why.
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
