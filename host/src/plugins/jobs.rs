//! Periodic jobs registered by a plugin: one task per job, and never two runs of the same job at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::AbortHandle};

use super::{plugin_instance::PluginInstance, registration::Job};
use crate::isolation::Work;

/// The task of a job. Dropping it stops its timer; a run in progress finishes by itself.
pub struct JobTask {
    task: AbortHandle,
    _clock: watch::Sender<()>,
}

impl JobTask {
    /// Returns a handle that aborts the task at once.
    pub fn handle(&self) -> AbortHandle {
        self.task.clone()
    }
}

/// Starts a job. Its first run comes after one period.
pub fn start_job(plugin: Arc<PluginInstance>, position: u32, job: &Job) -> JobTask {
    let period = Duration::from_millis(job.every_ms.max(1));
    let name = job.name.clone();
    let (clock, mut stopped) = watch::channel(());
    let task = tokio::spawn(async move {
        let mut clock = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                // Nothing is ever sent: the sender is dropped with the `JobTask`.
                _ = stopped.changed() => return,
                _ = clock.tick() => {}
            }
            let Some(jobs) = plugin.jobs() else { return };
            let begun = Instant::now();
            let ended = plugin.caught(Work::Job, move || jobs.run(position)).await;
            plugin.metrics().other.note(begun.elapsed(), ended.is_err());
            if let Err(error) = ended {
                let words = error.words();
                tracing::error!(
                    plugin = plugin.name(),
                    job = name,
                    code = words.code,
                    "a job failed: {}",
                    words.message
                );
            }
        }
    });
    JobTask { task: task.abort_handle(), _clock: clock }
}
