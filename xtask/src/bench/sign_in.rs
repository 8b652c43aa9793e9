//! The effect of sign-ins on other requests: reads with a token compared with reads without one, and reads while a
//! hundred people sign in at once. It never measures how long a login takes: the password hash is slow on purpose.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::figures::{finish, get_json, load, paths};
use super::load::{Measured, Requests};
use super::report::{Goal, Row};
use super::tinybase::{EMAIL, PASSWORD, Served, Site};
use super::{Plan, data};

/// The number of people who sign in at once.
const LOGINS: usize = 100;

/// The maximum number of records to read from.
const RECORDS: u32 = 10_000;

/// Measures both figures on a separate server without its limits on logins from one address.
///
/// # Errors
/// When the server fails or refuses.
pub(crate) fn rows(plan: &Plan) -> Result<Vec<Row>> {
    println!("==> measure: reads of who is signed in, and beside logins");
    let records = plan.dir.join("data/sign_in.ndjson");
    data::write_records(&records, RECORDS)?;
    let site = Site::init(plan, "tinybase-sign-in", "full")?;
    let empty = site.serve()?;
    empty.create_collections()?;
    empty.process.stop()?;
    finish(site.import("items", &records)?)?;
    let served = site.serve_with(&[("TINYBASE_RATE_LIMIT_ENABLED", "false")])?;
    let list = get_json(served.port, "/api/collections/items/records?limit=1000&count=none")?;
    let paths = paths(&list["records"])?;
    // Not the account that signs in repeatedly: the 51st login ends a user's oldest session.
    let token = served.register("reader@example.com")?;
    let (public, signed_in) =
        (Requests::Get(paths.clone()), Requests::GetAs { token: token.clone(), paths: paths.clone() });
    let (mut without, mut with, mut beside) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        without.push(load(plan, served.port, &public)?.requests_per_second);
        with.push(load(plan, served.port, &signed_in)?.requests_per_second);
        beside.push(beside_logins(plan, &served, &public)?.p99_ms);
    }
    Ok(vec![
        Row::beside(
            "read one, signed in (second column: public)",
            "/s",
            with,
            without,
            Goal::RatioAtLeast(0.9),
        ),
        Row::alone("read one, p99, while 100 sign in at once", "ms", beside, Goal::AtMost(20.0)),
    ])
}

/// Runs one load while [`LOGINS`] clients sign in, each again as soon as it is signed in.
fn beside_logins(plan: &Plan, served: &Served, reads: &Requests) -> Result<Measured> {
    let (done, signed_in) = (AtomicBool::new(false), AtomicU32::new(0));
    let login = || -> Result<()> {
        while !done.load(Ordering::Relaxed) {
            served.sign_in()?;
            signed_in.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let measured = thread::scope(|scope| {
        let people: Vec<_> = (0..LOGINS).map(|_| scope.spawn(login)).collect();
        let measured = load(plan, served.port, reads);
        done.store(true, Ordering::Relaxed);
        for person in people {
            person.join().expect("who signs in does not panic")?;
        }
        measured
    })?;
    let count = signed_in.load(Ordering::Relaxed);
    println!("    {count} logins ended");
    ensure!(count > 0, "nobody came to sign in while the load ran");
    Ok(measured)
}

impl Served {
    /// Registers an account and returns its access token.
    ///
    /// # Errors
    /// When the server refuses.
    fn register(&self, email: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/api/auth/register", self.port);
        ureq::post(url).send_json(json!({ "email": email, "password": PASSWORD }))?;
        self.sign_in_as(email)
    }

    /// Signs in as the admin and returns the access token.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn sign_in(&self) -> Result<String> {
        self.sign_in_as(EMAIL)
    }

    fn sign_in_as(&self, email: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}/api/auth/login", self.port);
        let mut answer = ureq::post(url).send_json(json!({ "email": email, "password": PASSWORD }))?;
        let answer: Value = answer.body_mut().read_json()?;
        answer["access_token"].as_str().map(str::to_owned).context("the login answers no access_token")
    }
}
