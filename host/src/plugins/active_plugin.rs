//! A plugin that generations share: its listeners' queues and its jobs' clocks. They begin
//! with the first generation that it serves in and end with the last, so that a swap for another plugin's sake restarts
//! nothing of this one.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{sync::watch, task::AbortHandle};

use super::{
    events::{ListenerQueue, start_listener},
    jobs::{JobTask, start_job},
    plugin_instance::PluginInstance,
    services::Limits,
};

/// A running plugin with what runs on its behalf between requests.
pub struct ActivePlugin {
    plugin: Arc<PluginInstance>,
    /// Of the package that it was loaded from.
    hash: String,
    /// A queue a listener, in the order of its registration; `None` where the outbox tells it.
    queues: OnceLock<Vec<Option<ListenerQueue>>>,
    jobs: OnceLock<Vec<JobTask>>,
}

impl ActivePlugin {
    /// A plugin that was started, with nothing of it going yet.
    pub fn new(plugin: Arc<PluginInstance>, hash: &str) -> Arc<ActivePlugin> {
        let (queues, jobs) = (OnceLock::new(), OnceLock::new());
        Arc::new(ActivePlugin { plugin, hash: hash.to_owned(), queues, jobs })
    }

    /// The plugin.
    pub fn plugin(&self) -> &Arc<PluginInstance> {
        &self.plugin
    }

    /// The extension's name.
    pub fn name(&self) -> &str {
        self.plugin.name()
    }

    /// The hash of the package that it was loaded from.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The queues of its listeners; they are started with the first call.
    pub fn queues(&self, limits: Limits) -> &[Option<ListenerQueue>] {
        self.queues.get_or_init(|| {
            let listeners = self.plugin.registration().after.iter().zip(0..);
            let start = |position| start_listener(Arc::clone(&self.plugin), position, limits.call_timeout);
            listeners.map(|(listener, position)| (!listener.durable).then(|| start(position))).collect()
        })
    }

    /// Sets its jobs going, unless they are.
    pub fn start_jobs(&self) {
        self.jobs.get_or_init(|| {
            let jobs = self.plugin.registration().jobs.iter().zip(0..);
            jobs.map(|(job, position)| start_job(Arc::clone(&self.plugin), position, job)).collect()
        });
    }

    /// What is left of it once no generation has it any more.
    pub fn leaving(&self) -> DrainingPlugin {
        let jobs = self.jobs.get().into_iter().flatten().map(JobTask::handle).collect();
        DrainingPlugin {
            name: self.name().to_owned(),
            version: self.plugin.manifest().version.to_string(),
            ended: self.plugin.ended(),
            jobs,
        }
    }
}

/// A plugin that left the generation that serves: what still runs of it ends there.
pub struct DrainingPlugin {
    name: String,
    version: String,
    ended: watch::Receiver<()>,
    jobs: Vec<AbortHandle>,
}

impl DrainingPlugin {
    /// The extension's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the runs of its jobs that are under way.
    pub fn end_jobs(&self) {
        self.jobs.iter().for_each(AbortHandle::abort);
    }

    /// Waits until the plugin has ended, at most this long. Answers whether it has; what is still under way then ends when
    /// it is done, but for runs of jobs, which end now.
    pub async fn drained(mut self, timeout: Duration) -> bool {
        // Nothing is ever sent: the sender goes with the plugin's end.
        let is_drained = tokio::time::timeout(timeout, self.ended.changed()).await.is_ok();
        if !is_drained {
            let (plugin, version) = (self.name.as_str(), self.version.as_str());
            let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                plugin,
                version,
                timeout_ms,
                "it left service and is still busy; it ends once that is done"
            );
            self.end_jobs();
        }
        is_drained
    }
}
