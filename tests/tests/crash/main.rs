//! The crash test: the server is killed repeatedly under a load of creates, and no acknowledged record may be missing.
//! It never stops the server gracefully.

mod records;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use records::{Acknowledged, Writer};
use tinybase_tests::{Server, Site};

/// How often the server is killed, unless `CRASH_ROUNDS` is set.
const ROUNDS: u32 = 25;

/// The number of concurrent writers, so that commits are grouped.
const WRITERS: usize = 8;

/// The number of acknowledged creates in a round before the kill, chosen at random.
const ACKNOWLEDGED_BEFORE_KILL: std::ops::Range<usize> = 1..600;

/// The timeout of one call, in milliseconds.
const CALL_TIMEOUT_MS: &str = "20000";

/// How long one round's creates may take before the test gives up.
const ROUND_TIME_MAX: Duration = Duration::from_secs(60);

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let rounds =
        std::env::var("CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number of rounds"));
    let mut site = Site::new();
    // Under load, a call may take longer than the other tests allow.
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", CALL_TIMEOUT_MS);
    let mut server = site.serve();
    records::create_collection(&server);
    let next_number = AtomicU64::new(0);
    let mut all = Vec::new();
    for round in 1..=rounds {
        let target = rand::random_range(ACKNOWLEDGED_BEFORE_KILL);
        let acknowledged = create_until_killed(server, target, &next_number);
        if site.database_url().is_none() {
            check_integrity(site.dir());
        }
        server = site.serve();
        records::check_acknowledged(&server, &acknowledged);
        let stored = records::check_stored(&server);
        all.extend(acknowledged);
        assert!(
            stored >= all.len(),
            "round {round}: {stored} records are stored, {} were acknowledged",
            all.len()
        );
    }
    records::check_acknowledged(&server, &all);
    println!("{rounds} kills, {} records acknowledged, none lost", all.len());
}

/// Creates records from every writer until `target` creates are acknowledged, and then kills the server immediately.
fn create_until_killed(server: Server, target: usize, next_number: &AtomicU64) -> Vec<Acknowledged> {
    let (told, hears) = mpsc::channel();
    let address = server.address().to_owned();
    let write = |told: mpsc::Sender<Acknowledged>| {
        let client = Writer::new(&address);
        // The first failed request is due to the kill.
        while let Some(one) = client.create(next_number.fetch_add(1, Ordering::Relaxed)) {
            told.send(one).expect("the test listens to the end");
        }
    };
    let acknowledged = thread::scope(|scope| {
        for _ in 0..WRITERS {
            let told = told.clone();
            scope.spawn(|| write(told));
        }
        drop(told);
        let deadline = Instant::now() + ROUND_TIME_MAX;
        let until_kill = || hears.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
        let mut acknowledged: Vec<_> = std::iter::from_fn(until_kill).take(target).collect();
        server.kill();
        acknowledged.extend(hears);
        acknowledged
    });
    assert!(
        acknowledged.len() >= target,
        "only {} of {target} creates were acknowledged",
        acknowledged.len()
    );
    acknowledged
}

/// Checks a copy of the data after the kill, so that the server itself recovers the original first.
fn check_integrity(data: &Path) {
    let copy = tempfile::tempdir().expect("a fresh folder");
    for name in ["tinybase.db", "tinybase.db-wal"] {
        std::fs::copy(data.join(name), copy.path().join(name))
            .unwrap_or_else(|error| panic!("copying {name}: {error}"));
    }
    let database = rusqlite::Connection::open(copy.path().join("tinybase.db")).expect("the copy opens");
    for (check, expected) in [("PRAGMA integrity_check", Some("ok")), ("PRAGMA foreign_key_check", None)] {
        let mut statement = database.prepare(check).expect("SQLite knows the check");
        let answers = statement.query_map([], |row| row.get::<_, String>(0)).expect("the check runs");
        let answers: Vec<_> = answers.map(|answer| answer.expect("a line of text")).collect();
        assert_eq!(answers, expected.into_iter().collect::<Vec<_>>(), "{check}");
    }
}
