//! What `/health` takes while a server is under attack, asked over a connection of its own each few milliseconds.
//! A request without an answer counts as long as it was waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::raw_http::{Connection, ORDINARY, Origin, get};

/// From one request to the next. They share a connection: asked more often than they are answered, they would wait for each
/// other, and the figure would be the length of that queue.
const PERIOD: Duration = Duration::from_millis(20);
/// How long an answer is waited for.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// What was seen of `/health`.
#[derive(Default)]
pub(crate) struct Health {
    latencies: Vec<Duration>,
    /// Requests without a success.
    pub(crate) failures: usize,
}

impl Health {
    /// Asks until `stop` is set. A request that is due while another is under way is late from when it was due.
    pub(crate) fn watch(port: u16, stop: &AtomicBool) -> Self {
        let (mut health, mut connection, mut due) = (Self::default(), None, Instant::now());
        let (origin, request) = (Origin::new(ORDINARY, ANSWER_WAIT_MAX), get("/health"));
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let asked = due;
            due += PERIOD;
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => Connection::open(origin, port),
            };
            let answer = open.and_then(|mut open| Ok((open.send(&request)?, open)));
            health.latencies.push(asked.elapsed());
            match answer {
                Ok((200, open)) => connection = Some(open),
                Ok(_) | Err(_) => health.failures += 1,
            }
        }
        health
    }

    /// In milliseconds.
    pub(crate) fn p99_ms(&mut self) -> f64 {
        percentile(&mut self.latencies, 99)
    }
}

/// The percentile of latencies, in milliseconds.
pub(crate) fn percentile(latencies: &mut [Duration], percent: usize) -> f64 {
    latencies.sort_unstable();
    let at = latencies.len() * percent / 100;
    latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1_000.0)
}
