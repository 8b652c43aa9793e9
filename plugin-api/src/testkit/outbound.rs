//! The test host's replacement of other servers. Requests are recorded and receive the test's responses. None is
//! sent.

use std::sync::Mutex;

use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, ready},
    interfaces::http,
};

use super::{clock::lock, services::Services};
use crate::{
    Error, Result,
    http::{HttpRequest, HttpResponse},
};

/// The replacement of every other server.
pub(super) type HttpStub = Box<dyn FnMut(&HttpRequest) -> Result<HttpResponse> + Send>;

/// The requests so far, and the stub that responds to further ones.
#[derive(Default)]
pub(super) struct Outbound {
    pub(super) requests: Mutex<Vec<HttpRequest>>,
    pub(super) stub: Mutex<Option<HttpStub>>,
}

impl Outbound {
    fn answer(&self, packed: &[u8]) -> Result<Vec<u8>> {
        let request = HttpRequest::read(packed)?;
        let answer = match &mut *lock(&self.stub) {
            Some(stub) => stub(&request),
            None => Err(Error::new(
                502,
                "http_failed",
                "the test says of no server what it answers: see `serve_http`",
            )),
        };
        lock(&self.requests).push(request);
        Ok(answer?.pack())
    }
}

impl http::Server for Services {
    fn send(&self, request: Bytes) -> RawFuture<Bytes> {
        ready(self.outbound.answer(&request).map(Bytes::from).map_err(RawError::from))
    }
}
