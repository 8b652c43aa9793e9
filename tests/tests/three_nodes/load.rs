//! A load on several nodes: creates and reads from many clients, each on one node, and their results. It never stops a
//! node.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::json;
use tinybase_tests::{Client, Server};

/// Clients per node.
const CLIENTS: usize = 3;
/// How long a load may take to make progress.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause of a client after a failed request, so that it does not flood the machine with refusals.
const PAUSE: Duration = Duration::from_millis(10);

/// The numbers of records are unique in a process, over all loads.
static NEXT: AtomicU64 = AtomicU64::new(1_000);

/// The result of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The numbers of the records whose create returned 201.
    pub(crate) acknowledged: Vec<u64>,
    /// Unexpected responses: neither a success, nor a refusal that says what to do.
    pub(crate) faults: Vec<String>,
    /// The number of requests refused with 503.
    pub(crate) refused: usize,
}

#[derive(Default)]
struct Shared {
    outcome: Mutex<Outcome>,
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    ends: AtomicBool,
}

/// A load that runs until it is ended.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts clients on every node; those of a stopped node keep trying in vain.
    pub(crate) fn start(nodes: &[Server], path: &'static str) -> Load {
        let shared = Arc::new(Shared::default());
        let mut clients = Vec::new();
        for node in nodes {
            for _ in 0..CLIENTS {
                let (client, shared) = (node.client(), Arc::clone(&shared));
                clients.push(std::thread::spawn(move || work(&client, &shared, path)));
            }
        }
        Load { shared, clients }
    }

    /// Returns the number of creates acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Returns the number of requests refused with 503 so far.
    pub(crate) fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Waits until this many creates were acknowledged.
    #[track_caller]
    pub(crate) fn wait_for(&self, creates: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged() < creates {
            let outcome = self.shared.outcome.lock().unwrap();
            assert!(Instant::now() < deadline, "{} of {creates}: {:?}", self.acknowledged(), outcome.faults);
            drop(outcome);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the load.
    pub(crate) fn end(self) -> Outcome {
        self.shared.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        let outcome = std::mem::take(&mut *self.shared.outcome.lock().unwrap());
        Outcome { refused: self.shared.refused.load(Ordering::Relaxed), ..outcome }
    }
}

/// Creates a record, finds it, and runs queries that depend on the fields of the schema change: one that may have an
/// index, and one whose type changes.
fn work(client: &Client, shared: &Shared, path: &str) {
    let aggregate = path.replace("/records", "/aggregate?min=amount");
    while !shared.ends.load(Ordering::Relaxed) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let body = json!({"data": {"number": number, "text": "a text", "amount": 1}}).to_string();
        let json = [("content-type", "application/json")];
        let created = client.try_send("POST", path, &json, body.as_bytes());
        if created.as_ref().is_ok_and(|answer| answer.status == 201) {
            shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            shared.outcome.lock().unwrap().acknowledged.push(number);
        } else {
            note(shared, "create", created);
        }
        let of_number = format!("{path}?filter=number={number}&limit=1");
        let of_text = format!("{path}?filter=text=%22a%20text%22&limit=1");
        for query in [&of_number, &of_text, &aggregate] {
            let read = client.try_send("GET", query, &[], b"");
            if !read.as_ref().is_ok_and(|answer| answer.status == 200) {
                note(shared, "read", read);
            }
        }
    }
}

/// Records a response. A refusal must be marked as such and say when to retry; a broken connection belongs to a stopped
/// node.
fn note(shared: &Shared, what: &str, answer: Result<tinybase_tests::Answer, String>) {
    std::thread::sleep(PAUSE);
    let Ok(answer) = answer else { return };
    let is_told = answer.headers.contains_key("retry-after") && answer.code().starts_with("db_");
    if answer.status == 503 && is_told {
        shared.refused.fetch_add(1, Ordering::Relaxed);
    }
    if answer.status != 503 || !is_told {
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        shared.outcome.lock().unwrap().faults.push(format!("{what}: {} {text}", answer.status));
    }
}

/// Checks that every acknowledged record exists.
pub(crate) fn check_stored(client: &Client, path: &str, acknowledged: &[u64]) {
    let mut stored = HashSet::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{path}?limit=1000&cursor={cursor}")).expect(200);
        let records = page["records"].as_array().unwrap();
        stored.extend(records.iter().filter_map(|record| record["data"]["number"].as_u64()));
        match page["next_cursor"].as_str() {
            Some(next) if !records.is_empty() => cursor = next.to_owned(),
            _ => break,
        }
    }
    let lost: Vec<_> = acknowledged.iter().filter(|number| !stored.contains(number)).collect();
    assert!(lost.is_empty(), "{} of {} are gone: {lost:?}", lost.len(), acknowledged.len());
}
