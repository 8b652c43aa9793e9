//! A plugin that runs: its instance, and the promise that nothing of it is called once it is shut down.
//! Everything that calls it holds an `Arc` of it; the last one to go ends it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tinybase_abi::{
    error::{RawError, RawResult},
    future::{PANICKED, RawFuture},
    interfaces::{commands, hooks, jobs, lifecycle, offered},
    loaded::LoadedInstance,
};
use tokio::sync::watch;

use super::{library, manifest::Manifest, registration::Registration, services::PluginHost};
use crate::{
    db::SqlOwner,
    isolation::{Bulkhead, Guarded, OwnTask, Work},
    logging,
    metrics::stats::{self, PluginMetrics},
};

/// A plugin of a generation.
pub struct PluginInstance {
    manifest: Arc<Manifest>,
    registration: Registration,
    host: &'static PluginHost,
    hooks: Option<hooks::Client>,
    instance: Option<LoadedInstance>,
    metrics: &'static PluginMetrics,
    counted: Option<library::Alive>,
    /// Goes once the plugin has ended.
    alive: Option<watch::Sender<()>>,
}

impl PluginInstance {
    /// Takes over an instance whose registration was checked.
    pub fn new(
        manifest: Arc<Manifest>,
        registration: Registration,
        host: &'static PluginHost,
        instance: LoadedInstance,
        counted: library::Alive,
    ) -> PluginInstance {
        let metrics = stats::plugin(&manifest.name);
        let (hooks, alive) = (instance.hooks(), Some(watch::Sender::new(())));
        let (instance, counted) = (Some(instance), Some(counted));
        PluginInstance { manifest, registration, host, hooks, instance, metrics, counted, alive }
    }

    /// Answers an error to whoever waits for a change of it, once the plugin has ended. Nothing is ever sent.
    pub fn ended(&self) -> watch::Receiver<()> {
        self.alive.as_ref().expect("it is taken in drop alone").subscribe()
    }

    /// The extension's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The extension's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it registered.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// What is counted of it.
    pub fn metrics(&self) -> &'static PluginMetrics {
        self.metrics
    }

    /// What keeps its threads from everything else.
    pub fn bulkhead(&self) -> &'static Bulkhead {
        self.host.bulkhead()
    }

    /// In whose name its statements run.
    pub fn scope(&self) -> &SqlOwner {
        self.host.scope()
    }

    /// The host as the plugin sees it.
    pub fn host(&self) -> &'static PluginHost {
        self.host
    }

    /// Notes that a thread never came back from it: nobody waits for its end.
    pub fn give_up(&self) {
        self.counted.iter().for_each(library::Alive::release);
    }

    /// The instance.
    pub fn instance(&self) -> &LoadedInstance {
        self.instance.as_ref().expect("the instance is taken in drop alone")
    }

    /// Its hooks.
    pub fn hooks(&self) -> Option<hooks::Client> {
        self.hooks
    }

    /// Its jobs.
    pub fn jobs(&self) -> Option<jobs::Client> {
        self.instance().jobs()
    }

    /// Its commands.
    pub fn commands(&self) -> Option<commands::Client> {
        self.instance().commands()
    }

    /// Its services.
    pub fn offered(&self) -> Option<offered::Client> {
        self.instance().offered()
    }

    /// Its life.
    pub fn lifecycle(&self) -> Option<lifecycle::Client> {
        self.instance().lifecycle()
    }

    /// Awaits a call of this plugin that is not a request, at most this long, and counts it. A panic in it is logged here.
    /// `make` begins the call.
    pub async fn bounded<T: Send + 'static>(
        self: &Arc<Self>,
        timeout: Duration,
        work: Work,
        make: impl FnOnce() -> RawFuture<T> + Send + 'static,
    ) -> Result<T, RawError> {
        let begun = Instant::now();
        let answer = self.within(timeout, work, make).await;
        self.metrics.other.note(begun.elapsed(), answer.as_ref().err().is_some_and(is_own_fault));
        answer
    }

    /// Awaits a call of this plugin, at most this long, whatever it does to its thread: it runs in a task of its own, which is
    /// left behind where it does not end. A panic in it is logged here.
    pub async fn within<T: Send + 'static>(
        self: &Arc<Self>,
        timeout: Duration,
        work: Work,
        make: impl FnOnce() -> RawFuture<T> + Send + 'static,
    ) -> Result<T, RawError> {
        let call = logging::carried(self.guarded(work, |_| make()));
        match tokio::time::timeout(timeout, OwnTask::spawn(call)).await {
            Ok(Ok(answer)) => self.told(answer),
            // Nothing unwinds out of the call, so the runtime ends.
            Ok(Err(_)) => Err(RawError::new(503, "shutting_down", "the server stops")),
            Err(_) => Err(self.timed_out(timeout)),
        }
    }

    /// Awaits a call of this plugin in the caller's own task, however long it takes. A panic in it is logged here.
    pub async fn caught<T: Send + 'static>(
        self: &Arc<Self>,
        work: Work,
        make: impl FnOnce() -> RawFuture<T> + Send + 'static,
    ) -> Result<T, RawError> {
        self.told(self.guarded(work, |_| make()).await)
    }

    /// A call of this plugin that can stop nothing else, and that holds the plugin. `make` begins it.
    pub fn guarded<M, F>(self: &Arc<Self>, work: Work, make: M) -> Guarded<Arc<PluginInstance>, M, F>
    where
        M: FnOnce(&Arc<PluginInstance>) -> F + Send + 'static,
        F: Future + Unpin + Send + 'static,
    {
        Guarded::new(self.bulkhead(), Arc::clone(self), work, make)
    }

    /// What a call came to. A panic is logged.
    pub fn told<T>(&self, answer: Result<RawResult<T>, RawError>) -> Result<T, RawError> {
        answer.and_then(RawResult::into_result).inspect_err(|error| self.log_panic(error))
    }

    /// The error of a call that took too long. It is logged.
    pub fn timed_out(&self, timeout: Duration) -> RawError {
        let message =
            format!("the extension {} did not answer within {} ms", self.name(), timeout.as_millis());
        tracing::error!(plugin = self.name(), "{message}");
        RawError::new(504, "plugin_timeout", message)
    }

    /// Logs an error that is a panic.
    pub fn log_panic(&self, error: &RawError) {
        let words = error.words();
        if words.code == PANICKED {
            self.metrics.panics.add_one();
            tracing::error!(plugin = self.name(), code = words.code, "{}", words.message);
        }
    }
}

/// Whether a call failed through no fault of the caller's.
pub fn is_own_fault(error: &RawError) -> bool {
    error.status >= 500
}

impl Drop for PluginInstance {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        // Nothing holds the plugin any more: no future of it is under way, and its tasks are ended first.
        let counted = self.counted.take().expect("it is taken in drop alone");
        library::end(instance, self.host, counted, self.alive.take());
    }
}
