//! Sends spans to the collector, over plain HTTP and on the thread that gathers them. It logs once when the collector
//! becomes unreachable, and once when it is reachable again.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;

/// The time limit for a response of the collector.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// The maximum number of bytes read of a collector's response, which is short.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// A client of the collector.
#[derive(Debug)]
pub(super) struct Collector {
    agent: Agent,
    is_lost: AtomicBool,
}

impl Collector {
    pub(super) fn new() -> Collector {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_WAIT_MAX))
            .max_redirects(0)
            // The collector is nearby; the environment's proxy is for remote servers.
            .proxy(None)
            .user_agent(concat!("tinybase/", env!("CARGO_PKG_VERSION")))
            .build();
        Collector { agent: config.into(), is_lost: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (parts, body) = request.into_parts();
        let answer = self.agent.run(Request::from_parts(parts, &body[..]))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }

    fn note(&self, sent: &Result<Response<Bytes>, ureq::Error>) {
        let problem = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_lost = self.is_lost.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_lost => {
                tracing::warn!(problem, "traces cannot be sent to telemetry.otlp_endpoint, and are lost");
            }
            None if was_lost => tracing::info!("traces can be sent to telemetry.otlp_endpoint again"),
            _ => {}
        }
    }
}

impl HttpClient for Collector {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> BoxFuture<'f, Result<Response<Bytes>, HttpError>>
    where
        'c: 'f,
        Self: 'f,
    {
        // It may block, because it is polled on its own thread.
        Box::pin(async move {
            let sent = self.send(request);
            self.note(&sent);
            sent.map_err(HttpError::from)
        })
    }
}
