//! One log line a request: at debug level, or as a warning when it failed. It never logs a query, a header or a body.

use std::time::Instant;

use http::{Method, Request, StatusCode, Uri};

/// What a request's line needs to know from its beginning.
pub(super) struct RequestLog {
    method: Method,
    uri: Uri,
    started: Instant,
}

impl RequestLog {
    pub(super) fn begin<B>(request: &Request<B>) -> RequestLog {
        RequestLog { method: request.method().clone(), uri: request.uri().clone(), started: Instant::now() }
    }

    /// Writes the line. Its span holds the request's id.
    pub(super) fn end(&self, status: StatusCode) {
        if status.is_server_error() {
            tracing::warn!(method = %self.method, path = self.uri.path(), status = status.as_u16(), micros = self.micros(), "request failed");
        } else {
            tracing::debug!(method = %self.method, path = self.uri.path(), status = status.as_u16(), micros = self.micros(), "request");
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
