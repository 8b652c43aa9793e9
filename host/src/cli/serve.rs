//! `tinybase serve`: starts the parts of the host in order, serves, and stops them in reverse order.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, time::Instant};

use super::{
    Failure, output,
    serving::Serving,
    serving_runtime, signals,
    site::{HostServices, InstanceDir, check_migrated, open_database, services},
    start_log,
    stop::Stop,
    tell_warnings, unclaimed,
};
use crate::{
    accounts,
    admin::{self, Administered},
    audit::{self, AuditLog, Retention},
    config::{Config, Flag},
    db::Database,
    http::{App, HostRoutes, PluginDispatch, serve},
    isolation::Watchdog,
    metrics::{self, Observed},
    nodes,
    plugins::{self, Console, Purpose},
    registry, request_log,
    telemetry::{self, Telemetry, Traced},
};

/// The minimum time plugins have to stop, however long open requests took.
const PLUGINS_END_TIME_MIN: Duration = Duration::from_millis(500);

/// The arguments of `serve`.
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

pub(super) fn run(place: &InstanceDir, options: &Options) -> Result<(), Failure> {
    let config = Arc::new(place.config(&options.flags())?);
    let telemetry = Telemetry::new(&config.telemetry).map_err(|cause| Failure::new(cause.to_string()))?;
    let layer = telemetry.as_ref().map(Telemetry::layer);
    start_log(config.server.log_level, config.server.log_format, layer)?;
    tell_warnings(&config);
    serving_runtime(&config.server)?.block_on(async {
        let mut stop = Stop::listen(&config.server)?;
        let _harmless = signals::take_harmless()?;
        let _serving = Serving::take(&config, "this server cannot start")?;
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
        // Threads are monitored until the last moment.
        served.map(drop)
    })
}

/// Serves until asked to stop. Returns the monitor of the threads, which is useful until the process ends.
#[expect(clippy::cognitive_complexity, reason = "each macro of the log counts as several branches")]
async fn serve_on(
    config: &Arc<Config>,
    db: &Arc<dyn Database>,
    safe_mode: bool,
    traces: Option<telemetry::Requests>,
    stop: &mut Stop,
) -> Result<Watchdog, Failure> {
    check_migrated(db).await?;
    let services = services(config, db, Console::of_server())?;
    services.keys().note_or_check().await?;
    let HostServices { sql, settings, accounts, plugins, nodes } = services;
    let watchdog = plugins.watch_threads()?;
    plugins.follow_bundled().await?;
    plugins.load(Purpose::Serve, safe_mode).await?;
    let mut own = HostRoutes::default();
    accounts::routes(&mut own, Arc::clone(&accounts));
    plugins::routes(&mut own, Arc::clone(&plugins));
    audit::routes(&mut own, AuditLog::new(sql.clone()));
    nodes::routes(&mut own, Arc::clone(&nodes));
    let observed = Observed::new(sql.clone(), Arc::clone(&nodes), safe_mode);
    metrics::routes(&mut own, config, &observed);
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
    let timeout = Duration::from_millis(config.server.shutdown_timeout_ms);
    let mut deadline = None;
    let asked = async {
        stop.asked().await;
        observed.ready().stop();
        tokio::time::sleep(Duration::from_millis(config.server.shutdown_delay_ms)).await;
        deadline = Some(Instant::now() + timeout);
    };
    serve(listener, app, asked).await;
    if let Some(recorder) = &recorder {
        recorder.flush().await;
    }
    drop(revocations);
    // Plugins get the rest of the time that requests leave, and at least a moment.
    let left = deadline.map_or(timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
    plugins.shut_down(left.max(PLUGINS_END_TIME_MIN)).await;
    membership.leave().await;
    tracing::info!("stopped");
    Ok(watchdog)
}

/// Reports that manually installed extensions are skipped.
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
