//! A steady load of ordinary requests: reads of one record, lists, filters and creates, whose responses are remembered.
//! It never slows down because the server does: latency counts from the time a request was due.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::hostile::percentile;
use crate::raw_http::{Connection, ORDINARY, Origin, encoded, get, with_json};

/// The number of connections, each with its own thread.
const CONNECTIONS: u32 = 8;
/// The maximum wait for a response.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// The number of failures whose messages are kept.
const FAILURES_KEPT: usize = 20;
/// The page size for reading all records again.
const PAGE: usize = 1_000;

/// The result of a load.
#[derive(Default)]
pub(super) struct Outcome {
    latencies: Vec<Duration>,
    /// The numbers of the records whose creation was acknowledged.
    acknowledged: Vec<u64>,
    /// The number of requests with a 5xx or without a response.
    pub(super) failures: u64,
    /// The messages of the first of them.
    pub(super) failed: Vec<String>,
}

impl Outcome {
    /// Returns the number of requests.
    pub(super) fn count(&self) -> usize {
        self.latencies.len()
    }

    /// Returns the number of acknowledged creates.
    pub(super) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Returns a percentile in milliseconds.
    pub(super) fn percentile_ms(&mut self, percent: usize) -> f64 {
        percentile(&mut self.latencies, percent)
    }

    fn fail(&mut self, what: String) {
        self.failures += 1;
        if self.failed.len() < FAILURES_KEPT {
            self.failed.push(what);
        }
    }
}

/// Sends `rate` requests per second until `stop` is set.
///
/// # Errors
/// When the server cannot be reached at all.
pub(super) fn run(port: u16, rate: f64, stop: &AtomicBool) -> Result<Outcome> {
    let (next, begun) = (AtomicU64::new(0), Instant::now());
    let mut all = Outcome::default();
    std::thread::scope(|scope| {
        let period = Duration::from_secs_f64(f64::from(CONNECTIONS) / rate);
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let first = begun + period * number / CONNECTIONS;
                let next = &next;
                scope.spawn(move || client(port, first, period, next, stop))
            })
            .collect();
        for client in clients {
            let outcome = client.join().expect("a client does not panic");
            all.latencies.extend(outcome.latencies);
            all.acknowledged.extend(outcome.acknowledged);
            all.failures += outcome.failures;
            all.failed.extend(outcome.failed);
        }
    });
    ensure!(!all.latencies.is_empty(), "no ordinary request came to an end");
    Ok(all)
}

fn client(port: u16, mut due: Instant, period: Duration, next: &AtomicU64, stop: &AtomicBool) -> Outcome {
    let (mut outcome, mut connection) = (Outcome::default(), None);
    let origin = Origin::new(ORDINARY, ANSWER_WAIT_MAX);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let number = next.fetch_add(1, Ordering::Relaxed);
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(origin, port),
        };
        let (request, is_create) = request(number);
        let answer = open.and_then(|mut open: Connection| Ok((open.send(&request)?, open)));
        outcome.latencies.push(due.elapsed());
        due += period;
        match answer {
            Ok((status, open)) => {
                connection = Some(open);
                match status {
                    201 if is_create => outcome.acknowledged.push(number),
                    200 => {}
                    _ => outcome.fail(format!("{status} to {}", first_line(&request))),
                }
            }
            Err(error) => outcome.fail(format!("{error:#} to {}", first_line(&request))),
        }
    }
    outcome
}

fn first_line(request: &str) -> &str {
    request.lines().next().unwrap_or_default()
}

/// Returns request `number`, and whether it is a create: one in four is.
fn request(number: u64) -> (String, bool) {
    match number % 4 {
        0 => {
            let body = json!({ "data": { "n": number } }).to_string();
            (with_json("POST", "/api/collections/ordinary/records", &body), true)
        }
        1 => (get("/api/collections/ordinary/records?limit=30&count=none"), false),
        2 => {
            let filter = encoded(&format!("n = {}", number - 2));
            (get(&format!("/api/collections/ordinary/records?filter={filter}&count=none")), false)
        }
        _ => (get("/api/collections/ordinary"), false),
    }
}

/// Reads every record of the load again, and returns how many acknowledged ones are missing.
///
/// # Errors
/// When the server does not respond.
pub(super) fn missing(port: u16, outcome: &Outcome) -> Result<usize> {
    let mut connection = Connection::open(Origin::new(ORDINARY, ANSWER_WAIT_MAX), port)?;
    let (mut stored, mut cursor) = (std::collections::HashSet::new(), String::new());
    loop {
        let path =
            format!("/api/collections/ordinary/records?limit={PAGE}&count=none&cursor={}", encoded(&cursor));
        let mut body = Vec::new();
        let status = connection.send_into(&get(&path), &mut body)?;
        ensure!(status == 200, "reading what was created: {status}");
        let page: Value = serde_json::from_slice(&body)?;
        let records = page["records"].as_array().context("a list has records")?;
        stored.extend(records.iter().filter_map(|record| record["data"]["n"].as_u64()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    Ok(outcome.acknowledged.iter().filter(|number| !stored.contains(number)).count())
}
