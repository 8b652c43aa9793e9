//! The extension that the boundary's benchmark calls: an empty answer, and events that nobody listens to. It does no work of its own.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use tinybase_plugin_api::prelude::*;

/// Events that are timed as one.
const EVENTS: u32 = 10_000_000;

/// The extension.
pub struct Boundary {
    unheard: Topic,
}

#[tinybase_plugin_api::export(manifest = "examples/boundary/extension.toml")]
impl Plugin for Boundary {
    fn create(host: Host) -> Result<Boundary> {
        Ok(Boundary { unheard: host.topic("boundary.unheard")? })
    }

    fn register(registry: &mut Registry<Boundary>) {
        registry.get("/api/boundary/nothing", Boundary::nothing);
        registry.get("/api/boundary/event", Boundary::event);
    }
}

impl Boundary {
    async fn nothing(self: Arc<Self>, _request: Request) -> Result<Response> {
        Ok(Response::empty(204))
    }

    /// The nanoseconds of one event, before and after a change, as text.
    async fn event(self: Arc<Self>, _request: Request) -> Result<Response> {
        let started = Instant::now();
        for number in 0..EVENTS {
            let passed = self.unheard.before("nobody", &number).await?;
            black_box(&passed);
            self.unheard.after("nobody", black_box(&number))?;
        }
        let nanoseconds = started.elapsed().as_nanos() as f64 / f64::from(EVENTS);
        Ok(Response::bytes("text/plain", format!("{nanoseconds:.2}").into_bytes()))
    }
}
