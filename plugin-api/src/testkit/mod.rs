//! A host for tests. Runs an extension as an ordinary library, with a real database, its own migrations and a virtual
//! clock. It never loads a shared library, and opens no socket except to the PostgreSQL server that a test names.
//!
//! It omits what tests of one extension do not need: settings are not checked against the schema's types, SQL runs
//! without deadlines, and emitted events are recorded instead of delivered.

mod audit;
mod clock;
mod database;
mod http;
mod manifest;
mod outbound;
mod services;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use audit::AuditEntry;
use clock::{Clock, lock};
use database::TestDatabase;
pub use database::TestEngine;
pub use http::{TestRequest, TestResponse};
use manifest::Manifest;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use services::Services;
use tinybase_abi::{
    codec::{Reader, RowsHead, pack_values},
    export::PluginExport,
    host,
    interfaces::{commands, hooks, jobs, lifecycle, offered},
};

use crate::{
    Error, Plugin, Result,
    database::{Batch, Value},
    events::Event,
    http::{HttpRequest, HttpResponse},
    instance::Instance,
};

/// The default size limit of a response in bytes, as on the server.
const RESPONSE_BYTES_MAX: u64 = 32 << 20;

/// The plugin's registration, parsed as the server parses it.
#[derive(Deserialize)]
struct Registration {
    routes: Vec<http::Route>,
    before: Vec<Subscription>,
    after: Vec<Subscription>,
    jobs: Vec<Named>,
    commands: Vec<String>,
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Subscription {
    topic: String,
    subject: Option<String>,
    order: i32,
}

impl Subscription {
    fn hears(&self, topic: &str, subject: &str) -> bool {
        self.topic == topic && self.subject.as_deref().is_none_or(|wanted| wanted == subject)
    }
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    major: u16,
}

/// A running extension and its host. Every call completes on the calling thread before it returns.
pub struct TestHost<P: Plugin> {
    services: &'static Services,
    instance: Option<Instance<P>>,
    routes: Vec<http::Route>,
    registration: Registration,
}

/// The outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// The exit code.
    pub exit_code: u32,
    /// The lines printed to standard output.
    pub out: Vec<String>,
    /// The lines printed to standard error.
    pub errors: Vec<String>,
}

impl<P: Plugin> TestHost<P> {
    /// Starts the extension in `folder`, which contains `extension.toml` and `migrations`: usually
    /// `env!("CARGO_MANIFEST_DIR")`. [`TestEngine::of_environment`] chooses the engine.
    ///
    /// # Panics
    /// If the extension cannot be started; [`TestHost::try_start`] returns the error instead.
    pub fn start(folder: impl AsRef<Path>) -> TestHost<P> {
        Self::try_start(folder, json!({}))
            .unwrap_or_else(|error| panic!("the extension does not start: {error}"))
    }

    /// Starts the extension in `folder` with some settings.
    ///
    /// # Errors
    /// `extension_invalid` if the server would reject the folder, or the extension's own error.
    pub fn try_start(folder: impl AsRef<Path>, settings: Json) -> Result<TestHost<P>> {
        Self::try_start_on(&TestEngine::of_environment(), folder, settings)
    }

    /// Starts the extension on the given engine.
    ///
    /// # Errors
    /// As [`TestHost::try_start`], and `extension_invalid` if the engine cannot be reached.
    pub fn try_start_on(
        engine: &TestEngine,
        folder: impl AsRef<Path>,
        settings: Json,
    ) -> Result<TestHost<P>> {
        let folder = folder.as_ref();
        let services = new_services(engine, folder).map_err(invalid)?;
        let services: &'static Services = Box::leak(Box::new(services));
        Self::start_over(services, folder, settings).inspect_err(|_| services.close())
    }

    fn start_over(services: &'static Services, folder: &Path, settings: Json) -> Result<TestHost<P>> {
        if let Json::Object(settings) = settings {
            services.change_settings(settings)?;
        }
        let clients = host::clients(services);
        crate::log::connect(clients.log);
        let instance = Instance::<P>::new(clients)?;
        let mut registration: Registration = serde_json::from_value(instance.registration())
            .map_err(|error| invalid(format!("the registration cannot be read: {error}")))?;
        check_registration(&services.manifest, &registration).map_err(invalid)?;
        let routes = std::mem::take(&mut registration.routes);
        services.database.migrate(folder).map_err(invalid)?;
        let host = TestHost { services, instance: Some(instance), routes, registration };
        host.run(lifecycle::Server::start(host.instance())).into_result()?;
        Ok(host)
    }

    fn instance(&self) -> &Instance<P> {
        self.instance.as_ref().expect("the instance is there until the host is shut down")
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.services.clock.run(future)
    }

    /// Creates a request to one of the extension's routes. `target` is a path with or without a query.
    pub fn request(&self, method: &str, target: &str) -> TestRequest<'_, P> {
        TestRequest::new(self, method, target)
    }

    /// Creates a `GET` request.
    pub fn get(&self, target: &str) -> TestRequest<'_, P> {
        self.request("GET", target)
    }

    /// Creates a `POST` request.
    pub fn post(&self, target: &str) -> TestRequest<'_, P> {
        self.request("POST", target)
    }

    /// Emits an event as another extension would: runs the hooks before the event, applies the statements they add,
    /// and notifies the listeners. Returns the payload as changed by the hooks.
    ///
    /// # Errors
    /// A hook's rejection, or the error of the added statements or of a listener.
    pub fn emit(&self, topic: &str, subject: &str, payload: &Json) -> Result<Json> {
        let payload = self.before(topic, subject, payload.clone())?;
        self.after(topic, subject, &payload)?;
        Ok(payload)
    }

    fn before(&self, topic: &str, subject: &str, mut payload: Json) -> Result<Json> {
        let hooks = self.registration.before.iter().enumerate();
        let mut hooks: Vec<_> = hooks.filter(|(_, hook)| hook.hears(topic, subject)).collect();
        hooks.sort_by_key(|(_, hook)| hook.order);
        let mut statements = Batch::default();
        for (position, _) in hooks {
            let packed = payload.to_string().into();
            let outcome = hooks::Server::before(self.instance(), number(position), topic, subject, packed);
            let outcome = self.run(outcome).into_result()?;
            if !outcome.payload.is_empty() {
                payload = serde_json::from_slice(&outcome.payload)
                    .map_err(|error| Error::internal("event_shape", error.to_string()))?;
            }
            statements.append(Batch::from_packed(&outcome.statements)?)?;
        }
        if !statements.is_empty() {
            Services::apply(self.services, None, &statements.finish())?;
        }
        Ok(payload)
    }

    /// Notifies the listeners of an event.
    ///
    /// # Errors
    /// The error of the first listener that fails.
    pub fn after(&self, topic: &str, subject: &str, payload: &Json) -> Result<()> {
        for (position, listener) in self.registration.after.iter().enumerate() {
            if listener.hears(topic, subject) {
                let packed = payload.to_string().into();
                let told = hooks::Server::after(self.instance(), number(position), topic, subject, packed);
                self.run(told).into_result()?;
            }
        }
        Ok(())
    }

    /// Returns the events that the extension has emitted so far, in order.
    pub fn emitted(&self) -> Vec<Event> {
        lock(&self.services.emitted).clone()
    }

    /// Returns the entries that the extension has added to the audit log so far, in order.
    pub fn audited(&self) -> Vec<AuditEntry> {
        lock(&self.services.audit).kept.clone()
    }

    /// Rejects further events of `topic` that the extension emits, as a hook of another extension would.
    pub fn refuse(&self, topic: &str, refusal: Error) {
        lock(&self.services.refusals).insert(topic.to_owned(), refusal);
    }

    /// Runs a command with these arguments and the manifest's defaults for the others.
    ///
    /// # Errors
    /// `invalid_arguments` if the command line would reject the arguments, or the command's own error.
    pub fn command(&self, name: &str, arguments: &Json) -> Result<CommandOutcome> {
        let position = self.registration.commands.iter().position(|command| command == name);
        let position =
            position.ok_or_else(|| Error::not_found("not_found", format!("there is no command {name}")))?;
        let arguments = self.arguments(name, arguments)?;
        let packed = Json::Object(arguments).to_string().into();
        let running = commands::Server::run(self.instance(), number(position), packed);
        let exit_code = self.run(running).into_result();
        let out = std::mem::take(&mut *lock(&self.services.out_lines));
        let errors = std::mem::take(&mut *lock(&self.services.error_lines));
        Ok(CommandOutcome { exit_code: exit_code?, out, errors })
    }

    fn arguments(&self, command: &str, given: &Json) -> Result<Map<String, Json>> {
        let refused = |what: String| Error::bad_request("invalid_arguments", what);
        let mut arguments = given.as_object().cloned().unwrap_or_default();
        let declared = self.services.manifest.commands.iter().find(|known| known.name == command);
        let declared = declared.map(|command| command.arguments.as_slice()).unwrap_or_default();
        if let Some(unknown) = arguments.keys().find(|name| declared.iter().all(|known| known.name != **name))
        {
            return Err(refused(format!("the manifest declares no argument {unknown} of {command}")));
        }
        for argument in declared {
            if let Some(default) =
                argument.default.clone().filter(|_| !arguments.contains_key(&argument.name))
            {
                arguments.insert(argument.name.clone(), default.into());
            }
            let value = arguments.get(&argument.name);
            if value.is_none() && argument.required {
                return Err(refused(format!("the argument {} is missing", argument.name)));
            }
            let text = value.and_then(Json::as_str).filter(|_| !argument.values.is_empty());
            if text.is_some_and(|text| argument.values.iter().all(|allowed| allowed != text)) {
                return Err(refused(format!("{} is one of: {}", argument.name, argument.values.join(", "))));
            }
        }
        Ok(arguments)
    }

    /// Runs a job once.
    ///
    /// # Errors
    /// The job's error.
    pub fn job(&self, name: &str) -> Result<()> {
        let position = self.registration.jobs.iter().position(|job| job.name == name);
        let position =
            position.ok_or_else(|| Error::not_found("not_found", format!("there is no job {name}")))?;
        Ok(self.run(jobs::Server::run(self.instance(), number(position))).into_result()?)
    }

    /// Calls a service that the extension offers.
    ///
    /// # Errors
    /// The service's error.
    pub fn call(&self, service: &str, major: u16, method: &str, payload: &Json) -> Result<Json> {
        let mut offered = self.registration.services.iter();
        let position = offered.position(|offered| offered.name == service && offered.major == major);
        let missing = || Error::not_found("not_found", format!("it does not offer {service}@{major}"));
        let position = number(position.ok_or_else(missing)?);
        let called = offered::Server::call(self.instance(), position, method, payload.to_string().into());
        let answer = self.run(called).into_result()?;
        serde_json::from_slice(&answer).map_err(|error| Error::internal("service_shape", error.to_string()))
    }

    /// Replaces a service of another extension.
    pub fn offer(
        &self,
        service: &str,
        major: u16,
        stub: impl Fn(&str, Json) -> Result<Json> + Send + Sync + 'static,
    ) {
        lock(&self.services.offered).insert(format!("{service}@{major}"), Box::new(stub));
    }

    /// Replaces every other server from now on. An error represents a request without a response.
    pub fn serve_http(&self, stub: impl FnMut(&HttpRequest) -> Result<HttpResponse> + Send + 'static) {
        *lock(&self.services.outbound.stub) = Some(Box::new(stub));
    }

    /// Returns the requests that the extension has sent to other servers so far, in order.
    pub fn http_requests(&self) -> Vec<HttpRequest> {
        lock(&self.services.outbound.requests).clone()
    }

    /// Adds an account with the access token `token-<id>`. Rows may reference its id in `tb_users`.
    ///
    /// # Panics
    /// If the database cannot be written.
    pub fn add_user(&self, id: &str, email: &str, is_admin: bool) {
        self.services.database.add_user(id).expect("the host's own table takes any id");
        let role = if is_admin { "admin" } else { "user" };
        let account = services::account(id, email, role, "2026-01-01T00:00:00.000000Z");
        lock(&self.services.users).push(account);
    }

    /// Changes an account's role, and whether it is active, as an admin of the server could.
    ///
    /// # Panics
    /// If there is no account with this id.
    pub fn change_user(&self, id: &str, role: &str, is_active: bool) {
        let mut users = lock(&self.services.users);
        let user = users.iter_mut().find(|user| user.id == id).expect("the account was added before");
        (user.role, user.is_admin, user.is_active) = (role.to_owned(), role == "admin", is_active);
    }

    /// Deletes an account. Rows that reference it in `tb_users` remain.
    pub fn delete_user(&self, id: &str) {
        lock(&self.services.users).retain(|user| user.id != id);
    }

    /// Deletes an application token.
    pub fn delete_token(&self, token: &str) {
        lock(&self.services.tokens).remove(token);
    }

    /// Adds an application token of the account with this id, limited to these scopes, separated by spaces. If the
    /// token exists, replaces its scopes. Its id is the token itself.
    pub fn add_token(&self, token: &str, user_id: &str, scopes: &str) {
        let of = (user_id.to_owned(), scopes.to_owned());
        lock(&self.services.tokens).insert(token.to_owned(), of);
    }

    /// Changes settings, given as a JSON object.
    ///
    /// # Errors
    /// `invalid_settings` for a setting that the manifest does not declare.
    pub fn set_settings(&self, settings: Json) -> Result<()> {
        let Json::Object(settings) = settings else {
            return Err(Error::unprocessable("invalid_settings", "settings are an object"));
        };
        self.services.change_settings(settings)
    }

    /// Sets the size limit of a response, like `plugins.response_bytes_max` on the server. The extension can read it;
    /// the test host does not enforce it.
    pub fn set_response_bytes_max(&self, bytes: u64) {
        self.services.response_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Advances the clock by this duration and runs everything that wakes up meanwhile.
    pub fn advance(&self, duration: Duration) {
        self.run(self.services.clock.sleep(duration));
    }

    /// Reads from the extension's database.
    ///
    /// # Errors
    /// The same as for a query of the extension.
    pub fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>> {
        let packed =
            self.services.database.query(None, sql, &pack_values(params.iter().map(Value::as_ref)))?;
        let head = RowsHead::read(&packed)?;
        let mut reader = Reader::new(&packed[head.start..]);
        let mut row = || head.columns.iter().map(|_| Ok(reader.value()?.to_owned())).collect::<Result<_>>();
        (0..head.rows).map(|_| row()).collect()
    }

    /// Shuts the extension down, as the server does when it stops.
    pub fn shut_down(mut self) {
        if let Some(instance) = self.instance.take() {
            // The SDK's shutdown cannot fail.
            let _ = self.run(PluginExport::shut_down(&instance));
        }
    }
}

impl<P: Plugin> Drop for TestHost<P> {
    fn drop(&mut self) {
        self.services.clock.clear();
        // The services are leaked, since a real host lives as long as its process. Their database and folder are
        // released here.
        self.services.close();
    }
}

fn number(position: usize) -> u32 {
    u32::try_from(position).expect("a plugin registers fewer things than 2^32")
}

fn invalid(problem: String) -> Error {
    Error::bad_request("extension_invalid", problem)
}

fn new_services(engine: &TestEngine, folder: &Path) -> Result<Services, String> {
    let manifest = Manifest::read(folder)?;
    let clock = Clock::default();
    let database = TestDatabase::open(engine, &manifest.name, clock.clone())?;
    let data_dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    Ok(Services {
        settings: Mutex::new(manifest.default_settings()),
        manifest,
        clock,
        database,
        audit: Mutex::default(),
        users: Mutex::default(),
        tokens: Mutex::default(),
        offered: Mutex::new(HashMap::new()),
        outbound: outbound::Outbound::default(),
        out_lines: Mutex::default(),
        error_lines: Mutex::default(),
        emitted: Mutex::default(),
        refusals: Mutex::default(),
        response_bytes_max: AtomicU64::new(RESPONSE_BYTES_MAX),
        data_dir: Mutex::new(Some(data_dir)),
    })
}

/// Checks a registration against the manifest, as the server does.
fn check_registration(manifest: &Manifest, registration: &Registration) -> Result<(), String> {
    for http::Route { method, path, .. } in &registration.routes {
        let below = |prefix: &String| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !manifest.routes.iter().any(below) {
            return Err(format!("{method} {path} is not below a path in `routes` of extension.toml"));
        }
    }
    if let Some(command) =
        manifest.commands.iter().find(|command| !registration.commands.contains(&command.name))
    {
        return Err(format!("extension.toml declares the command {}, which is not registered", command.name));
    }
    let known = |name: &String| manifest.commands.iter().any(|command| command.name == *name);
    if let Some(command) = registration.commands.iter().find(|name| !known(name)) {
        return Err(format!("the command {command} is not declared in extension.toml"));
    }
    for Service { name, major } in &registration.services {
        if !manifest.offers.contains(&format!("{name}@{major}")) {
            return Err(format!("the service {name}@{major} is not in `offers` of extension.toml"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
