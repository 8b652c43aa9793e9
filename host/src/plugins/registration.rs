//! What a plugin registers when it is created: JSON, checked against its manifest. A plugin is never trusted:
//! invalid entries are refused by name.

use http::Method;
use serde::Deserialize;
use serde_json::Value as Json;
use thiserror::Error;

use super::manifest::{Manifest, ServiceName};
use crate::http::{RouteError, check_pattern};

/// The maximum number of entries of each kind that a plugin may register.
pub const REGISTRATIONS_MAX: usize = 1000;

/// What a plugin registered. The host refers to entries by their positions in these lists.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Registration {
    /// Routes.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Hooks before events.
    #[serde(default)]
    pub before: Vec<Subscription>,
    /// Listeners after events.
    #[serde(default)]
    pub after: Vec<Subscription>,
    /// Periodic jobs.
    #[serde(default)]
    pub jobs: Vec<Job>,
    /// Names of commands.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Services.
    #[serde(default)]
    pub services: Vec<ServiceEntry>,
}

/// A route.
#[derive(Debug, Clone, Deserialize)]
pub struct Route {
    /// The HTTP method.
    pub method: String,
    /// The pattern of its path.
    pub path: String,
    /// Who may call it: `anyone`, `user`, `viewer`, `editor` or `admin`.
    #[serde(default)]
    pub auth: Auth,
    /// The scope that an application token needs, with `{name}` for a path parameter.
    #[serde(default)]
    pub scope: Option<String>,
    /// Whether the body is passed in chunks.
    #[serde(default)]
    pub stream_body: bool,
    /// The maximum size of the body in bytes.
    #[serde(default)]
    pub body_bytes_max: Option<u64>,
    /// A description of what it does.
    #[serde(default)]
    pub summary: String,
    /// Its OpenAPI operation.
    #[serde(default)]
    pub operation: Option<Json>,
}

/// Who may call a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Anybody.
    #[default]
    Anyone,
    /// A signed-in user.
    User,
    /// A user who may view the administration.
    Viewer,
    /// A user who may make changes in the administration.
    Editor,
    /// An admin.
    Admin,
}

/// A hook or a listener.
#[derive(Debug, Clone, Deserialize)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// The only subject, or `None` for all.
    #[serde(default)]
    pub subject: Option<String>,
    /// Lower runs earlier.
    #[serde(default)]
    pub order: i32,
    /// Whether it is notified at least once, from the outbox.
    #[serde(default)]
    pub durable: bool,
}

/// A job.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    /// Its name, for the log.
    pub name: String,
    /// Its period in milliseconds.
    pub every_ms: u64,
}

/// A service.
#[derive(Debug, Clone, Deserialize)]
pub struct ServiceEntry {
    /// Its name.
    pub name: String,
    /// Its major version.
    pub major: u16,
}

/// Why a registration is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistrationError {
    /// The JSON is malformed.
    #[error("what the plugin registers is malformed: {0}")]
    Form(String),
    /// There are too many entries of one kind.
    #[error("the plugin registers more than {REGISTRATIONS_MAX} {0}")]
    TooMany(&'static str),
    /// A route is outside the manifest's prefixes.
    #[error(
        "the plugin registers {method} {path}, which its manifest does not declare: add a prefix of it to `routes`"
    )]
    UndeclaredRoute {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// A route has an invalid pattern, or belongs to the host.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// An unknown HTTP method.
    #[error("the plugin registers {path} with the method {method:?}, which is none")]
    Method {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
    /// Hooks without the capability.
    #[error("the plugin listens to {0}, but its manifest does not declare the capability `events`")]
    UndeclaredEvents(String),
    /// A command of the manifest that is not registered.
    #[error("the manifest declares the command {0:?}, which the plugin does not register")]
    MissingCommand(String),
    /// A service that the manifest does not offer.
    #[error("the plugin registers the service {0}, which its manifest does not declare in `offers`")]
    UndeclaredService(String),
}

impl Registration {
    /// Parses what a plugin registered and checks it against its manifest.
    pub fn read(json: &[u8], manifest: &Manifest) -> Result<Registration, RegistrationError> {
        let registration: Registration =
            serde_json::from_slice(json).map_err(|error| RegistrationError::Form(error.to_string()))?;
        registration.check_limits()?;
        registration.check_routes(manifest)?;
        registration.check_rest(manifest)?;
        Ok(registration)
    }

    fn check_limits(&self) -> Result<(), RegistrationError> {
        let counts = [
            (self.routes.len(), "routes"),
            (self.before.len() + self.after.len(), "hooks"),
            (self.jobs.len(), "jobs"),
            (self.commands.len(), "commands"),
            (self.services.len(), "services"),
        ];
        match counts.into_iter().find(|(count, _)| *count > REGISTRATIONS_MAX) {
            Some((_, kind)) => Err(RegistrationError::TooMany(kind)),
            None => Ok(()),
        }
    }

    fn check_routes(&self, manifest: &Manifest) -> Result<(), RegistrationError> {
        for Route { method, path, .. } in &self.routes {
            let (method, path) = (method.clone(), path.clone());
            if !manifest.allows_route(&path) {
                return Err(RegistrationError::UndeclaredRoute { method, path });
            }
            check_pattern(&path)?;
            if Method::from_bytes(method.as_bytes()).is_err() {
                return Err(RegistrationError::Method { method, path });
            }
        }
        Ok(())
    }

    fn check_rest(&self, manifest: &Manifest) -> Result<(), RegistrationError> {
        if let Some(hook) = self.before.iter().chain(&self.after).next()
            && !manifest.grants("events")
        {
            return Err(RegistrationError::UndeclaredEvents(hook.topic.clone()));
        }
        if let Some(command) = manifest.commands.iter().find(|command| !self.commands.contains(&command.name))
        {
            return Err(RegistrationError::MissingCommand(command.name.clone()));
        }
        for ServiceEntry { name, major } in &self.services {
            let service = ServiceName { name: name.clone(), major: *major };
            if !manifest.offers.contains(&service) {
                return Err(RegistrationError::UndeclaredService(service.into()));
            }
        }
        Ok(())
    }
}
