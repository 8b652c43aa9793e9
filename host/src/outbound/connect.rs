//! Opens connections: resolves a name, drops the addresses that are not allowed, and connects to one of the others. All
//! connections are opened here, for names and for literal addresses, so a name cannot resolve differently between the
//! check and the connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Uri, uri::Scheme};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::address::is_public;
use crate::http::Networks;

/// The time limit for one of several addresses before the next is tried.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Why no connection was opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// None of the name's addresses is allowed.
    #[error("no address of it is allowed")]
    Denied(Vec<IpAddr>),
    /// The name does not resolve, or no server responds.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Opens connections to allowed addresses.
#[derive(Clone)]
pub(super) struct Connector {
    allowed: Arc<Networks>,
}

impl Connector {
    /// Creates a connector to public addresses and to these networks.
    pub(super) fn new(allowed: Networks) -> Connector {
        Connector { allowed: Arc::new(allowed) }
    }

    fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.contain(address)
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 });
        let resolved: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        let allowed: Vec<_> = resolved.iter().filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() && !resolved.is_empty() {
            return Err(ConnectError::Denied(resolved.iter().map(SocketAddr::ip).collect()));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
        for address in allowed {
            match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "nobody answers"),
            }
        }
        Err(last.into())
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
