//! Fetches files of a registry: over HTTP with timeouts and within one origin, or from a folder. It does not verify
//! what it fetches.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::{Client, Response, redirect};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tough::{FilesystemTransport, Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use crate::{
    error::{Code, RegistryError},
    source::Limits,
};

/// The reason why a file was not fetched, inside an error of `tough`.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) words: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words)
    }
}

impl Error for Refused {}

/// Fetches files according to the scheme of the URL.
#[derive(Debug, Clone)]
pub(crate) enum Fetcher {
    Files,
    Http(Client),
}

impl Fetcher {
    /// Creates the fetcher for a registry at this URL.
    pub(crate) fn new(base: &Url, limits: &Limits) -> Result<Fetcher, RegistryError> {
        match base.scheme() {
            "file" => Ok(Fetcher::Files),
            _ => client(limits).map(Fetcher::Http),
        }
    }
}

fn client(limits: &Limits) -> Result<Client, RegistryError> {
    let redirects_max = limits.redirects_max;
    let policy = redirect::Policy::custom(move |attempt| {
        let first = attempt.previous().first().map(Url::origin);
        if first.is_some_and(|origin| origin == attempt.url().origin())
            && attempt.previous().len() <= redirects_max
        {
            attempt.follow()
        } else {
            attempt.error("it redirects to elsewhere, or too often")
        }
    });
    Client::builder()
        .tls_backend_preconfigured(tls()?)
        .redirect(policy)
        .no_proxy()
        .connect_timeout(Duration::from_millis(limits.connect_timeout_ms))
        .read_timeout(Duration::from_millis(limits.read_timeout_ms))
        .user_agent(concat!("tinybase/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| {
            RegistryError::new(Code::Unreachable, format!("no HTTP client can be made: {error}"))
        })
}

/// Creates a TLS configuration with the certificate authorities trusted by this machine, or those in the environment
/// variables `SSL_CERT_FILE` and `SSL_CERT_DIR`. The provider is set explicitly, since `tough` adds a second one.
///
/// # Errors
/// Fails if the provider supports no version of TLS.
pub fn tls() -> Result<ClientConfig, RegistryError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| RegistryError::new(Code::Unreachable, format!("no TLS can be made: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[async_trait]
impl Transport for Fetcher {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        match self {
            Fetcher::Files => FilesystemTransport.fetch(url).await,
            Fetcher::Http(client) => fetch(client, url).await,
        }
    }
}

/// Reports a missing file as an immediate error, and any other failure as an error of the stream: `tough` treats an
/// immediate error as the end of the chain of roots, and a failing registry must not look like one without a newer
/// root.
async fn fetch(client: &Client, url: Url) -> Result<TransportStream, TransportError> {
    let sent = client.get(url.clone()).send().await;
    let refused = match sent.map(check) {
        Ok(Ok(response)) => {
            let at = url.clone();
            let stream = response.bytes_stream().map_err(move |error| transport_error(&at, &error));
            return Ok(Box::pin(sync(stream)));
        }
        Ok(Err(refused)) => refused,
        Err(error) => transport_error(&url, &error),
    };
    if refused.kind() == TransportErrorKind::FileNotFound {
        return Err(refused);
    }
    Ok(Box::pin(futures_util::stream::once(std::future::ready(Err(refused)))))
}

fn check(response: Response) -> Result<Response, TransportError> {
    let status = response.status();
    if status.as_u16() == 200 {
        return Ok(response);
    }
    // Object stores that do not allow listing respond with 403 for a missing file.
    let absent = [403, 404, 410].contains(&status.as_u16());
    let kind = if absent { TransportErrorKind::FileNotFound } else { TransportErrorKind::Other };
    let refused = Refused { code: Code::Status, words: format!("it answered {status}") };
    Err(TransportError::new_with_cause(kind, response.url().as_str(), refused))
}

fn transport_error(url: &Url, error: &reqwest::Error) -> TransportError {
    let (code, words) = if error.is_timeout() {
        (Code::Timeout, "it did not answer in time".to_owned())
    } else if error.is_redirect() {
        (
            Code::Redirect,
            "it redirects to another origin, or too often; configure the address that it redirects to"
                .to_owned(),
        )
    } else if let Some(fault) = certificate_fault(error) {
        let words = format!(
            "its certificate is not trusted ({fault}); where a private authority issued it, let this machine trust that one, or \
             name its certificate in the variable SSL_CERT_FILE"
        );
        (Code::Certificate, words)
    } else {
        (Code::Unreachable, format!("it cannot be reached: {}", innermost(error)))
    };
    TransportError::new_with_cause(TransportErrorKind::Other, url, Refused { code, words })
}

/// Returns what is wrong with a server's certificate, if that caused an error.
fn certificate_fault<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(fault)) = error.downcast_ref() {
        return Some(fault);
    }
    // The inner error of an I/O error is not its source.
    match error.downcast_ref::<io::Error>() {
        Some(outer) => certificate_fault(outer.get_ref()?),
        None => certificate_fault(error.source()?),
    }
}

/// Returns the message of the innermost cause of an error, which is the most specific one.
pub fn innermost(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

/// `tough` requires `Sync` streams, and reqwest's are not. No stream is polled from two threads.
fn sync<S>(stream: S) -> impl futures_util::Stream<Item = S::Item> + Send + Sync
where
    S: futures_util::Stream + Send + 'static,
    S::Item: Send + 'static,
{
    sync_wrapper::SyncStream::new(stream.boxed())
}
