//! A running plugin: its instance, and the guarantee that none of its code is called after it was shut down.
//! Every caller holds an `Arc` of it; dropping the last one ends the plugin.

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
    /// Dropped once the plugin has ended.
    alive: Option<watch::Sender<()>>,
}

impl PluginInstance {
    /// Takes ownership of an instance whose registration was checked.
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

    /// Returns a receiver whose `changed` fails once the plugin has ended. Nothing is ever sent.
    pub fn ended(&self) -> watch::Receiver<()> {
        self.alive.as_ref().expect("it is taken in drop alone").subscribe()
    }

    /// Returns the extension's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Returns the extension's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns what it registered.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Returns its metrics.
    pub fn metrics(&self) -> &'static PluginMetrics {
        self.metrics
    }

    /// Returns the bulkhead that isolates its threads.
    pub fn bulkhead(&self) -> &'static Bulkhead {
        self.host.bulkhead()
    }

    /// Returns the owner that its statements run as.
    pub fn scope(&self) -> &SqlOwner {
        self.host.scope()
    }

    /// Returns the host as the plugin sees it.
    pub fn host(&self) -> &'static PluginHost {
        self.host
    }

    /// Records that one of its threads never returned, so that nobody waits for its end.
    pub fn give_up(&self) {
        self.counted.iter().for_each(library::Alive::release);
    }

    /// Returns the instance.
    pub fn instance(&self) -> &LoadedInstance {
        self.instance.as_ref().expect("the instance is taken in drop alone")
    }

    /// Returns its hooks.
    pub fn hooks(&self) -> Option<hooks::Client> {
        self.hooks
    }

    /// Returns its jobs.
    pub fn jobs(&self) -> Option<jobs::Client> {
        self.instance().jobs()
    }

    /// Returns its commands.
    pub fn commands(&self) -> Option<commands::Client> {
        self.instance().commands()
    }

    /// Returns its services.
    pub fn offered(&self) -> Option<offered::Client> {
        self.instance().offered()
    }

    /// Returns its lifecycle interface.
    pub fn lifecycle(&self) -> Option<lifecycle::Client> {
        self.instance().lifecycle()
    }

    /// Awaits a call of this plugin other than a request, at most `timeout`, and adds it to the metrics. Logs
    /// a panic. `make` starts the call.
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

    /// Awaits a call of this plugin, at most `timeout`, even if it blocks its thread: it runs in a task of
    /// its own, which is abandoned if it does not end. Logs a panic.
    pub async fn within<T: Send + 'static>(
        self: &Arc<Self>,
        timeout: Duration,
        work: Work,
        make: impl FnOnce() -> RawFuture<T> + Send + 'static,
    ) -> Result<T, RawError> {
        let call = logging::carried(self.guarded(work, |_| make()));
        match tokio::time::timeout(timeout, OwnTask::spawn(call)).await {
            Ok(Ok(answer)) => self.told(answer),
            // The call catches panics, so this means that the runtime is shutting down.
            Ok(Err(_)) => Err(RawError::new(503, "shutting_down", "the server stops")),
            Err(_) => Err(self.timed_out(timeout)),
        }
    }

    /// Awaits a call of this plugin in the caller's own task, without a time limit. Logs a panic.
    pub async fn caught<T: Send + 'static>(
        self: &Arc<Self>,
        work: Work,
        make: impl FnOnce() -> RawFuture<T> + Send + 'static,
    ) -> Result<T, RawError> {
        self.told(self.guarded(work, |_| make()).await)
    }

    /// Wraps a call of this plugin so that it cannot stop anything else. It keeps the plugin alive. `make`
    /// starts the call.
    pub fn guarded<M, F>(self: &Arc<Self>, work: Work, make: M) -> Guarded<Arc<PluginInstance>, M, F>
    where
        M: FnOnce(&Arc<PluginInstance>) -> F + Send + 'static,
        F: Future + Unpin + Send + 'static,
    {
        Guarded::new(self.bulkhead(), Arc::clone(self), work, make)
    }

    /// Returns the result of a call. Logs a panic.
    pub fn told<T>(&self, answer: Result<RawResult<T>, RawError>) -> Result<T, RawError> {
        answer.and_then(RawResult::into_result).inspect_err(|error| self.log_panic(error))
    }

    /// Returns and logs the error of a call that took too long.
    pub fn timed_out(&self, timeout: Duration) -> RawError {
        let message =
            format!("the extension {} did not answer within {} ms", self.name(), timeout.as_millis());
        tracing::error!(plugin = self.name(), "{message}");
        RawError::new(504, "plugin_timeout", message)
    }

    /// Logs an error if it is a panic.
    pub fn log_panic(&self, error: &RawError) {
        let words = error.words();
        if words.code == PANICKED {
            self.metrics.panics.add_one();
            tracing::error!(plugin = self.name(), code = words.code, "{}", words.message);
        }
    }
}

/// Returns whether a call failed through no fault of the caller.
pub fn is_own_fault(error: &RawError) -> bool {
    error.status >= 500
}

impl Drop for PluginInstance {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        // There are no references left: no future of the plugin is in progress, and its tasks are ended
        // first.
        let counted = self.counted.take().expect("it is taken in drop alone");
        library::end(instance, self.host, counted, self.alive.take());
    }
}
