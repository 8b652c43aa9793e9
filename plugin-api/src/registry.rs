//! Everything an extension registers: routes, hooks, listeners, jobs, commands and services.

use std::{future::Future, sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::Value as Json;
use tinybase_abi::{
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, guard},
    interfaces::Outcome,
    response::RawResponse,
};

use crate::{
    Plugin, Request, Response, Result,
    command::{Arguments, Console},
    events::{Event, HookOutcome},
};

/// Who may call a route. The host checks it before it calls the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Everyone. A token is optional, but must be valid if it is sent.
    #[default]
    Anyone,
    /// A signed-in user.
    User,
    /// A user with the role viewer, editor or admin: one who may see the administration.
    Viewer,
    /// A user with the role editor or admin: one who may make changes in the administration.
    Editor,
    /// A user with the role admin.
    Admin,
}

/// A route's options, as sent to the host.
#[derive(Debug, Clone, Serialize)]
pub struct RouteOptions {
    method: &'static str,
    path: String,
    auth: Auth,
    scope: Option<String>,
    stream_body: bool,
    body_bytes_max: Option<u64>,
    summary: String,
    operation: Option<Json>,
}

impl RouteOptions {
    /// Sets who may call the route.
    pub fn auth(&mut self, auth: Auth) -> &mut Self {
        self.auth = auth;
        self
    }

    /// Sets the scope that an application token needs, such as `notes:read` or `notes:read:{id}`, which includes a part
    /// of the path.
    ///
    /// The default is the extension's name with `:read` for `GET` and `:write` for all other methods, prefixed with
    /// `admin:` if the route requires a role. With an empty scope the host checks none, and the handler must: see
    /// [`crate::request::Caller::allows`].
    pub fn scope(&mut self, scope: impl Into<String>) -> &mut Self {
        self.scope = Some(scope.into());
        self
    }

    /// Passes the body to the handler in chunks instead of as a whole.
    pub fn stream_body(&mut self) -> &mut Self {
        self.stream_body = true;
        self
    }

    /// Sets the size limit of the request body, in bytes. The default is the server's limit.
    pub fn body_bytes_max(&mut self, bytes: u64) -> &mut Self {
        self.body_bytes_max = Some(bytes);
        self
    }

    /// Sets a short description for the API's documentation.
    pub fn summary(&mut self, summary: impl Into<String>) -> &mut Self {
        self.summary = summary.into();
        self
    }

    /// Sets the OpenAPI operation object. The host adds what is missing.
    pub fn operation(&mut self, operation: Json) -> &mut Self {
        self.operation = Some(operation);
        self
    }
}

#[derive(Debug, Serialize)]
struct Subscription {
    topic: &'static str,
    subject: Option<String>,
    order: i32,
    durable: bool,
}

#[derive(Debug, Serialize)]
struct Job {
    name: &'static str,
    every_ms: u64,
}

#[derive(Debug, Serialize)]
struct Service {
    name: &'static str,
    major: u16,
}

type Handler<P> = Box<dyn Fn(Arc<P>, Request) -> RawFuture<RawResponse> + Send + Sync>;
type BeforeHandler<P> = Box<dyn Fn(Arc<P>, Event) -> RawFuture<Outcome> + Send + Sync>;
type AfterHandler<P> = Box<dyn Fn(Arc<P>, Event) -> RawFuture<()> + Send + Sync>;
type JobHandler<P> = Box<dyn Fn(Arc<P>) -> RawFuture<()> + Send + Sync>;
type CommandHandler<P> = Box<dyn Fn(Arc<P>, Arguments, Console) -> RawFuture<u32> + Send + Sync>;
type ServiceHandler<P> = Box<dyn Fn(Arc<P>, String, Json) -> RawFuture<Bytes> + Send + Sync>;

/// Collects what an extension registers.
pub struct Registry<P> {
    pub(crate) routes: Vec<(RouteOptions, Handler<P>)>,
    pub(crate) before: Vec<BeforeHandler<P>>,
    pub(crate) after: Vec<AfterHandler<P>>,
    pub(crate) jobs: Vec<JobHandler<P>>,
    pub(crate) commands: Vec<(&'static str, CommandHandler<P>)>,
    pub(crate) services: Vec<ServiceHandler<P>>,
    before_subscriptions: Vec<Subscription>,
    after_subscriptions: Vec<Subscription>,
    job_schedules: Vec<Job>,
    offered: Vec<Service>,
}

macro_rules! methods {
    ($($name:ident => $method:literal;)*) => {$(
        #[doc = concat!("Serves `", $method, "` on a path such as `/api/notes/{id}`.")]
        pub fn $name<F>(&mut self, path: &str, handler: fn(Arc<P>, Request) -> F) -> &mut RouteOptions
        where
            F: Future<Output = Result<Response>> + Send + 'static,
        {
            self.route($method, path, handler)
        }
    )*};
}

impl<P: Plugin> Registry<P> {
    pub(crate) fn new() -> Registry<P> {
        Registry {
            routes: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            jobs: Vec::new(),
            commands: Vec::new(),
            services: Vec::new(),
            before_subscriptions: Vec::new(),
            after_subscriptions: Vec::new(),
            job_schedules: Vec::new(),
            offered: Vec::new(),
        }
    }

    methods! {
        get => "GET";
        post => "POST";
        put => "PUT";
        patch => "PATCH";
        delete => "DELETE";
    }

    fn route<F>(
        &mut self,
        method: &'static str,
        path: &str,
        handler: fn(Arc<P>, Request) -> F,
    ) -> &mut RouteOptions
    where
        F: Future<Output = Result<Response>> + Send + 'static,
    {
        let options = RouteOptions {
            method,
            path: path.to_owned(),
            auth: Auth::default(),
            scope: None,
            stream_body: false,
            body_bytes_max: None,
            summary: String::new(),
            operation: None,
        };
        let call: Handler<P> = Box::new(move |plugin, request| {
            let answer = handler(plugin, request);
            guard(async move { Ok(answer.await.map_err(RawError::from)?.into_raw()) })
        });
        self.routes.push((options, call));
        &mut self.routes.last_mut().expect("a route was pushed").0
    }

    /// Runs the handler before events of `topic` are committed: for one `subject` or for all. Handlers with a lower
    /// `order` run first.
    pub fn before<F>(
        &mut self,
        topic: &'static str,
        subject: Option<&str>,
        order: i32,
        handler: fn(Arc<P>, Event) -> F,
    ) where
        F: Future<Output = Result<HookOutcome>> + Send + 'static,
    {
        self.before_subscriptions.push(Subscription {
            topic,
            subject: subject.map(str::to_owned),
            order,
            durable: false,
        });
        self.before.push(Box::new(move |plugin, event| {
            let answer = handler(plugin, event);
            guard(async move { Ok(answer.await.map_err(RawError::from)?.into_raw()) })
        }));
    }

    /// Notifies the handler of events of `topic` after they were committed, at most once.
    pub fn after<F>(&mut self, topic: &'static str, subject: Option<&str>, handler: fn(Arc<P>, Event) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.listen(topic, subject, false, handler);
    }

    /// Notifies the handler of events of `topic` at least once. The event is stored together with the change and is
    /// delivered again until the handler succeeds, even after a crash.
    pub fn after_durable<F>(
        &mut self,
        topic: &'static str,
        subject: Option<&str>,
        handler: fn(Arc<P>, Event) -> F,
    ) where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.listen(topic, subject, true, handler);
    }

    fn listen<F>(
        &mut self,
        topic: &'static str,
        subject: Option<&str>,
        durable: bool,
        handler: fn(Arc<P>, Event) -> F,
    ) where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.after_subscriptions.push(Subscription {
            topic,
            subject: subject.map(str::to_owned),
            order: 0,
            durable,
        });
        self.after.push(Box::new(move |plugin, event| {
            let answer = handler(plugin, event);
            guard(async move { answer.await.map_err(RawError::from) })
        }));
    }

    /// Runs a job at a fixed interval while the server is running. Two runs never overlap.
    pub fn every<F>(&mut self, period: Duration, name: &'static str, handler: fn(Arc<P>) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let every_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
        self.job_schedules.push(Job { name, every_ms });
        self.jobs.push(Box::new(move |plugin| {
            let answer = handler(plugin);
            guard(async move { answer.await.map_err(RawError::from) })
        }));
    }

    /// Runs a command that the manifest declares under this name. The handler returns the exit code.
    pub fn command<F>(&mut self, name: &'static str, handler: fn(Arc<P>, Arguments, Console) -> F)
    where
        F: Future<Output = Result<u32>> + Send + 'static,
    {
        self.commands.push((
            name,
            Box::new(move |plugin, arguments, console| {
                let answer = handler(plugin, arguments, console);
                guard(async move { answer.await.map_err(RawError::from) })
            }),
        ));
    }

    /// Offers a service to other extensions. The handler receives the method's name and its payload.
    pub fn service<F>(&mut self, name: &'static str, major: u16, handler: fn(Arc<P>, String, Json) -> F)
    where
        F: Future<Output = Result<Json>> + Send + 'static,
    {
        self.offered.push(Service { name, major });
        self.services.push(Box::new(move |plugin, method, payload| {
            let answer = handler(plugin, method, payload);
            guard(async move { Ok(Bytes::from(answer.await.map_err(RawError::from)?.to_string())) })
        }));
    }

    /// Returns the whole registration as the JSON that the host reads.
    pub(crate) fn describe(&self) -> Json {
        serde_json::json!({
            "routes": self.routes.iter().map(|(options, _)| options).collect::<Vec<_>>(),
            "before": self.before_subscriptions,
            "after": self.after_subscriptions,
            "jobs": self.job_schedules,
            "commands": self.commands.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "services": self.offered,
        })
    }
}
