//! HTTP requests of plugins to other servers: counted, traced, and checked against the host's limits. Never
//! decides which addresses may be reached.

use std::{sync::Arc, time::Instant};

use tinybase_abi::{
    bytes::Bytes, codec::http::Request, error::RawError, future::RawFuture, interfaces::http,
};
use tracing::{Instrument, Span, field::Empty};

use super::{PluginHost, apart};
use crate::{
    metrics::stats,
    outbound::{Failure, server_of},
    telemetry,
};

/// Creates a span below the traced request; outside of a traced request, none. It records the server, never
/// the content.
fn span(request: &Request<'_>) -> Span {
    tracing::trace_span!(
        target: telemetry::TARGET,
        "http",
        otel.name = "http.send",
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method,
        server.address = Empty,
        http.response.status_code = Empty,
        error.type = Empty,
    )
}

fn note(span: &Span, answer: &Result<Vec<u8>, Failure>) {
    match answer {
        Ok(packed) => {
            // The response was just packed; its status comes first.
            let status = packed.first_chunk().map_or(0, |status| u32::from_le_bytes(*status));
            span.record("http.response.status_code", status);
        }
        Err(failure) => {
            span.record("error.type", failure.code());
            span.record("otel.status_code", "ERROR");
        }
    }
}

impl http::Server for PluginHost {
    fn send(&self, request: Bytes) -> RawFuture<Bytes> {
        let (outbound, places) = (Arc::clone(&self.shared.outbound), self.places.clone());
        let metrics = stats::plugin(&self.manifest.name);
        apart(async move {
            let request = Request::read(&request)
                .map_err(|error| RawError::new(500, "http_request_invalid", error.to_string()))?;
            let span = span(&request);
            if !span.is_disabled() {
                span.record("server.address", server_of(request.url));
            }
            let begun = Instant::now();
            let answer = outbound.send(&places, &request).instrument(span.clone()).await;
            metrics.http.note(begun.elapsed(), answer.is_err());
            note(&span, &answer);
            Ok(Bytes::from(answer?))
        })
    }
}
