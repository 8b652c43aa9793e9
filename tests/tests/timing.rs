//! The time of a login reveals nothing about whether an email is known. It measures the real server, with wrong
//! passwords only.

use std::time::{Duration, Instant};

use serde_json::json;
use tinybase_tests::{Client, Site, site::PASSWORD};

/// Logins of each kind.
const TRIES: usize = 200;

/// The users among whom the tries are distributed, so that none is tried often enough to be delayed.
const USERS: usize = 50;

/// The maximum difference of the two medians, in units of the width of the middle half of all tries: less than the
/// normal variation between tries.
const DIFFERENCE_MAX: f64 = 0.5;

fn timed(client: &Client, email: &str) -> Duration {
    let wrong = json!({"email": email, "password": "not the right password"});
    let started = Instant::now();
    let answer = client.post("/api/auth/login", &wrong);
    let taken = started.elapsed();
    assert_eq!(answer.outcome(), (401, "credentials_invalid".into()), "{email}");
    taken
}

/// Returns the value below which `share` of all values are; `times` must be sorted.
fn quantile(times: &[Duration], share: f64) -> f64 {
    let at = (times.len() - 1) as f64 * share;
    times[at.round() as usize].as_secs_f64() * 1_000.0
}

#[test]
fn a_login_takes_as_long_for_a_known_email_as_for_an_unknown_one() {
    let site = Site::new();
    let server = site.serve();
    let client = server.client();
    for user in 0..USERS {
        let account = json!({"email": format!("known-{user}@example.com"), "password": PASSWORD});
        client.post("/api/auth/register", &account).expect(201);
    }
    let (mut known, mut unknown) = (Vec::with_capacity(TRIES), Vec::with_capacity(TRIES));
    for turn in 0..TRIES {
        let user = turn % USERS;
        // Alternately, and each equally often first: the machine's other work affects both alike.
        let mut sides = [(&mut known, "known"), (&mut unknown, "unknown")];
        if turn % 2 == 1 {
            sides.reverse();
        }
        for (times, kind) in sides {
            times.push(timed(&client, &format!("{kind}-{user}@example.com")));
        }
    }
    known.sort_unstable();
    unknown.sort_unstable();
    let medians = (quantile(&known, 0.5), quantile(&unknown, 0.5));
    let mut all = [known, unknown].concat();
    all.sort_unstable();
    let noise = quantile(&all, 0.75) - quantile(&all, 0.25);
    let difference = (medians.0 - medians.1).abs();
    println!(
        "login, {TRIES} tries each: known {:.2} ms, unknown {:.2} ms, noise {noise:.2} ms",
        medians.0, medians.1
    );
    assert!(
        difference < DIFFERENCE_MAX * noise.max(0.5),
        "known {:.3} ms, unknown {:.3} ms: they differ by more than the noise of {noise:.3} ms",
        medians.0,
        medians.1
    );
}
