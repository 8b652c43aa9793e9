//! Jobs that a plugin registered by the clock: one task each, never two runs of one at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::AbortHandle;

use super::{registration::Job, running::Running};

/// A job's task; it ends when this is dropped.
pub struct JobTask(AbortHandle);

impl Drop for JobTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a job; its first run comes after one period.
pub fn start_job(plugin: Arc<Running>, position: u32, job: &Job) -> JobTask {
    let period = Duration::from_millis(job.every_ms.max(1));
    let name = job.name.clone();
    let task = tokio::spawn(async move {
        let mut clock = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            clock.tick().await;
            let Some(jobs) = plugin.jobs() else { return };
            let begun = Instant::now();
            let ended = plugin.caught(jobs.run(position)).await;
            plugin.figures().other.note(begun.elapsed(), ended.is_err());
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
    JobTask(task.abort_handle())
}
