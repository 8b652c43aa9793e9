//! Measures the latency of `/health` while a server is under attack, over a separate connection, every few
//! milliseconds. A request without a response counts with its waiting time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::raw_http::{Connection, ORDINARY, Origin, get};

/// The interval between requests. They share a connection: at a higher rate than the server responds they would wait
/// for each other, and the figure would be the length of that queue.
const PERIOD: Duration = Duration::from_millis(20);
/// The maximum wait for a response.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// The measurements of `/health`.
#[derive(Default)]
pub(crate) struct Health {
    latencies: Vec<Duration>,
    /// The number of unsuccessful requests.
    pub(crate) failures: usize,
}

impl Health {
    /// Sends requests until `stop` is set. If a request is delayed by the previous one, its latency counts from when it
    /// was due.
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

    /// Returns the p99 in milliseconds.
    pub(crate) fn p99_ms(&mut self) -> f64 {
        percentile(&mut self.latencies, 99)
    }
}

/// Returns the percentile of latencies, in milliseconds.
pub(crate) fn percentile(latencies: &mut [Duration], percent: usize) -> f64 {
    latencies.sort_unstable();
    let at = latencies.len() * percent / 100;
    latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1_000.0)
}
