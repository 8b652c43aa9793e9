//! A plugin instance behind the ABI. Passes each call of the host to the handler that was registered at its
//! position.

use std::sync::Arc;

use serde_json::Value as Json;
use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    export::{PluginExport, not_registered},
    future::{RawFuture, catch, guard, ready},
    host::HostClients,
    interfaces::{Outcome, commands, hooks, jobs, lifecycle, offered},
    request,
    response::RawResponse,
};

use crate::{
    Host, Plugin, Registry, Request,
    command::{Arguments, Console},
    events::Event,
    log,
};

/// The type that the attribute exports.
pub struct Instance<P> {
    plugin: Arc<P>,
    registry: Registry<P>,
    host: Host,
}

impl<P: Plugin> Instance<P> {
    /// Creates the plugin and collects what it registers.
    pub(crate) fn new(clients: HostClients) -> Result<Instance<P>, RawError> {
        let host = Host::new(clients);
        let plugin = Arc::new(P::create(host.clone())?);
        let mut registry = Registry::new();
        P::register(&mut registry);
        Ok(Instance { plugin, registry, host })
    }

    /// Returns the registration as the JSON that a host reads.
    #[cfg(feature = "testkit")]
    pub(crate) fn registration(&self) -> Json {
        self.registry.describe()
    }
}

/// Sends the panic messages of this library to the host's log. Each library has its own panic hook.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log::error(format!("the plugin {panic}"))));
}

impl<P: Plugin> PluginExport for Instance<P> {
    fn create(clients: HostClients) -> Result<(Self, Vec<u8>), RawError> {
        log::connect(clients.log);
        log_panics();
        let instance = Instance::new(clients)?;
        let registration = instance.registry.describe().to_string().into_bytes();
        Ok((instance, registration))
    }

    fn handle(&self, route: u32, request: request::Request) -> RawFuture<RawResponse> {
        match self.registry.routes.get(route as usize) {
            Some((_, handler)) => handler(Arc::clone(&self.plugin), Request::new(request)),
            None => not_registered("route"),
        }
    }

    async fn shut_down(&self) -> Result<(), RawError> {
        Arc::clone(&self.plugin).shut_down().await;
        Ok(())
    }
}

impl<P: Plugin> lifecycle::Server for Instance<P> {
    fn start(&self) -> RawFuture<()> {
        let plugin = Arc::clone(&self.plugin);
        guard(async move { plugin.start().await.map_err(RawError::from) })
    }
}

/// Calls a handler that may panic before it creates its future.
fn call<T: Send + 'static>(make: impl FnOnce() -> Result<RawFuture<T>, RawError>) -> RawFuture<T> {
    catch(make).unwrap_or_else(|error| ready(Err(error)))
}

fn event(topic: &str, subject: &str, payload: &[u8]) -> Result<Event, RawError> {
    Ok(Event { topic: topic.to_owned(), subject: subject.to_owned(), payload: json(payload)? })
}

fn json(payload: &[u8]) -> Result<Json, RawError> {
    serde_json::from_slice(payload)
        .map_err(|error| RawError::new(500, "payload_not_json", format!("the payload is no JSON: {error}")))
}

impl<P: Plugin> hooks::Server for Instance<P> {
    fn before(&self, hook: u32, topic: &str, subject: &str, payload: Bytes) -> RawFuture<Outcome> {
        let Some(handler) = self.registry.before.get(hook as usize) else { return not_registered("hook") };
        call(|| Ok(handler(Arc::clone(&self.plugin), event(topic, subject, &payload)?)))
    }

    fn after(&self, hook: u32, topic: &str, subject: &str, payload: Bytes) -> RawFuture<()> {
        let Some(handler) = self.registry.after.get(hook as usize) else { return not_registered("listener") };
        call(|| Ok(handler(Arc::clone(&self.plugin), event(topic, subject, &payload)?)))
    }
}

impl<P: Plugin> jobs::Server for Instance<P> {
    fn run(&self, job: u32) -> RawFuture<()> {
        let Some(handler) = self.registry.jobs.get(job as usize) else { return not_registered("job") };
        call(|| Ok(handler(Arc::clone(&self.plugin))))
    }
}

impl<P: Plugin> commands::Server for Instance<P> {
    fn run(&self, command: u32, arguments: Bytes) -> RawFuture<u32> {
        let Some((_, handler)) = self.registry.commands.get(command as usize) else {
            return not_registered("command");
        };
        call(|| {
            let Json::Object(arguments) = json(&arguments)? else {
                return Err(RawError::new(500, "payload_not_json", "a command's arguments are an object"));
            };
            let console: Console = self.host.console()?;
            Ok(handler(Arc::clone(&self.plugin), Arguments::new(arguments), console))
        })
    }
}

impl<P: Plugin> offered::Server for Instance<P> {
    fn call(&self, service: u32, method: &str, payload: Bytes) -> RawFuture<Bytes> {
        let Some(handler) = self.registry.services.get(service as usize) else {
            return not_registered("service");
        };
        call(|| Ok(handler(Arc::clone(&self.plugin), method.to_owned(), json(&payload)?)))
    }
}
