//! A plugin shared by generations: the queues of its listeners and the timers of its jobs. They start with
//! the first generation that contains the plugin and end with the last, so swapping another plugin does not
//! restart them.

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

/// A running plugin with its background work.
pub struct ActivePlugin {
    plugin: Arc<PluginInstance>,
    /// The hash of the package that it was loaded from.
    hash: String,
    /// One queue per listener, in registration order; `None` for listeners that the outbox notifies.
    queues: OnceLock<Vec<Option<ListenerQueue>>>,
    jobs: OnceLock<Vec<JobTask>>,
}

impl ActivePlugin {
    /// Wraps a started plugin. Its queues and jobs are not started yet.
    pub fn new(plugin: Arc<PluginInstance>, hash: &str) -> Arc<ActivePlugin> {
        let (queues, jobs) = (OnceLock::new(), OnceLock::new());
        Arc::new(ActivePlugin { plugin, hash: hash.to_owned(), queues, jobs })
    }

    /// Returns the plugin.
    pub fn plugin(&self) -> &Arc<PluginInstance> {
        &self.plugin
    }

    /// Returns the extension's name.
    pub fn name(&self) -> &str {
        self.plugin.name()
    }

    /// Returns the hash of the package that it was loaded from.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the queues of its listeners. The first call starts them.
    pub fn queues(&self, limits: Limits) -> &[Option<ListenerQueue>] {
        self.queues.get_or_init(|| {
            let listeners = self.plugin.registration().after.iter().zip(0..);
            let start = |position| start_listener(Arc::clone(&self.plugin), position, limits.call_timeout);
            listeners.map(|(listener, position)| (!listener.durable).then(|| start(position))).collect()
        })
    }

    /// Starts its jobs, unless they are already running.
    pub fn start_jobs(&self) {
        self.jobs.get_or_init(|| {
            let jobs = self.plugin.registration().jobs.iter().zip(0..);
            jobs.map(|(job, position)| start_job(Arc::clone(&self.plugin), position, job)).collect()
        });
    }

    /// Returns what must still end once no generation contains this plugin.
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

/// A plugin that left the active generation and still has work in progress.
pub struct DrainingPlugin {
    name: String,
    version: String,
    ended: watch::Receiver<()>,
    jobs: Vec<AbortHandle>,
}

impl DrainingPlugin {
    /// Returns the extension's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Aborts the job runs in progress.
    pub fn end_jobs(&self) {
        self.jobs.iter().for_each(AbortHandle::abort);
    }

    /// Waits for the plugin to end, at most `timeout`. Returns whether it has ended. If not, job runs are
    /// aborted now, and other work in progress ends when it is done.
    pub async fn drained(mut self, timeout: Duration) -> bool {
        // Nothing is ever sent: the sender is dropped when the plugin ends.
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
