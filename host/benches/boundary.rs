//! Measures the cost of the plugin boundary: calls from the host into a library and back, without HTTP, network or
//! database. It prints `boundary_call_ns` and `event_no_subscriber_ns`, each the median of a few rounds.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use http::{Method, Request, request::Parts as RequestParts};
use tinybase_host::{
    accounts::{Accounts, Keys},
    audit::Actor,
    cli,
    config::Config,
    db::{
        Database,
        migrations::Migrator,
        sqlite::{Sqlite, SqliteOptions},
    },
    http::{
        Found, PathParams, PluginBody, PluginDispatch, PluginRequest, PluginResponse, PluginRoute,
        RequestBody, RequestId,
    },
    nodes::Nodes,
    plugins::{
        Console, PluginDeps, Plugins, Purpose,
        deferred_batches::{DeferredBatchDatabase, DeferredBatches},
        lifecycle::{Change, Origin},
        package::Package,
        probe,
    },
    secrets::Vault,
    settings::Settings,
    sql::HostSql,
};

/// The number of calls per timing.
const CALLS: u32 = 500_000;
/// The number of timings, of which the median is printed.
const ROUNDS: usize = 7;
/// The files of the called extension.
const LIBRARY: &str = "libtinybase_boundary.so";
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/boundary/extension.toml");

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    // A separate process opens a new library first; that process is this program, too.
    if let Some((command, rest)) = arguments.split_first()
        && command.to_str() == Some(probe::COMMAND)
    {
        return cli::probe::run(rest);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(measure());
    ExitCode::SUCCESS
}

async fn measure() {
    let place = tempfile::tempdir().expect("a fresh folder");
    let plugins = host(place.path()).await;
    let package = Package::read(&extension(place.path())).expect("the extension is whole");
    let change = Change::Install { package, origin: Origin::default() };
    plugins.change(change, &Actor::command()).await.expect("the extension is installed");
    plugins.load(Purpose::Command, false).await.expect("the extension is loaded");
    println!("boundary_call_ns {:.1}", median(calls(&plugins).await));
    println!("event_no_subscriber_ns {:.2}", median(events(&plugins).await));
}

/// Creates a host with all its services over a fresh database.
async fn host(dir: &Path) -> Plugins {
    let config = Arc::new(Config { dir: dir.to_owned(), ..Config::default() });
    let deferred_batches = Arc::new(DeferredBatches::default());
    let engine: Arc<dyn Database> =
        Sqlite::open(&SqliteOptions::new(dir.join("boundary.db"))).expect("a database opens");
    let database: Arc<dyn Database> =
        Arc::new(DeferredBatchDatabase::new(engine, Arc::clone(&deferred_batches)));
    Migrator::of_host(&*database).upgrade(None).await.expect("the host's tables are made");
    let sql = HostSql::new(Arc::clone(&database));
    let vault = Arc::new(Vault::load_or_create(&dir.join("keys")).expect("a key is made"));
    let settings = Arc::new(Settings::new(sql.clone(), vault));
    let keys = Keys::load_or_create(&dir.join("keys")).expect("keys are made");
    let nodes = Arc::new(Nodes::new(sql.clone(), &config.node));
    let accounts = Arc::new(Accounts::new(sql, keys, Arc::clone(&settings), &config.auth));
    Plugins::new(PluginDeps {
        config,
        database,
        deferred_batches,
        accounts,
        settings,
        console: Console::of_server(),
        nodes,
    })
}

/// Creates a folder with the manifest and the library, which `cargo build --example` builds into this program's profile
/// folder.
fn extension(place: &Path) -> PathBuf {
    let program = env::current_exe().expect("a program knows its path");
    let profile = program.ancestors().nth(2).expect("a benchmark is in <profile>/deps");
    let library = profile.join("examples").join(LIBRARY);
    let folder = place.join("boundary");
    fs::create_dir(&folder).expect("a fresh folder");
    fs::copy(MANIFEST, folder.join("extension.toml")).expect("the manifest is in the repository");
    fs::copy(&library, folder.join(LIBRARY)).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build it first: cargo build --release -p tinybase --example tinybase_boundary",
            library.display()
        )
    });
    folder
}

fn route(plugins: &Plugins, path: &str) -> (Arc<dyn PluginRoute>, PathParams) {
    match plugins.find(&Method::GET, path) {
        Found::Route(found) => (found.route, found.params),
        _ => panic!("the extension does not serve {path}"),
    }
}

fn request_parts(path: &str) -> RequestParts {
    Request::get(path).body(()).expect("a request with a path").into_parts().0
}

fn request(parts: &RequestParts, params: &PathParams, request_id: &RequestId) -> PluginRequest {
    PluginRequest {
        parts: parts.clone(),
        params: params.clone(),
        caller: None,
        request_id: request_id.clone(),
        client: [127, 0, 0, 1].into(),
        body: RequestBody::Bytes(Bytes::new()),
    }
}

/// Returns the nanoseconds of one call with an empty response, including creating the request and receiving the
/// response, per round.
async fn calls(plugins: &Plugins) -> Vec<f64> {
    let path = "/api/boundary/nothing";
    let ((route, params), parts, id) = (route(plugins, path), request_parts(path), RequestId::generate());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            let answer = route.call(request(&parts, &params, &id)).await;
            assert!(answer.is_ok_and(|answer| answer.status == 204), "the extension answers 204");
        }
        rounds.push(started.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    rounds
}

/// Returns the nanoseconds of one event without subscribers, as measured by the extension, per round.
async fn events(plugins: &Plugins) -> Vec<f64> {
    let path = "/api/boundary/event";
    let ((route, params), parts, id) = (route(plugins, path), request_parts(path), RequestId::generate());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let answer = route.call(request(&parts, &params, &id)).await;
        let Ok(PluginResponse { body: PluginBody::Bytes(text), .. }) = answer else {
            panic!("the extension measures")
        };
        rounds.push(std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).expect("a number"));
    }
    rounds
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
