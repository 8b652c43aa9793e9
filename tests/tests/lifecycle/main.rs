//! Extensions that are installed, changed and removed while the server runs: what is swapped, and that nothing else is
//! affected.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod again;
mod borders;
mod faults;
mod needs;
mod nodes;
mod operator;
mod stuck;
mod swap;
mod walk;

use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tinybase_tests::{Client, Site, fixtures, site::Ran};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: not after {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the version of `pulse` that responds; empty if none does.
fn pulse_version(client: &Client) -> String {
    let answer = client.get("/api/pulse");
    if answer.status == 404 {
        return String::new();
    }
    answer.expect(200)["version"].as_str().unwrap().to_owned()
}

fn pulse(client: &Client) -> Json {
    client.get("/api/pulse").expect(200)
}

/// Installs one of the test plugins, or changes it to that version.
fn change(site: &Site, name: &str) -> Ran {
    site.install(&fixtures::stress(name, site.packages()))
}

fn install(site: &Site, name: &str) {
    let ran = change(site, name);
    assert_eq!(ran.code, Some(0), "installing {name}: {ran:?}");
}
