//! What a plugin uses of the local machine: limits, log, time, terminal, folder.

use std::{fs, time::Duration};

use tinybase_abi::{
    bytes::Bytes,
    error::{RawError, RawResult},
    future::{RawFuture, guard},
    interfaces::{console, limits, log, storage, timers},
};

use super::PluginHost;
use crate::{
    isolation::{Guarded, Work, threads},
    memory,
};

/// The maximum number of tasks that a plugin may have running at once. Further ones are dropped with a log
/// line.
const TASKS_MAX: usize = 10_000;

impl limits::Server for PluginHost {
    fn response_bytes_max(&self) -> u64 {
        u64::try_from(self.shared.limits.response_bytes_max).unwrap_or(u64::MAX)
    }

    fn reserve(&self, bytes: u64) -> RawFuture<Bytes> {
        let limits = self.shared.limits.memory;
        guard(async move {
            let reserved = memory::reserve(usize::try_from(bytes).unwrap_or(usize::MAX), limits).await;
            match reserved {
                Some(reserved) => Ok(Bytes::guarded(Vec::new(), reserved)),
                None => {
                    let message = "the server holds too much for other requests at once; try again shortly";
                    let mut error = RawError::new(503, "overloaded", message);
                    error.retryable = true.into();
                    Err(error)
                }
            }
        })
    }
}

impl log::Server for PluginHost {
    fn enabled(&self, level: u8) -> bool {
        match level {
            1 => tracing::enabled!(target: "tinybase::plugin", tracing::Level::ERROR),
            2 => tracing::enabled!(target: "tinybase::plugin", tracing::Level::WARN),
            3 => tracing::enabled!(target: "tinybase::plugin", tracing::Level::INFO),
            4 => tracing::enabled!(target: "tinybase::plugin", tracing::Level::DEBUG),
            _ => tracing::enabled!(target: "tinybase::plugin", tracing::Level::TRACE),
        }
    }

    #[expect(clippy::cognitive_complexity, reason = "each macro of the log counts as several branches")]
    fn write(&self, level: u8, message: &str, fields: &[u8]) {
        let plugin = self.manifest.name.as_str();
        let fields = String::from_utf8_lossy(fields);
        let fields = (!fields.is_empty()).then_some(&*fields);
        // The request id comes from the span around the call: this runs on the host's thread, inside that
        // span.
        match level {
            1 => tracing::error!(target: "tinybase::plugin", plugin, fields, "{message}"),
            2 => tracing::warn!(target: "tinybase::plugin", plugin, fields, "{message}"),
            3 => tracing::info!(target: "tinybase::plugin", plugin, fields, "{message}"),
            4 => tracing::debug!(target: "tinybase::plugin", plugin, fields, "{message}"),
            _ => tracing::trace!(target: "tinybase::plugin", plugin, fields, "{message}"),
        }
    }
}

impl timers::Server for PluginHost {
    fn sleep(&self, milliseconds: u64) -> RawFuture<()> {
        guard(async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            Ok(())
        })
    }

    fn spawn(&self, task: RawFuture<()>) {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        let plugin = self.manifest.name.as_str();
        if tasks.len() >= TASKS_MAX {
            tracing::error!(plugin, "a task was dropped: {TASKS_MAX} of this extension are under way");
            return;
        }
        let name = self.manifest.name.clone();
        // Dropped with its task, before the plugin ends.
        let task = Guarded::new(self.bulkhead, (), Work::Task, move |_: &()| task);
        tasks.spawn_on(
            async move {
                if let Err(error) = task.await.and_then(RawResult::into_result) {
                    let words = error.words();
                    tracing::error!(plugin = name, code = words.code, "a task failed: {}", words.message);
                }
            },
            &self.shared.runtime,
        );
        threads::displace_inside();
    }
}

impl console::Server for PluginHost {
    fn is_terminal(&self) -> bool {
        self.shared.console.is_terminal()
    }

    fn line(&self, text: &str) {
        self.shared.console.line(text);
    }

    fn error_line(&self, text: &str) {
        self.shared.console.error_line(text);
    }

    fn progress(&self, done: u64, total: u64, unit: &str) {
        self.shared.console.progress(done, total, unit);
    }
}

impl storage::Server for PluginHost {
    fn data_dir(&self) -> Bytes {
        let folder = self.shared.data_dir.join(&self.manifest.name);
        if let Err(error) = fs::create_dir_all(&folder) {
            let plugin = self.manifest.name.as_str();
            tracing::error!(plugin, %error, "cannot make the data folder {}", folder.display());
        }
        Bytes::from(folder.to_string_lossy().into_owned())
    }
}
