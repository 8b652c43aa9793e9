//! Delivers spans to the collector: the layer that receives them, the bounded queue, the thread that sends them. It
//! never decides which request is traced.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tracing::{Metadata, subscriber::Interest};
use tracing_subscriber::{
    Layer, Registry,
    filter::{DynFilterFn, dynamic_filter_fn},
    layer::Context,
};

use super::{
    REQUEST, Requests, TARGET,
    collector::{ANSWER_WAIT_MAX, Collector},
};
use crate::config;

/// The maximum number of spans that wait to be sent; further ones are dropped.
const QUEUE_SPANS_MAX: usize = 8192;
/// The maximum number of spans that are sent at once.
const BATCH_SPANS_MAX: usize = 512;
/// How long spans wait to be sent together.
const SEND_EVERY: Duration = Duration::from_secs(2);
/// The time limit for sending the last spans at shutdown.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(3);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be sent to telemetry.otlp_endpoint: {0}")]
pub struct TelemetryError(#[from] ExporterBuildError);

/// Sends traces to a collector.
pub struct Telemetry {
    provider: SdkTracerProvider,
    sample_ratio: f64,
}

impl Telemetry {
    /// Prepares what is configured; returns `None` if no collector is.
    ///
    /// # Errors
    /// If the endpoint is not a URL.
    pub fn new(config: &config::Telemetry) -> Result<Option<Telemetry>, TelemetryError> {
        if config.otlp_endpoint.is_empty() {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", config.otlp_endpoint.trim_end_matches('/')))
            .with_timeout(ANSWER_WAIT_MAX)
            .build()?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS_MAX)
            .with_max_export_batch_size(BATCH_SPANS_MAX)
            .with_scheduled_delay(SEND_EVERY);
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_resource(resource.build())
            // Sampling happens before a span is created.
            .with_sampler(Sampler::AlwaysOn)
            .build();
        Ok(Some(Telemetry { provider, sample_ratio: config.sample_ratio }))
    }

    /// Returns the layer that receives the spans, in addition to the log.
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("tinybase"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(filter())
            .boxed()
    }

    /// Returns the sampler, which starts the spans of requests.
    pub fn requests(&self) -> Requests {
        Requests::new(self.sample_ratio)
    }

    /// Sends the pending spans, within a deadline. Spans that end later are lost.
    pub async fn shut_down(self) {
        let shut =
            tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(SHUTDOWN_TIME_MAX));
        if let Ok(Err(error)) = shut.await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

type IsTaken = fn(&Metadata<'_>, &Context<'_, Registry>) -> bool;
type MayBeTaken = fn(&'static Metadata<'static>) -> Interest;

/// Selects the spans of sampled requests, and those within them.
fn filter() -> DynFilterFn<Registry, IsTaken, MayBeTaken> {
    fn is_taken(metadata: &Metadata<'_>, context: &Context<'_, Registry>) -> bool {
        metadata.is_span()
            && metadata.target() == TARGET
            && (metadata.name() == REQUEST || context.lookup_current().is_some())
    }
    fn may_be_taken(metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == TARGET { Interest::sometimes() } else { Interest::never() }
    }
    dynamic_filter_fn(is_taken as IsTaken).with_callsite_filter(may_be_taken as MayBeTaken)
}
