//! The signals that end a server, SIGTERM and SIGINT, received on a thread of their own: whatever the server's threads do, the
//! first one is received, the second ends the process, and so does an end that does not come about.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::Failure;
use crate::config;

/// How long after the first signal another one counts as the same: it may arrive twice, as from a program that signals a
/// process and then its whole group.
const SAME_REQUEST_TIME_MAX: Duration = Duration::from_secs(1);
/// How long after its deadline a server that does not end is ended.
const OVERTIME: Duration = Duration::from_secs(5);

/// Hears the signals.
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Begins to listen.
    pub(super) fn listen(config: &config::Server) -> Result<Stop, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _context = runtime.enter();
            Signals::listen()?
        };
        let time_max =
            Duration::from_millis(config.shutdown_delay_ms.saturating_add(config.shutdown_timeout_ms));
        let (tell, asked) = watch::channel(false);
        thread::Builder::new().name("tinybase-signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                signals.next().await;
                tracing::info!("stopping: open requests may end; ask again to stop at once");
                tell.send_replace(true);
                tokio::select! {
                    () = signals.again() => tracing::warn!("stopped at once"),
                    () = tokio::time::sleep(time_max + OVERTIME) => {
                        tracing::error!("the server did not come to its end in time, and is ended");
                    }
                }
                std::process::exit(1);
            });
        })?;
        Ok(Stop(asked))
    }

    /// Ready once the server is asked to end. From then on, a second time asked ends the process at once, unless it comes
    /// within a moment.
    pub(super) async fn asked(&mut self) {
        // The thread that tells it lives as long as the process.
        let _ = self.0.wait_for(|is_asked| *is_asked).await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one that is not the same as the one that has just come.
    async fn again(&mut self) {
        let begun = Instant::now();
        self.next().await;
        while begun.elapsed() < SAME_REQUEST_TIME_MAX {
            self.next().await;
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
