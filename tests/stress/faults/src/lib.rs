//! A plugin with one switch per fault. The environment variable `STRESS_SWITCH` chooses the fault while it is created,
//! started or ended; the path of a request chooses that request's fault; `fault` in a record's data chooses the fault
//! in the hooks before and after its creation.

mod hooks_side;
mod requests;

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
};

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tinybase_abi::{
    bytes::Bytes,
    error::{RawError, RawResult},
    export::{PluginExport, not_registered},
    export_plugin,
    future::{RawFuture, guard},
    host::HostClients,
    interfaces::{commands, jobs, lifecycle, offered},
    request::Request,
    response::RawResponse,
};

const MANIFEST: &str = include_str!("../extension.toml");

/// Returns the fault that is chosen for the whole process.
fn switch() -> &'static str {
    static SWITCH: OnceLock<String> = OnceLock::new();
    SWITCH.get_or_init(|| std::env::var("STRESS_SWITCH").unwrap_or_default())
}

/// Never returns.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Panics when polled, with only the boundary's own guard between it and the host.
struct Naked<T>(PhantomData<fn() -> T>);

impl<T> Future for Naked<T> {
    type Output = RawResult<T>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<RawResult<T>> {
        panic!("polled on purpose");
    }
}

struct Faults {
    clients: HostClients,
}

impl Drop for Faults {
    fn drop(&mut self) {
        if switch() == "panic_in_drop" {
            panic!("dropped on purpose");
        }
    }
}

fn registration() -> Vec<u8> {
    let route = |path: &str| json!({"method": "GET", "path": path});
    let mut routes =
        vec![route("/api/faults/{fault}"), json!({"method": "POST", "path": "/api/faults/{fault}"})];
    let mut services: Vec<Json> = Vec::new();
    match switch() {
        "registration_not_utf8" => return vec![b'{', 0xff, 0xfe, b'}'],
        "registration_not_json" => return b"routes: all of them".to_vec(),
        "registration_endless" => {
            routes = (0..100_000).map(|n| route(&format!("/api/faults/n{n}"))).collect()
        }
        "route_undeclared" => routes.push(json!({"method": "POST", "path": "/api/auth/login"})),
        "route_taken" => routes.push(route("/api/neighbour/hello")),
        "route_malformed" => routes.push(route("/api/faults/{a}{b}")),
        "method_malformed" => routes.push(json!({"method": "GET\r\nX: y", "path": "/api/faults/x"})),
        "service_undeclared" => services.push(json!({"name": "mail", "major": 1})),
        _ => {}
    }
    json!({
        "routes": routes,
        "before": [{"topic": "record.create", "order": 5}, {"topic": "metrics.collect"}],
        "after": [{"topic": "record.create"}],
        "services": services,
    })
    .to_string()
    .into_bytes()
}

impl PluginExport for Faults {
    fn create(clients: HostClients) -> Result<(Self, Vec<u8>), RawError> {
        match switch() {
            "panic_in_create" => panic!("created on purpose"),
            "error_in_create" => return Err(RawError::new(500, "no_mood", "it is not in the mood")),
            "hang_in_create" => hang(),
            "exit_in_create" => std::process::exit(0),
            "abort_in_create" => std::process::abort(),
            _ => {}
        }
        Ok((Faults { clients }, registration()))
    }

    fn handle(&self, _route: u32, request: Request) -> RawFuture<RawResponse> {
        requests::answer(self, request)
    }

    async fn shut_down(&self) -> Result<(), RawError> {
        match switch() {
            "panic_in_shut_down" => panic!("shut down on purpose"),
            "hang_in_shut_down" => std::future::pending().await,
            _ => Ok(()),
        }
    }
}

impl lifecycle::Server for Faults {
    fn start(&self) -> RawFuture<()> {
        match switch() {
            "panic_before_start" => panic!("started on purpose"),
            "exit_in_start" => std::process::exit(0),
            _ => guard(async {
                match switch() {
                    "panic_in_start" => panic!("started on purpose"),
                    "error_in_start" => Err(RawError::new(500, "no_mood", "it is not in the mood")),
                    "hang_in_start" => std::future::pending().await,
                    _ => Ok(()),
                }
            }),
        }
    }
}

impl jobs::Server for Faults {
    fn run(&self, _job: u32) -> RawFuture<()> {
        not_registered("job")
    }
}

impl commands::Server for Faults {
    fn run(&self, _command: u32, _arguments: Bytes) -> RawFuture<u32> {
        not_registered("command")
    }
}

impl offered::Server for Faults {
    fn call(&self, _service: u32, _method: &str, _payload: Bytes) -> RawFuture<Bytes> {
        not_registered("service")
    }
}

export_plugin!(Faults, MANIFEST, Sha256::digest(MANIFEST).into(), "0.1.0");
