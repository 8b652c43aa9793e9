//! A generation: one immutable set of running plugins with its routes, hooks, listeners, services and jobs.
//! It is built completely or not at all, and swapped in as a whole.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Method;
use thiserror::Error;
use tinybase_abi::{bytes::Bytes, error::RawError};

use super::{
    active_plugin::{ActivePlugin, DrainingPlugin},
    call::PluginCall,
    events::ListenerQueue,
    plugin_instance::PluginInstance,
    registration::RegistrationError,
    services::Limits,
};
use crate::{
    http::{RouteError, RouteTable, takes_paths_below},
    isolation::Work,
};

/// Services that several extensions may offer at the same time. The host calls each of them.
const SHARED_SERVICES: &[&str] = &["identity"];

/// A hook that runs before events.
pub struct Hook {
    /// The plugin it belongs to.
    pub plugin: Arc<PluginInstance>,
    /// Its position in the plugin's registration.
    pub position: u32,
    /// The only subject it runs for, or `None` for all.
    pub subject: Option<String>,
    order: i32,
}

/// A listener notified after events.
pub struct Listener {
    /// The plugin it belongs to.
    pub plugin: Arc<PluginInstance>,
    /// Its position in the plugin's registration.
    pub position: u32,
    /// The only subject it listens to, or `None` for all.
    pub subject: Option<String>,
    /// The queue of its events, delivered at most once; `None` if the outbox delivers them at least once.
    pub queue: Option<ListenerQueue>,
    /// Its subscriber name in the outbox.
    pub subscriber: String,
}

/// A service of a plugin.
#[derive(Clone)]
pub struct Service {
    /// The plugin it belongs to.
    pub plugin: Arc<PluginInstance>,
    /// Its position in the plugin's registration.
    pub position: u32,
}

impl Service {
    /// Calls one of its methods, for at most `timeout`.
    ///
    /// # Errors
    /// The plugin's own error; 503 `service_unavailable`, 504 `plugin_timeout`, 500 `plugin_panicked`.
    pub async fn call(&self, method: &str, payload: Bytes, timeout: Duration) -> Result<Bytes, RawError> {
        let Some(offered) = self.plugin.offered() else {
            return Err(RawError::new(503, "service_unavailable", "the extension offers no services"));
        };
        let (position, method) = (self.position, method.to_owned());
        let call = move || offered.call(position, &method, payload);
        self.plugin.bounded(timeout, Work::Service, call).await
    }
}

/// One immutable set of plugins.
#[derive(Default)]
pub struct Generation {
    /// Its number, unique among the generations served in this process; 0 if it is never served.
    pub number: u64,
    /// The plugins, in start order.
    pub active_plugins: Vec<Arc<ActivePlugin>>,
    /// The routes of the plugins.
    pub routes: RouteTable,
    /// The hooks by topic, in the order they run.
    pub before: HashMap<String, Vec<Hook>>,
    /// The listeners by topic.
    pub after: HashMap<String, Vec<Listener>>,
    services: HashMap<(String, u16), Vec<Service>>,
}

/// Why a plugin cannot be part of a generation.
#[derive(Debug, Error)]
pub enum JoinError {
    /// Its registration is malformed or goes beyond its manifest.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// A route is not allowed, or belongs to another plugin.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// A route is below a path of another extension.
    #[error("the plugin registers {method} {path}, which lies below {prefix} of the extension {owner}")]
    ForeignPath {
        /// The method.
        method: Method,
        /// The route's path.
        path: String,
        /// The path of the other extension.
        prefix: String,
        /// The other extension.
        owner: String,
    },
    /// Another plugin already offers this service.
    #[error("the service {name}@{major} is offered by the extension {by} already")]
    Service {
        /// The service.
        name: String,
        /// Its major version.
        major: u16,
        /// The extension that offers it.
        by: String,
    },
}

impl Generation {
    /// Creates a generation to serve, without plugins.
    pub fn to_serve() -> Generation {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        Generation { number: LATEST.fetch_add(1, Ordering::Relaxed) + 1, ..Generation::default() }
    }

    /// Checks that a plugin is compatible with the generation, and adds it.
    ///
    /// # Errors
    /// See [`JoinError`]. Routes added before the error stay in the table, so the generation must be rebuilt
    /// without the plugin.
    pub fn join(&mut self, active: &Arc<ActivePlugin>, limits: Limits) -> Result<(), JoinError> {
        let plugin = active.plugin();
        for (position, service) in plugin.registration().services.iter().enumerate() {
            let key = (service.name.clone(), service.major);
            let offered = self.services.entry(key.clone()).or_default();
            if let Some(other) = offered.first().filter(|_| !SHARED_SERVICES.contains(&key.0.as_str())) {
                let by = other.plugin.name().to_owned();
                return Err(JoinError::Service { name: key.0, major: key.1, by });
            }
            offered.push(Service { plugin: Arc::clone(plugin), position: at(position) });
        }
        for (position, route) in plugin.registration().routes.iter().enumerate() {
            let method = Method::from_bytes(route.method.as_bytes()).map_err(|_| {
                RegistrationError::Method { method: route.method.clone(), path: route.path.clone() }
            })?;
            self.refuse_foreign_path(&method, &route.path)?;
            let call = PluginCall::new(Arc::clone(plugin), at(position), route, limits);
            self.routes.insert(method, &route.path, Arc::new(call))?;
        }
        self.active_plugins.push(Arc::clone(active));
        Ok(())
    }

    /// Refuses a route below a path that the manifest of an earlier plugin declares.
    fn refuse_foreign_path(&self, method: &Method, path: &str) -> Result<(), JoinError> {
        for active in &self.active_plugins {
            let prefixes = &active.plugin().manifest().routes;
            if let Some(prefix) = prefixes.iter().find(|prefix| takes_paths_below(path, prefix)) {
                let (method, path, prefix) = (method.clone(), path.to_owned(), prefix.clone());
                return Err(JoinError::ForeignPath { method, path, prefix, owner: active.name().to_owned() });
            }
        }
        Ok(())
    }

    /// Activates hooks, listeners and jobs after every plugin has joined. What already runs is left
    /// unchanged.
    pub fn activate(&mut self, limits: Limits, with_jobs: bool) {
        for active in &self.active_plugins {
            let plugin = active.plugin();
            for (hook, position) in plugin.registration().before.iter().zip(0..) {
                let entry = Hook {
                    plugin: Arc::clone(plugin),
                    position,
                    subject: hook.subject.clone(),
                    order: hook.order,
                };
                self.before.entry(hook.topic.clone()).or_default().push(entry);
            }
            let queues = active.queues(limits).iter();
            for ((listener, queue), position) in plugin.registration().after.iter().zip(queues).zip(0..) {
                let subject = listener.subject.as_deref().unwrap_or("*");
                let entry = Listener {
                    subscriber: format!("{}/{}/{subject}", plugin.name(), listener.topic),
                    queue: queue.clone(),
                    plugin: Arc::clone(plugin),
                    position,
                    subject: listener.subject.clone(),
                };
                self.after.entry(listener.topic.clone()).or_default().push(entry);
            }
            if with_jobs {
                active.start_jobs();
            }
        }
        for hooks in self.before.values_mut() {
            // A stable sort: hooks of equal order run in the order in which their extensions were enabled.
            hooks.sort_by_key(|hook| hook.order);
        }
    }

    /// Returns a service by name and major version. If there are several, returns that of the extension
    /// enabled first.
    pub fn service(&self, name: &str, major: u16) -> Option<Service> {
        self.services_of(name, major).first().cloned()
    }

    /// Returns all services with this name and major version, in the order in which their extensions were
    /// enabled.
    pub fn services_of(&self, name: &str, major: u16) -> &[Service] {
        // A lookup by two parts of the key would need an allocation; services are few.
        let found =
            self.services.iter().find(|((known, known_major), _)| known == name && *known_major == major);
        found.map_or(&[], |(_, services)| services)
    }

    /// Returns the listeners of a topic that match this subject.
    pub fn listeners(&self, topic: &str, subject: &str) -> impl Iterator<Item = &Listener> {
        self.after.get(topic).into_iter().flatten().filter(move |listener| listener.matches(subject))
    }

    /// Returns a plugin by its extension's name.
    pub fn plugin(&self, name: &str) -> Option<&Arc<PluginInstance>> {
        self.active_plugin(name).map(|active| active.plugin())
    }

    /// Returns an active plugin by its extension's name.
    pub fn active_plugin(&self, name: &str) -> Option<&Arc<ActivePlugin>> {
        self.active_plugins.iter().find(|active| active.name() == name)
    }

    /// Returns the plugins that leave service when `next` replaces this generation.
    pub fn leaving(&self, next: &Generation) -> Vec<DrainingPlugin> {
        let stays =
            |active: &Arc<ActivePlugin>| next.active_plugins.iter().any(|other| Arc::ptr_eq(active, other));
        self.active_plugins.iter().filter(|active| !stays(active)).map(|active| active.leaving()).collect()
    }
}

fn at(position: usize) -> u32 {
    u32::try_from(position).expect("a registration is limited to far fewer entries")
}
