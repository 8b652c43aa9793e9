//! A plugin that runs: its instance, and the promise that nothing of it is called once it is shut down.
//! Everything that calls it holds an `Arc` of it; the last one to go ends it.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tinybase_abi::{
    error::RawError,
    future::{PANICKED, RawFuture},
    interfaces::{commands, hooks, jobs, lifecycle, offered},
    loaded::LoadedInstance,
};
use tokio::sync::watch;

use super::{loader, manifest::Manifest, registration::Registration, services::PluginHost};
use crate::{
    db::Scope,
    observe::stats::{self, PluginFigures},
};

/// A plugin of a generation.
pub struct Running {
    manifest: Arc<Manifest>,
    registration: Registration,
    host: &'static PluginHost,
    hooks: Option<hooks::Client>,
    instance: Option<LoadedInstance>,
    figures: &'static PluginFigures,
    counted: Option<loader::Alive>,
    /// Goes once the plugin has ended.
    alive: Option<watch::Sender<()>>,
}

impl Running {
    /// Takes over an instance whose registration was checked.
    pub fn new(
        manifest: Arc<Manifest>,
        registration: Registration,
        host: &'static PluginHost,
        instance: LoadedInstance,
        counted: loader::Alive,
    ) -> Running {
        let figures = stats::plugin(&manifest.name);
        let (hooks, alive) = (instance.hooks(), Some(watch::Sender::new(())));
        let (instance, counted) = (Some(instance), Some(counted));
        Running { manifest, registration, host, hooks, instance, figures, counted, alive }
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
    pub fn figures(&self) -> &'static PluginFigures {
        self.figures
    }

    /// In whose name its statements run.
    pub fn scope(&self) -> &Scope {
        self.host.scope()
    }

    /// The host as the plugin sees it.
    pub fn host(&self) -> &'static PluginHost {
        self.host
    }

    /// Notes that a thread never came back from it: nobody waits for its end.
    pub fn give_up(&self) {
        self.counted.iter().for_each(loader::Alive::release);
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
    pub async fn bounded<T: Send + 'static>(
        &self,
        timeout: Duration,
        call: RawFuture<T>,
    ) -> Result<T, RawError> {
        let begun = Instant::now();
        let answer = self.within(timeout, call).await;
        self.figures.other.note(begun.elapsed(), answer.as_ref().err().is_some_and(is_own_fault));
        answer
    }

    /// Awaits a call of this plugin, at most this long. A panic in it is logged here.
    pub async fn within<T: Send + 'static>(
        &self,
        timeout: Duration,
        call: RawFuture<T>,
    ) -> Result<T, RawError> {
        match tokio::time::timeout(timeout, self.caught(call)).await {
            Ok(answer) => answer,
            Err(_) => {
                let message =
                    format!("the extension {} did not answer within {} ms", self.name(), timeout.as_millis());
                tracing::error!(plugin = self.name(), "{message}");
                Err(RawError::new(504, "plugin_timeout", message))
            }
        }
    }

    /// Awaits a call of this plugin, however long it takes. A panic in it is logged here.
    pub async fn caught<T: Send + 'static>(&self, call: RawFuture<T>) -> Result<T, RawError> {
        match AssertUnwindSafe(call).catch_unwind().await {
            Ok(answer) => answer.into_result().inspect_err(|error| self.log_panic(error)),
            Err(_) => Err(self.broke()),
        }
    }

    /// The error of a call whose panic came through: the SDK lets none through, code without it may.
    pub fn broke(&self) -> RawError {
        let error = RawError::new(500, PANICKED, "the plugin panicked, with nothing to catch it");
        self.log_panic(&error);
        error
    }

    /// Logs an error that is a panic.
    pub fn log_panic(&self, error: &RawError) {
        let words = error.words();
        if words.code == PANICKED {
            self.figures.panics.add_one();
            tracing::error!(plugin = self.name(), code = words.code, "{}", words.message);
        }
    }
}

/// Whether a call failed through no fault of the caller's.
pub fn is_own_fault(error: &RawError) -> bool {
    error.status >= 500
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        // Nothing holds the plugin any more: no future of it is under way, and its tasks are ended first.
        let counted = self.counted.take().expect("it is taken in drop alone");
        loader::end(instance, self.host, counted, self.alive.take());
    }
}
