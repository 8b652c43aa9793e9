//! The server is killed again and again under a load of writes: what it acknowledged is there afterwards, whole.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value as Json, json};
use tinybase_tests::{Client, Site};

/// How often it is killed.
const KILLS: usize = 25;
/// How many clients write at once.
const WRITERS: usize = 8;
/// How many writes are acknowledged before each kill, at least.
const ACKNOWLEDGED_MIN: usize = 20;
/// How long the writers of a round may take for that.
const ROUND_MAX: Duration = Duration::from_secs(30);

const RECORDS: &str = "/api/collections/things/records";

/// What the clients know to be stored.
#[derive(Default)]
struct Known {
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    more: Condvar,
}

impl Known {
    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many writes are acknowledged.
    fn wait_for(&self, wanted: usize) {
        let acknowledged = self.acknowledged.lock().unwrap();
        let (acknowledged, waited) =
            self.more.wait_timeout_while(acknowledged, ROUND_MAX, |numbers| numbers.len() < wanted).unwrap();
        assert!(!waited.timed_out(), "{} of {wanted} writes are acknowledged", acknowledged.len());
    }

    /// Creates records one after the other until the server is gone.
    fn write(&self, client: &Client) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let body =
                json!({"data": {"number": number, "twin": number.to_string(), "fill": "x".repeat(500)}});
            let headers = [("content-type", "application/json")];
            match client.try_send("POST", RECORDS, &headers, body.to_string().as_bytes()) {
                Ok(answer) if answer.status == 201 => {
                    self.acknowledged.lock().unwrap().insert(number);
                    self.more.notify_one();
                }
                Ok(answer) => panic!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)),
                Err(_) => return,
            }
        }
    }
}

/// Every record that is stored, each of which must be whole.
fn stored(client: &Client) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    let total = client.get(&format!("{RECORDS}?limit=1")).expect(200)["total"].as_u64().unwrap();
    for offset in (0..total).step_by(1000) {
        let page = client.get(&format!("{RECORDS}?limit=1000&sort_order=asc&offset={offset}")).expect(200);
        for record in page["records"].as_array().unwrap() {
            let data = &record["data"];
            let number = data["number"].as_u64().unwrap();
            assert_eq!(data["twin"], number.to_string(), "half a record: {record}");
            assert_eq!(data["fill"].as_str().map(str::len), Some(500), "half a record: {record}");
            assert!(numbers.insert(number), "{number} is there twice");
        }
    }
    assert_eq!(numbers.len() as u64, total, "the total is not the number of records");
    numbers
}

/// Looks at a copy of the files as the kill left them.
fn check_integrity(site: &Site) {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(site.dir()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("tinybase.db") {
            fs::copy(&path, copy.path().join(name)).unwrap();
        }
    }
    let found = integrity(&copy.path().join("tinybase.db"));
    assert_eq!(found, "ok");
}

fn integrity(database: &Path) -> String {
    let connection = rusqlite::Connection::open(database).unwrap();
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let site = Site::new();
    let known = Arc::new(Known::default());
    let fields: Json = json!([
        {"name": "number", "type": "integer", "required": true, "unique": true},
        {"name": "twin", "type": "string", "required": true},
        {"name": "fill", "type": "string"},
    ]);
    let options = json!({"access": {"create": "public"}});
    let things =
        json!({"name": "things", "label": "Things", "schema": {"fields": fields}, "options": options});
    for round in 0..=KILLS {
        let server = site.serve();
        if round == 0 {
            server.admin().post("/api/collections", &things).expect(201);
        }
        let there = stored(&server.client());
        let acknowledged = known.acknowledged.lock().unwrap().clone();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        assert!(lost.is_empty(), "round {round}: acknowledged and lost: {lost:?}");
        let asked = usize::try_from(known.next.load(Ordering::Relaxed)).unwrap();
        assert!(there.len() <= asked, "round {round}: more is stored than was sent");
        if round == KILLS {
            break;
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (known, client) = (Arc::clone(&known), server.client());
                thread::spawn(move || known.write(&client))
            })
            .collect();
        // Killed at another point of the load each time.
        let wanted = known.count() + ACKNOWLEDGED_MIN + round * 7;
        known.wait_for(wanted);
        server.kill();
        for writer in writers {
            writer.join().unwrap();
        }
        check_integrity(&site);
    }
    assert!(known.count() >= KILLS * ACKNOWLEDGED_MIN);
}
