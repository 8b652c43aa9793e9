//! The test server on a real installation: it starts, restarts, and ends with its owner.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tinybase_test_postgres::{Cluster, Database, psql};

const PATIENCE: Duration = Duration::from_secs(20);

fn answers(url: &str) -> bool {
    psql(url, "SELECT 1").is_ok_and(|rows| rows == "1")
}

#[test]
fn databases_are_apart_and_outlive_a_restart_and_end_with_their_owner() {
    // The end of a thread does not end the server.
    let mut cluster = thread::spawn(|| Cluster::start().unwrap()).join().unwrap();
    let (one, other) = (Database::create(&cluster.url()).unwrap(), Database::create(&cluster.url()).unwrap());
    one.run("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('kept')").unwrap();
    assert!(other.run("SELECT a FROM t").unwrap_err().to_string().contains("does not exist"));
    for _ in 0..2 {
        cluster.stop_now().unwrap();
        assert!(!answers(&cluster.url()));
        cluster.start_again().unwrap();
        assert_eq!(one.run("SELECT a, current_setting('timezone') FROM t").unwrap(), "kept|Asia/Kathmandu");
    }
    let url = one.url();
    drop(one);
    assert!(psql(&url, "SELECT 1").unwrap_err().to_string().contains("does not exist"));
    let url = cluster.url();
    let wrong = url.replace(url.split([':', '@']).nth(2).unwrap(), "guessed");
    assert!(psql(&wrong, "SELECT 1").unwrap_err().to_string().contains("password"));
    cluster.stop().unwrap();
    assert!(!answers(&url));
}

/// Not a test by itself: the process killed by [`a_killed_owner_takes_its_server_along`].
#[test]
#[ignore = "started by another test as a process of its own"]
#[allow(clippy::print_stdout, reason = "the other test reads it")]
fn an_owner() {
    let cluster = Cluster::start().unwrap();
    println!("\nserves {} in {}", cluster.url(), cluster.folder().display());
    thread::sleep(PATIENCE);
}

#[test]
fn a_killed_owner_takes_its_server_along() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["an_owner", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let told =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("serves ").map(str::to_owned)).unwrap();
    let (url, folder) = told.split_once(" in ").unwrap();
    assert!(answers(url));
    owner.kill().unwrap();
    owner.wait().unwrap();
    let started = Instant::now();
    while answers(url) {
        assert!(started.elapsed() < PATIENCE, "the server outlives its owner");
        thread::yield_now();
    }
    assert!(Path::new(folder).exists());
    let next = Cluster::start().unwrap();
    assert!(!Path::new(folder).exists(), "the next one removes what was left");
    assert!(next.folder().exists());
}
