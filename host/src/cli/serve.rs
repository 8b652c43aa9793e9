//! `tinybase serve`: puts the host together in order, serves, and takes it apart in the opposite order.

use std::{io, net::SocketAddr, sync::Arc};

use http::Method;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    Failure, output, serving_runtime,
    site::{Place, accounts, check_migrated, open_database},
    start_log,
};
use crate::{
    accounts,
    config::{Config, Flag},
    db::Database,
    http::{App, Found, PluginDispatch, serve},
};

/// What `serve` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The address to listen on, instead of server.host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The port to listen on, instead of server.port; 0 lets the system choose
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
}

impl Options {
    fn flags(&self) -> Vec<Flag> {
        let host = self.host.iter().map(|value| ("--host", "server.host", value));
        let port = self.port.iter().map(|value| ("--port", "server.port", value));
        host.chain(port).map(|(flag, key, value)| Flag { flag, key, value: value.clone() }).collect()
    }
}

pub(super) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let config = place.config(&options.flags())?;
    start_log(config.server.log_level, config.server.log_format)?;
    serving_runtime(&config.server)?.block_on(async {
        let mut stop = Stop::listen()?;
        let db = open_database(&config)?;
        let served = serve_on(&config, &db, &mut stop).await;
        db.shut_down().await;
        served
    })
}

async fn serve_on(config: &Config, db: &Arc<dyn Database>, stop: &mut Stop) -> Result<(), Failure> {
    check_migrated(&**db).await?;
    let (accounts, _settings) = accounts(config, db)?;
    let routes = accounts::router(Arc::clone(&accounts));
    let app = Arc::new(App::new(config, Arc::new(NoPlugins), accounts, routes));
    let listener = listen(config).await?;
    let address = listener.local_addr()?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
    output::line(format!("serving http://{address}"))?;
    serve(listener, app, stop.asked()).await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(config: &Config) -> Result<TcpListener, Failure> {
    let (host, port) = (config.server.host.trim_matches(['[', ']']), config.server.port);
    TcpListener::bind((host, port)).await.map_err(|cause| {
        let hint = match cause.kind() {
            io::ErrorKind::AddrInUse => "stop what listens there, or choose another port with --port",
            io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose another with --port",
            _ => "check server.host and server.port",
        };
        let place = match host.parse() {
            Ok(address) => SocketAddr::new(address, port).to_string(),
            Err(_) => format!("{host}:{port}"),
        };
        Failure::new(format!("cannot listen on {place}: {cause}; {hint}"))
    })
}

/// The signals that end a server: SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Stop, Failure> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ready once the server is asked to end. From then on, a second time asked ends the process at once.
    async fn asked(&mut self) {
        self.next().await;
        tracing::info!("stopping: open requests may end; ask again to stop at once");
        if let Ok(mut again) = Stop::listen() {
            tokio::spawn(async move {
                again.next().await;
                tracing::warn!("stopped at once");
                std::process::exit(1);
            });
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// No plugin serves anything.
struct NoPlugins;

impl PluginDispatch for NoPlugins {
    fn find(&self, _method: &Method, _path: &str) -> Found {
        Found::Missing
    }
}
