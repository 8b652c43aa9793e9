//! One request and its answer as an operator sees them: its log line, at debug level or as a warning when it failed, and
//! its figures. It never keeps a query, a header or a body.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use http::{Method, Request, StatusCode, Uri};

use super::Caller;
use crate::observe::{
    figures::micros,
    stats::{self, HTTP, RouteFigures},
};

/// What is known of a request while it is being served.
pub(super) struct Exchange {
    method: Method,
    uri: Uri,
    started: Instant,
    figures: OnceLock<&'static RouteFigures>,
    caller: OnceLock<Arc<Caller>>,
}

impl Exchange {
    pub(super) fn begin<B>(request: &Request<B>) -> Exchange {
        HTTP.in_flight.step(1);
        Exchange {
            method: request.method().clone(),
            uri: request.uri().clone(),
            started: Instant::now(),
            figures: OnceLock::new(),
            caller: OnceLock::new(),
        }
    }

    /// A route takes the request.
    pub(super) fn found(&self, figures: &'static RouteFigures) {
        let _ = self.figures.set(figures);
    }

    /// The request's token was verified.
    pub(super) fn called_by(&self, caller: Option<&Arc<Caller>>) {
        if let Some(caller) = caller {
            let _ = self.caller.set(Arc::clone(caller));
        }
    }

    /// The answer is made: counts it, and writes the line. Its span holds the request's id.
    pub(super) fn end(&self, status: StatusCode) {
        let time = self.started.elapsed();
        self.figures.get().copied().unwrap_or_else(stats::unmatched).note(status, time);
        let (method, path, micros) = (&self.method, self.uri.path(), micros(time));
        if status.is_server_error() {
            tracing::warn!(%method, path, status = status.as_u16(), micros, "request failed");
        } else {
            tracing::debug!(%method, path, status = status.as_u16(), micros, "request");
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        HTTP.in_flight.step(-1);
    }
}
