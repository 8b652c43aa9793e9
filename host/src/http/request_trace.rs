//! Makes a request observable for operators: its log line (at debug level, or as a warning if it failed), its metrics,
//! and its row of the request log. It never stores a query, a header or a body.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use http::{Method, Request, StatusCode, Uri};

use super::{Caller, RequestId, app::HttpResponse, rate_limit::Quota};
use crate::{
    error::Unavailable,
    limited_log::LimitedLog,
    metrics::{
        primitives::micros,
        stats::{self, HTTP, RouteMetrics},
    },
    request_log::{Answered, Recorder, Unsent},
};

/// What is known about a request while it is served.
pub(super) struct RequestTrace {
    method: Method,
    uri: Uri,
    client: IpAddr,
    started: Instant,
    metrics: OnceLock<&'static RouteMetrics>,
    caller: OnceLock<Arc<Caller>>,
    quota: OnceLock<Quota>,
}

impl RequestTrace {
    pub(super) fn begin<B>(request: &Request<B>, client: IpAddr) -> RequestTrace {
        HTTP.in_flight.step(1);
        RequestTrace {
            method: request.method().clone(),
            uri: request.uri().clone(),
            client,
            started: Instant::now(),
            metrics: OnceLock::new(),
            caller: OnceLock::new(),
            quota: OnceLock::new(),
        }
    }

    /// Records the metrics of the matched route.
    pub(super) fn found(&self, metrics: &'static RouteMetrics) {
        let _ = self.metrics.set(metrics);
    }

    /// Returns the pattern of the matched route.
    pub(super) fn route(&self) -> Option<&'static str> {
        self.metrics.get().map(|metrics| metrics.pattern)
    }

    /// Records the caller of a verified token.
    pub(super) fn called_by(&self, caller: Option<&Arc<Caller>>) {
        if let Some(caller) = caller {
            let _ = self.caller.set(Arc::clone(caller));
        }
    }

    /// Records that the request was counted against a rate limit.
    pub(super) fn counted(&self, quota: Option<Quota>) {
        if let Some(quota) = quota {
            let _ = self.quota.set(quota);
        }
    }

    /// Returns the client's remaining quota if the request was counted.
    pub(super) fn quota(&self) -> Option<Quota> {
        self.quota.get().copied()
    }

    /// Returns when the request began.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Records the finished response: updates the metrics and writes the log line, whose span contains the request's
    /// id. Returns the row of the request log, if there is one.
    pub(super) fn end(
        &self,
        answer: &HttpResponse,
        request_id: &RequestId,
        recorder: Option<&Recorder>,
    ) -> Option<Unsent> {
        let status = answer.status();
        let (time, metrics) = (self.started.elapsed(), self.metrics.get().copied());
        metrics.unwrap_or_else(stats::unmatched).note(status, time);
        let (method, path, micros) = (&self.method, self.uri.path(), micros(time));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            self.unavailable(answer, micros);
        } else if status.is_server_error() {
            tracing::warn!(%method, path, status = status.as_u16(), micros, "request failed");
        } else {
            tracing::debug!(%method, path, status = status.as_u16(), micros, "request");
        }
        let answered = Answered {
            method,
            uri: &self.uri,
            route: self.route(),
            status,
            time,
            caller: self.caller.get(),
            client: self.client,
            request_id,
        };
        recorder?.note(self.started, &answered)
    }
}

impl RequestTrace {
    /// Records a 503. Clients that exceed the capacity can cause any number of them, so the log line is limited.
    fn unavailable(&self, answer: &HttpResponse, micros: u64) {
        static REFUSALS: LimitedLog = LimitedLog::new();
        let code = answer.extensions().get::<Unavailable>().map_or("", |Unavailable(code)| code);
        if code == "overloaded" {
            HTTP.overloaded.add_one();
        }
        let (method, path) = (&self.method, self.uri.path());
        match REFUSALS.due(code) {
            Some(count) => tracing::warn!(%method, path, status = 503, code, count, micros, "request failed"),
            None => tracing::debug!(%method, path, status = 503, code, micros, "request failed"),
        }
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        HTTP.in_flight.step(-1);
    }
}
