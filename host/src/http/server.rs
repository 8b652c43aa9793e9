//! The accept loop and the life of a connection, from its first byte to the drain at shutdown. It never looks at the
//! contents of requests.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use super::{
    App, Limits,
    connection::{ConnectionState, TrackedIo, Verdict},
    h2_streams::StreamExecutor,
    pace::{PaceJudge, look_interval},
};
use crate::metrics::stats::HTTP;

/// How long to wait after the system could not accept a connection for lack of resources, such as file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The phase of the server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    Draining,
    Closing,
}

/// The result of the server's shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// The number of connections that were cut off because they outlasted the shutdown timeout.
    pub cut_off: usize,
}

/// Serves `app` on `listener` until `shutdown` is ready. Then stops accepting, lets open requests finish within
/// `shutdown_timeout`, and cuts off the rest.
pub async fn serve(listener: TcpListener, app: Arc<App>, shutdown: impl Future<Output = ()>) -> Drained {
    let (phase, _) = watch::channel(Phase::Serving);
    let connections_max = app.limits.connections_max.min(Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(connections_max));
    let builder = Arc::new(protocols(&app.limits));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let connection =
                    Connection { app: Arc::clone(&app), builder: Arc::clone(&builder), peer, slot };
                tokio::spawn(connection.run(stream, phase.subscribe()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted; trying again shortly");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    phase.send_replace(Phase::Draining);
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    let drained = tokio::time::timeout(app.limits.shutdown_timeout, slots.acquire_many(all)).await;
    let cut_off = if drained.is_ok() { 0 } else { connections_max - slots.available_permits() };
    phase.send_replace(Phase::Closing);
    if cut_off > 0 {
        tracing::warn!(cut_off, "connections outlasted the shutdown timeout and were cut off");
    }
    Drained { cut_off }
}

/// Returns the next connection, once there is room for one. Errors of single connections are ignored.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the slots are never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Ok((stream, peer, slot)),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn protocols(limits: &Limits) -> auto::Builder<StreamExecutor> {
    let mut builder = auto::Builder::new(StreamExecutor::new(limits));
    // `ConnectionState` enforces the head's timeout: hyper's would set and drop a timer for each request.
    builder
        .http1()
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(limits.h2_header_list_bytes_max)
        .keep_alive_interval(limits.h2_ping_interval)
        .keep_alive_timeout(limits.h2_ping_timeout);
    builder
}

/// Bounds the unsent bytes in the kernel's send buffer. Bytes that wait for a slow client are then counted here, and
/// its pace becomes visible within seconds.
fn bound_unsent(stream: &TcpStream) {
    const UNSENT_BYTES_MAX: u32 = 128 << 10;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// Counts a connection as open while it lives.
struct Counted;

impl Counted {
    fn new() -> Counted {
        HTTP.connections.step(1);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        HTTP.connections.step(-1);
    }
}

struct Connection {
    app: Arc<App>,
    builder: Arc<auto::Builder<StreamExecutor>>,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream, mut phase: watch::Receiver<Phase>) {
        let Connection { app, builder, peer, slot: _slot } = self;
        let _counted = Counted::new();
        // Responses are written in one go; waiting for more data would only delay them. An error on a closed socket
        // surfaces soon enough.
        let _ = stream.set_nodelay(true);
        bound_unsent(&stream);
        let seen = Arc::new(ConnectionState::new());
        let io = TokioIo::new(TrackedIo::new(stream, Arc::clone(&seen), app.limits.linger_timeout));
        let service = service_fn(|request| {
            let (app, seen) = (Arc::clone(&app), Arc::clone(&seen));
            async move { Ok::<_, Infallible>(app.serve(request, peer, seen).await) }
        });
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut check =
            pin!(tokio::time::sleep(app.limits.header_read_timeout.min(look_interval(&app.limits))));
        let mut judge = PaceJudge::new(Instant::now());
        let mut draining = *phase.borrow() != Phase::Serving;
        if draining {
            connection.as_mut().graceful_shutdown();
        }
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection ended early");
                    }
                    return;
                }
                _ = phase.changed() => {
                    if *phase.borrow() == Phase::Closing {
                        return;
                    }
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = check.as_mut() => match seen.verdict(&mut judge, &app.limits) {
                    Verdict::Fine(next) => check.as_mut().reset(Instant::now() + next),
                    Verdict::Idle if !draining => {
                        draining = true;
                        connection.as_mut().graceful_shutdown();
                        check.as_mut().reset(Instant::now() + app.limits.linger_timeout);
                    }
                    Verdict::Idle => return,
                    Verdict::Stuck(why) => {
                        tracing::debug!(%peer, why, "a connection was cut off");
                        return;
                    }
                },
            }
        }
    }
}
