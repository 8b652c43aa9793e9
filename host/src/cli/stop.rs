//! Handles the signals that stop a server, SIGTERM and SIGINT, on a separate thread, whatever the server's threads do.
//! The first one starts the shutdown; a second one ends the process, and so does a shutdown that takes too long.

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

/// How long after the first signal another one counts as the same: it may arrive twice, as from a program that signals
/// a process and then its whole group.
const SAME_REQUEST_TIME_MAX: Duration = Duration::from_secs(1);
/// How long after its deadline a server that has not stopped is killed.
const OVERTIME: Duration = Duration::from_secs(5);

/// Receives the signals.
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Starts to listen.
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

    /// Waits until the server is asked to stop. From then on, a second signal ends the process immediately, unless it
    /// comes within a moment.
    pub(super) async fn asked(&mut self) {
        // The thread that sends it lives as long as the process.
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

    /// Waits for the next signal that is not a repetition of the last one.
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
