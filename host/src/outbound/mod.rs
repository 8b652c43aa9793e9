//! HTTP requests to other servers on behalf of extensions: one connection pool, checked addresses, limits, deadlines.
//! It never follows a redirect, never uses a proxy from the environment, and never logs a query, a header or a body.

mod address;
mod connect;
mod failure;
mod request;

use std::{
    error::Error as _,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use tinybase_abi::codec::http as packed;
use tokio::sync::{OnceCell, Semaphore};

use self::connect::{ConnectError, Connector};
pub use self::failure::Failure;
use crate::{config, http::Networks};

/// How long an idle connection is kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// The maximum number of idle connections to one server.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// The maximum size of a response head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Limits of requests to other servers, from the configuration.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The time limit of a request, from its wait for a permit to the last byte of the response.
    pub timeout: Duration,
    /// The largest request body.
    pub request_bytes_max: usize,
    /// The largest response body.
    pub response_bytes_max: usize,
    /// The maximum number of concurrent requests of an extension; further ones wait.
    pub concurrent_max: usize,
    /// Networks that are allowed although they are not public.
    pub allowed: Networks,
}

impl Limits {
    /// Returns the configured limits.
    pub fn new(config: &config::Plugins) -> Limits {
        Limits {
            timeout: Duration::from_millis(config.http_timeout_ms),
            request_bytes_max: config.http_request_bytes_max,
            response_bytes_max: config.http_response_bytes_max,
            concurrent_max: config.http_concurrent_max,
            allowed: Networks::new(&config.http_allow_networks),
        }
    }
}

type HttpClient = Client<HttpsConnector<Connector>, Full<Bytes>>;

/// Sends requests. There is one per process, so that extensions share its connections.
pub struct Outbound {
    limits: Limits,
    // Created on first use: it reads the certificates that the system trusts.
    client: OnceCell<HttpClient>,
}

/// The permits for one extension's requests.
#[derive(Clone)]
pub struct Places(Arc<Semaphore>);

/// The outcome of a request, also for metrics and traces.
pub type Answer = Result<Vec<u8>, Failure>;

impl Outbound {
    /// Creates it without opening anything.
    pub fn new(limits: Limits) -> Outbound {
        Outbound { limits, client: OnceCell::new() }
    }

    /// Returns the permits of an extension.
    pub fn places(&self) -> Places {
        let places = Semaphore::new(self.limits.concurrent_max);
        if self.limits.concurrent_max == 0 {
            // There will never be a permit, so do not wait for one.
            places.close();
        }
        Places(Arc::new(places))
    }

    /// Sends a packed request and returns the packed response.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn send(&self, places: &Places, request: &packed::Request<'_>) -> Answer {
        let prepared = request::prepare(request, self.limits.request_bytes_max)?;
        let wanted = Duration::from_millis(request.timeout_ms);
        let timeout = if wanted.is_zero() { self.limits.timeout } else { wanted.min(self.limits.timeout) };
        let wanted = usize::try_from(request.response_bytes_max).unwrap_or(usize::MAX);
        let body_max = match wanted {
            0 => self.limits.response_bytes_max,
            bytes => bytes.min(self.limits.response_bytes_max),
        };
        let begun = Instant::now();
        let exchange = async {
            let _place = places
                .0
                .acquire()
                .await
                .map_err(|_| Failure::failed("requests to other servers are closed"))?;
            let server = request::server_of(prepared.uri());
            let answer = self.client().await?.request(prepared).await;
            let answer = answer.map_err(|error| no_answer(&server, &error))?;
            read(answer, body_max).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Timeout { after: begun.elapsed() }),
        }
    }

    async fn client(&self) -> Result<&HttpClient, Failure> {
        let made = self.client.get_or_try_init(|| async {
            let allowed = self.limits.allowed.clone();
            // Reading the certificates blocks.
            let made = tokio::task::spawn_blocking(move || client(Connector::new(allowed)));
            let made = made.await.map_err(|error| Failure::failed(error.to_string()))?;
            made.map_err(|error| Failure::failed(format!("no TLS: {error}")))
        });
        made.await
    }
}

fn client(connector: Connector) -> Result<HttpClient, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusting = match HttpsConnectorBuilder::new().with_provider_and_native_roots(Arc::clone(&provider)) {
        Ok(trusting) => trusting,
        // Servers without TLS can be used all the same.
        Err(error) => {
            tracing::warn!("no server is trusted over TLS, since the system names no certificates: {error}");
            let config =
                ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        }
    };
    let connector = trusting.https_or_http().enable_http1().enable_http2().wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIME_MAX)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .http2_max_header_list_size(u32::try_from(HEAD_BYTES_MAX).expect("it is 64 KiB"))
        .build(connector))
}

/// Returns why a request failed. The message contains no more of the URL than host name and port.
fn no_answer(server: &str, error: &hyper_util::client::legacy::Error) -> Failure {
    let mut words = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(ConnectError::Denied(addresses)) = cause.downcast_ref() {
            return Failure::DeniedAddress { server: server.to_owned(), addresses: addresses.clone() };
        }
        words.push(cause.to_string());
        source = cause.source();
    }
    words.dedup();
    let problem = if words.is_empty() { error.to_string() } else { words.join(": ") };
    Failure::failed(format!("{server}: {problem}"))
}

async fn read(answer: Response<Incoming>, body_max: usize) -> Answer {
    let (head, body) = answer.into_parts();
    // A too large announced length is refused before the body is received.
    if body.size_hint().lower() > body_max as u64 {
        return Err(Failure::ResponseTooLarge { bytes_max: body_max });
    }
    let body = Limited::new(body, body_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return Failure::ResponseTooLarge { bytes_max: body_max };
        }
        Failure::failed(format!("the answer broke off: {error}"))
    })?;
    let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let body = body.to_bytes();
    Ok(packed::Response { status: head.status.as_u16(), headers, body: &body }.pack())
}

/// Returns host name and port of the server of a URL, for traces; empty if it has none.
pub fn server_of(url: &str) -> String {
    url.parse::<Uri>().map(|uri| request::server_of(&uri)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
