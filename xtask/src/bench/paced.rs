//! A load at a steady rate: requests are due at fixed times, and latency counts from the time a request was due. It
//! never slows down because the server does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::raw_http::{self, Connection, Origin};

/// The number of connections, each with its own thread.
pub(super) const CONNECTIONS: usize = 8;
/// One in this many requests is a write.
const WRITES_ONE_IN: usize = 5;
/// The time after which a response counts as lost.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// The requests of a load.
pub(super) struct Mix {
    pub(super) port: u16,
    /// Paths to read in rotation.
    pub(super) reads: Vec<String>,
    /// The path where records are created.
    pub(super) create: String,
    pub(super) body: String,
}

/// The result of a load.
#[derive(Default)]
pub(super) struct Outcome {
    latencies: Vec<Duration>,
    /// The first words of each missing or unsuccessful response.
    pub(super) failures: Vec<String>,
}

impl Outcome {
    pub(super) fn count(&self) -> usize {
        self.latencies.len() + self.failures.len()
    }

    /// Returns the p99 in milliseconds.
    pub(super) fn p99_ms(&mut self) -> f64 {
        self.latencies.sort_unstable();
        let at = self.latencies.len() * 99 / 100;
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1_000.0)
    }
}

/// Runs the load until `stop` is set, at `rate` requests per second, or as fast as possible if there is none.
pub(super) fn run(mix: &Mix, rate: Option<f64>, stop: &AtomicBool) -> Result<Outcome> {
    let outcomes: Vec<Result<Outcome>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..CONNECTIONS).map(|number| scope.spawn(move || connection(mix, number, rate, stop))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a load does not panic")).collect()
    });
    let mut all = Outcome::default();
    for outcome in outcomes {
        let outcome = outcome?;
        all.latencies.extend(outcome.latencies);
        all.failures.extend(outcome.failures);
    }
    Ok(all)
}

/// Runs the load for a fixed time.
pub(super) fn run_for(mix: &Mix, rate: Option<f64>, time: Duration) -> Result<Outcome> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| run(mix, rate, &stop));
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        load.join().expect("a load does not panic")
    })
}

fn connection(mix: &Mix, number: usize, rate: Option<f64>, stop: &AtomicBool) -> Result<Outcome> {
    let every = rate.map(|rate| Duration::from_secs_f64(CONNECTIONS as f64 / rate));
    let mut due = Instant::now() + every.unwrap_or_default() * number as u32 / CONNECTIONS as u32;
    let (mut outcome, mut stream, mut at) = (Outcome::default(), connect(mix.port)?, number);
    while !stop.load(Ordering::Relaxed) {
        if let Some(every) = every {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += every;
        }
        let asked = if every.is_some() { due - every.unwrap_or_default() } else { Instant::now() };
        match stream.send(&request(mix, at)) {
            Ok(status) if (200..300).contains(&status) => outcome.latencies.push(asked.elapsed()),
            Ok(status) => outcome.failures.push(format!("status {status}")),
            Err(error) => {
                outcome.failures.push(format!("{error:#}"));
                stream = connect(mix.port)?;
            }
        }
        at += 1;
    }
    Ok(outcome)
}

fn connect(port: u16) -> Result<Connection> {
    Connection::open(Origin::new(raw_http::ORDINARY, ANSWER_WAIT_MAX), port)
}

fn request(mix: &Mix, at: usize) -> String {
    if at.is_multiple_of(WRITES_ONE_IN) {
        return raw_http::with_json("POST", &mix.create, &mix.body);
    }
    raw_http::get(&mix.reads[at % mix.reads.len()])
}
