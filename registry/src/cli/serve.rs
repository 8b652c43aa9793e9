//! `serve`: serves a registry's folder over HTTP, as any web server would. It only reads files.

use std::{net::IpAddr, path::PathBuf};

use axum::Router;
use clap::Args;
use tinybase_registry::{RegistryError, repository};
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

use super::output;

/// What can be said of it.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The registry's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port; 0 takes one that is free
    #[arg(long, value_name = "N", default_value = "8790")]
    port: u16,
}

pub(super) async fn run(options: &Options) -> Result<(), RegistryError> {
    repository::read_root(&options.folder.join("root.json"))?;
    let fault = |error| RegistryError::unreachable(format!("{}:{}: {error}", options.host, options.port));
    let listener = TcpListener::bind((options.host, options.port)).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    output::line(&format!("serving {} on http://{address}", options.folder.display()));
    let router = Router::new().fallback_service(ServeDir::new(&options.folder));
    let stop = async {
        // If no signal handler can be installed, the process must be ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await.map_err(fault)
}
