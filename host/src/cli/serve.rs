//! `tinybase serve`: puts the host together in order, serves, and takes it apart in the opposite order.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    Failure, output, serving_runtime, signals,
    site::{House, Place, check_migrated, house, open_database},
    start_log, tell_warnings, unclaimed,
};
use crate::{
    accounts,
    admin::{self, Administered},
    audit::{self, AuditLog, Retention},
    config::{Config, Flag},
    db::Database,
    http::{App, OwnRoutes, PluginDispatch, serve},
    nodes,
    observe::{self, Observed},
    plugins::{self, Console, Purpose},
    registry, request_log,
    telemetry::{self, Telemetry, Traced},
};

/// How long after the first signal that ends a server another one counts as the same.
const SAME_REQUEST_TIME_MAX: Duration = Duration::from_secs(1);

/// What `serve` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The address to listen on, instead of server.host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The port to listen on, instead of server.port; 0 lets the system choose
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Load the extensions that came with this program alone
    #[arg(long)]
    safe_mode: bool,
}

impl Options {
    fn flags(&self) -> Vec<Flag> {
        let host = self.host.iter().map(|value| ("--host", "server.host", value));
        let port = self.port.iter().map(|value| ("--port", "server.port", value));
        host.chain(port).map(|(flag, key, value)| Flag { flag, key, value: value.clone() }).collect()
    }
}

pub(super) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let config = Arc::new(place.config(&options.flags())?);
    let telemetry = Telemetry::new(&config.telemetry).map_err(|cause| Failure::new(cause.to_string()))?;
    let layer = telemetry.as_ref().map(Telemetry::layer);
    start_log(config.server.log_level, config.server.log_format, layer)?;
    tell_warnings(&config);
    serving_runtime(&config.server)?.block_on(async {
        let mut stop = Stop::listen()?;
        let _harmless = signals::take_harmless()?;
        let mut db = open_database(&config).await?;
        let traces = telemetry.as_ref().map(Telemetry::requests);
        if traces.is_some() {
            db = Traced::over(db);
        }
        let served = serve_on(&config, &db, options.safe_mode, traces, &mut stop).await;
        db.shut_down().await;
        if let Some(telemetry) = telemetry {
            telemetry.shut_down().await;
        }
        served
    })
}

#[expect(clippy::cognitive_complexity, reason = "each macro of the log counts as several branches")]
async fn serve_on(
    config: &Arc<Config>,
    db: &Arc<dyn Database>,
    safe_mode: bool,
    traces: Option<telemetry::Requests>,
    stop: &mut Stop,
) -> Result<(), Failure> {
    check_migrated(db).await?;
    let house = house(config, db, Console::of_server())?;
    house.keys().note_or_check().await?;
    let House { sql, settings, accounts, plugins, nodes } = house;
    plugins.follow_bundled().await?;
    plugins.load(Purpose::Serve, safe_mode).await?;
    let mut own = OwnRoutes::default();
    accounts::routes(&mut own, Arc::clone(&accounts));
    plugins::routes(&mut own, Arc::clone(&plugins));
    audit::routes(&mut own, AuditLog::new(sql.clone()));
    nodes::routes(&mut own, Arc::clone(&nodes));
    let observed = Observed::new(sql.clone(), Arc::clone(&nodes), safe_mode);
    observe::routes(&mut own, config, &observed);
    let recorder = request_log::Recorder::new(sql.clone(), &config.request_log);
    request_log::routes(&mut own, sql.clone(), recorder.clone());
    let _writing = recorder.as_ref().map(request_log::Recorder::start);
    let _logged = request_log::Retention::start(sql.clone(), &config.request_log);
    let _cleanup = accounts::Cleanup::start(Arc::clone(&accounts));
    let _retention = Retention::start(sql.clone(), config.audit.retention_days);
    let administered = Administered {
        accounts: Arc::clone(&accounts),
        settings,
        plugins: Arc::clone(&plugins),
        config: Arc::clone(config),
    };
    admin::routes(&mut own, &administered);
    let dispatch = Arc::clone(&plugins) as Arc<dyn PluginDispatch>;
    let app = Arc::new(
        App::new(config, dispatch, Arc::clone(&accounts) as _, own)
            .with_request_log(recorder.clone())
            .with_traces(traces),
    );
    let _sweeping = app.share_rate_limits(config, sql, nodes.alive().clone());
    let listener = listen(config).await?;
    let address = listener.local_addr()?;
    let membership = nodes.join(address).await?;
    let revocations = registry::Watch::start(Arc::clone(config), Arc::clone(&plugins));
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), extensions = ?plugins.loaded(), safe_mode, "serving");
    output::line(format!("serving http://{address}"))?;
    tell_safe_mode(safe_mode)?;
    unclaimed::announce(&accounts).await?;
    let asked = async {
        stop.asked().await;
        observed.ready().stop();
        tokio::time::sleep(Duration::from_millis(config.server.shutdown_delay_ms)).await;
    };
    serve(listener, app, asked).await;
    if let Some(recorder) = &recorder {
        recorder.flush().await;
    }
    drop(revocations);
    plugins.shut_down(Duration::from_millis(config.server.shutdown_timeout_ms)).await;
    membership.leave().await;
    tracing::info!("stopped");
    Ok(())
}

/// Says so where extensions that were installed by hand are left out.
fn tell_safe_mode(safe_mode: bool) -> Result<(), Failure> {
    if !safe_mode {
        return Ok(());
    }
    let words = "safe mode: only the extensions that came with this program are loaded";
    tracing::warn!("{words}");
    output::line(words)
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

    /// Ready once the server is asked to end. From then on, a second time asked ends the process at once; not within the moment
    /// in which one request may arrive twice, as from a program that signals a process and then its whole group.
    async fn asked(&mut self) {
        self.next().await;
        tracing::info!("stopping: open requests may end; ask again to stop at once");
        let begun = Instant::now();
        if let Ok(mut again) = Stop::listen() {
            tokio::spawn(async move {
                again.next().await;
                while begun.elapsed() < SAME_REQUEST_TIME_MAX {
                    again.next().await;
                }
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
